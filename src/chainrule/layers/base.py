"""The protocol of a layer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Self

from chainrule import _checks
from chainrule._record import Record
from chainrule._typing import Params, Shape
from chainrule.context import Context

__all__ = ["Layer", "Variable", "fold", "lead"]


class Variable(NamedTuple):
    """One array that a layer asks for: a parameter, or a piece of its state."""

    name: str
    shape: Shape
    initializer: Callable[..., Any]
    decay: bool = False  # whether weight decay applies: weights yes, biases no


class Layer(Record):
    """A frozen, hashable record of configuration, with a forward pass.

    Attributes
    ----------
    trainable : bool
        False freezes the layer and everything in it.
    input_shape, output_shape : tuple of int or None
        Shapes of one sample, without the batch; None before `bind`.

    Notes
    -----
    A subclass has ``forward(params, x, context) -> (z, pullback)`` with
    ``pullback(dz, dx=True, dp=True) -> (dx, dparams)``: dparams has the form of params,
    or is None where dp is False or the layer is frozen. It may have axes before the
    batch: they are members, not samples.
    """

    trainable: bool = True
    input_shape: Shape | None = None
    output_shape: Shape | None = None

    def _configure(self, trainable: Any, **values: Any) -> None:
        trainable = _checks.boolean(f"{type(self).__name__}: trainable", trainable)
        self._set(**values, trainable=trainable, input_shape=None, output_shape=None)

    def bind(self, sample_shape: Shape) -> Self:
        """Return this layer with its shapes filled in for samples of `sample_shape`."""
        return self.replace(input_shape=sample_shape, output_shape=sample_shape)

    @property
    def parameters(self) -> tuple[Any, ...]:
        """The `Variable`s of the bound layer: a tree in layout order."""
        return ()

    @property
    def state(self) -> tuple[Variable, ...]:
        """What the bound layer keeps between passes, in layout order."""
        return ()

    @property
    def draws(self) -> int:
        """How many random draws one training pass makes."""
        return 0

    @property
    def learns(self) -> bool:
        """Whether the bound layer has a parameter that training may change."""
        return self.trainable and bool(self.parameters)

    def forward(self, params: Params, x: Any, context: Context) -> Any:
        """Return ``(z, pullback)`` for the batch x."""
        raise NotImplementedError

    def __repr__(self) -> str:
        skip = {"input_shape", "output_shape"} | (
            {"trainable"} if self.trainable else set()
        )
        inside = (f"{k}={v!r}" for k, v in self._values().items() if k not in skip)
        return f"{type(self).__name__}({', '.join(inside)})"


def lead(a: Any, sample_shape: Shape) -> Shape:
    """Axes of `a` before the batch and the sample."""
    shape: Shape = a.shape
    return shape[: len(shape) - len(sample_shape) - 1]


def fold(a: Any, sample_shape: Shape, xp: Any) -> Any:
    """Fold the middle axes of samples (..., batch, time, n) into rows (..., rows, n)."""
    if len(sample_shape) == 1:
        return a
    # Written out, not -1: with zero rows, -1 could not be inferred.
    rows = math.prod(a.shape[-len(sample_shape) - 1 : -1])
    return xp.reshape(a, (*lead(a, sample_shape), rows, a.shape[-1]))


def unfold(a: Any, batch: int, sample_shape: Shape, xp: Any) -> Any:
    """Undo `fold`: (..., rows, n) becomes (..., batch, *sample_shape)."""
    if len(sample_shape) == 1:
        return a
    return xp.reshape(a, (*a.shape[:-2], batch, *sample_shape))
