"""The affine map of a layer: equations (2), (4), (5) and (8)."""

from __future__ import annotations

from typing import Any

from chainrule.arrays.types import Array, ArrayNamespace, ArrayT, RuleResult
from chainrule.errors import ShapeError
from chainrule.rules.call import call_rule

__all__ = ["dense"]


def dense(
    x: ArrayT, w: Array, b: Array | None = None, *, xp: ArrayNamespace | None = None
) -> RuleResult[ArrayT]:
    """Affine map of the rows of x: equation (2), with its bias.

    Parameters
    ----------
    x : array, shape (..., rows, n)
    w : array, shape (..., m, n)
    b : array, shape (..., m), optional
        Without it the map is linear and the pullback returns two gradients.

    Returns
    -------
    y : array, shape (..., rows, m)
    pullback : function
        ``pullback(dy, wrt=(0, 1, 2)) -> (dx, dw, db)``; None for what `wrt` leaves out.

    Raises
    ------
    ShapeError
        If x's features are not w's.

    Notes
    -----
    Forward   y = x wᵀ + b
    Pullback  dx = dy w (8);  dw = dyᵀ x (4);  db = sum of dy over rows (5)
    Source: the paper's (2), (4), (5), (8); its columns are our rows. See docs/math.md.
    """
    if xp is None:
        return call_rule(dense, x, w, b)
    if x.shape[-1] != w.shape[-1]:
        msg = (
            f"dense: x must have {w.shape[-1]} features to match weight {w.shape}; "
            f"got x of shape {x.shape}."
        )
        raise ShapeError(msg)
    y = xp.matmul(x, w.mT)
    if b is not None:
        y = y + b[..., None, :]

    def pullback(dy: Any, wrt: tuple[int, ...] = (0, 1, 2)) -> tuple[Any, ...]:
        dx = xp.matmul(dy, w) if 0 in wrt else None
        dw = None
        if 1 in wrt:
            # Of a single row the sum has one term: a product by broadcasting, which
            # libraries make faster than a stack of matrix products.
            alone = x.shape[-2] == 1
            dw = dy.mT * x if alone else xp.matmul(dy.mT, x)
        if b is None:
            return dx, dw
        db = xp.sum(dy, axis=-2) if 2 in wrt else None
        return dx, dw, db

    return y, pullback
