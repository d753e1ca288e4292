"""All that training carries from one epoch to the next, as one value."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["TrainingState"]


class TrainingState(NamedTuple):
    """All that training carries from one epoch to the next.

    theta (..., P), state (..., S) and the slots (..., P) live on the backend. step counts
    the steps since the slots began, and is what schedules and bias corrections are
    functions of; rate is the last of these steps' learning rate, or one for each member
    (members,). begun is how many steps had been made before; begun + step and epoch
    count from the model's birth, and decide the dropout masks and the order of batches.
    """

    theta: Any
    state: Any
    slots: tuple[Any, ...]
    step: int
    epoch: int
    rate: Any
    begun: int = 0
