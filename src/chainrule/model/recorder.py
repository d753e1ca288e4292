"""Writes the checkpoints of a model's fit, and knows them again."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from chainrule.callbacks.base import CallbackList
from chainrule.state.epochs import PartialEpoch
from chainrule.state.history import History

if TYPE_CHECKING:
    from chainrule.files.checkpoints import Circumstances
    from chainrule.model.model import Model

__all__ = ["Recorder"]


class Recorder:
    """Writes the checkpoints of a fit, and knows them again."""

    def __init__(
        self,
        model: Model,
        callbacks: CallbackList,
        describe: Callable[[], Circumstances],
        first: int,
        histories: tuple[History, History],
    ) -> None:
        self._model, self._callbacks = model, callbacks
        self._describe, self._first = describe, first
        self._history, self._before = histories
        self.leads: bool = model.backend.leads

    def save(self, path: str | os.PathLike[str], part: PartialEpoch | None) -> bool:
        """Write a checkpoint; return False, and write none, if it is not finite."""
        from chainrule.files import checkpoints

        model, network = self._model, self._model._need()
        if part is not None:
            part = part.on_host(model.backend, network.size)
        record = checkpoints.FitRecord(
            self._first,
            self._history,
            self._before,
            self._callbacks.states(),
            self._describe(),
            part,
        )
        snapshot = model.snapshot(include_optimizer=part is None)
        if part is not None:
            # The slots of the epoch's beginning are used up; its counters stand.
            assert snapshot.training is not None
            theta, state = snapshot.training.weights
            now = model._state()._replace(theta=theta, state=state, slots=())
            snapshot = snapshot._replace(training=now)
        with model.backend.together():
            return checkpoints.write(path, snapshot, record, leads=self.leads)

    def identify(self, path: str | os.PathLike[str]) -> str | None:
        """Return of which cut a file is, None if it is no checkpoint."""
        from chainrule.files import checkpoints

        return checkpoints.number(path)

    def owns(self, path: str | os.PathLike[str], number: str) -> bool:
        """Whether a file is this fit's checkpoint of that cut."""
        from chainrule.files import checkpoints

        return checkpoints.owns(self._describe(), path, number)
