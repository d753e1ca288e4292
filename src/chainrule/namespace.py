"""An array namespace bound to a device, plus what the standard lacks.

Rules receive a `Namespace` as ``xp``. Its attributes are the functions of the array
library; those that create arrays put them on the namespace's device; and `erf`, which
the array API standard does not have, is there in a portable version unless an engine
registered the library's own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule._typing import Array
from chainrule.errors import ArgumentTypeError

__all__ = ["Namespace", "erf", "namespace", "register"]

# The standard's functions that create arrays: each needs the device said explicitly.
_CREATORS = frozenset(
    {"arange", "asarray", "empty", "eye", "full", "linspace", "ones", "zeros"}
)

# Array module's name -> {function's name: the library's own version}. Filled by the
# engines when they are loaded and read when a namespace is made, so that nothing here
# imports them.
_NATIVE: dict[str, dict[str, Callable[..., Any]]] = {}


def register(module_name: str, **functions: Callable[..., Any]) -> None:
    """Give namespaces of the array module `module_name` these functions as their own."""
    _NATIVE.setdefault(module_name, {}).update(functions)


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
        if name == "erf":
            value: Any = functools.partial(erf, xp=self)
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
            f"rules take arrays of one library (NumPy, JAX, CuPy, PyTorch or another of "
            f"the array API); got {kinds} ({error}). Convert them first, for example "
            f"with numpy.asarray."
        )
        raise ArgumentTypeError(msg) from None
    try:
        # None under jax.jit, where a tracer lies nowhere.
        return _bound(module, array_api_compat.device(x))
    except TypeError:  # CuPy's devices cannot be hashed
        return Namespace(module, array_api_compat.device(x))


# Cody 1969, "Rational Chebyshev approximations for the error function", Math. Comp. 23,
# in the coefficients of his CALERF. Highest power first, for Horner's scheme.
_SMALL_P = (
    1.85777706184603153e-1,
    3.16112374387056560e00,
    1.13864154151050156e02,
    3.77485237685302021e02,
    3.20937758913846947e03,
)
_SMALL_Q = (
    1.0,
    2.36012909523441209e01,
    2.44024637934444173e02,
    1.28261652607737228e03,
    2.84423683343917062e03,
)
_MIDDLE_P = (
    2.15311535474403846e-8,
    5.64188496988670089e-1,
    8.88314979438837594e00,
    6.61191906371416295e01,
    2.98635138197400131e02,
    8.81952221241769090e02,
    1.71204761263407058e03,
    2.05107837782607147e03,
    1.23033935479799725e03,
)
_MIDDLE_Q = (
    1.0,
    1.57449261107098347e01,
    1.17693950891312499e02,
    5.37181101862009858e02,
    1.62138957456669019e03,
    3.29079923573345963e03,
    4.36261909014324716e03,
    3.43936767414372164e03,
    1.23033935480374942e03,
)
_LARGE_P = (
    1.63153871373020978e-2,
    3.05326634961232344e-1,
    3.60344899949804439e-1,
    1.25781726111229246e-1,
    1.60837851487422766e-2,
    6.58749161529837803e-4,
)
_LARGE_Q = (
    1.0,
    2.56852019228982242e00,
    1.87295284992346047e00,
    5.27905102951428412e-1,
    6.05183413124413191e-2,
    2.33520497626869185e-3,
)


def _horner(u: Any, coefficients: tuple[float, ...]) -> Any:
    value = coefficients[0] * u + coefficients[1]
    for c in coefficients[2:]:
        value = value * u + c
    return value


def erf(x: Any, *, xp: Any = None) -> Any:
    """Error function, elementwise, in the full precision of `x`'s dtype.

    Forward  erf(x) = 2 / sqrt(pi) * integral of exp(-u^2) from 0 to x
    Source   Cody 1969: three rational approximations, on |x| <= 0.46875, <= 4, > 4.
    """
    xp = xp or namespace(x)
    a = xp.abs(x)
    # Every branch is computed for every element, so each gets an argument inside its
    # own interval; what lies outside is thrown away by the `where` below.
    low = xp.minimum(a, 0.46875)
    mid = xp.clip(a, 0.46875, 4.0)
    high = xp.clip(a, 4.0, 6.5)  # erf is 1 in float64 from 5.93 on
    small = low * _horner(low * low, _SMALL_P) / _horner(low * low, _SMALL_Q)
    middle = xp.exp(-mid * mid) * _horner(mid, _MIDDLE_P) / _horner(mid, _MIDDLE_Q)
    u = 1.0 / (high * high)
    tail = 0.56418958354775628695 - u * _horner(u, _LARGE_P) / _horner(u, _LARGE_Q)
    large = xp.exp(-high * high) * tail / high
    rest = xp.where(a <= 4.0, middle, large)
    value = xp.where(a <= 0.46875, small, 1.0 - rest)
    return xp.where(x < 0, -value, value)
