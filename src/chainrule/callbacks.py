"""Callbacks: what happens between epochs. The hooks are those of Keras."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import Any

from chainrule import _checks
from chainrule.errors import ArgumentError, ArgumentTypeError

__all__ = [
    "CSVLogger",
    "Callback",
    "EarlyStopping",
    "LambdaCallback",
    "ProgressBar",
    "ReduceLROnPlateau",
]


class Callback:
    """Base of all callbacks; every hook does nothing until it is overridden.

    Attributes
    ----------
    model : Model
        The model in training, set before the first hook. A hook may read it (`theta`,
        `predict`, `evaluate`), set ``model.stop_training = True``, and set
        ``model.learning_rate``.
    """

    model: Any = None

    def on_train_begin(self, logs: dict[str, Any]) -> None:
        """Before the first epoch of a fit."""

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any]) -> None:
        """Before an epoch; the first epoch of the model's life is number 0."""

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """After an epoch; logs has its loss, val_loss and metrics."""

    def on_train_end(self, logs: dict[str, Any]) -> None:
        """After the last epoch, however it came to be the last."""

    def state(self) -> dict[str, Any]:
        """Return what decides this callback's future, as plain values and arrays."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned."""


class LambdaCallback(Callback):
    """Functions as hooks.

    Parameters
    ----------
    on_train_begin, on_train_end : function of (logs), optional
    on_epoch_begin, on_epoch_end : function of (epoch, logs), optional
    """

    def __init__(
        self,
        on_epoch_begin: Callable[..., Any] | None = None,
        on_epoch_end: Callable[..., Any] | None = None,
        on_train_begin: Callable[..., Any] | None = None,
        on_train_end: Callable[..., Any] | None = None,
    ) -> None:
        hooks = {
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
        }
        for name, hook in hooks.items():
            if hook is None:
                continue
            if not callable(hook):
                msg = f"LambdaCallback: {name} must be a function; got {hook!r}."
                raise ArgumentTypeError(msg)
            setattr(self, name, hook)


