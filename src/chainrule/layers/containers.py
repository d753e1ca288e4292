"""Layers made of layers: composition is closed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from chainrule.arrays.types import ArrayNamespace, Params, Shape
from chainrule.errors import ArgumentError, ShapeError
from chainrule.layers.base import (
    Layer,
    check_layer,
    freeze_parts,
    output_shape,
    prefixed,
    unbound,
)
from chainrule.layers.context import Context

__all__ = ["Residual", "Sequential"]


class Sequential(Layer):
    """One layer after the other.

    Parameters
    ----------
    *layers : Layer
        Or one list of them.
    trainable : bool
        False freezes all of them.
    """

    layers: tuple[Layer, ...]
    first_learning: int | None  # number of the first part that learns, once bound

    def __init__(
        self, *layers: Layer | Sequence[Layer], trainable: bool = True
    ) -> None:
        if len(layers) == 1 and isinstance(layers[0], (list, tuple)):
            layers = tuple(layers[0])
        if not layers:
            msg = "Sequential: at least one layer is needed; got none."
            raise ArgumentError(msg)
        parts = tuple(check_layer("Sequential", "every part", part) for part in layers)
        self._configure(trainable, layers=parts, first_learning=None)

    def bind(self, sample_shape: Shape) -> Self:
        """Return the layer with its shapes, and those of its parts, filled in."""
        bound, shape = [], sample_shape
        for part in freeze_parts(self).layers:
            bound.append(part.bind(shape))
            shape = output_shape(bound[-1])
        learning = (i for i, part in enumerate(bound) if part.learns)
        return self.replace(
            layers=tuple(bound),
            first_learning=next(learning, len(bound)),
            input_shape=sample_shape,
            output_shape=shape,
        ).followed(False)

    @property
    def passes(self) -> bool:
        """Whether all parts do."""
        return all(part.passes for part in self.layers)

    @property
    def absorbs(self) -> bool:
        """Whether the constant passes up to a part that absorbs it."""
        return next((part.absorbs for part in self.layers if not part.passes), False)

    def followed(self, absorbs: bool) -> Self:
        """Return the layer with that behind its last part."""
        parts = []
        for part in reversed(self.layers):
            parts.append(part.followed(absorbs))
            absorbs = part.absorbs or (part.passes and absorbs)
        return self.replace(layers=tuple(reversed(parts)))

    @property
    def ending(self) -> Layer | None:
        """That of the last part that changes values."""
        ends = (part.ending for part in reversed(self.layers))
        return next((end for end in ends if end is not None), None)

    def rescaled(
        self, params: Params, gain: Any, shift: Any, xp: ArrayNamespace
    ) -> Params | None:
        """As `Layer.rescaled`, by the last part."""
        last = self.layers[-1].rescaled(params[-1], gain, shift, xp)
        return None if last is None else (*params[:-1], last)

    def forward(self, params: Params, x: Any, context: Context) -> Any:
        """Return ``(z, pullback)``: the parts in order, their pullbacks in reverse."""
        first_learning = self.first_learning
        if first_learning is None:
            unbound(self)
        pulls = []
        for part, p in zip(self.layers, params, strict=True):
            x, pull = part.forward(p, x, context)
            pulls.append(pull)

        def pullback(dz: Any, dx: bool = True, dp: bool = True) -> tuple[Any, Any]:
            grads: list[Any] = [None] * len(pulls)
            # Without dx nobody asks what comes before the first part that learns.
            first = 0
            if not dx:
                first = first_learning if dp else len(pulls)
            for i in range(len(pulls) - 1, first - 1, -1):
                dz, grads[i] = pulls[i](dz, dx or i > first, dp)
            return (dz if dx else None), tuple(grads)

        return x, pullback

    def __repr__(self) -> str:
        inside = [repr(part) for part in self.layers]
        if not self.trainable:
            inside.append("trainable=False")
        return f"Sequential({', '.join(inside)})"


class Residual(Layer):
    """z = x + layer(x).

    Parameters
    ----------
    layer : Layer
        Its output must have the shape of its input.

    Notes
    -----
    Source: He et al. 2015 (arXiv:1512.03385).
    """

    layer: Layer

    def __init__(self, layer: Layer, *, trainable: bool = True) -> None:
        self._configure(trainable, layer=check_layer("Residual", "every part", layer))

    def bind(self, sample_shape: Shape) -> Self:
        """Return the layer with its shapes, and those of its part, filled in."""
        inner = freeze_parts(self).layer.bind(sample_shape)
        if inner.output_shape != sample_shape:
            msg = (
                f"Residual: the layer must return the shape that it takes, "
                f"{sample_shape}; it returns {inner.output_shape}. Set the units of "
                f"its last Dense layer."
            )
            raise ShapeError(msg)
        return self.replace(
            layer=inner, input_shape=sample_shape, output_shape=sample_shape
        )

    @property
    def passes(self) -> bool:
        """Whether the layer does, or absorbs: x itself carries the constant on."""
        return self.layer.passes or self.layer.absorbs

    def followed(self, absorbs: bool) -> Self:
        """Return the layer with that behind its part, too."""
        return self.replace(layer=self.layer.followed(absorbs))

    @property
    def parameters(self) -> tuple[Any, ...]:
        """The layer's own tree, under "layer"."""
        named: tuple[Any, ...] = prefixed("layer", self.layer.parameters)
        return named

    def forward(self, params: Params, x: Any, context: Context) -> Any:
        """Return ``(z, pullback)``, z of the shape of x."""
        z, pull = self.layer.forward(params, x, context)

        def pullback(dz: Any, dx: bool = True, dp: bool = True) -> tuple[Any, Any]:
            grad, dparams = pull(dz, dx, dp)
            return (dz + grad if dx else None), dparams

        return x + z, pullback
