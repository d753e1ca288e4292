"""The protocol of a layer."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, NoReturn, Self, TypeVar

import numpy as np

from chainrule.arrays.types import ArrayNamespace, Params, Pullback, Shape
from chainrule.config import checks
from chainrule.config.record import Config
from chainrule.errors import (
    ArgumentError,
    ArgumentTypeError,
    NotBuiltError,
    ShapeError,
)
from chainrule.initializers import VarianceScaling
from chainrule.layers.context import Context

__all__ = [
    "Layer",
    "Variable",
    "check_layer",
    "children",
    "freeze_parts",
    "mapped",
    "output_shape",
    "prefixed",
    "unbound",
    "variables",
]


class Variable(NamedTuple):
    """One array that a layer asks for: a parameter, or a piece of its state."""

    name: str
    shape: Shape
    initializer: Callable[..., Any]
    decay: bool = False  # whether weight decay applies: weights yes, biases no
    absorbed: bool = False  # whether its gradient is zero: see `Layer.followed`
    fans: tuple[int, int] | None = None  # (fan_in, fan_out), for `VarianceScaling`

    def draw(self, generator: np.random.Generator) -> Any:
        """Return the first values; the initializer may be a user's function.

        Raises
        ------
        ShapeError, ArgumentError
            If they have another shape, or are not finite numbers.
        """
        draw, shape = self.initializer, tuple(self.shape)
        # One of a user's own, derived or not, takes a shape and a generator.
        ours = VarianceScaling.__call__
        if isinstance(draw, VarianceScaling) and type(draw).__call__ is ours:
            draw = functools.partial(draw, fans=self.fans)
        a = np.asarray(draw(self.shape, generator))
        if a.shape != shape:
            msg = (
                f"the initializer of {self.name} must return an array of shape "
                f"{self.shape}, its first argument; got {a.shape}."
            )
            raise ShapeError(msg)
        numeric = a.dtype.kind in "fiub"
        if not (numeric and np.isfinite(a).all()):
            what = "values that are not" if numeric else f"dtype {a.dtype}"
            msg = (
                f"the initializer of {self.name} must return finite numbers; "
                f"got {what}."
            )
            raise ArgumentError(msg)
        return a


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

    A layer that is made of others has `children`, `bind` and `forward`; the rest is
    what the children say. Its params are a tuple with those of each child, in their
    order; its `forward` runs the children that take from the context in that order,
    too, as state and draws lie in it.
    """

    trainable: bool = True
    # Typed as they are wherever a bound layer's methods run; None before `bind`.
    input_shape: Shape = None  # type: ignore[assignment]
    output_shape: Shape = None  # type: ignore[assignment]
    absorbed: bool = False

    def _configure(self, trainable: Any, **values: Any) -> None:
        trainable = checks.boolean(f"{type(self).__name__}: trainable", trainable)
        self._set(**values, trainable=trainable, input_shape=None, output_shape=None)

    def bind(self, sample_shape: Shape) -> Self:
        """Return this layer with its shapes filled in for samples of `sample_shape`."""
        return self.replace(input_shape=sample_shape, output_shape=sample_shape)

    @property
    def parameters(self) -> tuple[Any, ...]:
        """The `Variable`s of the bound layer: a tree in layout order.

        By default a tuple of the children's, each under its child's name.
        """
        return tuple(prefixed(name, part.parameters) for name, part in self.children)

    @property
    def state(self) -> tuple[Variable, ...]:
        """What the bound layer keeps between passes, in layout order."""
        return tuple(
            v for name, part in self.children for v in prefixed(name, part.state)
        )

    @property
    def draws(self) -> int:
        """How many random draws one training pass makes."""
        return sum(part.draws for _, part in self.children)

    @property
    def ending(self) -> Layer | None:
        """The layer whose values the outputs are; None if they are the inputs'."""
        return self

    @property
    def learns(self) -> bool:
        """Whether the bound layer has a parameter that training may change."""
        return self.trainable and (
            bool(self.own_parameters) or any(part.learns for _, part in self.children)
        )

    @property
    def own_parameters(self) -> tuple[Variable, ...]:
        """The parameters of the bound layer that are none of its children's."""
        theirs = tuple(f"{name}." for name, _ in self.children)
        every = variables(self.parameters)
        return tuple(v for v in every if not v.name.startswith(theirs))

    @property
    def children(self) -> tuple[tuple[str, Layer], ...]:
        """The layers that this one is made of, by the names that parameters carry.

        By default they are its `layer`, or its `layers` by number. A layer of one's own
        with other parts gives them here: ``(("left", self.left), ("right", ...))``.
        """
        if isinstance(inner := getattr(self, "layer", None), Layer):
            return (("layer", inner),)
        layers = getattr(self, "layers", None)
        if isinstance(layers, tuple) and any(isinstance(p, Layer) for p in layers):
            return tuple((str(i), part) for i, part in enumerate(layers))
        return ()

    @property
    def input_dtype(self) -> str | None:
        """What x holds: None for numbers of the model's dtype, "int32" for indices.

        Indices stay integers on their way to the layer, and nothing is differentiated
        by them. By default it is that of the first child.
        """
        return next((part.input_dtype for _, part in self.children), None)

    @property
    def widest(self) -> int:
        """Numbers of one sample in the widest array that the bound layer works on.

        By default that is its input, its output, or the widest of its children's.
        """
        shapes = (self.input_shape or (), self.output_shape or ())
        return max(
            *(math.prod(shape) for shape in shapes),
            *(part.widest for _, part in self.children),
        )

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

    def rescaled(
        self, params: Params, gain: Any, shift: Any, xp: ArrayNamespace
    ) -> Params | None:
        """Return parameters with which the layer returns gain · z + shift for z.

        gain and shift are of the last axis of z. None where no parameters do that, or
        where they are frozen.
        """
        return None

    def forward(self, params: Params, x: Any, context: Context) -> tuple[Any, Pullback]:
        """Return ``(z, pullback)`` for the batch x."""
        raise NotImplementedError

    def __repr__(self) -> str:
        skip = {"input_shape", "output_shape", "absorbed"} | (
            {"trainable"} if self.trainable else set()
        )
        inside = (f"{k}={v!r}" for k, v in self._values().items() if k not in skip)
        return f"{type(self).__name__}({', '.join(inside)})"


