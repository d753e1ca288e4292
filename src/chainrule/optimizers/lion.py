"""Steps of a momentum's sign."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from chainrule.arrays.types import Array, ArrayNamespace
from chainrule.config import checks
from chainrule.optimizers.base import Host, Optimizer

if TYPE_CHECKING:
    from chainrule.config.choices import Rate, Real

__all__ = ["Lion"]


class Lion(Optimizer):
    """Steps of the sign of a momentum; weight decay is decoupled.

    theta <- theta - lr (sign(b1 m + (1 - b1) g) + weight_decay theta);
    m <- b2 m + (1 - b2) g

    Parameters
    ----------
    learning_rate : float or callable
    beta_1, beta_2 : float in [0, 1)
    weight_decay, clip_norm, clip_value : float
        See `Optimizer`.

    Notes
    -----
    optax.lion. Source: Chen et al. 2023 (arXiv:2302.06675).
    """

    beta_1: float
    beta_2: float
    slots: tuple[str, ...] = ("m",)
    decoupled = True
    numbers: tuple[str, ...] = ("beta_1", "beta_2")

    def __init__(
        self,
        learning_rate: Rate | Sequence[Rate] | Array = 1e-4,
        beta_1: Real = 0.9,
        beta_2: Real = 0.99,
        *,
        weight_decay: Real = 0.0,
        clip_norm: Real | None = None,
        clip_value: Real | None = None,
    ) -> None:
        self._configure(
            learning_rate,
            weight_decay,
            clip_norm,
            clip_value,
            beta_1=checks.real("Lion: beta_1", beta_1, 0.0, 1.0, open_high=True),
            beta_2=checks.real("Lion: beta_2", beta_2, 0.0, 1.0, open_high=True),
        )

    def own_scalars(self, first: int, rates: Host, previous: Any) -> dict[str, Any]:
        """See `Optimizer.own_scalars`."""
        return {
            "rate": rates,
            "b1": self.beta_1,
            "b2": self.beta_2,
            "c1": 1.0 - self.beta_1,
            "c2": 1.0 - self.beta_2,
        }

    def step(
        self, xp: ArrayNamespace, s: Any, g: Array, theta: Array, m: Array
    ) -> tuple[Array, ...]:
        """See `Optimizer.step`."""
        theta -= s.rate * xp.sign(s.b1 * m + s.c1 * g)
        m *= s.b2
        m += s.c2 * g
        return theta, m
