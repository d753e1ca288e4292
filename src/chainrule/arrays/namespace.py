"""An array namespace bound to a device, plus what the standard lacks.

Rules receive a `Namespace` as ``xp``. Its attributes are the functions of the array
library; those that create arrays put them on the namespace's device; and those of
`chainrule.arrays.special` (`erf`, `erfcx`, ...), which the array API standard does not
have, are there in a portable version unless an engine registered the library's own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.arrays import special
from chainrule.arrays.types import Array, ArrayNamespace
from chainrule.errors import ArgumentTypeError

__all__ = ["Namespace", "erf", "load_with", "namespace", "register"]

# The standard's functions that create arrays: each needs the device said explicitly.
_CREATORS = frozenset(
    {"arange", "asarray", "empty", "eye", "full", "linspace", "ones", "zeros"}
)

# Array module's name -> {function's name: the library's own version}. Filled by the
# engines when they are loaded and read when a namespace is made, so that nothing here
# imports them.
_NATIVE: dict[str, dict[str, Callable[..., Any]]] = {}


def register(module_name: str, **functions: Callable[..., Any]) -> None:
    """Give namespaces of the array module `module_name` functions of their own."""
    _NATIVE.setdefault(module_name, {}).update(functions)


# What loads the engine of an array module; `chainrule.backends` puts it here.
_LOADERS: list[Callable[[Any], None]] = []


def load_with(loader: Callable[[Any], None]) -> None:
    """Have a function called with each array module before its first namespace."""
    _LOADERS.append(loader)


@functools.lru_cache(maxsize=64)
def _load(module: Any) -> None:
    for loader in _LOADERS:
        loader(module)


class Namespace:
    """The functions of one array library, bound to one device.

    Parameters
    ----------
    module : module
        An array namespace of the 2024.12 standard (``numpy``, ``jax.numpy``,
        ``array_api_compat.torch``, ``array_api_strict``, ...).
    device : object, optional
        Where new arrays are put; None leaves it to the library.
    """

    def __init__(self, module: Any, device: Any = None) -> None:
        self.module = module
        self.device = device
        self.__dict__.update(_NATIVE.get(module.__name__, {}))

    def __getattr__(self, name: str) -> Any:
        # Reached once per name: what is found is kept as the instance's own attribute.
        if name.startswith("__"):
            raise AttributeError(name)
        if name in special.__all__:
            value: Any = functools.partial(getattr(special, name), xp=self)
        else:
            value = getattr(self.module, name)
            if name in _CREATORS and self.device is not None:
                value = functools.partial(value, device=self.device)
        self.__dict__[name] = value
        return value

    def __repr__(self) -> str:
        where = "" if self.device is None else f", device={self.device!r}"
        return f"Namespace({self.module.__name__}{where})"


@functools.lru_cache(maxsize=64)
def _bound(module: Any, device: Any) -> Namespace:
    return Namespace(module, device)


def namespace(x: Array, *others: Array | None) -> Namespace:
    """Return the namespace of arrays, bound to the device on which the first lies.

    Raises
    ------
    ArgumentTypeError
        If one is not an array of the standard (a list, say), or if they belong to
        different libraries.
    """
    arrays = [x, *(a for a in others if a is not None)]
    if all(isinstance(a, (np.ndarray, np.generic)) for a in arrays):
        return _bound(np, None)  # NumPy >= 2 conforms by itself
    import array_api_compat

    try:
        module = array_api_compat.array_namespace(*arrays)
    except TypeError as error:
        kinds = ", ".join(type(a).__name__ for a in arrays)
        msg = (
            f"rules take arrays of one library (NumPy, JAX, CuPy, PyTorch or another "
            f"of the array API); got {kinds} ({error}). Convert them first, for "
            f"example with numpy.asarray."
        )
        raise ArgumentTypeError(msg) from None
    _load(module)
    try:
        # None under jax.jit, where a tracer lies nowhere.
        return _bound(module, array_api_compat.device(x))
    except TypeError:  # CuPy's devices cannot be hashed
        return Namespace(module, array_api_compat.device(x))


def erf(x: Array, *, xp: ArrayNamespace | None = None) -> Any:
    """Error function, elementwise: see `chainrule.arrays.special.erf`."""
    return (xp or namespace(x)).erf(x)