class _Monitor(Callback):
    """What early stopping and plateau detection share: which epoch is the best."""

    def __init__(
        self, monitor: str | None, patience: int, min_delta: float, mode: str
    ) -> None:
        name = type(self).__name__
        if monitor is not None and not isinstance(monitor, str):
            msg = f"{name}: monitor must be a name in the logs; got {monitor!r}."
            raise ArgumentTypeError(msg)
        self.monitor = monitor
        self.patience = _checks.integer(f"{name}: patience", patience, 0)
        self.min_delta = _checks.real(f"{name}: min_delta", min_delta, 0.0)
        self.mode = _checks.choice(f"{name}: mode", mode, ("auto", "min", "max"))
        self._restored = False
        self._reset()

    def _reset(self) -> None:
        self.best: float | None = None
        self.wait = 0

    def on_train_begin(self, logs: dict[str, Any]) -> None:
        """Forget the last fit, unless a state was restored for this one."""
        if not self._restored:
            self._reset()
        self._restored = False

    def check_logs(self, names: Iterable[str]) -> None:
        """Raise an error if what is monitored is not among the names of the logs."""
        if self.monitor is not None and self.monitor not in names:
            msg = (
                f"{type(self).__name__}: monitor {self.monitor!r} is not in the logs; "
                f"they have {', '.join(sorted(names))}. Hand in validation data, or add "
                f"the metric."
            )
            raise ArgumentError(msg)

    def _value(self, logs: dict[str, Any]) -> float:
        self.check_logs(logs)
        name = self.monitor or ("val_loss" if "val_loss" in logs else "loss")
        high = self.mode == "max" or (
            self.mode == "auto" and name.removeprefix("val_") in ("accuracy", "r2")
        )
        value = float(logs[name])
        return -value if high else value

    def _improved(self, value: float) -> bool:
        if math.isnan(value):
            return False
        return self.best is None or value < self.best - self.min_delta

    def state(self) -> dict[str, Any]:
        """Return the best value so far and the epochs since."""
        return {"best": self.best, "wait": self.wait}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned; the next fit goes on from it."""
        self.best, self.wait = state["best"], state["wait"]
        self._restored = True


class EarlyStopping(_Monitor):
    """Stop when a value has not improved for `patience` epochs.

    Parameters
    ----------
    monitor : str, optional
        A name in the logs; by default val_loss where there is validation, else loss.
    patience : int
    min_delta : float
        Improvements of at most this count as none.
    mode : {"auto", "min", "max"}
        auto: accuracy and r2 are to rise, everything else is to fall.
    restore_best_weights : bool
        Give the model the parameters and state of its best epoch at the end.

    Attributes
    ----------
    best_epoch : int or None
        Number of the best epoch, counted from the model's birth.
    stopped_epoch : int or None
        The epoch that ended the fit, if this callback did.
    """

    def __init__(
        self,
        monitor: str | None = None,
        patience: int = 10,
        min_delta: float = 0.0,
        mode: str = "auto",
        restore_best_weights: bool = True,
    ) -> None:
        super().__init__(monitor, patience, min_delta, mode)
        self.restore_best_weights = bool(restore_best_weights)

    def _reset(self) -> None:
        super()._reset()
        self.best_epoch: int | None = None
        self.stopped_epoch: int | None = None
        self._weights: Any = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Compare, and stop if the patience is over."""
        value = self._value(logs)
        if self._improved(value):
            self.best, self.best_epoch, self.wait = value, epoch, 0
            if self.restore_best_weights:
                self._weights = self.model.get_weights()
            return
        self.wait += 1
        if self.wait >= max(1, self.patience):
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: dict[str, Any]) -> None:
        """Give the best weights back."""
        if self.restore_best_weights and self._weights is not None:
            self.model.set_weights(self._weights)

    def state(self) -> dict[str, Any]:
        """Return the best value, epoch and weights, and the epochs since."""
        return {
            **super().state(),
            "best_epoch": self.best_epoch,
            "weights": self._weights,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned."""
        super().restore(state)
        self.best_epoch, self._weights = state["best_epoch"], state["weights"]


class ReduceLROnPlateau(_Monitor):
    """Multiply the learning rate when a value has not improved for `patience` epochs.

    Parameters
    ----------
    monitor : str, optional
        A name in the logs; by default val_loss where there is validation, else loss.
    factor : float in (0, 1)
    patience : int
    min_delta : float
        Improvements of at most this count as none.
    mode : {"auto", "min", "max"}
    cooldown : int
        Epochs after a reduction in which nothing is counted.
    min_lr : float
        The learning rate is not reduced below this.
    """

    def __init__(
        self,
        monitor: str | None = None,
        factor: float = 0.1,
        patience: int = 10,
        min_delta: float = 1e-4,
        mode: str = "auto",
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, patience, min_delta, mode)
        self.factor = _checks.real(
            "ReduceLROnPlateau: factor",
            factor,
            0.0,
            1.0,
            open_low=True,
            open_high=True,
        )
        self.cooldown = _checks.integer("ReduceLROnPlateau: cooldown", cooldown, 0)
        self.min_lr = _checks.real("ReduceLROnPlateau: min_lr", min_lr, 0.0)

    def _reset(self) -> None:
        super()._reset()
        self._rest = 0

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Compare, and reduce the learning rate if the patience is over."""
        value = self._value(logs)
        resting = self._rest > 0
        if resting:
            self._rest, self.wait = self._rest - 1, 0
        if self._improved(value):
            self.best, self.wait = value, 0
        elif not resting:
            self.wait += 1
            if self.wait >= max(1, self.patience):
                old = self.model.learning_rate
                if old > self.min_lr:
                    self.model.learning_rate = max(old * self.factor, self.min_lr)
                self._rest, self.wait = self.cooldown, 0

    def state(self) -> dict[str, Any]:
        """Return the best value, the epochs since, and the rest of the cooldown."""
        return {**super().state(), "rest": self._rest}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned."""
        super().restore(state)
        self._rest = state["rest"]


class CSVLogger(Callback):
    """Write one line per epoch: its number, then the logs in alphabetical order.

    Parameters
    ----------
    filename : str or path
    separator : str
    append : bool
        Go on with a file that is there, instead of writing it anew.
    """

    def __init__(
        self, filename: Any, separator: str = ",", append: bool = False
    ) -> None:
        from pathlib import Path

        self.filename = Path(filename)
        self.separator = separator
        self.append = append
        self._begun = self._restored = False

    def on_train_begin(self, logs: dict[str, Any]) -> None:
        """Begin the file anew, unless lines are to be appended or a fit goes on."""
        going_on = self.append or (self._restored and self._begun)
        self._begun = going_on and self.filename.exists()
        self._restored = False

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Write a line; the first one is preceded by the header."""
        import csv

        names = sorted(logs)
        with self.filename.open(
            "a" if self._begun else "w", newline="", encoding="utf-8"
        ) as file:
            writer = csv.writer(file, delimiter=self.separator)
            if not self._begun:
                writer.writerow(["epoch", *names])
                self._begun = True
            writer.writerow([epoch, *(logs[name] for name in names)])

    def state(self) -> dict[str, Any]:
        """Return whether the file was begun."""
        return {"begun": self._begun}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned; the next fit appends to the file."""
        self._begun, self._restored = state["begun"], True


class ProgressBar:
    """A tqdm bar over the steps of a fit: loss, val_loss, steps a second.

    It looks at the losses a few times a second at most: to read one, a device must be
    waited for.

    Parameters
    ----------
    progress : bool or None
        None: on a terminal or in a notebook.
    epochs, steps : int
        Epochs, and steps in each.
    """

    SECONDS = 0.2

    def __init__(self, progress: bool | None, epochs: int, steps: int) -> None:
        self._steps = steps
        self._bar: Any = None
        self._next = 0.0
        if progress is None:
            progress = _watched()
        if progress:
            from tqdm.auto import tqdm

            self._bar = tqdm(total=epochs * steps, unit="step", dynamic_ncols=True)

    def show(self, read: Callable[[], dict[str, float]], *, last: bool = False) -> None:
        """Count an epoch; call `read` for the losses only if it is time to draw."""
        if self._bar is None:
            return
        now = time.monotonic()
        if last or now >= self._next:
            self._next = now + self.SECONDS
            logs = {k: f"{v:.3g}" for k, v in read().items() if isinstance(v, float)}
            self._bar.set_postfix(logs, refresh=False)
        self._bar.update(self._steps)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.close()


def _watched() -> bool:
    import sys

    if sys.stderr is not None and sys.stderr.isatty():
        return True
    return "ipykernel" in sys.modules
