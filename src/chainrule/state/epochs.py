"""What an epoch leaves, whole or cut."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from chainrule.state.training import TrainingState

__all__ = ["EpochResult", "PartialEpoch", "read"]


class EpochResult(NamedTuple):
    """What an epoch leaves: its loss, the state to go on with, and a safe copy.

    `loss` is a scalar of the backend (one value per member, for an ensemble); that of a
    `stretch` of several epochs has a first axis of at least as many. `weights` is
    ``(theta, state)`` as they last were finite, in memory that nobody overwrites; `logs`
    holds further numbers of the epoch.
    """

    loss: Any
    weights: tuple[Any, Any]
    state: TrainingState
    logs: Mapping[str, float] = {}
    stretch: int | None = None

    @property
    def epochs(self) -> int:
        """How many epochs it tells of."""
        return self.stretch or 1

    def losses(self, backend: Any) -> list[Any]:
        """Return each epoch's loss on the host; this waits for the device."""
        return read(backend, self.loss, self.stretch)


def read(backend: Any, loss: Any, stretch: int | None) -> list[Any]:
    """Return what `EpochResult.losses` does, of its loss and stretch alone."""
    host = backend.to_numpy(loss)
    return [host] if stretch is None else list(host[:stretch])


class PartialEpoch(NamedTuple):
    """An epoch that is under way.

    Attributes
    ----------
    carry : tuple
        (theta, state, slots) after `done` steps: live arrays, that the next step
        overwrites or gives away.
    done : int
        Steps of this epoch that are made, all of them whole batches.
    values, masses : array, shape (done, ...)
        Losses of those steps, and what their sums were divided by (or None).
    """

    carry: Any
    done: int
    values: Any
    masses: Any
