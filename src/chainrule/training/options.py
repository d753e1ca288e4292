"""What a fit is to do, which does not change while it runs, and who hears of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from chainrule.data.stream import Stream
from chainrule.state.epochs import EpochResult, PartialEpoch

if TYPE_CHECKING:
    from chainrule.backends import Backend
    from chainrule.network import Network
    from chainrule.training.objective import Objective

__all__ = ["FitPlan", "Listener"]


class Listener(Protocol):
    """Who hears of what is made, while it is made."""

    def cut_within(self, part: PartialEpoch) -> bool:
        """Hear of a cut within an epoch; say whether it goes on."""

    def end_iteration(self, result: EpochResult) -> bool:
        """Hear of an iteration; say whether there is to be another one."""


class FitPlan(NamedTuple):
    """What a fit is to do.

    Attributes
    ----------
    backend : Backend
        Entered by the caller through its `scope`.
    network : Network
    objective : Objective
        What training lowers.
    optimizer : Optimizer or ProblemOptimizer
    data : Data or Stream
        What is trained on.
    epochs, batch_size : int
    order : function
        ``order(epoch)`` returns the sample numbers of an epoch, as `data.order.order`
        does; the same object again means the same order. It is asked once an epoch.
        A stream has an order of its own.
    seed : int
        Of the dropout masks.
    dtype : str
    penalty : function, optional
        ``penalty(part) -> (steps,)``: how strong the objective's penalty is in each
        step, for a part of what `order` returned.
    guarded : bool
        Whether training that stops being finite ends; if not, it goes on.
    part : PartialEpoch, optional
        How far the first epoch is already.
    """

    backend: Backend
    network: Network
    objective: Objective
    optimizer: Any
    data: Any
    epochs: int
    batch_size: int
    order: Callable[[int], tuple[Any, Any]]
    seed: int
    dtype: str
    penalty: Callable[[Any], Any] | None = None
    guarded: bool = True
    part: PartialEpoch | None = None

    @property
    def steps(self) -> int:
        """Steps of an epoch, for an optimizer that goes by batches; 0 if unknown."""
        if isinstance(self.data, Stream):
            return self.data.steps or 0
        return -(-int(self.data.x.shape[0]) // self.batch_size)
