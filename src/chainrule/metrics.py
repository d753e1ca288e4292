"""Metrics: functions of targets and outputs, on the host, each with its direction.

A metric is a function ``metric(y_true, y_pred) -> float`` of NumPy arrays, the targets
as the loss takes them and the network's outputs (logits, for the cross entropies). If
it has a parameter `sample_weight`, it receives the weights.

The library's own metrics are told the model's loss and compare what the outputs *mean*
under it: the value for squared_error and its like, exp(z) for poisson, the probability
for binary_cross_entropy, the largest of the outputs for cross_entropy. What the data
look like never decides.

Callbacks ask a metric whether more of it is better. It is known for the library's own;
for scikit-learn's functions, by its rule for their names (``..._score`` is to rise,
``..._error``, ``..._loss``, ``..._deviance`` to fall); for one's own where the function
has an attribute `greater_is_better`, where `Metric` says so, or where the name does
(accuracy, r2, a last word "error", "loss" or "deviance"). Where nobody says, a callback
that needs to know is refused until it is given mode="min" or mode="max".
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.arrays.namespace import namespace
from chainrule.config import checks
from chainrule.config.directions import direction
from chainrule.config.explain import explain_missing
from chainrule.config.names import lookup, resolve
from chainrule.config.record import Config
from chainrule.errors import ArgumentError, ArgumentTypeError

if TYPE_CHECKING:
    from chainrule.arrays.types import Array
    from chainrule.config.choices import MetricAlias, MetricName
    from chainrule.losses import Loss

__all__ = ["Metric", "accuracy", "get", "mean_absolute_error", "r2"]

# Names that an epoch's logs have for something else, with and without "val_".
_TAKEN = ("loss", "member_loss", "slope_loss", "learning_rate", "epoch")
# scikit-learn's, where its rule for names does not say it.
_OF_SKLEARN = {"davies_bouldin_score": False, "matthews_corrcoef": True, "auc": True}


class Metric(Config):
    """A metric with a name and a direction.

    Parameters
    ----------
    function : str or function of (y_true, y_pred)
    name : str, optional
        What logs call it; the function's own name by default.
    greater_is_better : bool, optional
        True where it is to rise, False where it is to fall; by default what is known of
        the function.
    """

    function: Any
    name: str | None
    greater_is_better: bool | None

    def __init__(
        self,
        function: Any,
        *,
        name: str | None = None,
        greater_is_better: bool | None = None,
    ) -> None:
        if isinstance(function, str):
            function = lookup("Metric: function", function, _NAMES, "metric")
        if not callable(function) or isinstance(function, Metric):
            msg = f"Metric: function must be a function; got {function!r}."
            raise ArgumentTypeError(msg)
        if name is not None and (not isinstance(name, str) or not name):
            msg = f"Metric: name must be a string; got {name!r}."
            raise ArgumentTypeError(msg)
        direction = checks.boolean(
            "Metric: greater_is_better", greater_is_better, none=True
        )
        self._set(function=function, name=name, greater_is_better=direction)

    def __call__(self, *given: Any, **options: Any) -> Any:
        """Call the function."""
        return self.function(*given, **options)


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
    binary_cross_entropy, binary_focal and hinge: each output is yes where it is above
    0, and a sample counts with the share of its outputs that are right, whether there
    is one or many (Keras's binary_accuracy; scikit-learn's accuracy_score counts a
    sample with several labels only if all of them are right). Losses of values, such as
    squared_error, with one output and targets 0 and 1: yes above ½.
    """
    t, z = np.asarray(y_true), np.asarray(y_pred)
    if t.ndim == z.ndim == 2 and t.shape[-1] == 1 < z.shape[-1]:
        t = t[:, 0]
    elif t.shape != z.shape and (*t.shape, 1) == z.shape:
        t = t[..., None]
    labels = t.shape == z.shape[:-1]
    outputs = z.shape[-1] if z.ndim > 1 else 1
    how = _decision(None if loss is None else resolve("loss", loss), outputs, labels)
    if how == "largest":
        right = np.argmax(z, axis=-1) == (t if labels else np.argmax(t, axis=-1))
    elif how == "logit":
        right = (z > 0) == (t > 0.5)
    elif how == "probability":
        right = (resolve("loss", loss).probabilities(z, xp=namespace(z)) > 0.5) == (
            t > 0.5
        )
    else:
        _check_yes_and_no(t, resolve("loss", loss))
        right = (z > 0.5) == (t > 0.5)
    hits = right.reshape(len(right), -1).mean(axis=1, dtype=np.float64)
    return float(_average(hits, sample_weight))


