"""A stand-in for CuPy, built on NumPy, that refuses what CuPy refuses.

It is **not** CuPy: no number here was computed on a GPU, and nothing that passes on it
is said to have been tested on CuPy. It lets the CuPy engine's own code run where there
is no GPU, and notices what CuPy would raise: arrays that turn into NumPy's by
themselves, operands or indices that are NumPy arrays, arrays of another device than the
current one, devices taken as keys of a dictionary. Its `fuse` traces, as CuPy's does:
the function sees variables without values, once for each combination of types, and
what it closes over becomes constant. `LAUNCHES` counts the kernels that CuPy would
launch, as far as its source tells: one for each operation that makes or changes an
array, none for a view, one for each of up to eight arrays that are concatenated.

>>> with installed() as cupy:
...     cupy.asarray([1.0]).device
<CUDA Device 0, a stand-in>
"""

from __future__ import annotations

import collections
import contextlib
import importlib
import importlib.machinery
import math
import operator
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Self

import numpy as np

DEVICES = 2
# Arrays of which each is copied by a launch of its own where they are joined.
COPIES = 8
# Operators whose functions have other names.
NAMES = {
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "true_divide",
    "neg": "negative",
}
# Kernels launched, by name.
LAUNCHES: collections.Counter[str] = collections.Counter()
# Modules that are, or that have imported, what is put in CuPy's place.
TOUCHED = ("cupy", "cupyx", "array_api_compat.cupy", "chainrule.backends.cupy")


class Device:
    """A numbered device; inside `with`, the current one. It cannot be hashed."""

    __hash__ = None  # type: ignore[assignment]
    current: ClassVar[list[int]] = [0]

    def __init__(self, device: Any = None) -> None:
        self.id = self.current[-1] if device is None else int(device)

    def __int__(self) -> int:
        return self.id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and self.id == other.id

    def __enter__(self) -> Self:
        self.current.append(self.id)
        return self

    def __exit__(self, *_: object) -> None:
        self.current.pop()

    def __repr__(self) -> str:
        return f"<CUDA Device {self.id}, a stand-in>"

    def use(self) -> None:
        """Make this the current device from now on."""
        self.current[-1] = self.id


