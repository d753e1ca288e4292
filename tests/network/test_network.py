"""A bound network: what it says of itself."""

from __future__ import annotations

import pytest

import chainrule as cr
from chainrule.network import Network

from tests.support.own_layers import Parallel


@pytest.mark.parametrize(
    ("layer", "shape", "widest"),
    [
        (cr.MLP((64, 8, 2)), (3,), 64),
        (cr.MLP((4, 2)), (30,), 30),
        (cr.Dense(8), (5, 3), 40),  # all of a sequence's rows
        (cr.Sequential(cr.Residual(cr.MLP((90, 3))), cr.Dense(1)), (3,), 90),
        (cr.Sequential(cr.Flatten(), cr.Dense(2)), (4, 6), 24),
        (Parallel(cr.MLP((70, 2)), cr.Dense(2)), (3,), 70),
        (cr.Tanh(), (), 1),
    ],
)
def test_the_widest_array_of_a_sample(
    layer: cr.Layer, shape: tuple[int, ...], widest: int
) -> None:
    assert Network(layer, shape).widest == widest
