"""Metrics of probabilities and distributions.

Probabilities are those of the model's loss: the softmax of the outputs under
cross_entropy, their sigmoid under binary_cross_entropy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.arrays.namespace import namespace
from chainrule.config import checks
from chainrule.errors import ArgumentError, ShapeError
from chainrule.metrics.base import OptionMetric, Situation, own
from chainrule.metrics.meaning import check_probabilities, mean_of, read, refuse_value
from chainrule.metrics.samples import align, average, numeric, weights

if TYPE_CHECKING:
    from chainrule.config.choices import Int

__all__ = [
    "ExpectedCalibrationError",
    "brier",
    "crps",
    "crps_members",
    "expected_calibration_error",
    "interval_coverage",
    "log_loss",
]


@own(greater_is_better=False, check=check_probabilities)
def log_loss(
    y_true: Any, y_pred: Any, sample_weight: Any = None, *, loss: Any = None
) -> float:
    """Mean of -log p of what is right: the cross entropy, without its options.

    Parameters
    ----------
    y_true : array
        Labels (batch, ...), or what has the outputs' shape: rows of probabilities, or
        values in [0, 1].
    y_pred : array, shape (batch, ..., outputs)
    sample_weight : array, shape (batch,), optional
    loss : str or Loss, optional
        A model hands in its own. Without one, outputs are taken as logits; np.log(p) is
        that of probabilities p whose rows sum to 1.

    Raises
    ------
    ArgumentError
        If the outputs are no probabilities under the loss.

    Notes
    -----
    -Σ t_k log p_k over classes; -(t log p + (1 - t) log(1 - p)) of an output that says
    yes or no, the mean over outputs. From logits, so that nothing is clipped.
    """
    a = read("log_loss", y_true, y_pred, sample_weight, loss)
    surprises, t = a.surprises, a.shares
    if surprises.ndim == 3:  # no and yes of each output
        if a.exclusive:
            surprises = surprises[:, :, 0]
        else:
            t = np.stack([1.0 - t, t], axis=1)
    with np.errstate(invalid="ignore"):
        parts = np.where(t > 0.0, t * surprises, 0.0)
    value = parts.sum(axis=1)  # over classes, or no and yes
    if value.ndim > 1:
        value = value.mean(axis=1)
    return float(average(value, a.weight))


@own(greater_is_better=False, check=check_probabilities)
def brier(
    y_true: Any, y_pred: Any, sample_weight: Any = None, *, loss: Any = None
) -> float:
    """Mean squared distance of the probabilities from what is right.

    The arguments are those of `log_loss`.

    Notes
    -----
    (p - t)² of two classes, with p the probability of class 1, and of each of several
    labels, the mean over labels: 0 to 1. Σ (p_k - t_k)² over more than two exclusive
    classes: 0 to 2. scikit-learn's brier_score_loss is the same.
    Source: Brier, "Verification of forecasts expressed in terms of probability",
    Monthly Weather Review 78 (1950).
    """
    a = read("brier", y_true, y_pred, sample_weight, loss)
    squares = (a.probabilities - a.shares) ** 2
    if not a.exclusive:
        value = squares.mean(axis=1)
    else:
        value = squares[:, 1] if a.classes == 2 else squares.sum(axis=1)
    return float(average(value, a.weight))


def _check_bins(situation: Situation, bins: int = 15) -> None:
    checks.integer(f"{situation.name}: bins", bins, 1)
    check_probabilities(situation)


@own(greater_is_better=False, check=_check_bins)
def expected_calibration_error(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    bins: Int = 15,
    loss: Any = None,
) -> float:
    """How far the probability of the answer is from how often it is right.

    The other arguments are those of `log_loss`.

    Parameters
    ----------
    y_true, y_pred, sample_weight, loss
    bins : int
        Of equal width, over probabilities from 0 to 1; each has its upper end.

    Notes
    -----
    Σ W_b / W |accuracy_b - confidence_b| over bins b, with the weight W_b of its
    samples, the share of right answers among them and their mean probability: that of
    the class that is answered, so at least ½ of two classes. Of several labels it is
    the mean over labels. It is biased, and depends on the bins: compare models with the
    same bins and samples alone.
    Source: Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks",
    ICML 2017 (arXiv:1706.04599), equation 3.
    """
    name = "expected_calibration_error"
    bins = checks.integer(f"{name}: bins", bins, 1)
    a = read(name, y_true, y_pred, sample_weight, loss)
    p, right = a.probabilities, a.truth == a.predicted
    if a.exclusive:
        confidence = np.take_along_axis(p, a.predicted[:, None], axis=1)
        right = right[:, None]
    else:
        confidence = np.where(a.predicted, p, 1.0 - p)
    if np.isnan(confidence).any():
        return float("nan")
    pairs = zip(confidence.T, right.T, strict=True)
    return float(np.mean([_gap(c, r, a.weight, bins) for c, r in pairs]))


def _gap(confidence: Any, right: Any, weight: Any, bins: int) -> float:
    edges = np.linspace(0.0, 1.0, bins + 1)[1:-1]
    which = np.searchsorted(edges, confidence)
    gap = np.bincount(which, weight * (right - confidence), bins)
    total = float(weight.sum())
    if not len(weight):
        return float("nan")
    return float(np.abs(gap).sum() / total) if total > 0.0 else 0.0


class ExpectedCalibrationError(OptionMetric):
    """`expected_calibration_error` with other bins: ``ExpectedCalibrationError(10)``.

    Parameters
    ----------
    bins : int
    """

    function: Callable[..., Any] = staticmethod(expected_calibration_error)
    options: tuple[str, ...] = ("bins",)
    bins: int

    def __init__(self, bins: Int = 15) -> None:
        self._set(bins=checks.integer("ExpectedCalibrationError: bins", bins, 1))


# Distributions of values.


def _check_crps(situation: Situation) -> None:
    if not situation.loss.has_spread:
        refuse_value(situation.name, situation.loss)


@own(greater_is_better=False, check=_check_crps)
def crps(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    std: Any = None,
    loss: Any = None,
) -> float:
    """Continuous ranked probability score of Gaussians, in the target's units.

    By hand: ``mean, std = model.predict(x, return_std=True)``, then
    ``crps(y, mean, std=std)``. `crps_members` is that of an ensemble's members, or of
    samples.

    Parameters
    ----------
    y_true : array, shape (batch, ...)
    y_pred : array, shape (batch, ...)
        The means, as `predict` gives them.
    sample_weight : array, shape (batch,), optional
    std : array, of y_pred's shape, or float, optional
        Standard deviations, not negative. A model hands in those of a loss whose
        outputs are a distribution (gaussian_nll, say); under another one the metric is
        refused. What is no normal distribution is taken for one of its mean and
        deviation.
    loss : str or Loss, optional
        What the means are.

    Notes
    -----
    ∫ (F(x) - [x ≥ y])² dx = σ (u (2Φ(u) - 1) + 2φ(u) - 1/√π) with u = (y - μ) / σ, the
    mean over samples and outputs; |y - μ| where σ is 0.
    Source: Gneiting and Raftery, "Strictly proper scoring rules, prediction, and
    estimation", JASA 102 (2007), equation 21 and what follows it.
    """
    mean = mean_of("crps", y_pred, loss)
    if std is None:
        refuse_value("crps", loss)
    t, mean = align("crps", y_true, mean)
    std = np.asarray(numeric("crps", "std", std), dtype=np.float64)
    if std.shape == mean.shape[:-1] and mean.shape[-1] == 1:
        std = std[..., None]
    if std.ndim and std.shape != mean.shape:
        msg = (
            f"crps: std must be a number or have the shape of y_pred, {mean.shape}; "
            f"got {std.shape}."
        )
        raise ShapeError(msg)
    if (std < 0.0).any():
        msg = f"crps: std must not be negative; got {std.min():g}."
        raise ArgumentError(msg)
    d = np.asarray(t, dtype=np.float64) - mean
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        u = np.where(d == 0.0, 0.0, d / std)  # infinite where std is 0
    phi = np.exp(-0.5 * u * u) / math.sqrt(2.0 * math.pi)
    erf = namespace(u).erf(u / math.sqrt(2.0))  # 2 Φ(u) - 1
    value = d * erf + std * (2.0 * phi - 1.0 / math.sqrt(math.pi))
    value = value.reshape(len(value), -1).mean(axis=1)
    return float(average(value, weights("crps", sample_weight, len(value))))


def crps_members(
    y_true: Any, members: Any, sample_weight: Any = None, *, fair: bool = False
) -> float:
    """Continuous ranked probability score of members or samples, in the target's units.

    It is called with what `Model.predict_members` gives, and is no metric of a model,
    whose outputs are the members' mean.

    Parameters
    ----------
    y_true : array, shape (batch, ...)
    members : array, shape (members, batch, ...)
    sample_weight : array, shape (batch,), optional
    fair : bool
        Whether members stand for samples of a distribution, whose score is estimated
        without bias; by default they are the distribution.

    Notes
    -----
    mean of |x_i - y| - Σ |x_i - x_j| / (2 m²) over m members; m (m - 1) in place of m²
    if `fair`. Sorted, Σ |x_i - x_j| = 2 Σ (2 i - m - 1) x_(i).
    Source: Gneiting and Raftery 2007, equation 21; Ferro, "Fair scores for ensemble
    forecasts", Quarterly Journal of the Royal Meteorological Society 140 (2014).
    """
    name = "crps_members"
    fair = checks.boolean(f"{name}: fair", fair)
    x = np.asarray(numeric(name, "members", members), dtype=np.float64)
    if x.ndim < 2 or len(x) < 1 + fair:
        least = "at least 2 of them if fair" if fair else "at least one"
        msg = (
            f"{name}: members must have the shape (members, batch, ...), {least}; got "
            f"{x.shape}. Model.predict_members gives such an array."
        )
        raise ShapeError(msg)
    t, first = align(name, y_true, x[0])
    x = x.reshape(len(x), *first.shape)
    m = len(x)
    distance = np.abs(x - t).mean(axis=0)
    x = np.sort(x, axis=0)
    rank = 2.0 * np.arange(1, m + 1) - m - 1.0
    spread = np.tensordot(rank, x, axes=(0, 0)) / (m * (m - fair))
    value = (distance - spread).reshape(len(t), -1).mean(axis=1)
    return float(average(value, weights(name, sample_weight, len(value))))


def interval_coverage(
    y_true: Any, low: Any, high: Any, sample_weight: Any = None
) -> float:
    """Share of targets within their intervals, the ends included.

    It is called with two arrays of ends, and is no metric of a model. More of it is not
    better: 0.9 is what intervals of 90 % are to have.

    Parameters
    ----------
    y_true : array, shape (batch, ...)
    low, high : array, of y_true's shape
    sample_weight : array, shape (batch,), optional

    Raises
    ------
    ArgumentError
        If an interval ends below where it begins.
    """
    name = "interval_coverage"
    ends = []
    for argument, given in (("low", low), ("high", high)):
        try:
            t, end = align(name, y_true, numeric(name, argument, given))
        except ShapeError as error:
            msg = str(error).replace("y_pred", argument)
            raise ShapeError(msg) from None
        ends.append(end)
    if (ends[0] > ends[1]).any():
        wrong = (ends[0] > ends[1]).sum()
        msg = (
            f"{name}: low must not be above high; it is in {wrong} of "
            f"{ends[0].size} intervals. Hand in interval_coverage(y_true, low, high)."
        )
        raise ArgumentError(msg)
    within = ((ends[0] <= t) & (t <= ends[1])).reshape(len(t), -1)
    share = within.mean(axis=1, dtype=np.float64)
    return float(average(share, weights(name, sample_weight, len(share))))
