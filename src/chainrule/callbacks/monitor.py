"""What is watched: its direction, and what counts as an improvement."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.callbacks.base import Callback
from chainrule.config import checks
from chainrule.config.directions import direction
from chainrule.errors import ArgumentError, ArgumentTypeError

if TYPE_CHECKING:
    from chainrule.config.choices import Direction, Int, Real, ThresholdMode

__all__ = ["Monitor", "number"]


class Monitor(Callback):
    """A callback that knows which epoch is the best so far.

    Parameters
    ----------
    monitor : str or None
    patience : int
    min_delta : float
    mode : {"auto", "min", "max"}
    threshold_mode : {"abs", "rel"}

    Attributes
    ----------
    best : float or None
        The best value so far, as it is in the logs.
    wait : int
        Epochs since.
    """

    monitor: str | None
    best: Any
    wait: Any
    patience: int
    min_delta: float
    mode: Direction
    threshold_mode: ThresholdMode = "abs"  # of what earlier versions pickled, too

    def __init__(
        self,
        monitor: str | None,
        patience: Int,
        min_delta: Real,
        mode: Direction,
        threshold_mode: ThresholdMode = "abs",
    ) -> None:
        name = type(self).__name__
        if monitor is not None and not isinstance(monitor, str):
            shown = checks.show(monitor)
            msg = f"{name}: monitor must be a name in the logs; got {shown}."
            raise ArgumentTypeError(msg)
        self.monitor = monitor
        self.patience = checks.integer(f"{name}: patience", patience, 0)
        self.min_delta = checks.real(f"{name}: min_delta", min_delta, 0.0)
        self.mode = checks.choice(f"{name}: mode", mode, ("auto", "min", "max"))
        self.threshold_mode = checks.choice(
            f"{name}: threshold_mode", threshold_mode, ("abs", "rel")
        )
        self._restored = False
        self._reset()

    def _reset(self) -> None:
        self.best = None
        self.wait = 0

    def on_train_begin(self, logs: dict[str, Any]) -> None:
        """Forget the last fit, unless a state was restored for this one."""
        if not self._restored:
            self._reset()
        self._restored = False

    def check_logs(self, names: Mapping[str, bool | None]) -> None:
        """Raise an error if the monitor is not in the logs, or has no direction."""
        if self.monitor is None:
            return
        if self.monitor not in names:
            msg = (
                f"{type(self).__name__}: monitor {self.monitor!r} is not in the logs; "
                f"they have {', '.join(sorted(names))}. Hand in validation data, or "
                f"add the metric."
            )
            raise ArgumentError(msg)
        said = names[self.monitor] if isinstance(names, Mapping) else None
        self._direction(self.monitor, said)

    def _rises(self, name: str) -> bool:
        """Whether more of what the model in training logs is better."""
        known = getattr(self.model, "metrics", {})
        metric = known.get(name, known.get(name.removeprefix("val_")))
        if metric is None and name == "val_score":
            return self._direction(name, True)  # an estimator's, whichever it is
        return self._direction(name, getattr(metric, "greater_is_better", None))

    def _direction(self, name: str, said: bool | None) -> bool:
        """Whether more is better, or raise an error where nobody says."""
        if self.mode != "auto":
            return self.mode == "max"
        found = direction(name) if said is None else said
        if found is None:
            msg = (
                f"{type(self).__name__}: whether {name!r} is to rise or to fall, "
                f"nobody says: give mode='max' or mode='min', or let the metric say "
                f"it: metrics.Metric(function, greater_is_better=True)."
            )
            raise ArgumentError(msg)
        return found

    def _name(self, logs: dict[str, Any]) -> str:
        if self.monitor is not None and self.monitor not in logs:
            Monitor.check_logs(self, dict.fromkeys(logs))
        return self.monitor or ("val_loss" if "val_loss" in logs else "loss")

    def _improved(self, value: Any, best: Any, name: str) -> Any:
        """Say where a value is better than the best so far, NaN where there is none."""
        value, best = (np.asarray(a, dtype=np.float64) for a in (value, best))
        gain = value - best if self._rises(name) else best - value
        margin = np.asarray(self.min_delta)
        if self.threshold_mode == "rel":
            margin = self.min_delta * np.abs(best)
        margin = np.where(np.isfinite(best), margin, 0.0)
        return ~np.isnan(value) & (np.isnan(best) | (gain > margin))

    def state(self) -> dict[str, Any]:
        """Return the best value so far and the epochs since."""
        return {
            "monitor": self.monitor,
            "best": self.best,
            "wait": self.wait,
            "negated": False,
        }

    def matches(self, state: dict[str, Any]) -> int:
        """As `Callback.matches`: by what is monitored."""
        return 2 if state.get("monitor", "") == self.monitor else 1

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned; the next fit goes on from it."""
        best, wait = number(state["best"], "best"), number(state["wait"], "wait", int)
        if state.get("negated", True) and best is not None and self._was_negated():
            best = [None if b is None else -b for b in best] if _many(best) else -best
        if (wait is None) or _many(best) != _many(wait):
            msg = f"best {best!r} and wait {wait!r} do not belong together"
            raise ValueError(msg)
        self.best, self.wait = best, wait
        self._restored = True

    def _was_negated(self) -> bool:
        """Whether earlier versions kept the negated value of what is monitored."""
        name = (self.monitor or "loss").removeprefix("val_")
        return self.mode == "max" or (
            self.mode == "auto" and name in ("accuracy", "r2")
        )


def _many(value: Any) -> bool:
    return isinstance(value, list)


def number(value: Any, name: str, kind: type = float) -> Any:
    """Return a number of a state, None, or a list of them; raise an error for all else.

    An int is to be one of at least 0.
    """
    if _many(value):
        return [_one(v, name, kind) for v in value]
    return _one(value, name, kind)


def _one(value: Any, name: str, kind: type) -> Any:
    wanted = numbers.Integral if kind is int else numbers.Real
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, wanted):
        msg = f"{name} must be a number or None; got {value!r}"
        raise TypeError(msg)
    if (kind is int and value < 0) or math.isnan(value):
        msg = f"{name} must be a number of at least 0; got {value!r}"
        raise ValueError(msg)
    return kind(value)
