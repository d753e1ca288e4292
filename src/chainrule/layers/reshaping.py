"""Layers that change the shape of samples, and no value."""

from __future__ import annotations

import math
from typing import Any, Self

from chainrule.arrays.types import Params, Shape
from chainrule.layers.base import Layer, unbound
from chainrule.layers.context import Context
from chainrule.layers.rows import lead

__all__ = ["Flatten"]


class Flatten(Layer):
    """Samples of any shape become vectors, row-major."""

    def __init__(self, *, trainable: bool = True) -> None:
        self._configure(trainable)

    @property
    def ending(self) -> None:
        """None: values stay what they are."""
        return

    def bind(self, sample_shape: Shape) -> Self:
        """Return the layer with its shapes filled in."""
        return self.replace(
            input_shape=sample_shape, output_shape=(math.prod(sample_shape),)
        )

    @property
    def passes(self) -> bool:
        """True: it only reshapes."""
        return True

    def forward(self, params: Params, x: Any, context: Context) -> Any:
        """Return ``(z, pullback)``: x (..., batch, *in) -> z (..., batch, size)."""
        if self.input_shape is None or self.output_shape is None:
            unbound(self)
        xp, inside, outside = context.xp, self.input_shape, self.output_shape
        batch = x.shape[-len(inside) - 1]
        z = xp.reshape(x, (*lead(x, inside), batch, *outside))

        def pullback(dz: Any, dx: bool = True, dp: bool = True) -> tuple[Any, Any]:
            if not dx:
                return None, ()
            return xp.reshape(dz, (*lead(dz, outside), batch, *inside)), ()

        return z, pullback
