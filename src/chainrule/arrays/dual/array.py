"""Dual arrays, value + ε·tangent with ε² = 0, and the namespace in which they live.

A rule that is called on dual arrays, with a `DualNamespace` as ``xp``, returns a dual
value: beside F(x) stands the derivative of F(x) along the direction that x's tangent
gives (forward mode). Its pullback, called on dual arrays too, returns a dual gradient:
beside ∂E/∂x stands the derivative of ∂E/∂x (a second derivative). Nothing is written
twice: the rules that run are those of `chainrule.rules`.

A tangent has the shape of its value, behind any number of axes of directions: with the
identity as tangent, shape (n, batch, n), one pass gives a whole Jacobian. An axis
on which the tangent does not depend may be 1 there. Python numbers, plain arrays and
dual arrays without a tangent are constants. The parts of a dual array may be dual
arrays themselves, of a namespace made from another: then ε² is not 0 but a second
derivative.

Source: Clifford 1873; Griewank, Walther 2008, "Evaluating Derivatives", chapter 3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from chainrule.arrays.types import Shape

if TYPE_CHECKING:
    from chainrule.arrays.dual.namespace import DualNamespace

__all__ = ["DualArray", "innermost", "plus", "times"]


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

    value: Any
    seed: Any
    slope: Any
    xp: DualNamespace

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
            self._tangent = times(self.slope, self.seed)
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

    __hash__: ClassVar[None] = None  # type: ignore[assignment]

    def __lt__(self, other: Any) -> Any:
        return innermost(self) < innermost(other)

    def __le__(self, other: Any) -> Any:
        return innermost(self) <= innermost(other)

    def __gt__(self, other: Any) -> Any:
        return innermost(self) > innermost(other)

    def __ge__(self, other: Any) -> Any:
        return innermost(self) >= innermost(other)

    def __eq__(self, other: object) -> Any:
        return innermost(self) == innermost(other)

    def __ne__(self, other: object) -> Any:
        return innermost(self) != innermost(other)


def _home(x: DualArray, other: Any) -> DualNamespace:
    """Return the namespace of the outer of two: for it the inner one is a constant."""
    if isinstance(other, DualArray) and other.xp.level > x.xp.level:
        return other.xp
    return x.xp


def innermost(a: Any) -> Any:
    """Return the value that a dual array, of any level, stands at."""
    while isinstance(a, DualArray):
        a = a.value
    return a


def times(s: Any, t: Any) -> Any:
    """Return s t, where None stands for 1."""
    if s is None:
        return t
    if t is None:
        return s
    # A dual array on the left, if there is one: array-api-strict does not yield to it.
    return t * s if isinstance(t, DualArray) else s * t


def plus(s: Any, t: Any) -> Any:
    """Return s + t, a dual array on the left, if there is one."""
    return t + s if isinstance(t, DualArray) else s + t
