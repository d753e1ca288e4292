"""A training pass, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from chainrule.backends import Backend
from chainrule.data.samples import Data
from chainrule.layers import Layer, Sequential
from chainrule.layers.context import Context
from chainrule.losses import Loss
from chainrule.network import Network

__all__ = ["build_pass", "parts"]


def parts(layer: Layer, prefix: str = "") -> Iterator[tuple[str, Layer]]:
    """Layers in the order in which they run, with their numbers."""
    if not isinstance(layer, Sequential):
        yield f"{prefix} {type(layer).__name__}".strip(), layer
        return
    for i, part in enumerate(layer.layers):
        yield from parts(part, f"{prefix}.{i}" if prefix else str(i))


def _outputs(layer: Layer, params: Any, x: Any, context: Context) -> Iterator[Any]:
    """Yield the outputs of `parts`, one after the other."""
    if not isinstance(layer, Sequential):
        yield layer.forward(params, x, context)[0]
        return
    for part, p in zip(layer.layers, params, strict=True):
        for z in _outputs(part, p, x, context):
            yield z
        x = z


def build_pass(backend: Backend, network: Network, loss: Loss) -> Any:
    """Return a training pass: ``f(theta, state, data, key)`` -> outputs, loss, grads."""
    xp = backend.xp

    def run(theta: Any, state: Any, data: Data, key: Any) -> Any:
        def context() -> Context:
            pieces = network.unflatten_state(state, xp) if network.state_size else ()
            return Context(xp, train=True, state=pieces, key=key)

        params = network.unflatten(theta, xp)
        outputs = list(_outputs(network.layer, params, data.x, context()))
        z, pullback = network.forward(params, data.x, context())
        value, pull = loss(z, data.t, data.weight, network.output_shape, xp=xp)
        _, dparams = pullback(pull()[0], dx=False)
        return outputs, value, network.pieces(dparams)

    return run
