"""The mean by weight that every loss is: its value, and its slope.

    E = Σᵢ wᵢ lᵢ / Σᵢ wᵢ,   lᵢ the mean of sample i's m entries,

0 where nothing weighs. Each term is multiplied with its share wᵢ / m Σw before terms
are added up, and a difference of two numbers is computed as half of it, which cannot
overflow: so E is finite wherever the formula's numbers fit the dtype. What lies below
about `rows` times the smallest normal number may be lost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chainrule.arrays.types import Array, ArrayNamespace, Pullback
from chainrule.errors import ShapeError

__all__ = [
    "average",
    "check_same_shape",
    "counted",
    "half_difference",
    "scaled_to_one",
]


def half_difference(z: Any, t: Any, name: str) -> Any:
    """Return (z - t) / 2, which no finite z and t make infinite."""
    check_same_shape(z, t, name)
    return 0.5 * z - 0.5 * t


def check_same_shape(z: Any, t: Any, name: str) -> None:
    """Raise an error unless t has the rows and entries of z."""
    # (rows, 1) against (rows,) would broadcast to (rows, rows): the oldest trap.
    if t.ndim < 2 or t.shape[-2:] != z.shape[-2:]:
        msg = (
            f"{name}: the target must have the output's shape {z.shape[-2:]} in its "
            f"last two axes; got {t.shape}."
        )
        raise ShapeError(msg)


def scaled_to_one(weight: Array, like: Any, xp: ArrayNamespace) -> Any:
    """Check weights of the rows of `like` and divide them by the greatest.

    Only their ratios matter, and the sum of great or tiny ones would be lost.
    """
    rows = like.shape[-2]
    if weight.ndim < 1 or weight.shape[-1] != rows:
        msg = (
            f"weight: it must have one number for each row of the output, {(rows,)} in "
            f"the last axis; got {tuple(weight.shape)}."
        )
        raise ShapeError(msg)
    if not rows:
        return weight
    most = xp.max(weight, axis=-1, keepdims=True)
    # Where most is great its reciprocal is subnormal, and 0 where these are flushed.
    scale = xp.where(most > 1.0, 2.0**-64, xp.ones_like(most))
    return weight * scale / xp.where(most > 0, most * scale, 1.0)


def average(
    value: Callable[[Any], Any],
    slope: Callable[[Any], Any],
    like: Any,
    weight: Array | None,
    xp: ArrayNamespace,
    factor: float = 1.0,
    mass: Any = None,
) -> tuple[Any, Pullback]:
    """Σᵢ wᵢ Σⱼ lᵢⱼ / Σᵢ wᵢ massᵢ over the last two axes, and 0 where that divisor is 0.

    Parameters
    ----------
    value : function
        ``value(share)`` gives share l / factor, of the shape of `like` (..., rows, m);
        share is a number or of shape (..., rows, 1). It goes into the terms before they
        are added up, for their sum may overflow where the mean does not.
    slope : function
        ``slope(share)`` gives share dl/dz / factor.
    weight : array, shape (..., rows), or None
    mass : array, shape (..., rows, 1), or None
        As how many entries a row counts; None stands for m.
    """
    rows, m = like.shape[-2:]
    if weight is None and mass is None:
        share = factor / max(1, rows * m)

        def pullback(dvalue: Any = 1.0) -> tuple[Any]:
            return (slope(_spread(dvalue) * share),)

        return xp.sum(value(share), axis=(-2, -1)), pullback
    shares = _shares(weight, mass, factor, like, xp)

    def weighted(dvalue: Any = 1.0) -> tuple[Any]:
        return (slope(_spread(dvalue) * shares),)

    return xp.sum(value(shares), axis=(-2, -1)), weighted


def _shares(
    weight: Array | None, mass: Any, factor: float, like: Any, xp: ArrayNamespace
) -> Any:
    """Return factor wᵢ / Σᵢ wᵢ massᵢ, of shape (..., rows or 1, 1)."""
    if mass is None:
        assert weight is not None
        each = scaled_to_one(weight, like, xp)
        # At least 1, or 0 where all weights are.
        total = xp.maximum(xp.sum(each, axis=-1, keepdims=True), 1.0)
        return (each * (factor / max(1, like.shape[-1]) / total))[..., None]
    each = 1.0 if weight is None else scaled_to_one(weight, like, xp)[..., None]
    total = xp.sum(each * mass, axis=-2, keepdims=True)
    weighs = xp.astype(total > 0, total.dtype)
    return factor * each * weighs / (total + (1.0 - weighs))


def counted(l: Any, share: Any, xp: ArrayNamespace) -> Any:  # noqa: E741 - the math's name
    """Return l times its share, 0 where that is 0 though l be infinite."""
    if isinstance(share, (int, float)):
        return l * share
    return xp.where(share == 0, 0.0, l) * share


def _spread(dvalue: Any) -> Any:
    """Make a scalar per leading axis ready to meet arrays of core rank 2."""
    if isinstance(dvalue, (int, float)):
        return dvalue
    return dvalue[..., None, None]
