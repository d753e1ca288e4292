"""Dropout as a layer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from chainrule import rules
from chainrule.arrays.types import Params
from chainrule.config import checks
from chainrule.layers.base import Layer, unbound
from chainrule.layers.context import Context

if TYPE_CHECKING:
    from chainrule.config.choices import Real

__all__ = ["Dropout"]


class Dropout(Layer):
    """While training, drop a share `rate` of the inputs; else do nothing.

    Parameters
    ----------
    rate : float in [0, 1)
        The share that is dropped.

    Notes
    -----
    The mask is a function of the model's seed, the step and the layer, the same bits on
    every backend. It has the shape of one batch and is shared by all leading axes.
    """

    rate: float

    def __init__(self, rate: Real, *, trainable: bool = True) -> None:
        value = checks.real("Dropout: rate", rate, 0.0, 1.0, open_high=True)
        self._configure(trainable, rate=value)

    @property
    def draws(self) -> int:
        """One mask a pass."""
        return 1

    @property
    def passes(self) -> bool:
        """Whether nothing is ever dropped."""
        return self.rate == 0.0

    @property
    def ending(self) -> None:
        """None: values stay what they are."""
        return

    @property
    def training_only(self) -> tuple[str, ...]:
        """Itself, where it drops something."""
        return super().training_only if self.rate > 0.0 else ()

    def forward(self, params: Params, x: Any, context: Context) -> Any:
        """Return ``(z, pullback)``, z of the shape of x."""
        if self.input_shape is None:
            unbound(self)
        if context.train:
            xp = context.xp
            core = x.shape[-len(self.input_shape) - 1 :]
            words = context.bits(core[0], math.prod(self.input_shape))
            z, pull = rules.dropout(
                x, xp.reshape(words, core), rate=self.rate, xp=context.xp
            )
        else:
            z, pull = rules.identity(x, xp=context.xp)

        def pullback(dz: Any, dx: bool = True, dp: bool = True) -> tuple[Any, Any]:
            return (pull(dz)[0] if dx else None), ()

        return z, pullback
