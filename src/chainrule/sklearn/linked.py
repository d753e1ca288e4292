"""Functions of a network that end in the link, as pure functions."""

from __future__ import annotations

import functools
from typing import Any

from chainrule.arrays.types import Shape
from chainrule.derivatives import inputs
from chainrule.errors import ArgumentError
from chainrule.layers import Dense, Layer, Sequential
from chainrule.layers.context import Context
from chainrule.network import Network

__all__ = [
    "build_derivative",
    "build_hidden",
    "build_linked",
    "build_mean_of_each",
    "build_validation",
    "linked",
]


@functools.lru_cache(maxsize=64)
def linked(network: Network, link: Layer | None) -> Network:
    """Return the network that ends in the link: what predictions are."""
    if link is None:
        return network
    return Network(Sequential(network.layer, link), network.input_shape)


def build_linked(backend: Any, network: Network, link: Layer | None) -> Any:
    """Return ``f(theta, state, x) -> predictions`` in inference."""
    xp = backend.xp
    whole = linked(network, link)

    def predictions(theta: Any, state: Any, x: Any) -> Any:
        pieces = whole.unflatten_state(state, xp) if whole.state_size else ()
        context = Context(xp, state=pieces)
        return whole.forward(whole.unflatten(theta, xp), x, context)[0]

    return predictions


def build_derivative(backend: Any, network: Network, link: Layer | None) -> Any:
    """Return ``f(theta, state, x) -> ∂predictions/∂x``, (batch, m, n)."""
    return inputs.build_jacobian(backend, linked(network, link))


def build_mean_of_each(backend: Any, network: Network, build: Any, *key: Any) -> Any:
    """Return ``f(theta, state, x)``, the mean over members of a function of one."""
    one = build(backend, network, *key)

    def mean(theta: Any, state: Any, x: Any) -> Any:
        members = theta.shape[0]
        total = one(theta[0, :], state[0, :], x)
        for k in range(1, members):
            total = total + one(theta[k, :], state[k, :], x)
        return total / members

    return mean


def build_validation(
    backend: Any, network: Network, loss: Any, link: Layer | None
) -> Any:
    """Return ``f(theta, state, x, t, weight) -> (predictions, loss)`` in inference.

    Of an ensemble: the mean of its members' predictions, and the loss of each.
    """
    xp = backend.xp

    def validation(theta: Any, state: Any, x: Any, t: Any, weight: Any) -> Any:
        pieces = network.unflatten_state(state, xp) if network.state_size else ()
        context = Context(xp, state=pieces)
        z, _ = network.forward(network.unflatten(theta, xp), x, context)
        value = loss(z, t, weight, network.output_shape, xp=xp)[0]
        if link is not None:
            bound = link.bind(network.output_shape)
            z, _ = bound.forward((), z, Context(xp))
        if theta.ndim > 1:
            z = xp.mean(z, axis=0)
        return z, value

    return validation


def build_hidden(backend: Any, network: Network) -> Any:
    """Return ``f(theta, state, x) -> hidden activations``, side by side: (n, Σ hᵢ)."""
    xp = backend.xp
    chain: Any = network.layer

    def hidden(theta: Any, state: Any, x: Any) -> Any:
        pieces = network.unflatten_state(state, xp) if network.state_size else ()
        context = Context(xp, state=pieces)
        found = []
        params = network.unflatten(theta, xp)
        for part, p in zip(chain.layers, params, strict=True):
            if isinstance(part, Dense):
                found.append(x)  # what a dense layer receives is a hidden activation
            x, _ = part.forward(p, x, context)
        return xp.concat(found[1:], axis=-1)

    return hidden


def hidden_widths(network: Network) -> list[int]:
    """Widths of the hidden activations that `build_hidden` gives."""
    dense = [p for p in getattr(network.layer, "layers", ()) if isinstance(p, Dense)]
    shapes: list[Shape] = [p.input_shape for p in dense[1:] if p.input_shape]
    if not shapes or any(len(s) != 1 for s in shapes):
        msg = (
            "hidden_activations needs a Sequential of at least two Dense layers on "
            "vectors; this network is none."
        )
        raise ArgumentError(msg)
    return [s[0] for s in shapes]
