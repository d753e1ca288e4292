"""Callbacks: what happens between epochs. The hooks are those of Keras."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from chainrule import _checks
from chainrule.errors import ArgumentError, ArgumentTypeError

__all__ = [
    "CSVLogger",
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "LambdaCallback",
    "ReduceLROnPlateau",
]


class Callback:
    """Base of all callbacks; every hook does nothing until it is overridden.

    Attributes
    ----------
    model : Model
        The model in training, set before the first hook. A hook may read it (`theta`,
        `predict`, `evaluate`), set ``model.stop_training = True``, and set
        ``model.learning_rate`` or, of an ensemble, ``model.stopped_members``.
    steers : bool
        Whether the fit depends on the callback's state, so that a fit that is resumed
        without it may end otherwise.
    """

    model: Any = None
    steers = True

    def on_train_begin(self, logs: dict[str, Any]) -> None:
        """Before the first epoch of a fit."""

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any]) -> None:
        """Before an epoch; the first epoch of the model's life is number 0."""

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """After an epoch; logs has its loss, val_loss and metrics."""

    def on_train_end(self, logs: dict[str, Any]) -> None:
        """After the last epoch, unless an error made it the last."""

    def check_logs(self, names: Iterable[str]) -> None:
        """Before anything of a fit begins: raise an error if it cannot be served.

        `names` are those that the logs of each epoch will have.
        """

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
                msg = f"LambdaCallback: {name} must be a function; got {_checks.show(hook)}."
                raise ArgumentTypeError(msg)
            setattr(self, name, hook)


