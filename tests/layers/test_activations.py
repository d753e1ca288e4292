"""Every activation layer is its rule."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import rules
from chainrule.layers import activations
from chainrule.network import Network

from tests.support.layers import check_gradients, through
from tests.support.libraries import Library

pytestmark = pytest.mark.no_sync

NAMES = {
    "celu": cr.CELU,
    "elu": cr.ELU,
    "exp": cr.Exp,
    "gelu": cr.GELU,
    "gelu_tanh": cr.GELUTanh,
    "hard_sigmoid": cr.HardSigmoid,
    "hard_silu": cr.HardSiLU,
    "hard_tanh": cr.HardTanh,
    "identity": cr.Identity,
    "leaky_relu": cr.LeakyReLU,
    "log_softmax": cr.LogSoftmax,
    "mish": cr.Mish,
    "relu": cr.ReLU,
    "selu": cr.SELU,
    "sigmoid": cr.Sigmoid,
    "silu": cr.SiLU,
    "softmax": cr.Softmax,
    "softplus": cr.Softplus,
    "softsign": cr.Softsign,
    "tanh": cr.Tanh,
}
OPTIONS: dict[str, dict[str, float]] = {
    "leaky_relu": {"slope": 0.3},
    "elu": {"alpha": 0.7},
    "celu": {"alpha": 0.7},
}
RNG = np.random.default_rng(0)
X, DZ = RNG.normal(0.0, 2.0, (5, 3, 4)), RNG.normal(size=(5, 3, 4))


def test_none_is_missing() -> None:
    assert set(NAMES.values()) == {
        cls
        for cls in map(cr.layers.__dict__.get, cr.layers.__all__)
        if isinstance(cls, type) and cls.__base__ is cr.layers.Activation
    }


@pytest.mark.parametrize("given", [False, True], ids=["default", "options"])
@pytest.mark.parametrize("name", NAMES)
def test_layer_is_rule(lib: Library, name: str, given: bool) -> None:
    options = OPTIONS.get(name, {}) if given else {}
    layer = NAMES[name](**options)
    network = Network(layer, (3, 4))
    assert network.output_shape == (3, 4)
    assert network.entries == ()
    z, pull = getattr(rules, name)(lib.array(X), **options, xp=lib.xp)
    got = through(network, np.zeros(0), X, DZ, lib=lib)
    np.testing.assert_array_equal(got.z, lib.host(z))
    np.testing.assert_array_equal(got.dx, lib.host(pull(lib.array(DZ))[0]))


@pytest.mark.parametrize("name", NAMES)
def test_gradients(name: str) -> None:
    check_gradients(cr.Sequential(cr.Dense(3), NAMES[name](), cr.Dense(2)), (2,))


@pytest.mark.parametrize("name", NAMES)
def test_get(name: Any) -> None:
    layer = NAMES[name]()
    for given in (name, NAMES[name], layer):
        assert activations.get(given) == layer
    assert cr.MLP((3, 2), name) == cr.Sequential(cr.Dense(3), layer, cr.Dense(2))


@pytest.mark.parametrize(
    ("bad", "error"),
    [("rleu", cr.ArgumentError), (3, cr.ArgumentTypeError), (cr.Dense, TypeError)],
    ids=str,
)
def test_unknown(bad: Any, error: Any) -> None:
    with pytest.raises(error, match="activation"):
        activations.get(bad)


@pytest.mark.parametrize("make", [cr.ELU, cr.CELU])
def test_alpha_is_positive(make: Any) -> None:
    with pytest.raises(cr.ArgumentError, match="alpha"):
        make(0.0)
