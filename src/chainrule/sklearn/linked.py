"""Functions of a network that end in the link, as pure functions."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from chainrule.derivatives import inputs
from chainrule.errors import ArgumentError
from chainrule.layers import Dense, Layer, Sequential
from chainrule.layers.context import Context
from chainrule.network import Network, tree

if TYPE_CHECKING:
    from chainrule.arrays.types import Array
    from chainrule.backends import Backend
    from chainrule.losses import Loss

__all__ = [
    "build_derivative",
    "build_hidden",
    "build_linked",
    "build_mean_of_each",
    "build_validation",
    "hidden_widths",
    "linked",
]


@functools.lru_cache(maxsize=64)
def linked(network: Network, link: Layer | None) -> Network:
    """Return the network that ends in the link: what predictions are."""
    if link is None:
        return network
    return Network(Sequential(network.layer, link), network.input_shape)


def build_linked(backend: Backend, network: Network, link: Layer | None) -> Any:
    """Return ``f(theta, state, x) -> predictions`` in inference."""
    xp = backend.xp
    whole = linked(network, link)

    def predictions(theta: Array, state: Array, x: Array) -> Any:
        pieces = whole.unflatten_state(state, xp) if whole.state_size else ()
        context = Context(xp, state=pieces)
        return whole.forward(whole.unflatten(theta, xp), x, context)[0]

    return predictions


def build_derivative(backend: Backend, network: Network, link: Layer | None) -> Any:
    """Return ``f(theta, state, x) -> ∂predictions/∂x``, (batch, m, n)."""
    return inputs.build_jacobian(backend, linked(network, link))


def build_mean_of_each(
    backend: Backend, network: Network, build: Any, *key: Any
) -> Any:
    """Return ``f(theta, state, x)``, the mean over members of a function of one."""
    one = build(backend, network, *key)

    def mean(theta: Array, state: Array, x: Array) -> Any:
        members = theta.shape[0]
        total = one(theta[0, :], state[0, :], x)
        for k in range(1, members):
            total = total + one(theta[k, :], state[k, :], x)
        return total / members

    return mean


def build_validation(
    backend: Backend, network: Network, loss: Loss, link: Layer | None
) -> Any:
    """Return ``f(theta, state, x, t, weight) -> (predictions, loss)`` in inference.

    Of an ensemble: the mean of its members' predictions, and the loss of each.
    """
    xp = backend.xp

    def validation(theta: Array, state: Array, x: Array, t: Any, weight: Any) -> Any:
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


def build_hidden(backend: Backend, network: Network) -> Any:
    """Return ``f(theta, state, x) -> hidden activations``, side by side: (n, Σ hᵢ)."""
    xp = backend.xp
    names = [name for name, _ in _dense(network)][1:]

    def hidden(theta: Array, state: Array, x: Array) -> Any:
        received: dict[str, Any] = {}

        def recording(name: str, part: Layer) -> tree.Forward:
            def forward(params: Any, x: Array, context: Context) -> tuple[Any, Any]:
                received[name] = x
                return part.forward(params, x, context)

            return forward

        pieces = network.unflatten_state(state, xp) if network.state_size else ()
        layer = tree.rewired(network.layer, recording)
        layer.forward(network.unflatten(theta, xp), x, Context(xp, state=pieces))
        return xp.concat([received[name] for name in names], axis=-1)

    return hidden


def hidden_widths(network: Network) -> list[int]:
    """Widths of the hidden activations that `build_hidden` gives."""
    shapes = [part.input_shape or () for _, part in _dense(network)[1:]]
    if not shapes or any(len(s) != 1 for s in shapes):
        msg = (
            "hidden_activations needs a network of at least two Dense layers on "
            "vectors; this network is none."
        )
        raise ArgumentError(msg)
    return [s[0] for s in shapes]


def _dense(network: Network) -> list[tuple[str, Layer]]:
    """Name the dense layers: what all but the first receive are hidden activations."""
    parts = tree.walk(network.layer)
    return [(name, part) for name, part in parts if isinstance(part, Dense)]
