"""Dual arrays, value + ε·tangent with ε² = 0, and the namespace in which they live.

A rule that is called on dual arrays, with a `DualNamespace` as ``xp``, returns a dual
value: beside F(x) stands the derivative of F(x) along the direction that x's tangent
gives (forward mode). Its pullback, called on dual arrays too, returns a dual gradient:
beside ∂E/∂x stands the derivative of ∂E/∂x (a second derivative). Nothing is written
twice: the rules that run are those of `chainrule.rules`.

A tangent has the shape of its value, behind any number of axes of directions: with the
identity as tangent, shape (n, batch, n), one pass gives a whole Jacobian. An axis
on which the tangent does not depend may be 1 there. Python numbers, plain arrays and
dual arrays without a tangent are constants. The parts of a dual array may be dual arrays themselves, of a namespace made
from another: then ε² is not 0 but a second derivative.

Source: Clifford 1873; Griewank, Walther 2008, "Evaluating Derivatives", chapter 3.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

from chainrule._typing import Shape
from chainrule.errors import ArgumentTypeError

__all__ = ["DualArray", "DualNamespace"]


class DualArray:
    """An array beside its derivative along one or more directions.

    Parameters
    ----------
    value : array, shape (...)
    tangent : array, shape (*directions, ...), or None
        None for a constant. Where it does not depend on an axis of the value, that axis
        may be 1.
    xp : DualNamespace
        Which functions it meets, and at which level of nesting it stands.

    Notes
    -----
    The tangent is kept as a product, slope times seed: a chain of elementwise functions
    multiplies its slopes, of the value's shape, as the chain rule says, and meets the
    directions once, at its end.
    """

    __slots__ = ("_tangent", "seed", "slope", "value", "xp")
    # NumPy and CuPy leave operators with these on the right to this class.
    __array_ufunc__ = None
    __array_priority__ = 1000

    def __init__(
        self, value: Any, tangent: Any, xp: DualNamespace, slope: Any = None
    ) -> None:
        self.value = value
        self.seed = tangent
        self.slope = slope  # None stands for 1
        self.xp = xp
        self._tangent = tangent if slope is None else None

    @property
    def lazy(self) -> Any:
        """The tangent, in which an axis that it does not depend on may be 1."""
        if self._tangent is None and self.seed is not None:
            self._tangent = _times(self.slope, self.seed)
        return self._tangent

    @property
    def tangent(self) -> Any:
        """The tangent in its full shape (*directions, *shape of the value)."""
        t, shape = self.lazy, self.value.shape
        if t is None:
            return self.xp.base.zeros_like(self.value)
        full = (*t.shape[: t.ndim - len(shape)], *shape)
        return t if t.shape == full else self.xp.base.broadcast_to(t, full)

    @property
    def shape(self) -> Shape:
        """The value's."""
        shape: Shape = self.value.shape
        return shape

    @property
    def ndim(self) -> int:
        """The value's."""
        return len(self.value.shape)

    @property
    def size(self) -> Any:
        """The value's."""
        return self.value.size

    @property
    def dtype(self) -> Any:
        """The value's."""
        return self.value.dtype

    @property
    def mT(self) -> DualArray:  # noqa: N802 - the standard's name
        """The last two axes exchanged."""
        t = self.lazy
        return DualArray(self.value.mT, None if t is None else t.mT, self.xp)

    def __repr__(self) -> str:
        return f"DualArray({self.value!r}, {self.tangent!r})"

    def __getitem__(self, key: Any) -> DualArray:
        if self.seed is None:
            return DualArray(self.value[key], None, self.xp)
        # The directions come first: an index that counts from the left leaves them out.
        keys = key if isinstance(key, tuple) else (key,)
        t = self.tangent
        if keys[0] is not Ellipsis:
            keys = (*[slice(None)] * (t.ndim - self.ndim), *keys)
        return DualArray(self.value[key], t[keys], self.xp)

    def __neg__(self) -> DualArray:
        return self.xp.negative(self)  # type: ignore[no-any-return]

    def __abs__(self) -> DualArray:
        return self.xp.abs(self)  # type: ignore[no-any-return]

    def __add__(self, other: Any) -> DualArray:
        return _home(self, other).add(self, other)

    def __radd__(self, other: Any) -> DualArray:
        return _home(self, other).add(other, self)

    def __sub__(self, other: Any) -> DualArray:
        return _home(self, other).subtract(self, other)

    def __rsub__(self, other: Any) -> DualArray:
        return _home(self, other).subtract(other, self)

    def __mul__(self, other: Any) -> DualArray:
        return _home(self, other).multiply(self, other)

    def __rmul__(self, other: Any) -> DualArray:
        return _home(self, other).multiply(other, self)

    def __truediv__(self, other: Any) -> DualArray:
        return _home(self, other).divide(self, other)

    def __rtruediv__(self, other: Any) -> DualArray:
        return _home(self, other).divide(other, self)

    def __pow__(self, other: Any) -> DualArray:
        return self.xp.pow(self, other)

    def __matmul__(self, other: Any) -> DualArray:
        return _home(self, other).matmul(self, other)

    def __rmatmul__(self, other: Any) -> DualArray:
        return _home(self, other).matmul(other, self)

    # What is true or false has no derivative.

    __hash__ = None  # type: ignore[assignment]

    def __lt__(self, other: Any) -> Any:
        return _point(self) < _point(other)

    def __le__(self, other: Any) -> Any:
        return _point(self) <= _point(other)

    def __gt__(self, other: Any) -> Any:
        return _point(self) > _point(other)

    def __ge__(self, other: Any) -> Any:
        return _point(self) >= _point(other)

    def __eq__(self, other: object) -> Any:
        return _point(self) == _point(other)

    def __ne__(self, other: object) -> Any:
        return _point(self) != _point(other)


