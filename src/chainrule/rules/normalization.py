"""Normalisation over the batch or over the features.

What is constant along the normalised axis is normalised to 0 exactly, however great it
is, and no finite x overflows on its way, unless its variance is asked for and does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chainrule.arrays.share import WHOLE, Share
from chainrule.arrays.types import Array, ArrayNamespace, ArrayT, Pullback, RuleResult
from chainrule.rules.call import call_rule

__all__ = ["batch_norm", "batch_norm_inference", "layer_norm"]


def layer_norm(
    x: ArrayT,
    gain: Array,
    shift: Array,
    *,
    eps: float = 1e-5,
    xp: ArrayNamespace | None = None,
) -> RuleResult[ArrayT]:
    """Normalise the last axis of x to zero mean and unit variance; scale and shift.

    Parameters
    ----------
    x : array, shape (..., rows, d)
    gain, shift : array, shape (..., d)
    eps : float
        Added to the variance.

    Returns
    -------
    z : array, shape (..., rows, d)
    pullback : function
        ``pullback(dz, wrt=(0, 1, 2)) -> (dx, dgain, dshift)``

    Notes
    -----
    Forward   u = (x - mean) r,  r = (var + eps)^-1/2,  z = gain u + shift
    Pullback  g = gain dz;  dx = r (g - mean(g) - u mean(g u));
              over rows: dgain = sum(dz u),  dshift = sum(dz)
    Source: Ba, Kiros, Hinton 2016 (arXiv:1607.06450); derived in docs/math.md.
    """
    if xp is None:
        return call_rule(layer_norm, x, gain, shift, eps=eps)
    return _normalize(x, gain, shift, axis=-1, eps=eps, keep=None, share=WHOLE, xp=xp)


def batch_norm(
    x: ArrayT,
    gain: Array,
    shift: Array,
    *,
    eps: float = 1e-5,
    keep: Callable[[Any, Any], None] | None = None,
    share: Share = WHOLE,
    xp: ArrayNamespace | None = None,
) -> RuleResult[ArrayT]:
    """Normalise each feature over the rows of the batch; scale and shift.

    Parameters
    ----------
    x : array, shape (..., rows, d)
    gain, shift : array, shape (..., d)
    eps : float
        Added to the variance.
    keep : function, optional
        Called with the batch's mean and (biased) variance, both (..., d): what a layer
        needs for its running statistics.
    share : Share
        What part of the batch x is: means are over the rows of all.

    Returns
    -------
    z : array, shape (..., rows, d)
    pullback : function
        ``pullback(dz, wrt=(0, 1, 2)) -> (dx, dgain, dshift)``

    Notes
    -----
    Those of `layer_norm`, with mean, var and mean(...) taken over rows:

    Forward   u = (x - mean) r,  r = (var + eps)^-1/2,  z = gain u + shift
    Pullback  g = gain dz;  dx = r (g - mean(g) - u mean(g u));
              over rows: dgain = sum(dz u),  dshift = sum(dz)
    Source: Ioffe, Szegedy 2015 (arXiv:1502.03167).
    """
    if xp is None:
        return call_rule(batch_norm, x, gain, shift, eps=eps, keep=keep)
    return _normalize(x, gain, shift, axis=-2, eps=eps, keep=keep, share=share, xp=xp)


# Sums of deviations up to 2⁴⁰ are squared as they are, greater ones are scaled down.
_GREAT = 2.0**-40


def _normalize(
    x: Array,
    gain: Any,
    shift: Any,
    *,
    axis: int,
    eps: float,
    keep: Any,
    share: Share,
    xp: ArrayNamespace,
) -> tuple[Any, Pullback]:
    count = max(1, share.rows(x.shape[axis]))
    # A power of two of at most 1 / (2 count): it rounds nothing, and no sum of so many
    # numbers p x, p d or p g overflows.
    p = 0.5 ** (count.bit_length() + 1)

    def total(a: Any) -> Any:
        return share.total(xp.sum(share.only(a), axis=axis, keepdims=True))

    def mean(a: Any) -> Any:
        # A quotient: of n equal small whole numbers it is exact, unlike a product.
        return total(a) / float(count)

    a = p * x
    first = mean(a)
    d = a - first
    # Once more, for the first mean is rounded: what is constant is then exactly 0.
    second = mean(d)
    d = d - second
    # d² would overflow from the square root of the greatest number on.
    size = xp.maximum(_GREAT * total(xp.abs(d)), 1.0)
    q = 1.0 / size
    d = d * q
    var = mean(d * d)  # p² q² times the variance of x
    if keep is not None:
        back = size / p
        keep(
            ((first + second) / p)[..., 0, :],
            (var * back * back)[..., 0, :],
        )
    r = 1.0 / xp.sqrt(var + (p * p * eps) * q * q)  # so u = r d
    z = (gain[..., None, :] * r) * d + shift[..., None, :]

    def pullback(dz: Any, wrt: tuple[int, ...] = (0, 1, 2)) -> tuple[Any, ...]:
        dx = dgain = dshift = None
        if 0 in wrt:
            g = (p * gain)[..., None, :] * dz
            dx = share.only((q * r) * (g - mean(g) - d * (r * r * mean(g * d))))
        if 1 in wrt:
            dgain = xp.sum(dz * (r * d), axis=-2)
        if 2 in wrt:
            dshift = xp.sum(dz, axis=-2)
        return dx, dgain, dshift

    return z, pullback


def batch_norm_inference(
    x: ArrayT,
    gain: Array,
    shift: Array,
    mean: Array,
    var: Array,
    *,
    eps: float = 1e-5,
    xp: ArrayNamespace | None = None,
) -> RuleResult[ArrayT]:
    """Normalise each feature with given statistics: batch norm after training.

    Parameters
    ----------
    x : array, shape (..., rows, d)
    gain, shift, mean, var : array, shape (..., d)
        `var` is a variance: not negative.
    eps : float
        Added to the variance.

    Returns
    -------
    z : array, shape (..., rows, d)
    pullback : function
        ``pullback(dz, wrt=(0, 1, 2, 3, 4)) -> (dx, dgain, dshift, dmean, dvar)``

    Notes
    -----
    Forward   u = (x - mean) r,  r = (var + eps)^-1/2,  z = gain u + shift
    Pullback  dx = gain r dz;  over rows: dgain = sum(dz u),  dshift = sum(dz),
              dmean = -gain r sum(dz),  dvar = -gain r² sum(dz u) / 2
    """
    if xp is None:
        return call_rule(batch_norm_inference, x, gain, shift, mean, var, eps=eps)
    r = 1.0 / xp.sqrt(var + eps)
    # Half of the difference, which does not overflow, and twice its factor.
    u = (0.5 * x - (0.5 * mean)[..., None, :]) * (2.0 * r)[..., None, :]
    z = gain[..., None, :] * u + shift[..., None, :]

    def pullback(dz: Any, wrt: tuple[int, ...] = (0, 1, 2, 3, 4)) -> tuple[Any, ...]:
        scale = gain * r
        dx = scale[..., None, :] * dz if 0 in wrt else None
        total = xp.sum(dz, axis=-2) if {2, 3} & {*wrt} else None
        along = xp.sum(dz * u, axis=-2) if {1, 4} & {*wrt} else None
        return (
            dx,
            along if 1 in wrt else None,
            total if 2 in wrt else None,
            -scale * total if 3 in wrt else None,
            -0.5 * scale * r * along if 4 in wrt else None,
        )

    return z, pullback
