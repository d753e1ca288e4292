"""A metric as a model holds it: with its name, its direction and what it takes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.config import checks
from chainrule.config.directions import direction
from chainrule.config.names import lookup
from chainrule.config.record import Config
from chainrule.errors import ArgumentError, ArgumentTypeError
from chainrule.metrics.base import OptionMetric, Situation
from chainrule.metrics.probabilistic import crps_members, interval_coverage
from chainrule.metrics.table import NAMES

if TYPE_CHECKING:
    from chainrule.arrays.types import Array
    from chainrule.config.choices import MetricAlias, MetricName
    from chainrule.losses import Loss

__all__ = ["Bound", "Metric", "get"]

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
            function = lookup("Metric: function", function, NAMES, "metric")
        if isinstance(function, type):
            checks.refuse("Metric: function", "a function or an object", function)
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


class Bound:
    """A metric as a model calls it: with its name, its direction and what it takes."""

    function: Any
    name: str
    greater_is_better: bool | None

    def __init__(self, metric: Any) -> None:
        self.function = metric.function if isinstance(metric, Metric) else metric
        named = metric.name if isinstance(metric, Metric) else None
        self.name = named or _name(self.function)
        self.greater_is_better = _direction_of(metric, self.name)
        try:
            takes = {*inspect.signature(self.function).parameters}
        except (TypeError, ValueError):
            takes = set()
        self._weighted = "sample_weight" in takes
        self._own = self.function in NAMES.values() or isinstance(
            self.function, OptionMetric
        )
        self._spread = self._own and "std" in takes

    def __call__(
        self,
        y_true: Any,
        y_pred: Any,
        weight: Array | None,
        loss: Any = None,
        std: Array | None = None,
    ) -> float:
        """Return the function's value, as a float."""
        more = {"loss": loss} if self._own else {}
        if self._spread:
            more["std"] = std
        if self._weighted and weight is not None:
            more["sample_weight"] = weight
        if self._own:  # of a network that diverges: the value is inf or NaN
            with np.errstate(over="ignore", invalid="ignore"):
                value = self.function(y_true, y_pred, **more)
        else:
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
        if self._own:
            outputs, labels = shape[-1] if shape else 1, t.ndim == len(shape)
            function = getattr(self.function, "function", self.function)
            name = function.__name__  # without options
            self.function.check(
                Situation(name, loss, outputs, labels, lambda: fetch(t))
            )


def _name(function: Any) -> str:
    if isinstance(function, functools.partial):
        return _name(function.func)
    if isinstance(function, OptionMetric):
        return function.name
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
        metric = lookup("metrics", metric, NAMES, "metric")
    if not callable(metric) or isinstance(metric, type):
        wanted = "names or functions of (y_true, y_pred)"
        checks.refuse("metrics", wanted, metric)
    bound = Bound(metric)
    if bound.function in (crps_members, interval_coverage):
        msg = (
            f"metrics: {bound.name} is called with arrays that a model's outputs do "
            f"not have; see its parameters. Call it with what predict gives."
        )
        raise ArgumentError(msg)
    if bound.name.removeprefix("val_") in _TAKEN:
        msg = (
            f"metrics: a metric must not be called {bound.name!r}; rename the function."
        )
        raise ArgumentError(msg)
    return bound.name, bound
