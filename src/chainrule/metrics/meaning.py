"""What outputs mean under a loss: values, answers, scores, probabilities.

The loss's link decides, never what the data look like.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np

from chainrule.arrays.namespace import namespace
from chainrule.config import checks
from chainrule.config.names import resolve
from chainrule.errors import ArgumentError, ShapeError
from chainrule.metrics.base import Situation
from chainrule.metrics.samples import align, numeric, weights

if TYPE_CHECKING:
    from chainrule.losses import Loss

__all__ = [
    "Answers",
    "check_answers",
    "check_mean",
    "check_probabilities",
    "check_values",
    "check_yes_and_no",
    "decide",
    "loss_of",
    "mean_of",
    "one_class",
    "read",
    "refuse_value",
]


def loss_of(loss: Any) -> Loss | None:
    """Return a loss from its name, or as it is."""
    return None if loss is None else resolve("loss", loss)  # type: ignore[no-any-return]


# Values.


def mean_of(name: str, z: Any, loss: Any) -> Any:
    """Return the mean of the target that outputs stand for, in float64.

    Of a loss whose outputs are a distribution, z is the mean already: what `predict`
    gives.
    """
    z = np.asarray(numeric(name, "y_pred", z), dtype=np.float64)
    loss = loss_of(loss)
    if loss is None:
        return z
    check_mean(name, loss)
    if loss.has_spread:
        return z
    if loss.link == "log":
        with np.errstate(over="ignore"):
            return np.exp(z)
    if loss.has_probabilities:
        return loss.probabilities(z, xp=namespace(z))
    return z


def refuse_value(name: str, loss: Any) -> NoReturn:
    """Raise the error of a metric of distributions that gets values alone."""
    loss = loss_of(loss)
    told = "without a loss" if loss is None else f"under {loss.name}"
    msg = (
        f"{name} compares a distribution, and {told} the outputs have no standard "
        f"deviation. Hand it in, {name}(y_true, mean, std=std), or take "
        f"mean_absolute_error, which it is of a value alone."
    )
    raise ArgumentError(msg)


def check_mean(name: str, loss: Loss) -> None:
    """Raise an error if outputs under the loss have no mean."""
    if loss.link in {"margin", "softmax"}:
        msg = (
            f"metrics: {name} compares values, and the outputs of {loss.name} are "
            f"classes. Take accuracy, or a metric of your own."
        )
        raise ArgumentError(msg)


def check_values(situation: Situation) -> None:
    """Raise an error unless the outputs are values."""
    check_mean(situation.name, situation.loss)


# Classes.


def decide(name: str, loss: Loss | None, outputs: int, labels: bool) -> str:
    """Say how outputs become answers: "largest", "logit", "probability" or "value".

    Raises
    ------
    ArgumentError
        If the outputs have no such meaning under the loss.
    """
    link = "logit" if loss is None or loss.link == "margin" else loss.link
    if labels or link == "softmax":
        return "largest"
    if loss is None and outputs > 1:
        msg = (
            f"{name} of several outputs needs to know what they mean: give "
            "loss='cross_entropy' for exclusive classes, or "
            "loss='binary_cross_entropy' for yes/no labels."
        )
        raise ArgumentError(msg)
    if link == "logit":
        return link
    assert loss is not None
    if link == "identity" and outputs == 1:
        return "probability" if loss.has_probabilities else "value"
    what = "the logarithm of a rate" if link == "log" else f"{outputs} values"
    msg = (
        f"{name} has no meaning under {loss.name}, whose outputs are {what}: take "
        f"cross_entropy for exclusive classes, binary_cross_entropy for yes/no labels, "
        f"or a metric of your own."
    )
    raise ArgumentError(msg)


def check_yes_and_no(name: str, t: Any, loss: Loss) -> None:
    """Raise an error if the targets of one output of values are not 0 and 1."""
    if t.size and not (t.min() >= 0 and t.max() <= 1):
        msg = (
            f"{name} under {loss.name} needs targets 0 and 1, with the boundary at "
            f"1/2; got targets from {t.min():g} to {t.max():g}. Leave {name} out, or "
            f"hand in a metric of your own."
        )
        raise ArgumentError(msg)


def check_answers(situation: Situation) -> str:
    """Raise an error unless outputs are answers; say how they become some."""
    name, loss, outputs, labels, targets = situation
    how = decide(name, loss, outputs, labels)
    if how == "value":
        check_yes_and_no(name, targets(), loss)
    return how


def check_probabilities(situation: Situation) -> None:
    """Raise an error unless the outputs stand for probabilities."""
    name, loss, outputs, labels, _ = situation
    _need_probabilities(name, loss, decide(name, loss, outputs, labels))


def _need_probabilities(name: str, loss: Loss | None, how: str) -> None:
    if loss is not None and (how == "value" or loss.link not in _LINKS[how]):
        msg = (
            f"{name} compares probabilities, and the outputs of {loss.name} are none: "
            f"take cross_entropy or binary_cross_entropy as the loss, or auc or "
            f"accuracy as the metric."
        )
        raise ArgumentError(msg)


# Way to answers -> the links under which it gives probabilities.
_LINKS = {"largest": {"softmax"}, "logit": {"logit"}, "probability": {"identity"}}


def one_class(name: str, label: Any, classes: int) -> int:
    """Return a label that there is, or raise an error."""
    found = checks.integer(f"{name}: label", label, 0)
    if found >= classes:
        msg = (
            f"{name}: label must be one of the classes, or outputs, 0 ... "
            f"{classes - 1}; got {found}."
        )
        raise ArgumentError(msg)
    return found


class Answers(NamedTuple):
    """Targets and outputs of a classifier, a row for each sample, or point of one.

    Parameters
    ----------
    name : str
        The metric's, for errors.
    loss : Loss or None
    how : str
        As `decide` says.
    truth : array
        Exclusive classes: the class (rows,), in whole numbers. Several labels: yes and
        no (rows, outputs), as booleans.
    targets : array, shape (rows, outputs), or None
        The targets as the loss has them; None where they are labels.
    outputs : array, shape (rows, outputs)
    weight : array, shape (rows,)
    """

    name: str
    loss: Loss | None
    how: str
    truth: Any
    targets: Any
    outputs: Any
    weight: Any

    @property
    def exclusive(self) -> bool:
        """Whether a row has one class, rather than several labels."""
        return bool(self.truth.ndim == 1)

    @property
    def classes(self) -> int:
        """How many classes, or labels, there are."""
        width: int = self.outputs.shape[1]
        return max(width, 2) if self.exclusive else width

    @property
    def predicted(self) -> Any:
        """What the outputs answer, in the form of `truth`."""
        z = self.outputs
        if self.how == "largest":
            return np.argmax(z, axis=1)
        yes = (z > 0.0) if self.how == "logit" else (self._values > 0.5)
        return yes[:, 0].astype(np.intp) if self.exclusive else yes

    @property
    def scores(self) -> Any:
        """What rises with the probability: of class 1 (rows,), or of each class.

        Logits, for a probability near 1 rounds to 1 and would tie with others. Those of
        class k among exclusive ones are z_k - log(sum of exp(z_j), j not k).
        """
        z = self.outputs
        if self.how != "largest":
            z = z if self.how == "logit" else self._values
            return z[:, 0] if self.exclusive else z
        if self.loss is not None and self.loss.link != "softmax":
            return z if self.classes > 2 else z[:, 1] - z[:, 0]
        if self.classes == 2:
            return z[:, 1] - z[:, 0]
        columns = []
        for k in range(self.classes):
            others = np.delete(z, k, axis=1)
            most = others.max(axis=1, initial=-np.inf)
            with np.errstate(invalid="ignore"):
                rest = np.log(np.exp(others - most[:, None]).sum(axis=1))
                columns.append(z[:, k] - most - rest)
        return np.stack(columns, axis=1)

    @property
    def _values(self) -> Any:
        """Probabilities of a link of one's own, or the values themselves."""
        if self.how == "value":
            return self.outputs
        assert self.loss is not None
        return self.loss.probabilities(self.outputs, xp=namespace(self.outputs))

    @property
    def probabilities(self) -> Any:
        """Probabilities (rows, classes): rows sum to 1 where classes are exclusive."""
        _need_probabilities(self.name, self.loss, self.how)
        z = self.outputs
        if self.loss is not None:
            p = self.loss.probabilities(z, xp=namespace(z))
        elif self.how == "largest":
            p = np.exp(-self.surprises)
        else:
            p = np.exp(-self.surprises[:, 1])
        one = self.exclusive and z.shape[1] == 1
        return np.concatenate([1.0 - p, p], axis=1) if one else p

    @property
    def surprises(self) -> Any:
        """-log p of each class, or of no and yes (rows, 2, outputs); exact near 0.

        Exclusive classes of several outputs: (rows, classes).
        """
        _need_probabilities(self.name, self.loss, self.how)
        z = self.outputs
        if self.how == "largest":
            with np.errstate(invalid="ignore"):  # of outputs that are infinite
                z = z - z.max(axis=1, keepdims=True)
                return np.log(np.exp(z).sum(axis=1, keepdims=True)) - z
        if self.how == "probability":
            tiny = np.finfo(np.float64).eps  # as scikit-learn: no logits are known
            p = np.clip(self._values, tiny, 1.0 - tiny)
            return -np.log(np.stack([1.0 - p, p], axis=1))
        with np.errstate(invalid="ignore"):
            return np.logaddexp(0.0, np.stack([z, -z], axis=1))

    @property
    def shares(self) -> Any:
        """The targets as probabilities (rows, classes)."""
        if self.targets is None:
            return (self.truth[:, None] == np.arange(self.classes)).astype(np.float64)
        t = np.asarray(self.targets, dtype=np.float64)
        one = self.exclusive and t.shape[1] == 1
        return np.concatenate([1.0 - t, t], axis=1) if one else t


