"""The file from which a fit is resumed, and those before it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.callbacks.base import Cut
from chainrule.callbacks.monitor import Monitor
from chainrule.config import checks
from chainrule.errors import ArgumentError

if TYPE_CHECKING:
    from pathlib import Path

    from chainrule.config.choices import Direction, Int

__all__ = ["Checkpoint"]

_NUMBER = re.compile(r"\d{1,18}(-\d{1,18})?")


class Checkpoint(Monitor):
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
        where they are from within an epoch; None keeps them all. What is no checkpoint
        of this fit is never removed, and what is no checkpoint never replaced.
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
        As for `EarlyStopping`.

    Notes
    -----
    Weights that are not finite are never written. A write that fails ends the fit with
    a `FileError`; the file that was there is whole, and the model is that of the last
    whole epoch.
    """

    path: Path
    every: int
    keep: int | None
    best_only: bool

    steers = False

    def __init__(
        self,
        path: str | os.PathLike[str],
        every: Int = 1,
        keep: Int | None = 1,
        best: bool = False,
        every_steps: Int | None = None,
        monitor: str | None = None,
        mode: Direction = "auto",
    ) -> None:
        from chainrule.files import durable

        super().__init__(monitor, 0, 0.0, mode)

        self.path = durable.check_path(path)
        self.every = checks.integer("Checkpoint: every", every, 1)
        self.keep = (
            None if keep is None else checks.integer("Checkpoint: keep", keep, 1)
        )
        self.best_only = checks.boolean("Checkpoint: best", best)
        if every_steps is not None:
            every_steps = checks.integer("Checkpoint: every_steps", every_steps, 1)
            if best:
                msg = (
                    "Checkpoint: every_steps and best=True exclude each other: within "
                    "an epoch nothing is monitored. Use two callbacks."
                )
                raise ArgumentError(msg)
        self.every_steps = every_steps
        self._logs: Mapping[str, Any] = {}

    def _reset(self) -> None:
        super()._reset()
        # Of the file at `path`, "<epoch>" or "<epoch>-<step>"; and those before it.
        self._number: str | None = None
        self._older: list[Any] = []
        self._ask = False  # whether to ask the files for what they are

    def check_logs(self, names: Mapping[str, bool | None]) -> None:
        """Raise an error if the folder takes no files, or the logs lack the monitor."""
        from chainrule.files import durable

        if self.best_only:
            super().check_logs(names)
        durable.check_writable(self.path)

    def check_names(self, epochs: int, steps: int) -> None:
        """Raise an error if a file that is kept beside `path` cannot have its name.

        `epochs` is the last one's number, `steps` how many each has.
        """
        from chainrule.files import durable

        if self.keep != 1:
            step = f"-{steps}" if self.every_steps else ""
            durable.check_writable(self._named(f"{epochs}{step}"))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Remember what is monitored: it is looked at when all have seen the epoch."""
        self._logs = logs

    def on_cut(self, cut: Cut) -> None:
        """Write, if it is time to."""
        if cut.steps:
            due = self.every_steps is not None and cut.steps % self.every_steps == 0
            if not self.best_only and (due or cut.last):
                self._save(cut.number)
            return
        due = cut.epoch % self.every == 0
        if not (due or cut.last) or (self.best_only and not self._is_best()):
            return
        self._save(cut.number)

    def _is_best(self) -> bool:
        """Whether the epoch is the best so far, which is then remembered."""
        name = self._name(dict(self._logs))
        value = float(self._logs[name])
        best = np.nan if self.best is None else self.best
        if not self._improved(value, best, name):
            return False
        self.best = value
        return True

    def _save(self, number: str) -> None:
        from chainrule.files import durable

        if not self.session.leads:
            self.session.save(self.path)  # its part of what another process writes
            return
        if self._ask:
            self._ask_files()
        before = self._number, self._older
        second = None
        if self._number not in (None, number) and self.keep != 1:
            second = self._named(self._number)
            if self._free(second):
                # The old file gets its second name first: at `path` there is always
                # one.
                durable.second_name(self.path, second)
                self._older = [*self._older, self._number]
            else:
                second = None
        self._number = number
        if not self.session.save(self.path):
            self._number, self._older = before
            if second is not None:
                durable.remove(second)
            return
        extra = 0 if self.keep is None else max(0, len(self._older) - self.keep + 1)
        for old in self._older[:extra]:
            durable.remove(self._named(old))
        self._older = self._older[extra:]

    def _ask_files(self) -> None:
        """Learn what the file at `path` is, and which of the older ones are this fit's.

        A file says so itself: what a checkpoint claims of other files is not believed.
        """
        session = self.session
        self._number, self._ask = session.identify(self.path), False
        self._older = [
            old for old in self._older if session.owns(self._named(old), old)
        ]

    def _free(self, path: str | os.PathLike[str]) -> bool:
        """Whether a file may be made there: nothing is, or a checkpoint."""
        # Path.exists raises an error for a name that is too long.
        if not os.path.exists(path) or self.session.identify(path) is not None:  # noqa: PTH110
            return True
        msg = (
            f"Checkpoint: {path} is there and is no checkpoint: it stays, and the "
            f"checkpoint that would be kept under this name does not. Use another path."
        )
        checks.warn(msg)
        return False

    def _named(self, number: str | None) -> Any:
        return self.path.with_name(f"{self.path.stem}-{number}{self.path.suffix}")

    def state(self) -> dict[str, Any]:
        """Return the best value so far, and which files there are."""
        name = self.path.name
        return {**super().state(), "name": name, "older": list(self._older)}

    def matches(self, state: dict[str, Any]) -> int:
        """As `Callback.matches`: by the file's name."""
        return 2 if state.get("name") == self.path.name else 1

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned."""
        older = state["older"]
        if (
            isinstance(state["best"], list)
            or not isinstance(older, list)
            or not all(isinstance(old, str) and _NUMBER.fullmatch(old) for old in older)
        ):
            msg = f"older must be numbers of epochs, or epochs and steps; got {older!r}"
            raise ValueError(msg)
        super().restore(state)
        # What is at `path` need not be what is resumed from, but an older one, say.
        self._older, self._ask = list(older), True