def _decision(loss: Loss | None, outputs: int, labels: bool) -> str:
    """Say how outputs become answers: "largest", "logit", "probability" or "value"."""
    link = "logit" if loss is None or loss.link == "margin" else loss.link
    if labels or link == "softmax":
        return "largest"
    if loss is None and outputs > 1:
        msg = (
            "accuracy of several outputs needs to know what they mean: give "
            "loss='cross_entropy' for exclusive classes, or "
            "loss='binary_cross_entropy' for yes/no labels."
        )
        raise ArgumentError(msg)
    if link == "logit":
        return link
    assert loss is not None
    own = loss.has_probabilities
    if link == "identity" and outputs == 1:
        return "probability" if own else "value"
    what = "the logarithm of a rate" if link == "log" else f"{outputs} values"
    msg = (
        f"accuracy has no meaning under {loss.name}, whose outputs are {what}: take "
        f"cross_entropy for exclusive classes, binary_cross_entropy for yes/no labels, "
        f"or a metric of your own."
    )
    raise ArgumentError(msg)


def _check_yes_and_no(t: Any, loss: Loss) -> None:
    if t.size and not (t.min() >= 0 and t.max() <= 1):
        msg = (
            f"accuracy under {loss.name} needs targets 0 and 1, with the boundary at "
            f"1/2; got targets from {t.min():g} to {t.max():g}. Leave accuracy out, or "
            f"hand in a metric of your own."
        )
        raise ArgumentError(msg)


def mean_absolute_error(
    y_true: Any, y_pred: Any, sample_weight: Any = None, *, loss: Any = None
) -> float:
    """Mean of |y_true - mean| over samples and outputs.

    The mean is what the outputs say under the `loss`: themselves, exp(z) for poisson,
    the probability for binary_cross_entropy. Exclusive classes have none.
    """
    error = np.abs(
        np.asarray(y_true).astype(np.float64)
        - _mean("mean_absolute_error", y_pred, loss)
    )
    return float(_average(error.reshape(len(error), -1).mean(axis=1), sample_weight))


def r2(
    y_true: Any, y_pred: Any, sample_weight: Any = None, *, loss: Any = None
) -> float:
    """Coefficient of determination, 1 - residual / variance, the mean over outputs.

    An output whose target is constant counts 1 if it is met exactly, else 0. The
    outputs are taken as `mean_absolute_error` takes them.
    """
    t = np.asarray(y_true).astype(np.float64).reshape(len(y_true), -1)
    z = _mean("r2", y_pred, loss).reshape(len(y_pred), -1)
    w = np.ones(len(t))
    if sample_weight is not None:
        w = np.asarray(sample_weight, dtype=np.float64)
    w = w[:, None]
    mean = (w * t).sum(axis=0) / max(float(w.sum()), np.finfo(float).tiny)
    residual = (w * (t - z) ** 2).sum(axis=0)
    total = (w * (t - mean) ** 2).sum(axis=0)
    flat = total == 0
    score = np.where(flat, residual == 0, 1.0 - residual / np.where(flat, 1.0, total))
    return float(score.mean())


def _mean(name: str, z: Any, loss: Any) -> Any:
    """Return the mean of the target that outputs stand for, in float64."""
    z = np.asarray(z).astype(np.float64)
    if loss is None:
        return z
    loss = resolve("loss", loss)
    _check_mean(name, loss)
    if loss.link == "log":
        with np.errstate(over="ignore"):
            return np.exp(z)
    if loss.has_probabilities:
        return loss.probabilities(z, xp=namespace(z))
    return z


def _check_mean(name: str, loss: Loss) -> None:
    if loss.link in {"margin", "softmax"}:
        msg = (
            f"metrics: {name} compares values, and the outputs of {loss.name} are "
            f"classes. Take accuracy, or a metric of your own."
        )
        raise ArgumentError(msg)


