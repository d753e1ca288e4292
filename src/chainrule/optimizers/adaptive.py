"""Steps divided by the size that each gradient has had."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from chainrule.arrays.types import Array, ArrayNamespace
from chainrule.config import checks
from chainrule.optimizers.base import TINY, Host, Optimizer

if TYPE_CHECKING:
    from chainrule.config.choices import Rate, Real

__all__ = ["Adagrad", "RMSprop"]


class RMSprop(Optimizer):
    """v <- rho v + (1 - rho) g²;  theta <- theta - lr g / (sqrt(v) + epsilon).

    Parameters
    ----------
    learning_rate : float or callable
    rho : float in [0, 1)
    epsilon : float
    weight_decay, clip_norm, clip_value : float
        See `Optimizer`; the decay is L2.

    Notes
    -----
    torch.optim.RMSprop. Source: Tieleman, Hinton 2012.
    """

    rho: float
    epsilon: float
    slots: tuple[str, ...] = ("v",)
    numbers: tuple[str, ...] = ("rho", "epsilon")

    def __init__(
        self,
        learning_rate: Rate | Sequence[Rate] | Array = 0.01,
        rho: Real = 0.99,
        epsilon: Real = 1e-8,
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
            rho=checks.real("RMSprop: rho", rho, 0.0, 1.0, open_high=True),
            epsilon=checks.real("RMSprop: epsilon", epsilon, 0.0),
        )

    def own_scalars(self, first: int, rates: Host, previous: Any) -> dict[str, Any]:
        """See `Optimizer.own_scalars`."""
        return {
            "rate": rates,
            "rho": self.rho,
            "c": 1.0 - self.rho,
            "e": max(self.epsilon, TINY),
        }

    def step(
        self, xp: ArrayNamespace, s: Any, g: Array, theta: Array, v: Array
    ) -> tuple[Array, ...]:
        """See `Optimizer.step`."""
        v *= s.rho
        v += s.c * (g * g)
        theta -= s.rate * g / (xp.sqrt(v) + s.e)
        return theta, v


class Adagrad(Optimizer):
    """v <- v + g²;  theta <- theta - lr g / (sqrt(v) + epsilon).

    Parameters
    ----------
    learning_rate : float or callable
    epsilon : float
    weight_decay, clip_norm, clip_value : float
        See `Optimizer`; the decay is L2.

    Notes
    -----
    torch.optim.Adagrad. Source: Duchi, Hazan, Singer 2011.
    """

    epsilon: float
    slots: tuple[str, ...] = ("v",)
    numbers: tuple[str, ...] = ("epsilon",)

    def __init__(
        self,
        learning_rate: Rate | Sequence[Rate] | Array = 0.01,
        epsilon: Real = 1e-10,
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
            epsilon=checks.real("Adagrad: epsilon", epsilon, 0.0),
        )

    def own_scalars(self, first: int, rates: Host, previous: Any) -> dict[str, Any]:
        """See `Optimizer.own_scalars`."""
        return {"rate": rates, "e": max(self.epsilon, TINY)}

    def step(
        self, xp: ArrayNamespace, s: Any, g: Array, theta: Array, v: Array
    ) -> tuple[Array, ...]:
        """See `Optimizer.step`."""
        v += g * g
        theta -= s.rate * g / (xp.sqrt(v) + s.e)
        return theta, v
