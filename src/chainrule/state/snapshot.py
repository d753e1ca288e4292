"""What files and pickles know of a model: values on the host, and no `Model`."""

from __future__ import annotations

from typing import Any, NamedTuple

from chainrule.arrays.types import Shape
from chainrule.state.training import TrainingState

__all__ = ["ModelSnapshot"]


class ModelSnapshot(NamedTuple):
    """A model as values.

    Attributes
    ----------
    parts : dict
        The arguments of a `ModelSpec` by name: network, loss, optimizer, metrics,
        dtype, precision, seed, members, member, and those that a file leaves out.
    input_shape : tuple of int, or None
        Shape of one sample; None before there are weights.
    training : TrainingState or None
        On the host. Without the optimizer it has theta and state alone.
    has_optimizer : bool
        Whether the optimizer's slots, counters and rates are there.
    columns : tuple of str, or None
        Names of the features of the first data frame that was fitted.
    """

    parts: dict[str, Any]
    input_shape: Shape | None
    training: TrainingState | None
    has_optimizer: bool = False
    columns: tuple[str, ...] | None = None
