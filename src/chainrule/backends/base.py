"""An array library bound to a device: moves arrays, computes in a scope, compiles.

`Backend` is also the generic engine, for any array API library: the plain loop of
`loop` and the plain update of `updates`, without any library's tricks.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.arrays.layout import Span
from chainrule.arrays.namespace import Namespace
from chainrule.arrays.types import Array
from chainrule.backends import loop, updates
from chainrule.backends.threads import blas_threads
from chainrule.errors import ArgumentError, DeviceError

if TYPE_CHECKING:
    from chainrule.optimizers import Optimizer

__all__ = ["Backend", "remembering"]

_DTYPES = ("float32", "float64")


def remembering(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return f with a memory of its last argument and answer.

    For views of a vector that is updated in place: while the vector is the same object,
    its views are the same.
    """
    last: tuple[Any, Any] = (None, None)

    def remembered(vector: Any) -> Any:
        nonlocal last
        found = last  # another thread may replace it
        if found[0] is not vector:
            found = last = (vector, f(vector))
        return found[1]

    return remembered


class Backend:
    """An array library bound to a device.

    Parameters
    ----------
    module : module
        The library's array namespace.
    device : object, optional
        Where arrays are put; None is the library's default.
    name : str, optional
        How the backend is called; the module's name by default.

    Attributes
    ----------
    name : str
    device : object
    xp : Namespace
    precisions : tuple of str
        What ``precision=`` may be.
    jit_compiles : tuple
        What ``jit_compile=`` may be.
    pads : bool
        Whether every new number of rows costs a compilation, so that callers had better
        round it up.
    block : int
        Numbers of an intermediate array beyond which work on many rows had better be
        cut into pieces: what memory, or a cache, can hold.
    eager : bool
        Whether values are there as soon as an operation returns.
    group : int
        How many short epochs had better be one call: 1 where a call costs little. A
        backend with more has a `repeat`.
    direct : bool
        Whether operations are so cheap that a few rows need a short way through them.
    shares : int
        How many devices work on a batch, each on its rows.
    processes : int
        How many processes those devices belong to.
    leads : bool
        Whether this process writes the files of all.
    gather : int
        Bytes of samples that are gathered at once, for as many steps as they make; 0
        where each step gathers its own.
    """

    precisions: tuple[str, ...] = ("highest",)
    jit_compiles: tuple[bool | None, ...] = (None, False)
    pads = False
    block = 1 << 23
    eager = True
    group = 1
    direct = False
    shares = 1
    processes = 1
    leads = True
    gather = 0

    def __init__(
        self, module: Any, device: Any = None, name: str | None = None
    ) -> None:
        self.name: str = name or module.__name__
        self.device: Any = device
        self.xp: Namespace = Namespace(module, device)

    @property
    def device_name(self) -> str | None:
        """What `get` takes for this device; None is the library's default."""
        return None if self.device is None else str(self.device)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Backend) and (
            (self.name, self.device_name) == (other.name, other.device_name)
        )

    def __hash__(self) -> int:
        return hash((self.name, self.device_name))

    def __repr__(self) -> str:
        where = "" if self.device is None else f", device={str(self.device)!r}"
        return f"Backend({self.name!r}{where})"

    @staticmethod
    def locate(device: Any) -> Any:
        """Return what a device, or a name of one, means now; hashable.

        None is the library's default, which may be another one at each call.

        Raises
        ------
        DeviceError
            If there is no such device.
        """
        return device

    # Arrays in and out.

    @classmethod
    def at(cls, device: Any) -> Backend:
        """Return the engine for what `locate` returned."""
        return cls(device)

    @staticmethod
    def home(a: Any) -> Any:
        """Return the device of an array; None if it lies nowhere."""
        return getattr(a, "device", None)

    def holds(self, a: Any) -> bool:
        """Whether `a` is an array of this library, on whatever device."""
        return isinstance(a, type(self.xp.zeros((0,))))

    def owns(self, a: Any) -> bool:
        """Whether `a` is an array of this library, on this device."""
        return self.holds(a) and (
            self.device is None or getattr(a, "device", None) == self.device
        )

    def asarray(self, a: Any, dtype: str | None = None) -> Any:
        """Return host data (NumPy), or an array of this library, as an array here."""
        kind = None if dtype is None else getattr(self.xp, dtype)
        if isinstance(a, np.ndarray):
            a = np.asarray(
                a, dtype=dtype, order="C"
            )  # keeps 0-d, as ascontiguous does not
            return self.xp.asarray(a, dtype=kind)
        if not self.owns(a):
            return self.asarray(self.to_numpy(a), dtype)
        return a if kind is None else self.xp.astype(a, kind, copy=False)

    def adopt(self, a: Any) -> Any:
        """Return a host array as one here; nobody writes into it any more.

        Where the library can, it takes the memory itself.
        """
        return self.asarray(a)

    def to_numpy(self, a: Any) -> Any:
        """Return a NumPy copy of an array of this library, from whatever device."""
        try:
            return np.array(np.from_dlpack(a))
        except (BufferError, RuntimeError, TypeError, ValueError):
            return np.array(a)

    # Arrays as training carries them, and as inference takes them: an engine of
    # several devices divides them.

    def vector(self, a: Any, dtype: str | None = None) -> Any:
        """Return a copy of theta or a slot (..., P), as training carries it."""
        return self.copy(self.asarray(a, dtype))

    def state(self, a: Any, dtype: str | None = None) -> Any:
        """Return a copy of the layers' state (..., S), as training carries it."""
        return self.copy(self.asarray(a, dtype))

    def whole(self, a: Any, size: int) -> Any:
        """Return a vector of training (..., P) as inference takes it: P is `size`."""
        return a

    def training_on(self, data: Any) -> Backend:
        """Return the engine that trains on samples that lie as these do."""
        return self

    def replicated(self, a: Any) -> Any:
        """Return numbers of an epoch, in its function, where each process has all."""
        return a

    def divided(self, a: Any) -> Any:
        """Return some rows of samples, where inference works on them."""
        return a

    def rounded(self, rows: int) -> int:
        """Return the number to which rows are filled up, where the backend `pads`."""
        return rows

    # Processes that work together: each makes the same calls in the same order.

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Return of each flag whether it is set in any of the processes."""
        return flags

    def compare(self, facts: Mapping[str, Any]) -> None:
        """Raise an error unless these are the same in all processes."""

    def warn_alone(self) -> None:
        """Warn where several processes run, and this one is to train alone."""

    def together(self) -> Any:
        """Return a context whose error in one process is an error in all of them."""
        return contextlib.nullcontext()

    def copy(self, a: Any) -> Any:
        """Return a real copy: new memory, whoever owns the old."""
        return self.xp.asarray(a, copy=True)

    def usable(self, name: str, a: Any) -> Any:
        """Return an array of this library that arithmetic is defined for.

        `name` is the argument's name, for the error.
        """
        return a

    def is_finite(self, a: Any) -> bool:
        """Whether all numbers of an array of this library are finite."""
        return bool(self.to_numpy(self.xp.all(self.xp.isfinite(a))))

    # Computing.

    def scope(self, dtype: str, precision: str = "highest") -> Any:
        """Return a context inside which this library computes as the model asks.

        It is a decorator, too, as those of contextlib are.
        """
        # Generic namespaces may be NumPy underneath: see the NumPy engine.
        return np.errstate(all="ignore")

    def products(self, dtype: str, precision: str) -> Any:
        """Return a context for a pure function that a program of others calls.

        Products are as precise as asked. Whatever the program does with the function's
        operations, to differentiate or to trace them, goes on.
        """
        return self.scope(dtype, precision)

    def fuse(self, optimizer: Optimizer) -> Callable[..., tuple[Array, ...]]:
        """Return ``optimizer.apply``, in as few calls as the library can."""
        # Where nothing is clipped they are one, and a small step feels each call.
        clips = optimizer.clip_norm or optimizer.clip_value
        return optimizer.apply if clips else optimizer.update

    def compiling(self, wanted: bool | None) -> Any:
        """Return a context, that of a fit, inside which steps are compiled if wanted.

        By default all goes the library's own way.
        """
        return contextlib.nullcontext()

    def compile(self, build: Callable[..., Any], *key: Any, donate: int = 0) -> Any:
        """Return ``build(self, *key)``, a pure function, compiled if the library can.

        The key is hashable and says all that the function depends on. The first
        `donate` arguments of the function are donated by its callers.
        """
        return build(self, *key)

    def memoize(self, f: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return f, or a version that remembers its last argument and answer."""
        return f

    # The loop over steps, and the optimizer's update.

    rows: Callable[..., Any] = loop.rows
    indices: Callable[..., Any] = loop.indices
    take: Callable[..., Any] = loop.take
    batches: Callable[..., Any] = loop.batches
    scan: Callable[..., Any] = loop.scan
    stacked: Callable[..., Any] = loop.stacked

    elementwise: Callable[..., Any] = updates.by_spans
    joined: Callable[..., Any] = updates.joined
    write: Callable[..., Any] = updates.write

    def repeat(self, body: Callable[..., Any], carry: Any, xs: Any, count: Any) -> Any:
        """Run ``body(carry, x) -> (carry, y)`` over the first `count` of xs.

        Only backends whose `group` is above 1 have it.
        """
        raise NotImplementedError

    def decay_mask(self, span: Span, dtype: Any) -> Any:
        """1 where weights decay, else 0; kept, since it is the same every step."""
        return updates.decay_mask(self, span, dtype)

    def flush(self, slots: tuple[Any, ...]) -> tuple[Any, ...]:
        """Zero subnormal numbers in the slots, where they slow arithmetic."""
        return slots

    # Surroundings: what bits may depend on beside the computation itself.

    def versions(self) -> dict[str, str]:
        """Return the versions of Python, NumPy and this library."""
        import platform

        module = importlib.import_module(self._library)
        return {
            "python": platform.python_version(),
            "numpy": np.__version__,
            self._library: str(getattr(module, "__version__", "")),
        }

    @property
    def _library(self) -> str:
        return self.name

    def threads(self) -> int:
        """Return how many threads the library's arithmetic may use."""
        return blas_threads()

    # Errors.

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Whether an error says that memory did not suffice.

        NumPy has two more words for it, of arrays that no machine can address.
        """
        words = ("array is too big", "Maximum allowed dimension exceeded")
        return isinstance(error, MemoryError) or (
            isinstance(error, ValueError) and str(error).startswith(words)
        )

    def check_precision(self, precision: str, dtype: str = "float32") -> None:
        """Raise an error if the library cannot compute with this precision."""
        if precision not in self.precisions:
            where = "" if self.device is None else f" on {self.device}"
            msg = (
                f"precision must be one of {', '.join(self.precisions)} with the "
                f"{self.name} backend{where}; got {precision!r}."
            )
            raise ArgumentError(msg)
        if precision != "highest" and dtype != "float32":
            msg = (
                f"precision {precision!r} is one of float32 products; got dtype "
                f"{dtype!r}. Leave precision out, or use float32."
            )
            raise ArgumentError(msg)

    def check_jit_compile(self, jit_compile: bool | None) -> None:
        """Raise an error if the library has no choice but another one."""
        if jit_compile in self.jit_compiles:
            return
        does = "cannot compile" if jit_compile else "always compiles"
        other = "'torch' or 'jax'" if jit_compile else "'torch' or 'numpy'"
        msg = (
            f"jit_compile must be one of {', '.join(map(str, self.jit_compiles))} with "
            f"the {self.name} backend, which {does} its steps; got {jit_compile}. "
            f"Leave it out, or use backend {other}."
        )
        raise ArgumentError(msg)

    def check_dtype(self, dtype: str) -> None:
        """Raise an error if the device cannot hold this dtype."""
        with self.scope(dtype):
            try:
                self.xp.zeros((1,), dtype=getattr(self.xp, dtype))
            except (AttributeError, TypeError, ValueError, RuntimeError) as error:
                msg = (
                    f"dtype {dtype!r} is not to be had on {self!r} ({error}); "
                    f"use one of the others of {', '.join(_DTYPES)}."
                )
                raise DeviceError(msg) from error
