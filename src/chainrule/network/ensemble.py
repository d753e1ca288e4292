"""Ensembles: several members in one vector, and what is made of their outputs.

theta (members, P) goes through the same rules as theta (P,), which never sum an axis
before their own. What is here stands at the edges: where members begin, which samples
each sees, and how their outputs become one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule import optimizers
from chainrule.arrays.trees import tree_map
from chainrule.config import checks
from chainrule.errors import ArgumentError
from chainrule.model.access import Access
from chainrule.network.network import Network

__all__ = [
    "build_mean",
    "build_mean_and_std",
    "build_members",
    "check_optimizer",
    "initial",
    "member",
]


def check_optimizer(optimizer: Any, members: int | None) -> Any:
    """Return the optimizer, or raise an error if it does not go with so many members."""
    optimizer = optimizers.get(optimizer)
    name = type(optimizer).__name__
    if not isinstance(optimizer, optimizers.Optimizer):
        if members is not None:
            msg = (
                f"optimizer: {name} trains one network at a time; train "
                f"model.member(k) for each k, or take an optimizer such as Adam."
            )
            raise ArgumentError(msg)
        return optimizer
    rates = optimizer.members
    if rates not in (None, members):
        have = "a single network" if members is None else f"an ensemble of {members}"
        msg = (
            f"{name}: learning_rate has {rates} rates, one for each member, but the "
            f"model is {have}. Give a single rate, or Model(..., members={rates})."
        )
        raise ArgumentError(msg)
    return optimizer


def member(model: Any, k: int) -> Any:
    """Return member k of an ensemble as a model of its own; see `Model.member`."""
    k = checks.integer("member(k): k", k, 0)
    if k >= model.members:
        msg = f"member(k): k must be in 0 ... {model.members - 1}; got {k}."
        raise ArgumentError(msg)
    new = object.__new__(type(model))
    new.__dict__.update(model.__dict__)
    new.__dict__["members"] = None
    new._member, new.stopped_members, new._access = k, None, Access()
    new.history = model.history.member(k)
    new._optimizer = model.optimizer.member(k)
    rates = (model._rate, model._factor)
    new._rate, new._factor = (float(a[k]) if np.ndim(a) else a for a in rates)
    if model.built:
        with model._scope():
            new._weights, new._slots = (
                tree_map(lambda a: model.backend.copy(a[k, :]), group)
                for group in (model._weights, model._slots)
            )
    new._factor_of = None
    new._prepare()
    return new


def initial(network: Network, seed: int, members: int) -> tuple[Any, Any]:
    """Draw theta (members, P) and the state (members, S) on the host, in float64.

    Member k's are ``network.initial(seed, k)``, however many members there are.
    """
    drawn = [network.initial(seed, k) for k in range(members)]
    theta, state = (np.stack(group) for group in zip(*drawn, strict=True))
    return theta, state


# Functions of a batch, joined along their first axis: that is the batch, not the members.


def build_members(backend: Any, network: Network, build: Any, *key: Any) -> Any:
    """Return ``f(theta, state, x)`` of shape (batch, members, ...), one for each member.

    ``build(backend, network, *key)`` makes the function of one member or of all.
    """
    xp, each = backend.xp, build(backend, network, *key)

    def members(theta: Any, state: Any, x: Any) -> Any:
        z = each(theta, state, x)
        core = z.shape[-len(network.output_shape) - 1 :]
        # A network without parameters has the same output for all.
        z = xp.broadcast_to(z, (theta.shape[0], *core))
        return xp.moveaxis(z, 0, 1)

    return members


def build_mean(backend: Any, network: Network, build: Any, *key: Any) -> Any:
    """Return ``f(theta, state, x)`` of shape (batch, ...), the mean over members."""
    xp, members = backend.xp, build_members(backend, network, build, *key)

    def mean(theta: Any, state: Any, x: Any) -> Any:
        return xp.mean(members(theta, state, x), axis=1)

    return mean


def build_mean_and_std(backend: Any, network: Network, build: Any, *key: Any) -> Any:
    """Return ``f(theta, state, x)`` of shape (batch, 2, ...): mean, standard deviation.

    The latter is sqrt(Σ (zₖ - mean)² / members).
    """
    xp, members = backend.xp, build_members(backend, network, build, *key)

    def mean_and_std(theta: Any, state: Any, x: Any) -> Any:
        z = members(theta, state, x)
        mean = xp.mean(z, axis=1, keepdims=True)
        d = z - mean
        std = xp.sqrt(xp.mean(d * d, axis=1, keepdims=True))
        return xp.concat([mean, std], axis=1)

    return mean_and_std