class ndarray:  # its name is CuPy's
    """An array on a device."""

    __module__ = "cupy"
    # NumPy's operators and functions hand over to this class, which refuses.
    __array_ufunc__ = None

    def __init__(self, a: Any) -> None:
        self._a = np.asarray(a)
        self.device = Device()

    def __array__(self, *_: object, **__: object) -> Any:
        msg = (
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` "
            "to construct a NumPy array explicitly."
        )
        raise TypeError(msg)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self.device.id

    def __dlpack__(self, **_: object) -> Any:
        msg = "this array lies on a GPU"
        raise BufferError(msg)

    def __getitem__(self, key: Any) -> Any:
        return _call(operator.getitem, self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        _call(operator.setitem, self, key, value)

    def __len__(self) -> int:
        return len(self._a)

    def __float__(self) -> float:
        return float(self._a)

    def __int__(self) -> int:
        return int(self._a)

    def __index__(self) -> int:
        return operator.index(self._a)

    def __bool__(self) -> bool:
        return bool(self._a)

    def __repr__(self) -> str:
        return f"stand-in {self._a!r}"

    def __getattr__(self, name: str) -> Any:
        # Attributes as they are; methods on the device.
        if name.startswith("__"):
            raise AttributeError(name)
        value = getattr(self._a, name)
        if not callable(value):
            return ndarray(value) if isinstance(value, np.ndarray) else value
        return lambda *args, **kwargs: _call(
            lambda a, *rest, **options: getattr(a, name)(*rest, **options),
            self,
            *args,
            **kwargs,
        )

    def get(self) -> Any:
        """Return a NumPy copy: the one way out."""
        return self._a.copy()


def _operator(name: str) -> None:
    function = getattr(operator, name)
    plain = name.strip("_")

    def forward(self: Any, *others: Any) -> Any:
        return _call(function, self, *others)

    def reflected(self: Any, other: Any) -> Any:
        return _call(function, other, self)

    def in_place(self: Any, other: Any) -> Any:
        _call(getattr(operator, f"__i{plain}__"), self, other)
        return self

    setattr(ndarray, name, forward)
    if hasattr(operator, f"__i{plain}__"):
        setattr(ndarray, f"__r{plain}__", reflected)
        setattr(ndarray, f"__i{plain}__", in_place)


def _traced_operator(name: str) -> None:
    function = getattr(np, NAMES.get(name, name))

    def forward(self: _Variable, *others: Any) -> Any:
        return self.trace.add(function, (self, *others), None)

    def reflected(self: _Variable, other: Any) -> Any:
        return self.trace.add(function, (other, self), None)

    def in_place(self: _Variable, other: Any) -> Any:
        out = self if self.is_array else None
        return self.trace.add(function, (self, other), out)

    setattr(_Variable, f"__{name}__", forward)
    if name != "neg":
        setattr(_Variable, f"__r{name}__", reflected)
        setattr(_Variable, f"__i{name}__", in_place)


for _name in (
    *("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul"),
    *("and", "or", "xor", "lshift", "rshift", "neg", "pos", "invert", "abs"),
    *("lt", "le", "eq", "ne", "gt", "ge"),
):
    _operator(f"__{_name}__")


def _inside(a: Any) -> Any:
    """Return the NumPy array behind an argument; refuse what CuPy refuses."""
    if isinstance(a, ndarray):
        if a.device != Device():
            msg = (
                f"Array device must be same as the current device: array device = "
                f"{a.device.id} while current = {Device().id}"
            )
            raise ValueError(msg)
        return a._a
    if isinstance(a, np.ndarray):
        msg = f"Unsupported type {np.ndarray}"
        raise TypeError(msg)
    if isinstance(a, (tuple, list)):
        return type(a)(_inside(part) for part in a)
    return a


def _outside(a: Any) -> Any:
    if isinstance(a, (np.ndarray, np.generic)):
        return ndarray(a)
    return type(a)(map(_outside, a)) if type(a) in (tuple, list) else a


def _call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if any(isinstance(a, _Variable) for a in args):
        return _trace(function, args, kwargs)
    inside = [_inside(a) for a in args]
    result = function(*inside, **{n: _inside(value) for n, value in kwargs.items()})
    _count(function, inside, result)
    return _outside(result)


def _count(function: Callable[..., Any], args: list[Any], result: Any) -> None:
    """Count the launches of a call: none for a view, or for what is no array."""
    name = getattr(function, "__name__", "method")
    if name in ("concatenate", "stack"):
        LAUNCHES[name] += len(args[0]) if len(args[0]) <= COPIES else 1
        return
    results = result if isinstance(result, (tuple, list)) else [result]
    arrays = [a for a in args if isinstance(a, np.ndarray)]
    if name == "empty":
        return
    in_place = name == "setitem" or name.startswith("__i") or name[:1] == "i"
    made = [
        r
        for r in results
        if isinstance(r, (np.ndarray, np.generic))
        and not any(np.may_share_memory(r, a) for a in arrays)
    ]
    if in_place or made:
        LAUNCHES[name] += 1


# Fusion.


class _Variable:
    """What a function that is fused sees of an argument: no shape, no value."""

    def __init__(self, trace: _Trace, *, is_array: bool) -> None:
        self.trace, self.is_array = trace, is_array
        self.number = trace.count
        trace.count += 1

    def __bool__(self) -> bool:
        msg = "Cannot convert to Python scalar in cupy.fuse"
        raise TypeError(msg)

    def __setitem__(self, key: Any, value: Any) -> None:
        if key is not Ellipsis:
            msg = "The fusion supports `[...]` or `[:]`."
            raise ValueError(msg)
        self.trace.add(np.positive, (value,), self)

    __float__ = __int__ = __bool__


class _Trace:
    """The operations of a function on variables, to be repeated on values."""

    def __init__(self) -> None:
        self.count = 0
        self.operations: list[tuple[Any, list[Any], int, bool]] = []

    def add(self, function: Any, args: Any, out: _Variable | None) -> _Variable:
        for a in args:
            if not isinstance(a, (_Variable, int, float)):
                msg = f"Unsupported type {type(a)}"
                raise TypeError(msg)
        arrays = any(isinstance(a, _Variable) and a.is_array for a in args)
        to = out if out is not None else _Variable(self, is_array=arrays)
        self.operations.append((function, list(args), to.number, out is not None))
        return to

    def run(self, values: list[Any]) -> None:
        values += [None] * (self.count - len(values))
        for function, args, to, in_place in self.operations:
            inputs = [values[a.number] if isinstance(a, _Variable) else a for a in args]
            if in_place:
                function(*inputs, out=values[to], casting="same_kind")
            else:
                values[to] = function(*inputs)


def _trace(function: Any, args: Any, kwargs: Any) -> _Variable:
    """Note an operation on variables, if it is one that can be fused."""
    plain = getattr(np, NAMES.get(function.__name__, function.__name__), None)
    if kwargs or not (isinstance(plain, np.ufunc) or plain is np.where):
        msg = f"{function.__name__} cannot be fused"
        raise TypeError(msg)
    variables = [a for a in args if isinstance(a, _Variable)]
    return variables[0].trace.add(plain, args, None)


class _Fusion:
    """A function that is fused: one kernel for each combination of types."""

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self.function, self.name = function, name
        self.traces: dict[Any, _Trace] = {}

    def __call__(self, *args: Any) -> None:
        inside = [_inside(a) for a in args]
        # By dtype and rank of an array, by type of a scalar; never by value.
        kinds = tuple(
            (a.dtype, a.ndim) if isinstance(a, np.ndarray) else type(a) for a in inside
        )
        given = [a for a in inside if a is not None]
        if kinds not in self.traces:
            trace = _Trace()
            variables = [
                None
                if a is None
                else _Variable(trace, is_array=isinstance(a, np.ndarray))
                for a in inside
            ]
            if self.function(*variables) is not None:
                msg = "the stand-in fuses what works in place"
                raise NotImplementedError(msg)
            self.traces[kinds] = trace
        self.traces[kinds].run(list(given))
        LAUNCHES[self.name] += 1


def _fuse(*, kernel_name: str) -> Callable[..., _Fusion]:
    return lambda function: _Fusion(function, kernel_name)


class _ElementwiseKernel:
    """The engine's one kernel of its own, done by NumPy."""

    def __init__(self, params: str, out: str, operation: str, name: str) -> None:
        if name != "chainrule_join":
            msg = f"the stand-in cannot run the kernel {name}"
            raise NotImplementedError(msg)
        self.count = params.count("raw T ")
        self.name = name

    def __call__(self, *args: Any) -> None:
        arrays = [_inside(a) for a in args[: self.count]]
        *stops, width, out = args[self.count :]
        inside, rows = _inside(out), out.size // width
        parts = [a.reshape(rows, -1) for a in arrays]
        assert [int(n) for n in np.cumsum([p.shape[1] for p in parts])] == stops
        inside[...] = np.concatenate(parts, axis=1).reshape(inside.shape)
        LAUNCHES[self.name] += 1


def _on_device(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **kwargs: _call(function, *args, **kwargs)


def _array(a: Any, dtype: Any = None, *, copy: bool = True) -> ndarray:
    if isinstance(a, ndarray):
        # From whatever device to the current one.
        if not copy and a.device == Device() and dtype in (None, a._a.dtype):
            return a
        a = a._a
    return ndarray(np.array(a, dtype=dtype))


def _erf(x: Any) -> Any:
    return np.asarray(np.vectorize(math.erf, otypes="d")(x)).astype(x.dtype)


def _erfcx(x: Any) -> Any:
    wide = x.astype("d")
    # Beyond 20 what erfc lacks is made up by the first terms of its expansion.
    low, high = np.minimum(wide, 20.0), np.maximum(wide, 20.0)
    near = np.vectorize(math.erfc, otypes="d")(low) * np.exp(low * low)
    u = 0.5 / (high * high)
    far = (1.0 - u * (1.0 - 3.0 * u * (1.0 - 5.0 * u))) / (high * math.sqrt(math.pi))
    return np.asarray(np.where(wide < 20.0, near, far)).astype(x.dtype)


def _module() -> types.ModuleType:
    cupy = types.ModuleType("cupy", "A stand-in on NumPy: not CuPy.")
    cupy.__spec__ = importlib.machinery.ModuleSpec("cupy", None)
    for name in np.__all__:
        value = getattr(np, name)
        is_function = callable(value) and not isinstance(value, type)
        setattr(cupy, name, _on_device(value) if is_function else value)
    cuda: Any = types.ModuleType("cupy.cuda")
    cuda.Device, cuda.device = Device, types.ModuleType("cupy.cuda.device")
    cuda.device.Device = Device
    cuda.is_available = lambda: True
    out_of_memory = type("OutOfMemoryError", (MemoryError,), {})
    cuda.memory = types.SimpleNamespace(OutOfMemoryError=out_of_memory)
    cuda.runtime = types.SimpleNamespace(getDeviceCount=lambda: DEVICES)
    unwrapped = ("isdtype", "result_type", "can_cast", "issubdtype")
    own = {
        **{name: getattr(np, name) for name in unwrapped},
        "array": _array,
        "asarray": lambda a, dtype=None: _array(a, dtype, copy=False),
        "asnumpy": lambda a: a.get() if isinstance(a, ndarray) else np.asarray(a),
        "ndarray": ndarray,
        "__version__": "14 (a stand-in on NumPy, not CuPy)",
        "cuda": cuda,
        "fuse": _fuse,
        "ElementwiseKernel": _ElementwiseKernel,
    }
    for name, value in own.items():
        setattr(cupy, name, value)
    cupy.__all__ = [*np.__all__, *own]  # type: ignore[attr-defined]
    for name in ("linalg", "fft"):
        part = types.ModuleType(f"cupy.{name}")
        numpys = getattr(np, name)
        part.__all__ = numpys.__all__  # type: ignore[attr-defined]
        for function in numpys.__all__:
            setattr(part, function, _on_device(getattr(numpys, function)))
        setattr(cupy, name, part)
    return cupy


for _name in ("add", "sub", "mul", "truediv", "neg"):
    _traced_operator(_name)


@contextlib.contextmanager
def installed() -> Iterator[Any]:
    """Put the stand-in where `import cupy` looks, and take every trace of it away."""
    from chainrule import backends
    from chainrule.arrays import namespace
    from chainrule.backends import registry

    def forget() -> dict[str, Any]:
        names = [n for n in sys.modules if n.startswith(TOUCHED)]
        registry._instance.cache_clear()
        namespace._bound.cache_clear()
        namespace._NATIVE.pop("array_api_compat.cupy", None)
        for package, attribute in (("array_api_compat", "cupy"), (backends, "cupy")):
            module = sys.modules.get(package) if isinstance(package, str) else package
            if hasattr(module, attribute):
                delattr(module, attribute)
        return {name: sys.modules.pop(name) for name in names}

    native = namespace._NATIVE.get("array_api_compat.cupy")
    before = forget()
    cupy = _module()
    special: Any = types.ModuleType("cupyx.scipy.special")
    special.erf = _on_device(_erf)
    special.erfcx = _on_device(_erfcx)
    sys.modules |= {
        "cupy": cupy,
        "cupy.cuda": cupy.cuda,
        "cupy.cuda.device": cupy.cuda.device,
        "cupy.linalg": cupy.linalg,
        "cupy.fft": cupy.fft,
        "cupyx": types.ModuleType("cupyx"),
        "cupyx.scipy": types.ModuleType("cupyx.scipy"),
        "cupyx.scipy.special": special,
    }
    try:
        importlib.import_module("array_api_compat.cupy")
        yield cupy
    finally:
        forget()
        sys.modules |= before
        # Others' stay: an engine may have been loaded in between.
        if native is not None:
            namespace._NATIVE["array_api_compat.cupy"] = native
