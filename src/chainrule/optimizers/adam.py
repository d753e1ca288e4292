"""Adam and its kin: steps scaled by running moments of the gradient."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.arrays.types import Array, ArrayNamespace
from chainrule.config import checks
from chainrule.optimizers.base import TINY, Host, Optimizer

if TYPE_CHECKING:
    from chainrule.config.choices import Rate, Real

__all__ = ["Adam", "AdamW", "NAdam"]


class Adam(Optimizer):
    """Adam: steps scaled by running moments of the gradient.

    m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g²
    theta <- theta - a m / (sqrt(v) + e)
    with a = lr sqrt(1 - b2^t) / (1 - b1^t) and t = 1, 2, ... the step

    Parameters
    ----------
    learning_rate : float or callable
    beta_1, beta_2 : float in [0, 1)
    epsilon : float
    epsilon_hat : bool
        False: e = epsilon sqrt(1 - b2^t), that is epsilon stands beside the corrected
        moment (the paper's algorithm 1, torch, optax). True: e = epsilon (the end of
        the paper's section 2, scikit-learn).
    weight_decay, clip_norm, clip_value : float
        See `Optimizer`; the decay is L2.

    Notes
    -----
    torch.optim.Adam. Source: Kingma, Ba 2014 (arXiv:1412.6980).
    """

    beta_1: float
    beta_2: float
    epsilon: float
    epsilon_hat: bool
    slots: tuple[str, ...] = ("m", "v")
    numbers: tuple[str, ...] = ("beta_1", "beta_2", "epsilon")

    def __init__(
        self,
        learning_rate: Rate | Sequence[Rate] | Array = 1e-3,
        beta_1: Real = 0.9,
        beta_2: Real = 0.999,
        epsilon: Real = 1e-8,
        *,
        epsilon_hat: bool = False,
        weight_decay: Real = 0.0,
        clip_norm: Real | None = None,
        clip_value: Real | None = None,
    ) -> None:
        name = type(self).__name__
        self._configure(
            learning_rate,
            weight_decay,
            clip_norm,
            clip_value,
            beta_1=checks.real(f"{name}: beta_1", beta_1, 0.0, 1.0, open_high=True),
            beta_2=checks.real(f"{name}: beta_2", beta_2, 0.0, 1.0, open_high=True),
            epsilon=checks.real(f"{name}: epsilon", epsilon, 0.0),
            epsilon_hat=checks.boolean(f"{name}: epsilon_hat", epsilon_hat),
        )

    def own_scalars(self, first: int, rates: Host, previous: Any) -> dict[str, Any]:
        """See `Optimizer.own_scalars`."""
        steps = rates.shape[-1]
        t = np.arange(first + 1, first + 1 + steps, dtype=np.float64)
        # 1 - b^t, without cancellation where b^t is close to 1.
        c1, c2 = _one_minus_power(self.beta_1, t), _one_minus_power(self.beta_2, t)
        root = np.sqrt(c2)
        return {
            "b1": self.beta_1,
            "b2": self.beta_2,
            "c1": 1.0 - self.beta_1,
            "c2": 1.0 - self.beta_2,
            "a": rates * root / c1,
            "e": max(self.epsilon, TINY)
            if self.epsilon_hat
            else np.maximum(self.epsilon * root, TINY),
        }

    def step(
        self, xp: ArrayNamespace, s: Any, g: Array, theta: Array, m: Array, v: Array
    ) -> tuple[Array, ...]:
        """See `Optimizer.step`."""
        m *= s.b1
        m += s.c1 * g
        v *= s.b2
        v += s.c2 * (g * g)
        theta -= s.a * m / (xp.sqrt(v) + s.e)
        return theta, m, v


def _one_minus_power(beta: float, t: Any) -> Any:
    return -np.expm1(t * math.log(beta)) if beta else np.ones_like(t)


def _one_minus_product(beta: float, decay: float, t: Any) -> Any:
    """Return 1 - p_t of NAdam, p_t = Π_k≤t beta (1 - q^k / 2) with q = 0.96^decay.

    log p_t = t log beta + Σ_k log(1 - q^k / 2); the logarithm's series gives geometric
    sums over k, so that no step before t is gone through:
    Σ_k log(1 - q^k / 2) = -Σ_j q^j (1 - q^jt) / ((1 - q^j) j 2^j).
    """
    rest = np.ones_like(t)
    if not beta:
        return rest
    # Beyond, 1 - p is 1 to the last bit: p is at most beta^t.
    counts = -t * math.log(beta) < 45.0
    for low in range(0, int(counts.sum()), 4096):  # they are the first ones
        some = slice(low, min(low + 4096, int(counts.sum())))
        rest[some] = -np.expm1(t[some] * math.log(beta) - _halvings(decay, t[some]))
    return rest


def _halvings(decay: float, t: Any) -> Any:
    """Return Σ_j q^j (1 - q^jt) / ((1 - q^j) j 2^j), q = 0.96^decay, of each t."""
    j = np.arange(1.0, 60.0)[:, None]  # the sum of the others is below 2^-60 of it
    log = j * (decay * math.log(0.96))
    small = -np.expm1(log)  # 1 - q^j
    sums = np.broadcast_to(t, (j.size, t.size))
    if small.all():
        sums = np.exp(log) * np.expm1(log * t) / -small
    # Added one after the other, so that each t has the same bits in any company.
    return np.add.accumulate(sums / (j * 2.0**j), axis=0)[-1]


class AdamW(Adam):
    """Adam with decoupled decay.

    theta <- theta (1 - lr weight_decay), then as Adam

    Notes
    -----
    torch.optim.AdamW. Source: Loshchilov, Hutter 2017 (arXiv:1711.05101).
    """

    decoupled = True

    def __init__(
        self,
        learning_rate: Rate | Sequence[Rate] | Array = 1e-3,
        beta_1: Real = 0.9,
        beta_2: Real = 0.999,
        epsilon: Real = 1e-8,
        weight_decay: Real = 0.01,
        *,
        epsilon_hat: bool = False,
        clip_norm: Real | None = None,
        clip_value: Real | None = None,
    ) -> None:
        super().__init__(
            learning_rate,
            beta_1,
            beta_2,
            epsilon,
            epsilon_hat=epsilon_hat,
            weight_decay=weight_decay,
            clip_norm=clip_norm,
            clip_value=clip_value,
        )


class NAdam(Optimizer):
    """Adam with Nesterov momentum.

    mu_t = b1 (1 - 0.5 · 0.96^(t momentum_decay)), p_t = mu_1 ... mu_t;
    m, v as Adam's;  w = sqrt(v / (1 - b2^t)) + epsilon;
    theta <- theta - lr ((1 - mu_t) / (1 - p_t) g + mu_t+1 / (1 - p_t+1) m) / w

    Parameters
    ----------
    learning_rate : float or callable
    beta_1, beta_2 : float in [0, 1)
    epsilon : float
    momentum_decay : float
    weight_decay, clip_norm, clip_value : float
        See `Optimizer`; the decay is L2.

    Notes
    -----
    torch.optim.NAdam. Source: Dozat 2016.
    """

    beta_1: float
    beta_2: float
    epsilon: float
    momentum_decay: float
    slots: tuple[str, ...] = ("m", "v")
    numbers: tuple[str, ...] = ("beta_1", "beta_2", "epsilon", "momentum_decay")

    def __init__(
        self,
        learning_rate: Rate | Sequence[Rate] | Array = 2e-3,
        beta_1: Real = 0.9,
        beta_2: Real = 0.999,
        epsilon: Real = 1e-8,
        momentum_decay: Real = 4e-3,
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
            beta_1=checks.real("NAdam: beta_1", beta_1, 0.0, 1.0, open_high=True),
            beta_2=checks.real("NAdam: beta_2", beta_2, 0.0, 1.0, open_high=True),
            epsilon=checks.real("NAdam: epsilon", epsilon, 0.0),
            momentum_decay=checks.real("NAdam: momentum_decay", momentum_decay, 0.0),
        )

    def own_scalars(self, first: int, rates: Host, previous: Any) -> dict[str, Any]:
        """See `Optimizer.own_scalars`."""
        steps = rates.shape[-1]  # mu is needed one further
        t = np.arange(first + 1, first + steps + 2, dtype=np.float64)
        mu = self.beta_1 * (1.0 - 0.5 * 0.96 ** (t * self.momentum_decay))
        rest = _one_minus_product(self.beta_1, self.momentum_decay, t)
        root = np.sqrt(_one_minus_power(self.beta_2, t[:-1]))
        return {
            "b1": self.beta_1,
            "b2": self.beta_2,
            "c1": 1.0 - self.beta_1,
            "c2": 1.0 - self.beta_2,
            "ag": rates * root * (1.0 - mu[:-1]) / rest[:-1],
            "am": rates * root * mu[1:] / rest[1:],
            "e": np.maximum(self.epsilon * root, TINY),
        }

    def step(
        self, xp: ArrayNamespace, s: Any, g: Array, theta: Array, m: Array, v: Array
    ) -> tuple[Array, ...]:
        """See `Optimizer.step`."""
        m *= s.b1
        m += s.c1 * g
        v *= s.b2
        v += s.c2 * (g * g)
        theta -= (s.ag * g + s.am * m) / (xp.sqrt(v) + s.e)
        return theta, m, v