def _average(values: Any, weight: Array | None) -> Any:
    if weight is None:
        return values.mean() if values.size else np.nan
    weight = np.asarray(weight, dtype=np.float64)
    total = float(np.sum(weight))
    return float(np.sum(values * weight)) / total if total > 0 else 0.0


_NAMES = {"accuracy": accuracy, "mean_absolute_error": mean_absolute_error, "r2": r2}
_OWN = tuple(_NAMES.values())


class _Bound:
    """A metric as a model calls it: with its name, its direction and what it takes."""

    def __init__(self, metric: Any) -> None:
        self.function = metric.function if isinstance(metric, Metric) else metric
        named = metric.name if isinstance(metric, Metric) else None
        self.name = named or _name(self.function)
        self.greater_is_better = _direction_of(metric, self.name)
        try:
            parameters = inspect.signature(self.function).parameters
            self._weighted = "sample_weight" in parameters
        except (TypeError, ValueError):
            self._weighted = False
        self._own = self.function in _OWN

    def __call__(
        self, y_true: Any, y_pred: Any, weight: Array | None, loss: Any = None
    ) -> float:
        more = {"loss": loss} if self._own else {}
        if self._weighted and weight is not None:
            more["sample_weight"] = weight
        value = self.function(y_true, y_pred, **more)
        try:
            return float(value)
        except (TypeError, ValueError):
            msg = (
                f"metrics: {self.name} must return one number; got "
                f"{checks.show(value)} ({type(value).__name__})."
            )
        raise ArgumentTypeError(msg)

    def check(self, loss: Loss, shape: tuple[int, ...], t: Any, fetch: Any) -> None:
        """Raise an error if the metric has no meaning under a loss and its targets.

        Parameters
        ----------
        loss : Loss
        shape : tuple of int
            Of a sample's output.
        t : array
            The targets, on the backend.
        fetch : function of an array, which returns it as a NumPy array
            Called only where targets are looked at.
        """
        if self.function is accuracy:
            outputs = shape[-1] if shape else 1
            labels = t.ndim == len(shape)
            if _decision(loss, outputs, labels) == "value":
                _check_yes_and_no(fetch(t), loss)
        elif self._own:
            _check_mean(self.name, loss)


def _name(function: Any) -> str:
    if isinstance(function, functools.partial):
        return _name(function.func)
    return str(getattr(function, "__name__", type(function).__name__))


def _direction_of(metric: Any, name: str) -> bool | None:
    """Whether more of a metric is better, or None where nobody says."""
    function = metric.function if isinstance(metric, Metric) else metric
    for thing in (metric, function, getattr(function, "func", None)):
        own = getattr(thing, "greater_is_better", None)
        own = checks.boolean(f"metrics: {name}: greater_is_better", own, none=True)
        if own is not None:
            return own  # type: ignore[no-any-return]
    while isinstance(function, functools.partial):
        function = function.func
    if str(getattr(function, "__module__", "")).startswith("sklearn."):
        known = _name(function)
        if known in _OF_SKLEARN:
            return _OF_SKLEARN[known]
        if known.endswith("_score"):
            return True
    if isinstance(metric, Metric) and metric.name is not None:
        return direction(_name(function))  # what users call it says nothing of it
    return direction(name)


def get(
    metric: MetricName | MetricAlias | Metric | Callable[..., Any],
) -> tuple[str, Callable[..., float]]:
    """Return a metric's name, and what a model calls.

    That is ``f(y_true, y_pred, weight, loss) -> float``, with an attribute
    `greater_is_better`.
    """
    if isinstance(metric, str):
        metric = lookup("metrics", metric, _NAMES, "metric")
    if not callable(metric):
        wanted = "names or functions of (y_true, y_pred)"
        checks.refuse("metrics", wanted, metric)
    bound = _Bound(metric)
    if bound.name.removeprefix("val_") in _TAKEN:
        msg = (
            f"metrics: a metric must not be called {bound.name!r}; rename the function."
        )
        raise ArgumentError(msg)
    return bound.name, bound


if not TYPE_CHECKING:
    __getattr__ = explain_missing(__name__, __all__)
