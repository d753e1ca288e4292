"""Normalisation over the batch or over the features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chainrule._typing import Array, Pullback
from chainrule.namespace import namespace

__all__ = ["batch_norm", "batch_norm_inference", "layer_norm"]


def layer_norm(
    x: Array, gain: Array, shift: Array, *, eps: float = 1e-5, xp: Any = None
) -> tuple[Any, Pullback]:
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
    return _normalize(x, gain, shift, axis=-1, eps=eps, keep=None, xp=xp)


def batch_norm(
    x: Array,
    gain: Array,
    shift: Array,
    *,
    eps: float = 1e-5,
    keep: Callable[[Any, Any], None] | None = None,
    xp: Any = None,
) -> tuple[Any, Pullback]:
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

    Returns
    -------
    z : array, shape (..., rows, d)
    pullback : function
        ``pullback(dz, wrt=(0, 1, 2)) -> (dx, dgain, dshift)``

    Notes
    -----
    The formulas are `layer_norm`'s with the means taken over rows.
    Source: Ioffe, Szegedy 2015 (arXiv:1502.03167).
    """
    return _normalize(x, gain, shift, axis=-2, eps=eps, keep=keep, xp=xp)


def _normalize(
    x: Any, gain: Any, shift: Any, *, axis: int, eps: float, keep: Any, xp: Any
) -> tuple[Any, Pullback]:
    xp = xp or namespace(x, gain, shift)
    # No element, no mean: without this, zero rows would warn and give nan.
    mean = xp.mean if x.shape[axis] else xp.sum
    centre = mean(x, axis=axis, keepdims=True)
    d = x - centre
    var = mean(d * d, axis=axis, keepdims=True)
    if keep is not None:
        keep(centre[..., 0, :], var[..., 0, :])
    r = 1.0 / xp.sqrt(var + eps)
    u = d * r
    z = gain[..., None, :] * u + shift[..., None, :]

    def pullback(dz: Any, wrt: tuple[int, ...] = (0, 1, 2)) -> tuple[Any, ...]:
        dx = dgain = dshift = None
        if 0 in wrt:
            g = gain[..., None, :] * dz
            g_mean = mean(g, axis=axis, keepdims=True)
            gu_mean = mean(g * u, axis=axis, keepdims=True)
            dx = r * (g - g_mean - u * gu_mean)
        if 1 in wrt:
            dgain = xp.sum(dz * u, axis=-2)
        if 2 in wrt:
            dshift = xp.sum(dz, axis=-2)
        return dx, dgain, dshift

    return z, pullback


def batch_norm_inference(
    x: Array,
    gain: Array,
    shift: Array,
    mean: Array,
    var: Array,
    *,
    eps: float = 1e-5,
    xp: Any = None,
) -> tuple[Any, Pullback]:
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
    xp = xp or namespace(x, gain, shift, mean, var)
    r = 1.0 / xp.sqrt(var + eps)
    u = (x - mean[..., None, :]) * r[..., None, :]
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