_AnyLayer = TypeVar("_AnyLayer", bound=Layer)


def variables(tree: Any) -> Iterator[Variable]:
    """Yield the variables of a tree, in layout order."""
    if isinstance(tree, Variable):
        yield tree
        return
    for branch in tree:
        yield from variables(branch)


def prefixed(name: str, variables: Any) -> Any:
    """Return a tree of variables with a part's name before their own."""
    if isinstance(variables, Variable):
        return variables._replace(name=f"{name}.{variables.name}")
    return tuple(prefixed(name, branch) for branch in variables)


def check_layer(owner: str, part: str, value: Any) -> Layer:
    """Return a layer, or raise an error that names its owner and which part it is."""
    if isinstance(value, type) and issubclass(value, Layer):
        msg = f"{owner}: got the class {value.__name__}; write {value.__name__}()."
        raise ArgumentTypeError(msg)
    if not isinstance(value, Layer):
        checks.refuse(f"{owner}: {part}", "a layer such as chainrule.Dense(8)", value)
    return value


def children(layer: Layer) -> tuple[tuple[str, Layer], ...]:
    """Return `Layer.children`, or raise an error if they are something else.

    Raises
    ------
    ArgumentTypeError, ArgumentError
    """
    given: Any = layer.children
    if type(layer).children is Layer.children and not given:
        return ()
    name = f"{type(layer).__name__}.children"
    form = 'as in (("left", self.left), ("right", self.right))'
    if not isinstance(given, (tuple, list)):
        checks.refuse(name, f"a tuple of names and layers, {form}", given)
    for pair in given:
        if not (isinstance(pair, (tuple, list)) and len(pair) == 2):
            checks.refuse(name, f"pairs of a name and a layer, {form}", pair)
        if not isinstance(pair[0], str) or not pair[0]:
            checks.refuse(f"{name}: every name", "a text", pair[0])
        check_layer(name, repr(pair[0]), pair[1])
    names = [pair[0] for pair in given]
    if len(set(names)) < len(names):
        msg = f"{name}: each child needs a name of its own; got {', '.join(names)}."
        raise ArgumentError(msg)
    return tuple((key, part) for key, part in given)


def mapped(layer: _AnyLayer, change: Callable[[str, Layer], Layer]) -> _AnyLayer:
    """Return the layer with ``change(name, child)`` in the place of each child.

    A child's place is where the layer's values have it, in tuples, lists and dicts
    too.
    """
    new = {id(part): change(name, part) for name, part in children(layer)}

    def placed(value: Any) -> Any:
        if isinstance(value, Layer):
            return new.get(id(value), value)
        if type(value) in (tuple, list):
            return type(value)([placed(v) for v in value])
        if type(value) is dict:
            return {k: placed(v) for k, v in value.items()}
        return value

    return layer.replace(**{k: placed(v) for k, v in layer.__getstate__().items()})


def freeze_parts(layer: _AnyLayer) -> _AnyLayer:
    """Return the layer in which all that is inside a frozen layer is frozen, too."""

    def frozen(_: str, part: Layer) -> Layer:
        if not layer.trainable and part.trainable:
            part = part.replace(trainable=False)
        return freeze_parts(part)

    return mapped(layer, frozen) if layer.children else layer


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
    """Return a bound layer's output shape; one's own layer may have left it out."""
    shape = bound.output_shape
    if shape is None:
        name = type(bound).__name__
        msg = (
            f"{name}: bind(sample_shape) must return a layer with its shapes filled "
            "in; output_shape is None. Return self.replace(input_shape=sample_shape, "
            "output_shape=...)."
        )
        raise ShapeError(msg)
    return shape
