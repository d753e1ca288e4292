"""A layer that does not know the shape of its samples says so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import backends
from chainrule.layers.context import Context

LAYERS = [
    cr.Dense(3),
    cr.Flatten(),
    cr.Dropout(0.5),
    cr.BatchNorm(),
    cr.LayerNorm(),
    cr.MLP((3, 2)),
    cr.Sequential(cr.Tanh()),
    cr.Residual(cr.Dense(3)),
    cr.Residual(cr.BatchNorm()),
]


@pytest.mark.parametrize("layer", LAYERS, ids=str)
@pytest.mark.parametrize("x", [np.ones((4, 3)), np.ones((4, 2, 3))], ids=["2", "3"])
def test_forward(layer: Any, x: Any) -> None:
    bound = layer.bind(x.shape[1:])
    network = cr.network.Network(bound, x.shape[1:])
    params = network.unflatten(np.ones(network.size), np)
    context = Context(backends.get("numpy").xp, train=True, key=np.ones((1, 2), "i4"))
    match = r"is not bound to the shape of its samples: .*layer\.bind\(sample_shape\)"
    with pytest.raises(cr.NotBuiltError, match=match):
        layer.forward(params, x, context)


@pytest.mark.parametrize(
    "layer", [part for part in LAYERS if part.bind((3,)).parameters]
)
def test_parameters(layer: Any) -> None:
    if layer == cr.Sequential(cr.Tanh()):
        return
    asked: list[Any] = [lambda: layer.parameters, lambda: layer.learns]
    for ask in asked:
        with pytest.raises(cr.NotBuiltError, match="is not bound"):
            ask()


def test_state() -> None:
    for ask in (lambda: cr.BatchNorm().state, lambda: cr.BatchNorm().check_rows(1)):
        with pytest.raises(cr.NotBuiltError, match=r"^BatchNorm is not bound"):
            ask()


class Shapeless(cr.layers.Layer):
    """Of one's own, and its `bind` forgets the shapes."""

    def __init__(self) -> None:
        self._configure(True)

    def bind(self, sample_shape: Any) -> Any:
        """Fill in nothing."""
        return self

    def forward(self, params: Any, x: Any, context: Any) -> Any:
        """Return x."""
        return x, lambda dz, dx=True, dp=True: (dz, ())


@pytest.mark.parametrize(
    "layer", [Shapeless(), cr.Sequential(Shapeless(), cr.Dense(1))], ids=["a", "b"]
)
def test_a_layer_whose_bind_forgets_the_shapes(layer: Any) -> None:
    match = r"^Shapeless: bind\(sample_shape\) must return .*output_shape is None"
    with pytest.raises(cr.ShapeError, match=match):
        cr.Model(layer, backend="numpy").build(3)
