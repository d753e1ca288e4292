"""Finds the engines and makes them; each is loaded when it is asked for."""

from __future__ import annotations

import copyreg
import functools
import gc
import importlib
import importlib.util
import sys
import types
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.arrays.namespace import load_with
from chainrule.backends.base import Backend
from chainrule.config import checks
from chainrule.errors import ArgumentTypeError, BackendError, DeviceError

if TYPE_CHECKING:
    from chainrule.config.choices import BackendName

__all__ = ["Availability", "available", "clear_caches", "get", "of"]

# name -> (class, distribution to install)
_ENGINES: dict[BackendName, tuple[str, str]] = {
    "numpy": ("NumPyBackend", "numpy"),
    "jax": ("JaxBackend", "jax"),
    "cupy": ("CuPyBackend", "cupy-cuda12x"),
    "torch": ("TorchBackend", "torch"),
}


class Availability(dict["BackendName", str]):
    """The backends of this machine: name -> what it is; `missing`: name -> why not."""

    def __init__(self) -> None:
        super().__init__()
        self.missing: dict[str, str] = {}

    def __str__(self) -> str:
        lines = [f"{name}: {what}" for name, what in self.items()]
        lines += [f"{name}: not available. {why}" for name, why in self.missing.items()]
        return "\n".join(lines)


def available() -> Availability:
    """Say which backends can be had here, and why the others cannot.

    Returns
    -------
    Availability
        A dict of those that can be had, with library and version; its attribute
        `missing` has the others, with the reason and what to do.
    """
    found = Availability()
    for name in _ENGINES:
        try:
            backend = get(name)
        except (BackendError, OSError, RuntimeError) as error:
            found.missing[name] = str(error)
        else:
            version = getattr(importlib.import_module(name), "__version__", "")
            where = "cpu" if backend.device is None else str(backend.device)
            found[name] = f"{name} {version} on {where}"
    return found


def get(
    backend: BackendName | Backend | types.ModuleType, device: Any = None
) -> Backend:
    """Return a backend.

    Parameters
    ----------
    backend : str, Backend or module
        "numpy", "jax", "cupy" or "torch"; a Backend, which is returned; or an array
        namespace of the 2024.12 standard, such as ``array_api_strict``.
    device : object, optional
        A device of that library, or its name; None is the library's default, as it is
        now: within ``jax.default_device(...)``, say.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If there is no such backend.
    BackendError
        If its library, or its GPU, is missing here.
    DeviceError
        If there is no such device.
    """
    if isinstance(backend, Backend):
        if device is not None and get(backend.xp.module, device) != backend:
            shown = checks.show(device)
            msg = f"device {shown} contradicts {backend!r}; give one or the other."
            raise DeviceError(msg)
        return backend
    if isinstance(backend, types.ModuleType):
        return _from_module(backend, device)
    if not isinstance(backend, str):
        msg = (
            f"backend must be one of {', '.join(_ENGINES)}, a Backend, an array "
            f"namespace module or None; got {checks.show(backend)} "
            f"({type(backend).__name__})."
        )
        raise ArgumentTypeError(msg)
    name: str = backend
    if name == "array_api_strict" and _importable(name):
        # A pickled generic backend knows its module by name.
        return _from_module(importlib.import_module(name), device)
    backend = checks.choice("backend", backend, _ENGINES, "backend")
    if device is None and backend == "numpy":
        return _instance(backend, None)
    # A name without a number, or none at all, is what it means now.
    return _instance(backend, _load(backend).locate(device))


@functools.lru_cache(maxsize=64)
def _instance(name: BackendName, device: Any) -> Backend:
    engine = _load(name).at(device)
    copyreg.pickle(type(engine), _reduce)
    return engine


def _reduce(backend: Backend) -> tuple[Any, ...]:
    """Pickle a backend by name: it is found, or refused, where it is unpickled."""
    return get, (backend.name, backend.device_name)


copyreg.pickle(Backend, _reduce)


def _load(name: BackendName) -> type[Backend]:
    """Return the class of an engine, whose library is imported by now."""
    attribute, library = _ENGINES[name]
    try:
        module = importlib.import_module(f"chainrule.backends.{name}")
    except ImportError as error:
        have = ", ".join(n for n in _ENGINES if _importable(n))
        msg = (
            f"the {name} backend needs a library that cannot be imported here "
            f"({error}). Install it with: pip install {library}. "
            f"Importable here: {have}."
        )
        raise BackendError(msg) from error
    engine: type[Backend] = getattr(module, attribute)
    return engine


def _importable(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def _load_for(module: types.ModuleType) -> None:
    """Load the engine of an array module: rules by hand have its functions as well."""
    names = module.__name__.split(".")
    for name in _ENGINES:
        if name in names:
            _load(name)


load_with(_load_for)


def _from_module(module: types.ModuleType, device: Any) -> Backend:
    root: Any = module.__name__.partition(".")[0]
    if root == "array_api_compat":
        root = module.__name__.rpartition(".")[2]
    if root in _ENGINES:
        return get(root, device)
    missing = [n for n in ("asarray", "matmul", "isdtype") if not hasattr(module, n)]
    if missing:
        msg = (
            f"backend: the module {module.__name__} is not an array namespace of the "
            f"2024.12 standard; it has no {', '.join(missing)}."
        )
        raise ArgumentTypeError(msg)
    if isinstance(device, str) and hasattr(module, "Device"):
        name = device.partition("('")[2].rstrip("')") or device
        try:
            device = module.Device(name)
        except ValueError as error:
            shown = checks.show(device)
            msg = f"device {shown} is not to be had in {module.__name__}: {error}"
            raise DeviceError(msg) from error
    try:
        module.zeros((1,), device=device)
    except (TypeError, ValueError) as error:
        shown = checks.show(device)
        msg = f"device {shown} is not to be had in {module.__name__}: {error}"
        raise DeviceError(msg) from error
    return Backend(module, device)


def clear_caches() -> None:
    """Forget what was compiled for models, and give the memory back.

    JAX needs some 7 MB for each structure of a network and each number of samples that
    it is compiled for, compiled steps of PyTorch likewise. They are kept for later
    models, 128 structures at most, in 32 shapes each. What is needed again is compiled
    anew, a program's own functions of ``jax.jit`` as well: ``jax.clear_caches`` is
    called, too.
    """
    for name in ("updates", "jax.engine", "cupy.engine", "torch.compiled"):
        module = sys.modules.get(f"chainrule.backends.{name}")
        if module is not None:
            module.forget()
    gc.collect()
    if sys.platform.startswith("linux"):
        import ctypes

        # glibc keeps what was freed; another C library may lack the function.
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def of(a: Any) -> Backend:
    """Return the backend to which an array belongs; lists and frames are NumPy's."""
    if isinstance(a, np.ndarray):
        return get("numpy")
    # Of a class of one's own, too, that is derived from a library's. A library that is
    # not loaded has no arrays.
    if _is_a(a, "torch", "Tensor"):
        # Where it is, it is: to refuse a device is for who asks for one.
        return _instance("torch", a.device)
    if _is_a(a, "jax", "Array"):
        return get("jax", _load("jax").home(a))
    if _is_a(a, "cupy", "ndarray"):
        return get("cupy", a.device)
    if hasattr(type(a), "__array_namespace__"):  # of an array, not of a class
        return _from_module(a.__array_namespace__(), getattr(a, "device", None))
    return get("numpy")


def _is_a(a: Any, library: str, kind: str) -> bool:
    found = getattr(sys.modules.get(library), kind, None)
    return isinstance(found, type) and isinstance(a, found)
