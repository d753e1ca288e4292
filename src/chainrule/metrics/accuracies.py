"""Shares of right answers: of all samples, class by class, and of the first few.

Under cross_entropy, and of labels under any loss, the largest output is the class.
Under binary_cross_entropy each output is yes where its logit is above 0: one output is
two classes, several are labels of their own. One output of values (squared_error) is
yes above ½ where the targets are 0 and 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.arrays.namespace import namespace
from chainrule.config import checks
from chainrule.errors import ArgumentError
from chainrule.metrics.base import OptionMetric, Situation, own
from chainrule.metrics.meaning import (
    check_answers,
    check_yes_and_no,
    decide,
    loss_of,
    read,
)
from chainrule.metrics.samples import align, average, weights

if TYPE_CHECKING:
    from chainrule.config.choices import Int

__all__ = ["TopK", "accuracy", "balanced_accuracy", "top_k"]


@own(greater_is_better=True, check=check_answers)
def accuracy(
    y_true: Any, y_pred: Any, sample_weight: Any = None, *, loss: Any = None
) -> float:
    """Share of right answers; what the outputs say is decided by the loss.

    Parameters
    ----------
    y_true : array
        Labels (batch, ...), or what has the outputs' shape: one-hot rows, or yes (above
        ½) and no.
    y_pred : array, shape (batch, ..., outputs)
    sample_weight : array, shape (batch,), optional
    loss : str or Loss, optional
        A model hands in its own. Without one, outputs are taken as logits.

    Raises
    ------
    ArgumentError
        If the outputs have no such meaning under the loss.

    Notes
    -----
    cross_entropy, and labels under any loss: the largest output is the class.
    binary_cross_entropy: each output is yes where its logit is above 0, and a sample
    counts with the share of its outputs that are right, whether there is one or many
    (Keras's binary_accuracy; scikit-learn's accuracy_score counts a sample with several
    labels only if all of them are right). Losses of values, such as squared_error, with
    one output and targets 0 and 1: yes above ½.
    """
    t, z = align("accuracy", y_true, y_pred, labels=True)
    labels = t.ndim < z.ndim
    loss = loss_of(loss)
    how = decide("accuracy", loss, z.shape[-1], labels)
    if how == "largest":
        right = np.argmax(z, axis=-1) == (t if labels else np.argmax(t, axis=-1))
    elif how == "logit":
        right = (z > 0) == (t > 0.5)
    elif how == "probability":
        right = (loss.probabilities(z, xp=namespace(z)) > 0.5) == (t > 0.5)
    else:
        check_yes_and_no("accuracy", t, loss)
        right = (z > 0.5) == (t > 0.5)
    hits = right.reshape(len(right), -1).mean(axis=1, dtype=np.float64)
    return float(average(hits, weights("accuracy", sample_weight, len(hits))))


@own(greater_is_better=True, check=check_answers)
def balanced_accuracy(
    y_true: Any, y_pred: Any, sample_weight: Any = None, *, loss: Any = None
) -> float:
    """Mean of the recall of each class, whichever is frequent.

    The arguments are those of `accuracy`. Classes that are not in the targets do not
    count. Of several labels it is the mean over labels, each with its yes and no.

    Notes
    -----
    Source: Brodersen et al., "The balanced accuracy and its posterior distribution",
    ICPR 2010.
    """
    a = read("balanced_accuracy", y_true, y_pred, sample_weight, loss)
    k, predicted = a.classes, a.predicted
    if a.exclusive:
        return _balanced(a.truth, predicted, a.weight, k)
    pairs = zip(a.truth.T, predicted.T, strict=True)
    each = [_balanced(t.astype(np.intp), p, a.weight, 2) for t, p in pairs]
    return float(np.mean(each))


def _balanced(truth: Any, predicted: Any, weight: Any, classes: int) -> float:
    hit = truth == predicted
    right = np.bincount(truth[hit], weight[hit], classes)
    true = np.bincount(truth, weight, classes)
    there = true > 0.0
    return float((right[there] / true[there]).mean()) if there.any() else 0.0


# The first few.


def _check_top_k(situation: Situation, k: int = 5) -> None:
    name, loss, outputs, labels, _ = situation
    _few(name, decide(name, loss, outputs, labels), outputs, k)


def _few(name: str, how: str, classes: int, k: Any) -> int:
    few = checks.integer(f"{name}: k", k, 1)
    if how != "largest":
        msg = (
            f"{name} needs exclusive classes, an output for each, as cross_entropy "
            f"has. Take accuracy of yes and no."
        )
        raise ArgumentError(msg)
    if few >= classes:
        msg = (
            f"{name}: k must be below the number of classes, {classes}, or every "
            f"answer is right; got {few}. Take metrics.TopK(k) with a smaller one."
        )
        raise ArgumentError(msg)
    return few


@own(greater_is_better=True, check=_check_top_k)
def top_k(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    k: Int = 5,
    loss: Any = None,
) -> float:
    """Share of samples whose class is among those of the k largest outputs.

    Parameters
    ----------
    y_true : array
        Labels (batch, ...), or one-hot rows (batch, ..., classes).
    y_pred : array, shape (batch, ..., classes)
    sample_weight : array, shape (batch,), optional
    k : int
        Below the number of classes.
    loss : str or Loss, optional
        A model hands in its own.

    Notes
    -----
    Of equal outputs the first counts as larger, so that k=1 is `accuracy`.
    (scikit-learn's top_k_accuracy_score takes the last, and has k=2 by default.)
    """
    a = read("top_k", y_true, y_pred, sample_weight, loss)
    k = _few("top_k", a.how, a.classes, k)
    own = np.take_along_axis(a.outputs, a.truth[:, None], axis=1)
    before = (a.outputs == own) & (np.arange(a.classes) < a.truth[:, None])
    rank = ((a.outputs > own) | before).sum(axis=1)
    right = (rank < k) & ~np.isnan(a.outputs).any(axis=1)
    return float(average(right.astype(np.float64), a.weight))


class TopK(OptionMetric):
    """`top_k` of another k: ``Model(metrics=[TopK(3)])``.

    Parameters
    ----------
    k : int
        Below the number of classes.
    """

    function: Callable[..., Any] = staticmethod(top_k)
    options: tuple[str, ...] = ("k",)
    k: int

    def __init__(self, k: Int = 5) -> None:
        self._set(k=checks.integer("TopK: k", k, 1))
