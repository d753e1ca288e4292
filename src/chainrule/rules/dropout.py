"""Dropout: a random mask that keeps the mean."""

from __future__ import annotations

from chainrule.arrays.types import Array, ArrayNamespace, ArrayT, RuleResult
from chainrule.errors import ArgumentError
from chainrule.rules.call import call_rule

__all__ = ["dropout"]


def dropout(
    x: ArrayT, bits: Array, *, rate: float = 0.5, xp: ArrayNamespace | None = None
) -> RuleResult[ArrayT]:
    """Set a share `rate` of the elements to zero and scale the others up.

    Parameters
    ----------
    x : array, any shape
    bits : array of int32, a shape that broadcasts to x's
        Uniform random words; an element is dropped where its word, taken as a number
        in [-2³¹, 2³¹), is among the lowest share `rate`.
    rate : float in [0, 1)
        The share that is dropped (not the share that is kept).

    Returns
    -------
    z : array, shape of x
    pullback : function
        ``pullback(dz) -> (dx,)``; integers have no gradient.

    Notes
    -----
    Forward   z = x k / (1 - rate), with k = 1 where the element is kept, else 0
    Pullback  dx = dz k / (1 - rate)
    Source: Srivastava et al. 2014 (JMLR 15), in the inverted form.
    """
    if xp is None:
        return call_rule(dropout, x, bits, integral=(1,), rate=rate)
    if not 0.0 <= rate < 1.0:
        msg = f"dropout: rate must lie in [0, 1); got {rate!r}."
        raise ArgumentError(msg)
    keep = bits >= int(rate * 2.0**32) - 2**31
    scale = xp.astype(keep, x.dtype) * (1.0 / (1.0 - rate))
    return x * scale, lambda dz: (dz * scale,)