class _Monitor(Callback):
    """What early stopping and plateau detection share: which epoch is the best."""

    def __init__(
        self, monitor: str | None, patience: int, min_delta: float, mode: str
    ) -> None:
        name = type(self).__name__
        if monitor is not None and not isinstance(monitor, str):
            msg = f"{name}: monitor must be a name in the logs; got {_checks.show(monitor)}."
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
        name = self._name(logs)
        value = float(logs[name])
        return -value if self._high(name) else value

    def _name(self, logs: dict[str, Any]) -> str:
        _Monitor.check_logs(self, logs)
        return self.monitor or ("val_loss" if "val_loss" in logs else "loss")

    def _high(self, name: str) -> bool:
        return self.mode == "max" or (
            self.mode == "auto" and name.removeprefix("val_") in ("accuracy", "r2")
        )

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
    best : float or None
    best_epoch : int or None
        Number of the best epoch, counted from the model's birth.
    stopped_epoch : int or None
        The epoch that ended the fit, if this callback did.

    Notes
    -----
    Each member of an ensemble has its own loss and val_loss, patience and best epoch, and
    the attributes are lists. A member whose patience is over stands still; the fit ends
    with the last one. In the end each member is what it would be if it had been trained
    alone. Metrics are those of the mean prediction: all members stop with them.
    """

    best: Any
    wait: Any

    def __init__(
        self,
        monitor: str | None = None,
        patience: int = 10,
        min_delta: float = 0.0,
        mode: str = "auto",
        restore_best_weights: bool = True,
    ) -> None:
        super().__init__(monitor, patience, min_delta, mode)
        self.restore_best_weights = _checks.boolean(
            "EarlyStopping: restore_best_weights", restore_best_weights
        )

    def _reset(self) -> None:
        super()._reset()
        self.best_epoch: Any = None
        self.stopped_epoch: Any = None
        self._weights: Any = None

    def on_train_begin(self, logs: dict[str, Any]) -> None:
        """Forget the last fit; one that is resumed and had stopped has stopped."""
        super().on_train_begin(logs)
        members = getattr(self.model, "members", None)
        shape: tuple[int, ...] = ()
        if members is not None and self.monitor in (None, "loss", "val_loss"):
            shape = (members,)
        stopped = self._marks(shape)[3]
        if self._hold(~np.isnan(stopped)).all():
            self.model.stop_training = True

    def _values(self, logs: dict[str, Any]) -> Any:
        """Return what is monitored, as an array: () or, for an ensemble, (members,)."""
        name = self._name(logs)
        value = logs.get(name.replace("loss", "member_loss"), logs[name])
        return np.asarray(-value if self._high(name) else value, dtype=np.float64)

    def _marks(self, shape: tuple[int, ...]) -> list[Any]:
        """Return best, best_epoch, wait and stopped_epoch as arrays; NaN for None."""
        marks = (self.best, self.best_epoch, self.wait, self.stopped_epoch)
        return [np.broadcast_to(np.asarray(a, dtype=np.float64), shape) for a in marks]

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Compare, and stop if the patience is over."""
        value = self._values(logs)
        best, best_epoch, wait, stopped = self._marks(value.shape)
        going = np.isnan(stopped)
        first = np.isnan(best) & ~np.isnan(value)
        better = going & (first | (value < best - self.min_delta))
        wait = np.where(better, 0, wait + going)
        over = going & ~better & (wait >= max(1, self.patience))
        stopped = np.where(over, epoch, stopped)
        self.best = _plain(np.where(better, value, best), float)
        self.best_epoch = _plain(np.where(better, epoch, best_epoch), int)
        self.wait, self.stopped_epoch = _plain(wait, int), _plain(stopped, int)
        # A lone model that stops keeps the weights that it stops with by itself.
        if self.restore_best_weights or value.ndim:
            self._keep(better if self.restore_best_weights else over)
        if self._hold(~np.isnan(stopped)).all():
            self.model.stop_training = True

    def _hold(self, over: Any) -> Any:
        """Hold the members whose patience is over; return who stands still."""
        if over.ndim:
            others = self.model.stopped_members  # of another callback
            over = over if others is None else over | others
            self.model.stopped_members = over
        return over

    def _keep(self, which: Any) -> None:
        """Remember the weights of the model, or of which members."""
        if not which.any():
            return
        now = self.model.get_weights()
        if which.ndim and self._weights is not None:
            pairs = zip(now, self._weights, strict=True)
            now = tuple(np.where(which[:, None], new, old) for new, old in pairs)
        self._weights = now

    def on_train_end(self, logs: dict[str, Any]) -> None:
        """Give the best weights back."""
        if self._weights is None:
            return
        kept = self._weights
        done = self.best_epoch if self.restore_best_weights else self.stopped_epoch
        if isinstance(done, list):
            rows = np.array([epoch is not None for epoch in done])[:, None]
            now = self.model.get_weights()
            pairs = zip(kept, now, strict=True)
            kept = tuple(np.where(rows, old, new) for old, new in pairs)
        self.model.set_weights(kept)

    def state(self) -> dict[str, Any]:
        """Return the best value, epoch and weights, and the epochs since."""
        return {
            **super().state(),
            "best_epoch": self.best_epoch,
            "stopped_epoch": self.stopped_epoch,
            "weights": self._weights,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned."""
        super().restore(state)
        self.best_epoch, self._weights = state["best_epoch"], state["weights"]
        self.stopped_epoch = state["stopped_epoch"]


def _plain(a: Any, kind: type) -> Any:
    """Turn an array into a number or a list of numbers, NaN into None."""
    if a.ndim:
        return [_plain(each, kind) for each in a]
    return None if np.isnan(a) else kind(a)


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
                if np.any(old > self.min_lr):
                    new = np.maximum(old * self.factor, self.min_lr)
                    self.model.learning_rate = np.where(old > self.min_lr, new, old)[()]
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

    Only logs that are single numbers are written.

    Parameters
    ----------
    filename : str or path
    separator : str
    append : bool
        Go on with a file that is there, instead of writing it anew.
    """

    steers = False

    def __init__(
        self, filename: Any, separator: str = ",", append: bool = False
    ) -> None:
        from pathlib import Path

        self.filename = Path(filename)
        self.separator = separator
        self.append = _checks.boolean("CSVLogger: append", append)
        self._begun = False
        self._size: int | None = None  # of the file, where a fit goes on

    def on_train_begin(self, logs: dict[str, Any]) -> None:
        """Begin the file anew, unless lines are to be appended or a fit goes on.

        Where it goes on, lines of epochs that are lost are lost, too.
        """
        import os

        going_on = self.append or bool(self._size)
        self._begun = going_on and self.filename.exists()
        if self._begun and self._size and self.filename.stat().st_size > self._size:
            os.truncate(self.filename, self._size)
        self._size = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Write a line; the first one is preceded by the header."""
        import csv

        names = sorted(name for name, value in logs.items() if np.ndim(value) == 0)
        with self.filename.open(
            "a" if self._begun else "w", newline="", encoding="utf-8"
        ) as file:
            writer = csv.writer(file, delimiter=self.separator)
            if not self._begun:
                writer.writerow(["epoch", *names])
                self._begun = True
            writer.writerow([epoch, *(logs[name] for name in names)])

    def state(self) -> dict[str, Any]:
        """Return how long the file is."""
        return {"size": self.filename.stat().st_size if self._begun else 0}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned; the next fit appends to the file."""
        self._size = state["size"]


class Checkpoint(_Monitor):
    """Write all that decides the future of a fit to a file, so that it can be resumed.

    ``fit(..., resume=path)`` goes on from it and ends, bit for bit, where the fit would
    have ended; `chainrule.load` reads it as a model file. It is written when every
    other callback has seen the epoch, and durably: the file is the last whole one,
    whatever happens.

    Parameters
    ----------
    path : str or path
        The newest checkpoint is here, always; its folder must be there.
    every : int
        Write at the end of each `every`-th epoch, counted from the model's birth, and
        when the fit ends: after its last epoch, stopped by a callback, by Ctrl-C or by
        SIGTERM (not by an error).
    keep : int or None
        How many checkpoints to keep, the newest at `path` included. Those before it
        stay beside it as ``<stem>-<epoch><suffix>``, or ``<stem>-<epoch>-<step>``
        where they are from within an epoch; None keeps them all. Others' files are
        never touched.
    best : bool
        Write only where the monitored value is the best so far; `every` then says at
        which epochs it is looked at. The file has that epoch's model. (For the newest
        and the best, use two callbacks with two paths.)
    every_steps : int, optional
        Write also within an epoch, after each so many whole batches of it, at least
        two. On the engines that compile whole epochs, this is where they are cut.
    monitor : str, optional
        For `best`: a name in the logs; by default val_loss, or loss where there is no
        validation.
    mode : {"auto", "min", "max"}
        auto: accuracy and r2 are to rise, everything else is to fall.

    Notes
    -----
    Weights that are not finite are never written. A write that fails ends the fit with
    a `FileError`; the file that was there is whole, and the model is that of the last
    whole epoch.
    """

    steers = False

    def __init__(
        self,
        path: Any,
        every: int = 1,
        keep: int | None = 1,
        best: bool = False,
        every_steps: int | None = None,
        monitor: str | None = None,
        mode: str = "auto",
    ) -> None:
        super().__init__(monitor, 0, 0.0, mode)
        from chainrule import _files

        self.path = _files.check_path(path)
        self.every = _checks.integer("Checkpoint: every", every, 1)
        self.keep = (
            None if keep is None else _checks.integer("Checkpoint: keep", keep, 1)
        )
        self.best_only = _checks.boolean("Checkpoint: best", best)
        if every_steps is not None:
            every_steps = _checks.integer("Checkpoint: every_steps", every_steps, 1)
            if best:
                msg = (
                    "Checkpoint: every_steps and best=True exclude each other: within "
                    "an epoch nothing is monitored. Use two callbacks."
                )
                raise ArgumentError(msg)
        self.every_steps = every_steps
        # Set by the fit: write(path, part) -> whether it was written.
        self.write: Callable[[Any, Any], bool] | None = None

    def _reset(self) -> None:
        super()._reset()
        # Of the file at `path`, "<epoch>" or "<epoch>-<step>"; and those before it.
        self._number: str | None = None
        self._older: list[Any] = []
        self._ask = False  # whether to ask the file for its number

    def check_logs(self, names: Iterable[str]) -> None:
        """Raise an error if the folder takes no files, or the logs lack the monitor."""
        from chainrule import _files

        if self.best_only:
            super().check_logs(names)
        _files.check_writable(self.path)

    def after_epoch(self, epoch: int, logs: dict[str, Any], last: bool) -> None:
        """After all callbacks' `on_epoch_end`: write, if it is time to."""
        due = (epoch + 1) % self.every == 0
        if self.best_only:
            value = self._value(logs)
            if not (due or last) or not self._improved(value):
                return
            self.best = value
        elif not (due or last):
            return
        self._save(str(epoch + 1), None)

    def after_steps(self, epoch: int, part: Any, last: bool) -> None:
        """Within an epoch: write, if it is time to."""
        due = self.every_steps is not None and part.done % self.every_steps == 0
        if not self.best_only and (due or last):
            self._save(f"{epoch}-{part.done}", part)

    def _save(self, number: str, part: Any) -> None:
        from chainrule import _files

        assert self.write is not None
        if self._ask:
            from chainrule.checkpoints import number as number_of

            self._number, self._ask = number_of(self.path), False
        before = self._number, self._older
        second = None
        if self._number not in (None, number) and self.keep != 1:
            # The old file gets its second name first: at `path` there is always one.
            second = self._named(self._number)
            _files.second_name(self.path, second)
            self._older = [*self._older, self._number]
        self._number = number
        if not self.write(self.path, part):
            self._number, self._older = before
            if second is not None:
                _files.remove(second)
            return
        extra = 0 if self.keep is None else max(0, len(self._older) - self.keep + 1)
        for old in self._older[:extra]:
            _files.remove(self._named(old))
        self._older = self._older[extra:]

    def _named(self, number: str | None) -> Any:
        return self.path.with_name(f"{self.path.stem}-{number}{self.path.suffix}")

    def state(self) -> dict[str, Any]:
        """Return the best value so far, and which files there are."""
        return {**super().state(), "older": list(self._older)}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned."""
        super().restore(state)
        # What is at `path` need not be what is resumed from, but an older one, say.
        self._older, self._ask = list(state["older"]), True
