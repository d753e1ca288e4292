"""A training pass, layer by layer."""

from __future__ import annotations

from typing import Any

from chainrule.backends import Backend
from chainrule.data.samples import Data
from chainrule.layers import Layer, Sequential
from chainrule.layers.context import Context
from chainrule.losses import Loss
from chainrule.network import Network, tree

__all__ = ["build_pass", "titles"]


def titles(layer: Layer) -> dict[str, str]:
    """Layers whose outputs are compared: name -> how a report calls them.

    A Sequential has the output of its last part.
    """
    return {
        name: f"{name} {type(part).__name__}".strip()
        for name, part in tree.walk(layer)
        if not isinstance(part, Sequential)
    }


def build_pass(backend: Backend, network: Network, loss: Loss) -> Any:
    """Return a training pass: ``f(theta, state, data, key)``: z, outputs, loss, grads.

    The outputs are those of each layer that ran, by name.
    """
    xp = backend.xp

    def run(theta: Any, state: Any, data: Data, key: Any) -> Any:
        outputs: dict[str, Any] = {}

        def recording(name: str, part: Layer) -> tree.Forward:
            def forward(*arguments: Any) -> tuple[Any, Any]:
                outputs[name], pullback = part.forward(*arguments)
                return outputs[name], pullback

            return forward

        pieces = network.unflatten_state(state, xp) if network.state_size else ()
        context = Context(xp, train=True, state=pieces, key=key)
        layer = tree.rewired(network.layer, recording)
        z, pullback = layer.forward(network.unflatten(theta, xp), data.x, context)
        value, pull = loss(z, data.t, data.weight, network.output_shape, xp=xp)
        _, dparams = pullback(pull()[0], dx=False)
        return z, outputs, value, network.pieces(dparams)

    return run