def read(
    name: str, y_true: Any, y_pred: Any, sample_weight: Any = None, loss: Any = None
) -> Answers:
    """Return targets and outputs as answers; middle axes (a sequence's time) are rows.

    Raises
    ------
    ArgumentError
        If the targets are not such as the loss takes.
    ShapeError
        If targets, outputs and weights do not belong together.
    """
    loss = loss_of(loss)
    t, z = align(name, y_true, y_pred, labels=True)
    labels = t.ndim < z.ndim
    how = decide(name, loss, z.shape[-1], labels)
    weight = weights(name, sample_weight, len(z))
    m = z.shape[-1]
    if how == "largest" and m < 2:
        msg = (
            f"{name}: y_pred must have an output for each class, at least 2; got the "
            f"shape {z.shape}. Two classes in one output are binary_cross_entropy's."
        )
        raise ShapeError(msg)
    rows = np.asarray(z, dtype=np.float64).reshape(-1, m)
    if len(rows) != len(z):
        weight = np.repeat(weight, len(rows) // max(len(z), 1))
    if labels:
        truth, targets = _whole(name, t.reshape(-1), m), None
    else:
        targets = t.reshape(-1, m)
        truth = _truth(name, targets, how, loss)
    return Answers(name, loss, how, truth, targets, rows, weight)


def _truth(name: str, targets: Any, how: str, loss: Loss | None) -> Any:
    """Return the class of each row, or which labels it has."""
    if how == "largest":
        return np.argmax(targets, axis=1)
    if how == "value":
        assert loss is not None
        check_yes_and_no(name, targets, loss)
    lowest = -1 if loss is not None and loss.link == "margin" else 0
    if targets.size and not (targets.min() >= lowest and targets.max() <= 1):
        msg = (
            f"{name}: y_true must lie between {lowest} and 1 where the outputs say yes "
            f"or no; got values from {targets.min():g} to {targets.max():g}. Labels of "
            f"more than two classes need an output for each."
        )
        raise ArgumentError(msg)
    yes = targets > 0.5
    return yes[:, 0].astype(np.intp) if yes.shape[1] == 1 else yes


def _whole(name: str, t: Any, m: int) -> Any:
    """Return labels as whole numbers below m."""
    if t.dtype.kind == "f" and not (t == np.floor(t)).all():
        msg = (
            f"{name}: y_true must hold whole numbers as labels; got a fraction or NaN."
        )
        raise ArgumentError(msg)
    if t.size and not (t.min() >= 0 and t.max() < m):
        msg = (
            f"{name}: y_true must hold labels in 0 ... {m - 1}, one for each of the "
            f"{m} outputs; got labels from {t.min():g} to {t.max():g}."
        )
        raise ArgumentError(msg)
    return t.astype(np.intp)
