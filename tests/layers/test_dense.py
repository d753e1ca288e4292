"""Dense and Flatten: shapes, names, sequences, gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.network import Network

from tests.support.layers import check_gradients, through
from tests.support.libraries import Library

pytestmark = pytest.mark.no_sync

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 4)])
@pytest.mark.parametrize("bias", [True, False])
def test_bind(shape: tuple[int, ...], bias: bool) -> None:
    layer = cr.Dense(5, bias)
    bound = layer.bind(shape)
    assert vars(layer)["input_shape"] is None
    assert bound.input_shape == shape
    assert bound.output_shape == (*shape[:-1], 5)
    entries = Network(layer, shape).entries
    assert [e.name for e in entries] == ["weight", "bias"][: 1 + bias]
    assert entries[0].shape == (5, 4)
    assert [e.decay for e in entries] == [True, False][: 1 + bias]


@pytest.mark.parametrize("bias", [True, False])
def test_sequences_are_dense_at_each_time(lib: Library, bias: bool) -> None:
    layer = cr.Dense(2, bias)
    theta = RNG.normal(size=8 + 2 * bias)
    x, dz = RNG.normal(size=(5, 3, 4)), RNG.normal(size=(5, 3, 2))
    whole = through(Network(layer, (3, 4)), theta, x, dz, lib=lib)
    each = [
        through(Network(layer, (4,)), theta, x[:, t], dz[:, t], lib=lib)
        for t in range(3)
    ]
    for got, want in (
        (whole.z, np.stack([p.z for p in each], axis=1)),
        (whole.dx, np.stack([p.dx for p in each], axis=1)),
        (whole.dtheta, sum(p.dtheta for p in each)),
    ):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-13)
    weight = theta[:8].reshape(2, 4)
    want = x @ weight.T + (theta[8:] if bias else 0.0)
    np.testing.assert_allclose(whole.z, want, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 4)])
@pytest.mark.parametrize("bias", [True, False])
def test_gradients(shape: tuple[int, ...], bias: bool) -> None:
    check_gradients(cr.Dense(2, bias), shape)


def test_flatten(lib: Library) -> None:
    network = Network(cr.Sequential(cr.Flatten(), cr.Dense(2)), (3, 4))
    assert cr.Flatten().bind((3, 4)).output_shape == (12,)
    theta, x = RNG.normal(size=26), RNG.normal(size=(5, 3, 4))
    got = through(network, theta, x, lib=lib)
    plain = through(Network(cr.Dense(2), (12,)), theta, x.reshape(5, 12), lib=lib)
    np.testing.assert_array_equal(got.z, plain.z)
    np.testing.assert_array_equal(got.dx, plain.dx.reshape(x.shape))
    np.testing.assert_array_equal(got.dtheta, plain.dtheta)
    assert cr.Flatten().bind(()).output_shape == (1,)


@pytest.mark.parametrize("shape", [(4,), (3, 4)])
def test_no_samples(shape: tuple[int, ...]) -> None:
    network = Network(cr.Sequential(cr.Dense(2), cr.Flatten()), shape)
    got = through(network, network.initial(0)[0], np.zeros((0, *shape)))
    assert got.z.shape == (0, *network.output_shape)
    assert got.dx.shape == (0, *shape)
    assert not got.dtheta.any()


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("Dense(0)", cr.ArgumentError),
        ("Dense(2.5)", cr.ArgumentTypeError),
        ("Dense('3')", cr.ArgumentTypeError),
        ("Dense(3, 1)", cr.ArgumentTypeError),
        ("Dense(3, trainable=1)", cr.ArgumentTypeError),
        ("Dense(3).bind(())", cr.ShapeError),
    ],
)
def test_bad_arguments(code: str, error: Any) -> None:
    with pytest.raises(error, match="Dense"):
        eval(code, vars(cr))
