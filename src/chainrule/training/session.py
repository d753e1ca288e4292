"""What callbacks may do to the fit that calls them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from chainrule.errors import ArgumentError, ShapeError
from chainrule.state.epochs import PartialEpoch
from chainrule.state.history import History
from chainrule.state.training import TrainingState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chainrule.model.access import Access

__all__ = ["Recorder", "Session", "Trainee"]


class Trainee(Protocol):
    """What is trained: where it stands, and what callbacks set on it."""

    training: Any  # a TrainingState
    history: History
    stop_training: bool
    stopped_members: Any


class Recorder(Protocol):
    """Writes checkpoints of a fit, and knows them again.

    Attributes
    ----------
    leads : bool
        Whether this process writes them, of several that train together.
    """

    leads: bool

    def save(self, path: str | os.PathLike[str], part: PartialEpoch | None) -> bool:
        """Write one; return False, and write none, if a number in it is not finite."""

    def identify(self, path: str | os.PathLike[str]) -> str | None:
        """Return of which cut a file is, None if it is no checkpoint."""

    def owns(self, path: str | os.PathLike[str], number: str) -> bool:
        """Whether a file is this fit's checkpoint of that cut."""


class Session:
    """A fit, as its callbacks see it.

    Attributes
    ----------
    model : Model
        In training.
    access : Access
        Who may change it at the moment.
    part : PartialEpoch or None
        How far the epoch is, within one.
    """

    model: Trainee
    access: Access
    part: PartialEpoch | None

    def __init__(
        self, model: Trainee, access: Access, recorder: Recorder | None = None
    ) -> None:
        self.model, self.access = model, access
        self.part: PartialEpoch | None = None
        self._recorder = recorder

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave it out of a callback's pickle or copy: it is of the fit under way."""
        return type(None), ()

    @property
    def leads(self) -> bool:
        """Whether this process writes files, of several that train together."""
        return self._recorder is None or self._recorder.leads

    @property
    def has_recorder(self) -> bool:
        """Whether it can write checkpoints."""
        return self._recorder is not None

    @property
    def state(self) -> TrainingState:
        """Where the model stands after its last whole epoch."""
        state: TrainingState = self.model.training
        return state

    def stop(self) -> None:
        """End the fit after this epoch."""
        self.model.stop_training = True

    def hold(self, members: Sequence[bool] | Any) -> None:
        """Let members of an ensemble stand still for the rest of the fit.

        Parameters
        ----------
        members : bool array, shape (members,)
            True for those that stand still; they join those that do already.
        """
        which, before = np.asarray(members, dtype=bool), self.model.stopped_members
        wanted = self.state.theta.shape[:-1]
        if which.shape != wanted or not wanted:
            have = f"shape {wanted}" if wanted else "an ensemble; this is one network"
            msg = f"hold: members must be a bool array of {have}; got {which.shape}."
            raise ShapeError(msg)
        self.model.stopped_members = which if before is None else which | before

    def save(self, path: str | os.PathLike[str]) -> bool:
        """Write a checkpoint of this moment, from which a fit can be resumed.

        Returns
        -------
        bool
            False where none was written, as a number in it is not finite.
        """
        return self._known("save").save(path, self.part)

    def identify(self, path: str | os.PathLike[str]) -> str | None:
        """Return of which cut a checkpoint is, "12" or "12-40"; None if it is none."""
        return self._known("identify").identify(path)

    def owns(self, path: str | os.PathLike[str], number: str) -> bool:
        """Whether a file is this fit's checkpoint of that cut."""
        return self._known("owns").owns(path, number)

    def _known(self, what: str) -> Recorder:
        if self._recorder is None:
            msg = (
                f"{what}: checkpoints are of a fit of a chainrule.Model; an estimator "
                f"is kept with pickle or joblib."
            )
            raise ArgumentError(msg)
        return self._recorder
