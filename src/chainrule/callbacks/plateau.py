"""A learning rate that falls where the loss no longer does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.callbacks.monitor import Monitor, number
from chainrule.config import checks
from chainrule.errors import ArgumentError

if TYPE_CHECKING:
    from chainrule.config.choices import Direction, Int, Real, ThresholdMode
    from chainrule.model import Model

__all__ = ["ReduceLROnPlateau"]


class ReduceLROnPlateau(Monitor):
    """Multiply the learning rate when a value has not improved for `patience` epochs.

    The logs, and so the history and a `CSVLogger`, then have "learning_rate": that of
    the epoch's last step.

    Parameters
    ----------
    monitor : str, optional
        A name in the logs; by default val_loss where there is validation, else loss.
    factor : float in (0, 1)
    patience : int
    min_delta : float, optional
        Improvements of at most this count as none. By default 1e-4 of the best value
        (as in PyTorch, so that a loss of 1e-6 that halves improves); a number that is
        given is a difference (as in Keras), unless threshold_mode says otherwise.
    mode : {"auto", "min", "max"}
        As for `EarlyStopping`.
    cooldown : int
        Epochs after a reduction in which nothing is counted.
    min_lr : float
        The learning rate is not reduced below this.
    threshold_mode : {"abs", "rel"}, optional
        What min_delta is: a difference, or a share of the best value's size.
    """

    best: Any
    wait: Any
    factor: float
    cooldown: int
    min_lr: float

    logs_rate = True

    def __init__(
        self,
        monitor: str | None = None,
        factor: Real = 0.1,
        patience: Int = 10,
        min_delta: Real | None = None,
        mode: Direction = "auto",
        cooldown: Int = 0,
        min_lr: Real = 0.0,
        *,
        threshold_mode: ThresholdMode | None = None,
    ) -> None:
        if threshold_mode is None:
            threshold_mode = "rel" if min_delta is None else "abs"
        min_delta = 1e-4 if min_delta is None else min_delta
        super().__init__(monitor, patience, min_delta, mode, threshold_mode)
        self.factor = checks.real(
            "ReduceLROnPlateau: factor",
            factor,
            0.0,
            1.0,
            open_low=True,
            open_high=True,
        )
        self.cooldown = checks.integer("ReduceLROnPlateau: cooldown", cooldown, 0)
        self.min_lr = checks.real("ReduceLROnPlateau: min_lr", min_lr, 0.0)

    def _reset(self) -> None:
        super()._reset()
        self._rest = 0

    def check_model(self, model: Model) -> None:
        """Raise an error if the model's optimizer has no learning rate to reduce."""
        if not hasattr(model.optimizer, "learning_rate"):
            msg = (
                f"ReduceLROnPlateau needs an optimizer with a learning rate, and "
                f"{type(model.optimizer).__name__} has none: leave the callback out, "
                f"or train with Adam, say."
            )
            raise ArgumentError(msg)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Compare, and reduce the learning rate if the patience is over."""
        name = self._name(logs)
        value = float(logs[name])
        resting = self._rest > 0
        if resting:
            self._rest, self.wait = self._rest - 1, 0
        if self._improved(value, np.nan if self.best is None else self.best, name):
            self.best, self.wait = value, 0
        elif not resting:
            self.wait += 1
            if self.wait >= max(1, self.patience):
                self._reduce()
                self._rest, self.wait = self.cooldown, 0

    def _reduce(self) -> None:
        old = self.model.learning_rate
        new = np.maximum(old * self.factor, self.min_lr)
        # A rate that would underflow stays: an optimizer's must be above 0.
        new = np.where((old > self.min_lr) & (new > 0.0), new, old)
        # Where a schedule is at 0, nothing can be reduced.
        if np.any(new != old) and np.all(new > 0.0):
            self.model.learning_rate = new[()]

    def state(self) -> dict[str, Any]:
        """Return the best value, the epochs since, and the rest of the cooldown."""
        return {**super().state(), "rest": self._rest}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned."""
        rest = number(state["rest"], "rest", int)
        if rest is None or isinstance(state["best"], list) or isinstance(rest, list):
            msg = f"rest and best must be numbers; got {rest!r} and {state['best']!r}"
            raise ValueError(msg)
        super().restore(state)
        self._rest = rest