def _home(x: DualArray, other: Any) -> DualNamespace:
    """Return the namespace of the outer of two: for it the inner one is a constant."""
    if isinstance(other, DualArray) and other.xp.level > x.xp.level:
        return other.xp
    return x.xp


def _point(a: Any) -> Any:
    while isinstance(a, DualArray):
        a = a.value
    return a


def _times(s: Any, t: Any) -> Any:
    """Return s t, where None stands for 1."""
    if s is None:
        return t
    if t is None:
        return s
    # A dual array on the left, if there is one: array-api-strict does not yield to it.
    return t * s if isinstance(t, DualArray) else s * t


def _plus(s: Any, t: Any) -> Any:
    return t + s if isinstance(t, DualArray) else s + t


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
    "minus_abs": lambda xp, x, _z: 1.0 - 2.0 * xp.astype(_point(x) > 0, x.dtype),
    "negative": lambda _xp, _x, _z: -1.0,
    "positive_part": lambda xp, x, _z: xp.astype(_point(x) > 0, x.dtype),
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
            (_times(slope and slope(), x.slope), self._lifted(x.seed, x, z))
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
            return DualArray(z, seed, self, _plus(_number(s), _number(t)))
        return DualArray(z, _plus(_times(s, seed), _times(t, other)), self)

    def _lifted(self, t: Any, x: Any, z: Any) -> Any:
        """Put axes of 1 behind the directions, where z has more axes than x."""
        missing = len(z.shape) - x.ndim
        if not missing:
            return t
        k = t.ndim - x.ndim
        return self.base.reshape(t, (*t.shape[:k], *[1] * missing, *t.shape[k:]))

    def add(self, a: Any, b: Any) -> DualArray:
        """Return a + b."""
        z = _plus(self._value(a), self._value(b))
        return self._joined(z, (a, None), (b, None))

    def subtract(self, a: Any, b: Any) -> DualArray:
        """Return a - b."""
        u, v = self._value(a), self._value(b)
        z = -v + u if isinstance(v, DualArray) else u - v
        return self._joined(z, (a, None), (b, lambda: -1.0))

    def multiply(self, a: Any, b: Any) -> DualArray:
        """Return a b;  its derivative is ȧ b + a ḃ."""
        u, v = self._value(a), self._value(b)
        return self._joined(_times(u, v), (a, lambda: v), (b, lambda: u))

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
        return self._chosen(z, _point(a) > _point(b), a, b)

    def minimum(self, a: Any, b: Any) -> DualArray:
        """Return the smaller one."""
        z = self.base.minimum(self._value(a), self._value(b))
        return self._chosen(z, _point(a) <= _point(b), a, b)

    def clip(self, x: Any, low: float, high: float) -> DualArray:
        """Return x inside the bounds, and the nearer bound outside."""
        z = self.base.clip(self._value(x), low, high)
        return self._chosen(z, (_point(x) > low) & (_point(x) < high), x, None)

    def where(self, condition: Any, a: Any, b: Any) -> DualArray:
        """Return a where the condition holds, else b."""
        z = self.base.where(condition, self._value(a), self._value(b))
        return self._chosen(z, condition, a, b)

    def one_where_positive(self, x: Any, e: Any) -> DualArray:
        """Return 1 where x > 0, else e."""
        z = self.base.one_where_positive(self._value(x), self._value(e))
        return self._chosen(z, _point(x) > 0, 1.0, e)

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
            t = right if t is None else _plus(t, right)
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
        there = xp.astype(_point(x) == _point(top), x.dtype)
        t = _times(there / _point(xp.sum(there, axis=axis, keepdims=True)), x.tangent)
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
        return self._linear(x, self.base.take, axis, indices)

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
    return f(*map(_point, arrays), **options)


def _refuse(f: Any, name: str, *args: Any, **options: Any) -> Any:
    if any(isinstance(a, DualArray) for a in (*args, *options.values())):
        msg = (
            f"{name} is not defined for dual arrays; write the rule with the functions "
            f"that chainrule.dual.DualNamespace has."
        )
        raise ArgumentTypeError(msg)
    return f(*args, **options)
