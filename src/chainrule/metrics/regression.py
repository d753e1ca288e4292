"""Metrics of values: how far the mean that outputs stand for is from the target.

Under the model's loss that is the output itself, exp(z) for poisson, the probability
for binary_cross_entropy; exclusive classes have none. Each output counts alike, and so
does each entry of an output with several axes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.config import checks
from chainrule.errors import ArgumentError
from chainrule.metrics.base import OptionMetric, Situation, own
from chainrule.metrics.meaning import check_mean, check_values, loss_of, mean_of
from chainrule.metrics.samples import align, average, weights

if TYPE_CHECKING:
    from chainrule.config.choices import Real

__all__ = [
    "Pinball",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "median_absolute_error",
    "pinball",
    "r2",
    "root_mean_squared_error",
]


def _pair(
    name: str, y_true: Any, y_pred: Any, sample_weight: Any, loss: Any
) -> tuple[Any, Any, Any]:
    """Return targets and means (samples, entries), and weights (samples,)."""
    mean = mean_of(name, y_pred, loss)
    t, z = align(name, y_true, mean)
    weight = weights(name, sample_weight, len(t))
    t = np.asarray(t, dtype=np.float64)
    return t.reshape(len(t), -1), z.reshape(len(z), -1), weight


@own(greater_is_better=False, check=check_values)
def mean_absolute_error(
    y_true: Any, y_pred: Any, sample_weight: Any = None, *, loss: Any = None
) -> float:
    """Mean of |y_true - mean| over samples and outputs.

    Parameters
    ----------
    y_true : array, shape (batch, ...)
    y_pred : array, shape (batch, ...)
        The network's outputs.
    sample_weight : array, shape (batch,), optional
    loss : str or Loss, optional
        What outputs mean; a model hands in its own. Without one they are the values.
    """
    t, z, weight = _pair("mean_absolute_error", y_true, y_pred, sample_weight, loss)
    return float(average(np.abs(t - z).mean(axis=1), weight))


@own(greater_is_better=False, check=check_values)
def mean_squared_error(
    y_true: Any, y_pred: Any, sample_weight: Any = None, *, loss: Any = None
) -> float:
    """Mean of (y_true - mean)² over samples and outputs.

    The arguments are those of `mean_absolute_error`.
    """
    t, z, weight = _pair("mean_squared_error", y_true, y_pred, sample_weight, loss)
    return float(average(((t - z) ** 2).mean(axis=1), weight))


@own(greater_is_better=False, check=check_values)
def root_mean_squared_error(
    y_true: Any, y_pred: Any, sample_weight: Any = None, *, loss: Any = None
) -> float:
    """Root of the mean of (y_true - mean)², in the target's units.

    The arguments are those of `mean_absolute_error`. Of several outputs it is the mean
    of each one's root, as in scikit-learn.
    """
    t, z, weight = _pair("root_mean_squared_error", y_true, y_pred, sample_weight, loss)
    return float(np.sqrt(average((t - z) ** 2, weight)).mean())


@own(greater_is_better=False, check=check_values)
def mean_absolute_percentage_error(
    y_true: Any, y_pred: Any, sample_weight: Any = None, *, loss: Any = None
) -> float:
    """Mean of |y_true - mean| / |y_true|, as a share: 0.1 stands for 10 %.

    The arguments are those of `mean_absolute_error`.

    Notes
    -----
    |y_true| is taken for 2.2e-16 where it is smaller, as in scikit-learn: one target of
    0 that is not met makes the value huge.
    """
    name = "mean_absolute_percentage_error"
    t, z, weight = _pair(name, y_true, y_pred, sample_weight, loss)
    share = np.abs(t - z) / np.maximum(np.abs(t), np.finfo(np.float64).eps)
    return float(average(share.mean(axis=1), weight))


@own(greater_is_better=False, check=check_values)
def median_absolute_error(
    y_true: Any, y_pred: Any, sample_weight: Any = None, *, loss: Any = None
) -> float:
    """Median of |y_true - mean|, which outliers do not move.

    The arguments are those of `mean_absolute_error`. Of several outputs it is the mean
    of each one's median.

    Notes
    -----
    With weights: the smallest error at or below which lies half of the weight; where it
    is just half, the mean of that error and the next.
    Source: the "averaged inverted distribution function" of Hyndman and Fan, "Sample
    quantiles in statistical packages", The American Statistician 50 (1996).
    """
    t, z, weight = _pair("median_absolute_error", y_true, y_pred, sample_weight, loss)
    error = np.abs(t - z)[weight > 0.0]
    weight = weight[weight > 0.0]
    if not len(error):
        return 0.0 if len(t) else float("nan")
    return float(np.mean([_median(column, weight) for column in error.T]))


def _median(values: Any, weight: Any) -> float:
    """Return the weighted median; no weight is 0."""
    if np.isnan(values).any():
        return float("nan")
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weight[order])
    half = 0.5 * below[-1]
    at = min(int(np.searchsorted(below, half)), len(order) - 1)
    low = values[order[at]]
    if below[at] - half > np.finfo(np.float64).eps * below[-1]:
        return float(low)
    return float(0.5 * (low + values[order[min(at + 1, len(order) - 1)]]))


@own(greater_is_better=True, check=check_values)
def r2(
    y_true: Any, y_pred: Any, sample_weight: Any = None, *, loss: Any = None
) -> float:
    """Coefficient of determination, 1 - residual / variance, the mean over outputs.

    The arguments are those of `mean_absolute_error`. An output whose target is constant
    counts 1 if it is met exactly, else 0.
    """
    t, z, weight = _pair("r2", y_true, y_pred, sample_weight, loss)
    weight = weight[:, None]
    mean = (weight * t).sum(axis=0) / max(float(weight.sum()), np.finfo(float).tiny)
    residual = (weight * (t - z) ** 2).sum(axis=0)
    total = (weight * (t - mean) ** 2).sum(axis=0)
    flat = total == 0
    score = np.where(flat, residual == 0, 1.0 - residual / np.where(flat, 1.0, total))
    return float(score.mean())


def _check_pinball(situation: Situation, alpha: float | None = None) -> None:
    check_mean(situation.name, situation.loss)
    if alpha is None:
        _alpha(None, situation.loss)


@own(greater_is_better=False, check=_check_pinball)
def pinball(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    alpha: Real | None = None,
    loss: Any = None,
) -> float:
    """Mean pinball loss, which the quantile alpha of the target makes smallest.

    The other arguments are those of `mean_absolute_error`.

    Parameters
    ----------
    y_true, y_pred, sample_weight, loss
    alpha : float in (0, 1), optional
        Which quantile the outputs are to be. By default that of the loss, if it is a
        quantile's, else 0.5.

    Notes
    -----
    max(alpha d, (alpha - 1) d) with d = y_true - y_pred.
    Source: Koenker and Bassett, "Regression quantiles", Econometrica 46 (1978).
    """
    t, z, weight = _pair("pinball", y_true, y_pred, sample_weight, loss)
    a = _alpha(alpha, loss_of(loss))
    d = t - z
    return float(average(np.maximum(a * d, (a - 1.0) * d).mean(axis=1), weight))


def _alpha(alpha: Any, loss: Any) -> float:
    if alpha is None:
        alpha = getattr(loss, "q", 0.5)
        if not isinstance(alpha, float):
            msg = (
                f"pinball: alpha must be one number; the loss has q={alpha!r}. Give "
                f"it: metrics.Pinball(alpha)."
            )
            raise ArgumentError(msg)
    return checks.real("pinball: alpha", alpha, 0.0, 1.0, open_low=True, open_high=True)


class Pinball(OptionMetric):
    """`pinball` of a quantile: ``Model(metrics=[Pinball(0.9)])``.

    Parameters
    ----------
    alpha : float in (0, 1), optional
        By default that of the loss, if it is a quantile's, else 0.5.
    """

    function: Callable[..., Any] = staticmethod(pinball)
    options: tuple[str, ...] = ("alpha",)
    alpha: float | None

    def __init__(self, alpha: Real | None = None) -> None:
        self._set(alpha=None if alpha is None else _alpha(alpha, None))
