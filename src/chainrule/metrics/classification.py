"""Precision, recall and F1, of one class or averaged over classes.

What the outputs answer is decided as for `chainrule.metrics.accuracy`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.config import checks
from chainrule.errors import ArgumentError
from chainrule.metrics.base import OptionMetric, Situation, own
from chainrule.metrics.meaning import Answers, check_answers, one_class, read

if TYPE_CHECKING:
    from chainrule.config.choices import Int, MetricAverage

__all__ = ["F1", "Precision", "Recall", "f1", "precision", "recall"]

_AVERAGES: tuple[MetricAverage, ...] = ("auto", "binary", "macro", "micro", "weighted")


def _check_average(
    situation: Situation, average: str = "auto", label: int | None = None
) -> None:
    how = check_answers(situation)
    exclusive = how == "largest" or situation.outputs == 1
    classes = max(situation.outputs, 2) if exclusive else situation.outputs
    _which(situation.name, average, label, classes, exclusive)


def _which(
    name: str, average: Any, label: Any, classes: int, exclusive: bool
) -> tuple[str | None, int | None]:
    """Return the way to average, or the one class that counts."""
    if average is not None:
        average = checks.choice(f"{name}: average", average, _AVERAGES)
    two = exclusive and classes == 2
    if average == "binary" and not two:
        what = "classes" if exclusive else "labels"
        msg = (
            f"{name}: average must not be 'binary' of {classes} {what}; take 'macro', "
            f"'micro' or 'weighted', or label= for one of them."
        )
        raise ArgumentError(msg)
    if label is not None:
        return None, one_class(name, label, classes)
    if average == "binary" or (average == "auto" and two):
        return None, 1
    return ("macro" if average == "auto" else average), None


def _score(
    answers: Answers,
    average: Any,
    label: Any,
    *,
    over: str,
) -> Any:
    """Return right answers as a share, of what is predicted, of what is true, or both.

    A share of nothing is 0.
    """
    a, k = answers, answers.classes
    average, label = _which(a.name, average, label, k, a.exclusive)
    truth, predicted, weight = a.truth, a.predicted, a.weight
    if a.exclusive:
        hit = truth == predicted
        right = np.bincount(truth[hit], weight[hit], k)
        true = np.bincount(truth, weight, k)
        said = np.bincount(predicted, weight, k)
        there = np.bincount(truth, minlength=k) + np.bincount(predicted, minlength=k)
    else:
        right = weight @ (truth & predicted)
        true, said = weight @ truth, weight @ predicted
        there = np.ones(k, dtype=np.intp)
    whole = {"predicted": said, "true": true, "both": 0.5 * (said + true)}[over]
    if average == "micro":
        return float(_share(right.sum(), whole.sum()))
    each = _share(right, whole)
    if label is not None:
        return float(each[label])
    if average is None:
        return each
    if average == "weighted":
        return float(_share((each * true).sum(), true.sum()))
    return float(each[there > 0].mean()) if there.any() else 0.0


def _share(part: Any, whole: Any) -> Any:
    return np.where(whole > 0.0, part / np.where(whole > 0.0, whole, 1.0), 0.0)


@own(greater_is_better=True, check=_check_average)
def precision(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    average: MetricAverage | None = "auto",
    label: Int | None = None,
    loss: Any = None,
) -> Any:
    """Of the samples that are said to be of a class, the share that is.

    Parameters
    ----------
    y_true : array
        Labels (batch, ...), or what has the outputs' shape: one-hot rows, or yes (above
        ½) and no.
    y_pred : array, shape (batch, ..., outputs)
    sample_weight : array, shape (batch,), optional
    average : {"auto", "binary", "macro", "micro", "weighted"} or None
        "binary": of class 1 alone, where there are two. "macro": the mean over classes
        that are in the targets or the answers, or over all labels. "micro": all classes
        together. "weighted": the mean by the classes' weight in the targets. "auto":
        "binary" of two classes, else "macro". None: an array, one value for each.
    label : int, optional
        Of this class, or output, alone.
    loss : str or Loss, optional
        A model hands in its own. Without one, outputs are taken as logits.

    Returns
    -------
    float or array
        0 of a class that is never said, as in scikit-learn.

    Raises
    ------
    ArgumentError
        If the outputs are no answers under the loss, or an option does not fit them.

    Notes
    -----
    precision = TP / (TP + FP), with TP, FP and FN sums of weights.
    Source: van Rijsbergen, "Information Retrieval", 1979.
    """
    answers = read("precision", y_true, y_pred, sample_weight, loss)
    return _score(answers, average, label, over="predicted")


@own(greater_is_better=True, check=_check_average)
def recall(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    average: MetricAverage | None = "auto",
    label: Int | None = None,
    loss: Any = None,
) -> Any:
    """Of the samples of a class, the share that is said to be of it.

    Arguments and value are those of `precision`; of a class that is not there it is 0.

    Notes
    -----
    recall = TP / (TP + FN)
    """
    answers = read("recall", y_true, y_pred, sample_weight, loss)
    return _score(answers, average, label, over="true")


@own(greater_is_better=True, check=_check_average)
def f1(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    average: MetricAverage | None = "auto",
    label: Int | None = None,
    loss: Any = None,
) -> Any:
    """Harmonic mean of `precision` and `recall`, whose arguments it has.

    Notes
    -----
    F1 = 2 TP / (2 TP + FP + FN); 0 of a class that is neither there nor ever said.
    """
    answers = read("f1", y_true, y_pred, sample_weight, loss)
    return _score(answers, average, label, over="both")


class _Averaged(OptionMetric):
    """An average over classes, or one of them."""

    options: tuple[str, ...] = ("average", "label")
    average: str
    label: int | None

    def __init__(
        self, average: MetricAverage = "auto", label: Int | None = None
    ) -> None:
        name = type(self).__name__
        if label is not None:
            label = checks.integer(f"{name}: label", label, 0)
        if average is None:
            msg = (
                f"{name}: average must be one of {', '.join(_AVERAGES)}: logs have one "
                f"number of a metric; got None. Take label= for a class alone."
            )
            raise ArgumentError(msg)
        average = checks.choice(f"{name}: average", average, _AVERAGES)
        if label is not None and average != "auto":
            msg = (
                f"{name}: give average or label, not both: label is one class alone; "
                f"got average={average!r} and label={label}."
            )
            raise ArgumentError(msg)
        self._set(average=average, label=label)


class Precision(_Averaged):
    """`precision` with options: ``Model(metrics=[Precision(label=2)])``.

    Parameters
    ----------
    average : {"auto", "binary", "macro", "micro", "weighted"}
    label : int, optional
        Of this class, or output, alone.
    """

    function: Callable[..., Any] = staticmethod(precision)


class Recall(_Averaged):
    """`recall` with options: ``Model(metrics=[Recall("macro")])``.

    Parameters
    ----------
    average : {"auto", "binary", "macro", "micro", "weighted"}
    label : int, optional
        Of this class, or output, alone.
    """

    function: Callable[..., Any] = staticmethod(recall)


class F1(_Averaged):
    """`f1` with options: ``Model(metrics=[F1("weighted")])``.

    Parameters
    ----------
    average : {"auto", "binary", "macro", "micro", "weighted"}
    label : int, optional
        Of this class, or output, alone.
    """

    function: Callable[..., Any] = staticmethod(f1)
