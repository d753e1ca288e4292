"""Ensembles: several members in one vector, and what is made of their outputs.

theta (members, P) goes through the same rules as theta (P,), which never sum an axis
before their own. What is here stands at the edges: where members begin, which samples
each sees, and how their outputs become one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.arrays.types import Array
from chainrule.network.forward import Build, Function, build_output
from chainrule.network.network import Network

if TYPE_CHECKING:
    from chainrule.backends import Backend
    from chainrule.losses import Loss

__all__ = [
    "build_mean",
    "build_mean_and_std",
    "build_members",
    "build_spread",
    "initial",
]


def initial(network: Network, seed: int, members: int) -> tuple[Any, Any]:
    """Draw theta (members, P) and the state (members, S) on the host, in float64.

    Member k's are ``network.initial(seed, k)``, however many members there are.
    """
    drawn = [network.initial(seed, k) for k in range(members)]
    theta, state = (np.stack(group) for group in zip(*drawn, strict=True))
    return theta, state


# Functions of a batch, joined along their first axis: that is the batch, not the
# members.


def build_members(
    backend: Backend, network: Network, build: Build, *key: Any
) -> Function:
    """Return ``f(theta, state, x)`` of shape (batch, members, ...): each member's.

    ``build(backend, network, *key)`` makes the function of one member or of all.
    """
    xp, each = backend.xp, build(backend, network, *key)

    def members(theta: Array, state: Array, x: Array) -> Any:
        z = each(theta, state, x)
        core = z.shape[-len(network.output_shape) - 1 :]
        # A network without parameters has the same output for all.
        z = xp.broadcast_to(z, (theta.shape[0], *core))
        return xp.moveaxis(z, 0, 1)

    return members


def build_mean(backend: Backend, network: Network, build: Build, *key: Any) -> Function:
    """Return ``f(theta, state, x)`` of shape (batch, ...), the mean over members."""
    xp, members = backend.xp, build_members(backend, network, build, *key)

    def mean(theta: Array, state: Array, x: Array) -> Any:
        return xp.mean(members(theta, state, x), axis=1)

    return mean


def build_mean_and_std(
    backend: Backend, network: Network, build: Build, *key: Any
) -> Function:
    """Return ``f(theta, state, x)`` of shape (batch, 2, ...): mean, standard deviation.

    The latter is sqrt(Σ (zₖ - mean)² / members).
    """
    xp, members = backend.xp, build_members(backend, network, build, *key)

    def mean_and_std(theta: Array, state: Array, x: Array) -> Any:
        z = members(theta, state, x)
        mean = xp.mean(z, axis=1, keepdims=True)
        d = z - mean
        std = xp.sqrt(xp.mean(d * d, axis=1, keepdims=True))
        return xp.concat([mean, std], axis=1)

    return mean_and_std


def build_spread(
    backend: Backend, network: Network, loss: Loss, members: int | None
) -> Function:
    """Return ``f(theta, state, x)`` (batch, 2, ...): mean and standard deviation.

    They are of the target, as a loss with a spread has them. For an ensemble they are
    those of the mixture of its members, by the law of total variance: the mean of the
    variances and the variance of the means.
    """
    xp = backend.xp
    if members is None:
        output = build_output(backend, network)
    else:
        output = build_members(backend, network, build_output)

    def spread(theta: Array, state: Array, x: Array) -> Any:
        z = output(theta, state, x)
        mean, variance = loss.spread(z if members else z[:, None, ...], xp=xp)
        middle = xp.mean(mean, axis=1, keepdims=True)
        d = mean - middle
        total = xp.mean(variance + d * d, axis=1, keepdims=True)
        return xp.concat([middle, xp.sqrt(total)], axis=1)

    return spread
