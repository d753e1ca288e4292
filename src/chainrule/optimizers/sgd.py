"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.arrays.types import Array, ArrayNamespace
from chainrule.config import checks
from chainrule.errors import ArgumentError
from chainrule.optimizers.base import Host, Optimizer

if TYPE_CHECKING:
    from chainrule.config.choices import Rate, Real

__all__ = ["SGD"]


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum if wished.

    m <- d m + g;  theta <- theta - lr m, or with Nesterov theta - lr (g + mu m)

    Parameters
    ----------
    learning_rate : float or callable
    momentum : float in [0, 1)
        mu. Without it there is no m.
    nesterov : bool
        Look ahead along the velocity.
    rate_in_velocity : bool
        False: d = mu (torch, optax). True: d = mu lr_k-1 / lr_k, so that lr m is the
        velocity that carries each step's own rate (scikit-learn). The two differ only
        where the learning rate changes.
    weight_decay, clip_norm, clip_value : float
        See `Optimizer`; the decay is L2.

    Notes
    -----
    torch.optim.SGD. Source: Sutskever et al. 2013.
    """

    momentum: float
    nesterov: bool
    rate_in_velocity: bool
    numbers: tuple[str, ...] = ("momentum",)

    def __init__(
        self,
        learning_rate: Rate | Sequence[Rate] | Array = 0.01,
        momentum: Real = 0.0,
        nesterov: bool = False,
        *,
        rate_in_velocity: bool = False,
        weight_decay: Real = 0.0,
        clip_norm: Real | None = None,
        clip_value: Real | None = None,
    ) -> None:
        mu = checks.real("SGD: momentum", momentum, 0.0, 1.0, open_high=True)
        nesterov = checks.boolean("SGD: nesterov", nesterov)
        if nesterov and not mu:
            msg = f"SGD: nesterov needs a momentum above 0; got {momentum!r}."
            raise ArgumentError(msg)
        self._configure(
            learning_rate,
            weight_decay,
            clip_norm,
            clip_value,
            momentum=mu,
            nesterov=nesterov,
            rate_in_velocity=checks.boolean("SGD: rate_in_velocity", rate_in_velocity),
        )

    @property
    def slots(self) -> tuple[str, ...]:  # type: ignore[override]
        """The velocity m, if there is momentum."""
        return ("m",) if self.momentum else ()

    def own_scalars(self, first: int, rates: Host, previous: Any) -> dict[str, Any]:
        """See `Optimizer.own_scalars`."""
        scalars: dict[str, Any] = {"rate": rates}
        if self.momentum:
            mu = scalars["mu"] = self.momentum
            scalars["d"] = mu
            if self.rate_in_velocity:
                last = np.broadcast_to(previous, rates.shape[:-1])[..., None]
                before = np.concatenate((last, rates[..., :-1]), axis=-1)
                safe = np.where(rates > 0.0, rates, 1.0)
                scalars["d"] = np.where(rates > 0.0, mu * before / safe, mu)
        return scalars

    def step(
        self, xp: ArrayNamespace, s: Any, g: Array, theta: Array, m: Any = None
    ) -> tuple[Array, ...]:
        """See `Optimizer.step`."""
        if m is None:
            theta -= s.rate * g
            return (theta,)
        m *= s.d
        m += g
        if self.nesterov:
            theta -= s.rate * (g + s.mu * m)
        else:
            theta -= s.rate * m
        return theta, m
