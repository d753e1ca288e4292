"""Metrics of an order: whether outputs are larger where the class is right.

What is ordered are logits, whose order is that of the probabilities, or values where
the loss has no probabilities. Only the order counts, and equal outputs are equal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.config import checks
from chainrule.errors import ArgumentError
from chainrule.metrics.base import OptionMetric, Situation, own
from chainrule.metrics.meaning import check_answers, one_class, read

if TYPE_CHECKING:
    from chainrule.config.choices import Int, RankingAverage

__all__ = ["AUC", "AveragePrecision", "auc", "average_precision"]

_AVERAGES: tuple[RankingAverage, ...] = ("macro", "weighted")


def _check_label(
    situation: Situation, average: str = "macro", label: int | None = None
) -> None:
    how = check_answers(situation)
    exclusive = how == "largest" or situation.outputs == 1
    classes = max(situation.outputs, 2) if exclusive else situation.outputs
    if label is not None:
        one_class(situation.name, label, classes)


def _groups(yes: Any, scores: Any, weight: Any) -> tuple[Any, Any]:
    """Return the weight of yes and of no at each score, from the lowest one up."""
    values, group = np.unique(scores, return_inverse=True)
    group = group.reshape(-1)
    return tuple(  # type: ignore[return-value]
        np.bincount(group, weight * which, len(values)) for which in (yes, ~yes)
    )


def _area(yes: Any, scores: Any, weight: Any) -> float:
    """Return the share of pairs (yes, no) in the right order; NaN without pairs."""
    if np.isnan(scores).any():
        return float("nan")
    right, wrong = _groups(yes, scores, weight)
    pairs = right.sum() * wrong.sum()
    lower = np.cumsum(wrong) - wrong
    won = (right * (lower + 0.5 * wrong)).sum()
    return float(won / pairs) if pairs > 0.0 else float("nan")


def _mean_precision(yes: Any, scores: Any, weight: Any) -> float:
    """Return the mean precision over the weight of yes; NaN without any."""
    if np.isnan(scores).any():
        return float("nan")
    right, wrong = (each[::-1] for each in _groups(yes, scores, weight))
    found = np.cumsum(right)
    said = found + np.cumsum(wrong)
    if not len(found) or not found[-1] > 0.0:
        return float("nan")
    precision = found / np.where(said > 0.0, said, 1.0)
    return float((right * precision).sum() / found[-1])


def _ranked(
    name: str,
    given: tuple[Any, Any, Any, Any],
    measure: Callable[[Any, Any, Any], float],
    average: Any,
    label: Any,
) -> Any:
    """Return a measure of two classes, or its average over each against the rest."""
    if average is not None:
        average = checks.choice(f"{name}: average", average, _AVERAGES)
    a = read(name, *given)
    if label is not None:
        label = one_class(name, label, a.classes)
    scores, weight = a.scores, a.weight
    if scores.ndim == 1:  # of class 1; of class 0 the order is the other way round
        columns = [(a.truth == 0, -scores), (a.truth == 1, scores)]
        label = 1 if label is None and average is not None else label
    elif a.exclusive:
        columns = [(a.truth == k, scores[:, k]) for k in range(a.classes)]
    else:
        columns = list(zip(a.truth.T, scores.T, strict=True))
    if label is not None:
        yes, one = columns[label]
        value = measure(yes, one, weight)
    else:
        each = np.array([measure(yes, one, weight) for yes, one in columns])
        if average is None:
            return each
        share = np.array([(weight * yes).sum() for yes, _ in columns])
        share = np.where(share > 0.0, share if average == "weighted" else 1.0, 0.0)
        there = ~np.isnan(each) & (share > 0.0)
        total = share[there].sum()
        value = (each[there] * share[there]).sum() / total if there.any() else np.nan
    if np.isnan(value) and not np.isnan(scores).any():
        checks.warn(
            f"{name} is NaN: of the samples with a weight, none, or all, are of a "
            f"class that counts. Evaluate more samples, or shuffle them before they "
            f"are split."
        )
    return float(value)


@own(greater_is_better=True, check=_check_label)
def auc(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    average: RankingAverage | None = "macro",
    label: Int | None = None,
    loss: Any = None,
) -> Any:
    """Area under the ROC curve: how often a yes is above a no, ties counting ½.

    Parameters
    ----------
    y_true : array
        Labels (batch, ...), or what has the outputs' shape: one-hot rows, or yes (above
        ½) and no.
    y_pred : array, shape (batch, ..., outputs)
    sample_weight : array, shape (batch,), optional
    average : {"macro", "weighted"} or None
        Of more than two classes: each class against the rest, and "macro", the mean
        over classes, or "weighted", by the classes' weight in the targets. Classes that
        are not in the targets do not count. Of several labels: likewise over labels.
        None: an array, one value for each. Two classes, in one output or in two, have
        one area.
    label : int, optional
        Of this class against the rest, or of this output, alone.
    loss : str or Loss, optional
        A model hands in its own. Without one, outputs are taken as logits.

    Returns
    -------
    float or array
        NaN, with a `ChainruleWarning`, where all samples are of one class: early
        stopping takes it for no improvement.

    Notes
    -----
    AUC = sum of w_i v_j ([s_i > s_j] + ½ [s_i = s_j]) / sum of w_i v_j over pairs of a
    yes i and a no j, with weights w and v: the Mann-Whitney statistic.
    Source: Hanley and McNeil, "The meaning and use of the area under a receiver
    operating characteristic (ROC) curve", Radiology 143 (1982).
    """
    given = y_true, y_pred, sample_weight, loss
    return _ranked("auc", given, _area, average, label)


@own(greater_is_better=True, check=_check_label)
def average_precision(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    average: RankingAverage | None = "macro",
    label: Int | None = None,
    loss: Any = None,
) -> Any:
    """Mean over the samples of a class of the precision down to each one's output.

    The arguments are those of `auc`. Of two classes it is that of class 1.

    Returns
    -------
    float or array
        NaN, with a `ChainruleWarning`, where no sample is of the class (scikit-learn
        gives 0 there).

    Notes
    -----
    AP = sum over outputs, from the largest down, of (R_n - R_(n-1)) P_n, with the
    recall R_n and the precision P_n of all that is not below the n-th different output.
    No line is drawn between them: the trapezoidal area under the curve is too large.
    Source: Davis and Goadrich, "The relationship between precision-recall and ROC
    curves", ICML 2006.
    """
    given = y_true, y_pred, sample_weight, loss
    return _ranked("average_precision", given, _mean_precision, average, label)


class _Ranked(OptionMetric):
    """An average over classes, or one of them."""

    options: tuple[str, ...] = ("average", "label")
    average: str
    label: int | None

    def __init__(
        self, average: RankingAverage = "macro", label: Int | None = None
    ) -> None:
        name = type(self).__name__
        if label is not None:
            label = checks.integer(f"{name}: label", label, 0)
        average = checks.choice(f"{name}: average", average, _AVERAGES)
        if label is not None and average != "macro":
            msg = (
                f"{name}: give average or label, not both: label is one class alone; "
                f"got average={average!r} and label={label}."
            )
            raise ArgumentError(msg)
        self._set(average=average, label=label)


class AUC(_Ranked):
    """`auc` with options: ``Model(metrics=[AUC(label=2)])``.

    Parameters
    ----------
    average : {"macro", "weighted"}
    label : int, optional
        Of this class against the rest, or of this output, alone.
    """

    function: Callable[..., Any] = staticmethod(auc)


class AveragePrecision(_Ranked):
    """`average_precision` with options: ``Model(metrics=[AveragePrecision(label=2)])``.

    Parameters
    ----------
    average : {"macro", "weighted"}
    label : int, optional
        Of this class against the rest, or of this output, alone.
    """

    function: Callable[..., Any] = staticmethod(average_precision)
