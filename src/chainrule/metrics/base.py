"""What the library's own metrics have in common: a direction, a check, options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from chainrule.config.record import Config

__all__ = ["OptionMetric", "Situation", "own"]

_F = TypeVar("_F", bound=Callable[..., Any])


class Situation(NamedTuple):
    """What a metric is asked about before the first epoch.

    Parameters
    ----------
    name : str
        The metric's.
    loss : Loss
    outputs : int
        Along the output's last axis.
    labels : bool
        Whether the targets have no axis of outputs.
    targets : function
        Returns the targets as a NumPy array. Called only where they are looked at.
    """

    name: str
    loss: Any
    outputs: int
    labels: bool
    targets: Callable[[], Any]


def own(*, greater_is_better: bool, check: Callable[..., Any]) -> Callable[[_F], _F]:
    """Decorate one of the library's own metrics, which a model tells its loss.

    Parameters
    ----------
    greater_is_better : bool
    check : function
        Is given a `Situation` and the metric's options, and raises an error where the
        metric has no meaning.
    """

    def decorate(function: _F) -> _F:
        function.greater_is_better = greater_is_better  # type: ignore[attr-defined]
        function.check = check  # type: ignore[attr-defined]
        return function

    return decorate


class OptionMetric(Config):
    """Base of the metrics with options: a function, and the keywords it is given."""

    function: Callable[..., Any]
    options: tuple[str, ...] = ()

    def __call__(
        self,
        y_true: Any,
        y_pred: Any,
        sample_weight: Any = None,
        *,
        loss: Any = None,
    ) -> float:
        """Return the function's value under these options."""
        options = self.given
        value = type(self).function(y_true, y_pred, sample_weight, **options, loss=loss)
        return float(value)

    @property
    def given(self) -> dict[str, Any]:
        """The options, by name."""
        return {name: getattr(self, name) for name in self.options}

    @property
    def name(self) -> str:
        """What logs call it: the function's name, and options that are no default."""
        function: Any = type(self).function
        usual = function.__kwdefaults__
        told = [str(v) for k, v in self.given.items() if v != usual[k]]
        return "_".join([function.__name__, *told])

    @property
    def greater_is_better(self) -> bool:
        """Whether more of it is better."""
        return bool(type(self).function.greater_is_better)  # type: ignore[attr-defined]

    def check(self, situation: Situation) -> None:
        """Raise an error if the metric has no meaning there."""
        type(self).function.check(situation, **self.given)  # type: ignore[attr-defined]
