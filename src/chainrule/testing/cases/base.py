"""What a case is, and the draws that its arrays are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from chainrule.arrays.types import Shape
from chainrule.layers import Layer
from chainrule.losses import Loss

__all__ = [
    "RNG",
    "ROWS",
    "LayerCase",
    "LossCase",
    "RuleCase",
    "fixed",
    "normal",
    "uniform",
]

ROWS = 5  # of every example
RNG = np.random.default_rng(0)


def fixed(a: Any) -> Any:
    """Return a host array that nobody may write into."""
    a = np.array(a)
    a.flags.writeable = False
    return a


def normal(*shape: int, scale: float = 1.0, mean: float = 0.0) -> Any:
    """Draw a normal array."""
    return fixed(RNG.normal(mean, scale, size=shape))


def uniform(low: float, high: float, *shape: int) -> Any:
    """Draw a uniform array."""
    return fixed(RNG.uniform(low, high, size=shape))


class RuleCase(NamedTuple):
    """A rule and float64 inputs of its core shapes, which nobody may write into.

    Attributes
    ----------
    rule : function
    arguments : tuple of arrays
        Those that have a gradient, in the order of the rule's parameters.
    data : tuple of arrays or None
        Those after them that have none: targets, weights, random words.
    options : dict
        Keyword arguments.
    ranks : tuple of int
        Core rank of each of (*arguments, *data).
    rows : tuple of int
        Numbers of the inputs whose first axis runs over the samples.
    kinks : bool
        Whether the value has points without a derivative.
    """

    rule: Callable[..., Any]
    arguments: tuple[Any, ...]
    data: tuple[Any, ...] = ()
    options: dict[str, Any] = {}  # noqa: RUF012 - never written
    ranks: tuple[int, ...] = (0,)
    rows: tuple[int, ...] = (0,)
    kinks: bool = False

    @property
    def name(self) -> str:
        """The rule's name."""
        return str(self.rule.__name__)

    @property
    def inputs(self) -> tuple[Any, ...]:
        """All arrays in the rule's order."""
        return (*self.arguments, *self.data)


class LayerCase(NamedTuple):
    """A layer and the shape of the samples to try it on.

    `train` says in which pass: dropout drops, batch norm uses the batch's statistics.
    """

    layer: Layer
    sample_shape: Shape = (3,)
    train: bool = True
    kinks: bool = False

    @property
    def x(self) -> Any:
        """A batch of float64 samples."""
        rng = np.random.default_rng(7)
        return rng.normal(size=(ROWS, *self.sample_shape))


class LossCase(NamedTuple):
    """A loss, with outputs z, targets t and weights (or None) for it, in float64."""

    loss: Loss
    z: Any
    t: Any
    weight: Any = None
    kinks: bool = False
