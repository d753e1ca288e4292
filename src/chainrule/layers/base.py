"""The protocol of a layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn, Self

from chainrule.arrays.types import Params, Shape
from chainrule.config import checks
from chainrule.config.record import Config
from chainrule.errors import NotBuiltError, ShapeError
from chainrule.layers.context import Context

__all__ = ["Layer", "Variable", "output_shape", "unbound"]


class Variable(NamedTuple):
    """One array that a layer asks for: a parameter, or a piece of its state."""

    name: str
    shape: Shape
    initializer: Callable[..., Any]
    decay: bool = False  # whether weight decay applies: weights yes, biases no
    absorbed: bool = False  # whether its gradient is zero: see `Layer.followed`


class Layer(Config):
    """A frozen, hashable record of configuration, with a forward pass.

    Attributes
    ----------
    trainable : bool
        False freezes the layer and everything in it.
    input_shape, output_shape : tuple of int or None
        Shapes of one sample, without the batch; None before `bind`.
    absorbed : bool
        Whether a batch norm behind the bound layer takes away, in training, what this
        one's bias or shift adds: see `followed`.

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
    absorbed: bool = False

    def _configure(self, trainable: Any, **values: Any) -> None:
        trainable = checks.boolean(f"{type(self).__name__}: trainable", trainable)
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
    def ending(self) -> Layer | None:
        """The layer whose values the outputs are; None if they are the inputs'."""
        return self

    @property
    def learns(self) -> bool:
        """Whether the bound layer has a parameter that training may change."""
        return self.trainable and bool(self.parameters)

    @property
    def children(self) -> tuple[tuple[str, Layer], ...]:
        """The layers that this one is made of, by the names that parameters carry.

        Those of a layer of one's own are its `layer`, or its `layers` by number.
        """
        if isinstance(inner := getattr(self, "layer", None), Layer):
            return (("layer", inner),)
        if isinstance(layers := getattr(self, "layers", None), tuple):
            return tuple((str(i), part) for i, part in enumerate(layers))
        return ()

    @property
    def passes(self) -> bool:
        """Whether a constant added to each feature of x adds constants to z's."""
        return False

    @property
    def absorbs(self) -> bool:
        """Whether, in training, z is the same whatever constant a feature of x has."""
        return False

    def followed(self, absorbs: bool) -> Self:
        """Return the bound layer as it is with that behind it.

        Where `absorbs`, constants added to the features of its output change nothing
        in training. Whatever adds such a constant has the gradient zero, which is then
        given exactly: its rounding differs from library to library, and optimizers that
        divide by the gradient's size would make whole steps of it.
        """
        return self

    def check_rows(self, rows: int) -> None:
        """Raise an error if no batch has more rows than these, and they are too few."""
        for _, part in self.children:
            part.check_rows(rows)

    @property
    def training_only(self) -> tuple[str, ...]:
        """The layers inside the bound one that do more in training than in inference.

        They are named as messages show them. Draws do nothing in inference, and state
        is learned in training alone.
        """
        if self.children:
            return tuple(n for _, part in self.children for n in part.training_only)
        learns_state = bool(self.state) and self.trainable
        return (repr(self),) if self.draws or learns_state else ()

    def rescaled(self, params: Params, gain: Any, shift: Any, xp: Any) -> Params | None:
        """Return parameters with which the layer returns gain · z + shift for z.

        gain and shift are of the last axis of z. None where no parameters do that, or
        where they are frozen.
        """
        return None

    def forward(self, params: Params, x: Any, context: Context) -> Any:
        """Return ``(z, pullback)`` for the batch x."""
        raise NotImplementedError

    def __repr__(self) -> str:
        skip = {"input_shape", "output_shape", "absorbed"} | (
            {"trainable"} if self.trainable else set()
        )
        inside = (f"{k}={v!r}" for k, v in self._values().items() if k not in skip)
        return f"{type(self).__name__}({', '.join(inside)})"


def unbound(layer: Layer) -> NoReturn:
    """Raise the error for a layer that is used before it knows its samples' shape."""
    name = type(layer).__name__
    msg = (
        f"{name} is not bound to the shape of its samples: take the layer that "
        f"layer.bind(sample_shape) returns, sample_shape without the batch, (3,) say. "
        f"A model binds its network itself; predict, or model.function(), runs it."
    )
    raise NotBuiltError(msg)


def output_shape(bound: Layer) -> Shape:
    """Return a bound layer's output shape, which a layer of one's own may have left out."""
    shape = bound.output_shape
    if shape is None:
        name = type(bound).__name__
        msg = (
            f"{name}: bind(sample_shape) must return a layer with its shapes filled in; "
            f"output_shape is None. Return self.replace(input_shape=sample_shape, "
            f"output_shape=...)."
        )
        raise ShapeError(msg)
    return shape
