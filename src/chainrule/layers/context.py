"""What one forward pass carries beside its arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chainrule.arrays import random
from chainrule.arrays.share import WHOLE, Share
from chainrule.arrays.types import ArrayNamespace

__all__ = ["Context"]


class Context:
    """Made for one forward pass, inside the step, and gone with it.

    Networks that keep nothing may share one in inference.

    Parameters
    ----------
    xp : Namespace
        The array functions that the layers use.
    train : bool
        Whether dropout drops and batch norm uses the batch's statistics.
    state : sequence of arrays
        What layers keep between passes (running statistics), in layout order.
    key : array of int32, shape (draws, 2), optional
        One key for each random draw of the pass.
    share : Share
        What part of the batch the pass works on: a layer that mixes rows, or counts
        them, asks it.

    Attributes
    ----------
    kept : list of arrays
        The state after this pass, in layout order.
    draws : int
        How many random draws were made.
    """

    xp: ArrayNamespace
    train: bool
    state: Sequence[Any]
    key: Any
    share: Share
    kept: list[Any]
    draws: int

    __slots__ = ("_taken", "draws", "kept", "key", "share", "state", "train", "xp")

    def __init__(
        self,
        xp: ArrayNamespace,
        *,
        train: bool = False,
        state: Sequence[Any] = (),
        key: Any = None,
        share: Share = WHOLE,
    ) -> None:
        self.xp = xp
        self.train = train
        self.state = state
        self.key = key
        self.share = share
        self.kept = []
        self.draws = 0
        self._taken = 0

    def take(self, count: int) -> Sequence[Any]:
        """Return the next `count` arrays of the state, in layout order."""
        first = self._taken
        self._taken += count
        return self.state[first : self._taken]

    def keep(self, *new: Any) -> None:
        """Put down the new values of what `take` gave, in the same order."""
        self.kept.extend(new)

    def bits(self, rows: int, size: int) -> Any:
        """Return random int32 words, shape (rows, size), of this pass's next draw."""
        key = self.key[self.draws, :]
        self.draws += 1
        return random.bits(key, rows, size, first=self.share.first, xp=self.xp)
