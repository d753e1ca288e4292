"""The array functions that rules use, on dual arrays."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

from chainrule.arrays.dual.array import DualArray, innermost, plus, times
from chainrule.arrays.types import Shape
from chainrule.errors import ArgumentTypeError

__all__ = ["DualNamespace"]


# Elementwise functions: the derivative, from the namespace, the argument x and f(x).
_DERIVATIVES: dict[str, Callable[[Any, Any, Any], Any]] = {
    "abs": lambda xp, x, _z: xp.sign(x),
    "cos": lambda xp, x, _z: -xp.sin(x),
    "erf": lambda xp, x, _z: 2.0 / math.sqrt(math.pi) * xp.exp(-x * x),
    "erfcx": lambda _xp, x, z: 2.0 * x * z - 2.0 / math.sqrt(math.pi),
    "exp": lambda _xp, _x, z: z,
    # Not z + 1: that is 0 where e^x is small.
    "expm1": lambda xp, x, _z: xp.exp(x),
    "log": lambda _xp, x, _z: 1.0 / x,
    "log1p": lambda _xp, x, _z: 1.0 / (1.0 + x),
    "minus_abs": lambda xp, x, _z: 1.0 - 2.0 * xp.astype(innermost(x) > 0, x.dtype),
    "negative": lambda _xp, _x, _z: -1.0,
    "positive_part": lambda xp, x, _z: xp.astype(innermost(x) > 0, x.dtype),
    "sin": lambda xp, x, _z: xp.cos(x),
    "sqrt": lambda _xp, _x, z: 0.5 / z,
    "tanh": lambda _xp, _x, z: 1.0 - z * z,
}


# Functions that are constant piece by piece, and those that make arrays.
_CONSTANT = frozenset(
    {"asarray", "ceil", "eye", "floor", "full", "full_like", "ones", "ones_like"}
    | {"round", "sign", "trunc", "zeros", "zeros_like"}
)


# What is true or false, or whole, has no derivative: plain arrays come out.
_LOGICAL = frozenset(
    {"arange", "isdtype", "isfinite", "isinf", "isnan"}
    | {"equal", "greater", "greater_equal", "less", "less_equal", "not_equal"}
)


class DualNamespace:
    """The array functions that rules use, on dual arrays.

    Parameters
    ----------
    base : Namespace or DualNamespace
        The functions of the parts, value and tangent.

    Notes
    -----
    A function of the standard that is not here is refused for dual arrays.

    Where a function has a kink its derivative is the one that the rules' pullbacks
    take: 0 for abs at 0, 0 for clip at its bounds; at a tie, minimum follows its first
    argument and maximum its second; max shares among the entries that reach it.
    """

    def __init__(self, base: Any) -> None:
        self.base = base
        self.level: int = base.level + 1 if isinstance(base, DualNamespace) else 1

    def __repr__(self) -> str:
        return f"DualNamespace({self.base!r})"

    def __getattr__(self, name: str) -> Any:
        # Reached once per name: what is found is kept as the instance's own attribute.
        if name.startswith("__"):
            raise AttributeError(name)
        f = getattr(self.base, name)
        if name in _DERIVATIVES:
            f = functools.partial(self._elementwise, f, _DERIVATIVES[name])
        elif name in _CONSTANT:
            f = functools.partial(self._constant, f)
        elif name in _LOGICAL:
            f = functools.partial(_logical, f)
        elif callable(f) and not isinstance(f, type):
            f = functools.partial(_refuse, f, name)
        self.__dict__[name] = f
        return f

    def dual(self, value: Any, tangent: Any = None) -> DualArray:
        """Return the dual array of a value and its tangent; None: a constant."""
        return DualArray(value, tangent, self)

    def parts(self, a: Any) -> tuple[Any, Any]:
        """Return an array's value and tangent; a constant's tangent is zero."""
        if self._owns(a):
            return a.value, a.tangent
        return a, self.base.zeros_like(a)

    def _owns(self, a: Any) -> bool:
        return isinstance(a, DualArray) and a.xp.level == self.level

    def _value(self, a: Any) -> Any:
        return a.value if self._owns(a) else a

    def _elementwise(self, f: Any, derivative: Any, x: Any) -> DualArray:
        z = f(self._value(x))
        return self._joined(z, (x, lambda: derivative(self.base, x.value, z)))

    def _constant(self, f: Any, *arrays: Any, **options: Any) -> DualArray:
        return DualArray(f(*map(self._value, arrays), **options), None, self)

    # Functions of two arrays, element by element.

    def _joined(
        self, z: Any, *terms: tuple[Any, Callable[[], Any] | None]
    ) -> DualArray:
        """Value z with the sum of the terms' slopes times tangents; None stands for 1.

        Constants drop out, and where all have one seed the slopes alone are added.
        """
        parts = [
            (times(slope and slope(), x.slope), self._lifted(x.seed, x, z))
            for x, slope in terms
            if self._owns(x) and x.seed is not None
        ]
        if not parts:
            return DualArray(z, None, self)
        (s, seed), *rest = parts
        if not rest:
            return DualArray(z, seed, self, s)
        ((t, other),) = rest
        if seed is other:
            return DualArray(z, seed, self, plus(_number(s), _number(t)))
        return DualArray(z, plus(times(s, seed), times(t, other)), self)

    def _lifted(self, t: Any, x: Any, z: Any) -> Any:
        """Put axes of 1 behind the directions, where z has more axes than x."""
        missing = len(z.shape) - x.ndim
        if not missing:
            return t
        k = t.ndim - x.ndim
        return self.base.reshape(t, (*t.shape[:k], *[1] * missing, *t.shape[k:]))

    def add(self, a: Any, b: Any) -> DualArray:
        """Return a + b."""
        z = plus(self._value(a), self._value(b))
        return self._joined(z, (a, None), (b, None))

    def subtract(self, a: Any, b: Any) -> DualArray:
        """Return a - b."""
        u, v = self._value(a), self._value(b)
        z = -v + u if isinstance(v, DualArray) else u - v
        return self._joined(z, (a, None), (b, lambda: -1.0))

    def multiply(self, a: Any, b: Any) -> DualArray:
        """Return a b;  its derivative is ȧ b + a ḃ."""
        u, v = self._value(a), self._value(b)
        return self._joined(times(u, v), (a, lambda: v), (b, lambda: u))

    def divide(self, a: Any, b: Any) -> DualArray:
        """Return a / b;  its derivative is (ȧ - (a/b) ḃ) / b."""
        u, v = self._value(a), self._value(b)
        z = (1.0 / v) * u if isinstance(v, DualArray) else u / v
        return self._joined(z, (a, lambda: 1.0 / v), (b, lambda: -z / v))

    def pow(self, a: Any, power: float) -> DualArray:
        """Return a to a power that is a number."""
        if isinstance(power, DualArray):
            msg = "pow is not defined for a dual exponent; write exp(b * log(a))."
            raise ArgumentTypeError(msg)
        u = self._value(a)
        return self._joined(u**power, (a, lambda: power * u ** (power - 1)))

    def logaddexp(self, a: Any, b: Any) -> DualArray:
        """Return log(eᵃ + eᵇ);  its derivative is eᵃ⁻ᶻ ȧ + eᵇ⁻ᶻ ḃ."""
        xp, u, v = self.base, self._value(a), self._value(b)
        z = xp.logaddexp(u, v)
        return self._joined(
            z,
            (a, lambda: xp.exp(xp.subtract(u, z))),
            (b, lambda: xp.exp(xp.subtract(v, z))),
        )

    def maximum(self, a: Any, b: Any) -> DualArray:
        """Return the greater one."""
        z = self.base.maximum(self._value(a), self._value(b))
        return self._chosen(z, innermost(a) > innermost(b), a, b)

    def minimum(self, a: Any, b: Any) -> DualArray:
        """Return the smaller one."""
        z = self.base.minimum(self._value(a), self._value(b))
        return self._chosen(z, innermost(a) <= innermost(b), a, b)

    def clip(self, x: Any, low: float, high: float) -> DualArray:
        """Return x inside the bounds, and the nearer bound outside."""
        z = self.base.clip(self._value(x), low, high)
        return self._chosen(z, (innermost(x) > low) & (innermost(x) < high), x, None)

    def where(self, condition: Any, a: Any, b: Any) -> DualArray:
        """Return a where the condition holds, else b."""
        z = self.base.where(condition, self._value(a), self._value(b))
        return self._chosen(z, condition, a, b)

    def one_where_positive(self, x: Any, e: Any) -> DualArray:
        """Return 1 where x > 0, else e."""
        z = self.base.one_where_positive(self._value(x), self._value(e))
        return self._chosen(z, innermost(x) > 0, 1.0, e)

    def _chosen(self, z: Any, condition: Any, a: Any, b: Any) -> DualArray:
        """Value z, with a's tangent where the condition holds, else b's."""
        moving = [x for x in (a, b) if self._owns(x) and x.seed is not None]
        if not moving:
            return DualArray(z, None, self)
        seeds = [self._lifted(x.seed, x, z) for x in moving]
        if seeds[0] is not seeds[-1]:
            s, t = (self._lifted(x.lazy, x, z) for x in moving)
            return DualArray(z, self.base.where(condition, s, t), self)
        s, t = (
            _number(x.slope) if any(x is m for m in moving) else 0.0 for x in (a, b)
        )
        if isinstance(s, float) and isinstance(t, float):
            # `where` takes one number, not two.
            slope = t + (s - t) * self.base.astype(condition, z.dtype)
        else:
            slope = self.base.where(condition, s, t)
        return DualArray(z, seeds[0], self, slope)

    # Products and sums.

    def matmul(self, a: Any, b: Any) -> DualArray:
        """Return a b of matrices;  its derivative is ȧ b + a ḃ."""
        xp, u, v = self.base, self._value(a), self._value(b)
        z = xp.matmul(u, v)
        t = None
        # An axis that is 1 in a tangent may stay so, but not the one that is summed.
        if self._owns(a) and a.seed is not None:
            left = a.lazy if a.lazy.shape[-1] == a.shape[-1] else a.tangent
            t = xp.matmul(self._lifted(left, a, z), v)
        if self._owns(b) and b.seed is not None:
            right = b.lazy if b.lazy.shape[-2] == b.shape[-2] else b.tangent
            right = xp.matmul(u, self._lifted(right, b, z))
            t = right if t is None else plus(t, right)
        return DualArray(z, t, self)

    def sum(self, x: Any, *, axis: Any = None, keepdims: bool = False) -> DualArray:
        """Return the sum over axes."""
        return self._linear(x, self.base.sum, axis, keepdims=keepdims)

    def mean(self, x: Any, *, axis: Any = None, keepdims: bool = False) -> DualArray:
        """Return the mean over axes."""
        return self._linear(x, self.base.mean, axis, keepdims=keepdims)

    def max(self, x: Any, *, axis: Any = None, keepdims: bool = False) -> DualArray:
        """Return the greatest entry along axes."""
        xp = self.base
        z = xp.max(self._value(x), axis=axis, keepdims=keepdims)
        if not self._owns(x) or x.seed is None:
            return DualArray(z, None, self)
        top = xp.max(x.value, axis=axis, keepdims=True)
        there = xp.astype(innermost(x) == innermost(top), x.dtype)
        t = times(there / innermost(xp.sum(there, axis=axis, keepdims=True)), x.tangent)
        axis = _from_right(axis, x.ndim)
        return DualArray(z, xp.sum(t, axis=axis, keepdims=keepdims), self)

    # Shapes.

    def _linear(
        self, x: Any, f: Any, axis: Any, *args: Any, **options: Any
    ) -> DualArray:
        """Do to the tangent what is done to the value: f(·, args, axis=, ...)."""
        z = f(self._value(x), *args, axis=axis, **options)
        if not self._owns(x) or x.seed is None:
            return DualArray(z, None, self)
        # A new axis counts from the right end of the result.
        rank = max(x.ndim, len(z.shape))
        t = f(x.tangent, *args, axis=_from_right(axis, rank), **options)
        return DualArray(z, t, self)

    def expand_dims(self, x: Any, *, axis: int = 0) -> DualArray:
        """Return x with a new axis of 1."""
        return self._linear(x, self.base.expand_dims, axis)

    def take(self, x: Any, indices: Any, *, axis: int) -> DualArray:
        """Gather entries along an axis."""
        return self._linear(x, self.base.take, axis, self._value(indices))

    def moveaxis(self, x: Any, source: int, destination: int) -> DualArray:
        """Return x with an axis in another place."""
        target = _from_right(destination, x.ndim)

        def move(a: Any, axis: int) -> Any:
            return self.base.moveaxis(a, axis, target)

        return self._linear(x, move, _from_right(source, x.ndim))

    def reshape(self, x: Any, shape: Shape) -> DualArray:
        """Return x in another shape."""
        z = self.base.reshape(self._value(x), shape)
        if not self._owns(x) or x.seed is None:
            return DualArray(z, None, self)
        t = x.tangent
        lead = t.shape[: t.ndim - x.ndim]
        return DualArray(z, self.base.reshape(t, (*lead, *z.shape)), self)

    def broadcast_to(self, x: Any, shape: Shape) -> DualArray:
        """Repeat x along new axes and along axes of 1."""
        return self._joined(self.base.broadcast_to(self._value(x), shape), (x, None))

    def concat(self, arrays: Sequence[Any], *, axis: int = 0) -> DualArray:
        """Join arrays along an axis."""
        xp = self.base
        values = [self._value(a) for a in arrays]
        z = xp.concat(values, axis=axis)
        if not any(self._owns(a) and a.seed is not None for a in arrays):
            return DualArray(z, None, self)
        tangents = [self.parts(a)[1] for a in arrays]
        leads = [t.shape[: t.ndim - len(z.shape)] for t in tangents]
        lead = max(leads, key=len)  # constants have none
        tangents = [
            xp.broadcast_to(t, (*lead, *v.shape))
            for t, v in zip(tangents, values, strict=True)
        ]
        return DualArray(z, xp.concat(tangents, axis=_from_right(axis, z.ndim)), self)

    def stack(self, arrays: Sequence[Any], *, axis: int = 0) -> DualArray:
        """Join arrays along a new axis."""
        return self.concat([self.expand_dims(a, axis=axis) for a in arrays], axis=axis)

    def astype(self, x: Any, dtype: Any) -> DualArray:
        """Return x in another dtype."""
        z = self.base.astype(self._value(x), dtype)
        if not self._owns(x) or x.seed is None:
            return DualArray(z, None, self)
        return DualArray(z, self.base.astype(x.tangent, dtype), self)


def _number(slope: Any) -> Any:
    return 1.0 if slope is None else slope


def _from_right(axis: Any, rank: int) -> Any:
    """Count axes from the right, where the tangent has the value's."""
    if axis is None:
        return tuple(range(-rank, 0))
    if isinstance(axis, int):
        return axis if axis < 0 else axis - rank
    return tuple(a if a < 0 else a - rank for a in axis)


def _logical(f: Any, *arrays: Any, **options: Any) -> Any:
    return f(*map(innermost, arrays), **options)


def _refuse(f: Any, name: str, *args: Any, **options: Any) -> Any:
    if any(isinstance(a, DualArray) for a in (*args, *options.values())):
        msg = (
            f"{name} is not defined for dual arrays; write the rule with the functions "
            f"that chainrule.arrays.dual.DualNamespace has."
        )
        raise ArgumentTypeError(msg)
    return f(*args, **options)
