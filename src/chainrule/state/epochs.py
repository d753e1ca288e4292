"""What an epoch leaves, whole or cut."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from chainrule.arrays.trees import tree_map
from chainrule.state.training import TrainingState, carry_on, carry_on_host

if TYPE_CHECKING:
    from chainrule.arrays.types import Array
    from chainrule.backends import Backend

__all__ = ["EpochResult", "PartialEpoch", "read_losses"]


class EpochResult(NamedTuple):
    """What an epoch, or a group of epochs made in one call, leaves.

    Attributes
    ----------
    loss : array of the backend, shape () or (members,)
        The mean loss of the epoch; of a group with a first axis of at least as many
        epochs.
    state : TrainingState
        To publish: theta and state as they last were finite, in memory that nobody
        overwrites; the slots are those that the next epoch uses up.
    carry : tuple of arrays
        (theta, state) as they are, finite or not; the next epoch uses them up.
    logs : mapping
        Further numbers of the epoch.
    group : int or None
        How many epochs a group has; None for an epoch alone.
    """

    loss: Any
    state: TrainingState
    carry: tuple[Any, Any]
    logs: Mapping[str, float] = {}
    group: int | None = None

    @property
    def epochs(self) -> int:
        """How many epochs these are."""
        return self.group or 1

    def losses(self, backend: Backend) -> list[Any]:
        """Return each epoch's loss on the host; this waits for the device."""
        return read_losses(backend, self.loss, self.group)


def read_losses(backend: Backend, loss: Any, group: int | None) -> list[Any]:
    """Return what `EpochResult.losses` does, of its loss and group alone."""
    host = backend.to_numpy(loss)
    return [host] if group is None else list(host[:group])


class PartialEpoch(NamedTuple):
    """An epoch that is under way.

    Attributes
    ----------
    carry : tuple
        (theta, state, slots) after `done` steps: live arrays, that the next step
        overwrites or donates.
    done : int
        Steps of this epoch that are made, all of them whole batches.
    values, masses : array, shape (done, ...)
        Losses of those steps, and what their sums were divided by (or None).
    """

    carry: Any
    done: int
    values: Any
    masses: Any

    def map(self, f: Callable[[Array], Any]) -> Self:
        """Return it with f applied to each of its arrays."""
        carry, values, masses = tree_map(f, (self.carry, self.values, self.masses))
        return self._replace(carry=carry, values=values, masses=masses)

    def on(self, backend: Backend) -> Self:
        """Return it, that is on the host, with arrays on a backend: copies."""
        new = self._replace(carry=())
        new = new.map(lambda a: backend.copy(backend.asarray(a)))
        return new._replace(carry=carry_on(backend, self.carry))

    def on_host(self, backend: Backend, size: int) -> Self:
        """Return it, that is on a backend, with arrays of NumPy; `size` parameters."""
        new = self._replace(carry=())
        new = new.map(backend.to_numpy)
        return new._replace(carry=carry_on_host(backend, self.carry, size))
