"""BatchNorm and LayerNorm against torch; running statistics, freezing, one row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.network import Network
from layers_support import check_gradients, through

from support import Library, here

RNG = np.random.default_rng(0)
X, DZ = RNG.normal(2.0, 3.0, (6, 4)), RNG.normal(size=(6, 4))
THETA = RNG.normal(size=8)
STATE = np.concatenate([RNG.normal(size=4), RNG.uniform(0.5, 2.0, 4)])
needs_torch = pytest.mark.skipif(not here("torch"), reason="needs torch")


def _torch(module: Any, x: Any, dz: Any) -> tuple[Any, Any, Any]:
    """Forward and backward of a torch module with THETA as its gain and shift."""
    import torch

    gain, shift = torch.tensor(THETA).chunk(2)
    module.weight.data, module.bias.data = gain.clone(), shift.clone()
    leaf = torch.tensor(x, requires_grad=True)
    z = module(leaf)
    z.backward(torch.tensor(dz))
    dtheta = torch.cat([module.weight.grad, module.bias.grad])
    return z.detach().numpy(), dtheta.numpy(), leaf.grad.numpy()


def _close(got: Any, want: Any) -> None:
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


@needs_torch
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("momentum", [0.1, 0.7])
def test_batch_norm_as_torch(lib: Library, momentum: float, train: bool) -> None:
    import torch

    module = torch.nn.BatchNorm1d(4, momentum=momentum, dtype=torch.float64)
    module.running_mean.data, module.running_var.data = torch.tensor(STATE).chunk(2)
    module.train(train)
    want = _torch(module, X, DZ)
    network = Network(cr.BatchNorm(momentum), (4,))
    got = through(network, THETA, X, DZ, train=train, state=STATE.copy(), lib=lib)
    running = torch.cat([module.running_mean, module.running_var]).numpy()
    _close(got, (*want, running))


@needs_torch
def test_batch_norm_of_sequences_as_torch(lib: Library) -> None:
    import torch

    module = torch.nn.BatchNorm1d(4, dtype=torch.float64)
    x, dz = RNG.normal(size=(3, 5, 4)), RNG.normal(size=(3, 5, 4))
    z, dtheta, dx = _torch(module, x.reshape(15, 4), dz.reshape(15, 4))
    got = through(Network(cr.BatchNorm(), (5, 4)), THETA, x, dz, lib=lib)
    running = torch.cat([module.running_mean, module.running_var]).numpy()
    _close(got, (z.reshape(x.shape), dtheta, dx.reshape(x.shape), running))


@needs_torch
@pytest.mark.parametrize("shape", [(4,), (3, 4)])
@pytest.mark.parametrize("epsilon", [1e-5, 1e-2])
def test_layer_norm_as_torch(
    lib: Library, shape: tuple[int, ...], epsilon: float
) -> None:
    import torch

    x, dz = RNG.normal(size=(6, *shape)), RNG.normal(size=(6, *shape))
    want = _torch(torch.nn.LayerNorm(4, epsilon, dtype=torch.float64), x, dz)
    got = through(Network(cr.LayerNorm(epsilon), shape), THETA, x, dz, lib=lib)
    _close(got[:3], want)


def test_frozen_batch_norm_is_inference(lib: Library) -> None:
    network, frozen = (
        Network(cr.BatchNorm(trainable=on), (4,)) for on in (True, False)
    )
    given: dict[str, Any] = {"state": STATE, "lib": lib}
    still = through(network, THETA, X, DZ, train=False, **given)
    got = through(frozen, THETA, X, DZ, train=True, **given)
    np.testing.assert_array_equal(got.z, still.z)
    np.testing.assert_array_equal(got.dx, still.dx)
    np.testing.assert_array_equal(got.kept, STATE)
    assert got.dtheta is None


def test_one_row(lib: Library) -> None:
    got = through(
        Network(cr.BatchNorm(), (4,)), THETA, X[:1], DZ[:1], state=STATE, lib=lib
    )
    np.testing.assert_allclose(got.z[0], THETA[4:])  # (x - mean) = 0: the shift is left
    np.testing.assert_allclose(got.dx, 0.0, atol=1e-10)
    np.testing.assert_allclose(got.dtheta, [*np.zeros(4), *DZ[0]], atol=1e-12)
    want = [*(0.9 * STATE[:4] + 0.1 * X[0]), *(0.9 * STATE[4:])]
    np.testing.assert_allclose(got.kept, want, rtol=1e-12)


def test_layout() -> None:
    for layer, states in ((cr.BatchNorm(), ["mean", "var"]), (cr.LayerNorm(), [])):
        network = Network(layer, (3, 4))
        assert [e.name for e in network.entries] == ["gain", "shift"]
        assert not any(e.decay for e in network.entries)
        assert [e.name for e in network.state_entries] == states
        theta, state = network.initial(0)
        np.testing.assert_array_equal(theta, np.repeat([1.0, 0.0], 4))
        np.testing.assert_array_equal(state, np.repeat([0.0, 1.0], 4)[: state.size])


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("shape", [(3,), (2, 3)])
@pytest.mark.parametrize("layer", [cr.BatchNorm(), cr.LayerNorm()], ids=repr)
def test_gradients(layer: cr.Layer, shape: tuple[int, ...], train: bool) -> None:
    check_gradients(layer, shape, train=train)


def test_the_model_keeps_running_statistics(where: Any) -> None:
    model = cr.Model(
        cr.Sequential(cr.BatchNorm(0.5), cr.Dense(1)), dtype="float64", **where
    )
    x = X.astype(np.float64)
    model.fit(x, x[:, :1], epochs=2, batch_size=6, shuffle=False)
    mean, var = np.split(model.get_weights()[1], 2)
    np.testing.assert_allclose(mean, 0.75 * x.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(var, 0.25 + 0.75 * x.var(axis=0, ddof=1), rtol=1e-12)


@pytest.mark.parametrize(
    "code", ["BatchNorm(1.5)", "BatchNorm(epsilon=0.0)", "LayerNorm(0.0)"]
)
def test_bad_numbers(code: str) -> None:
    with pytest.raises(cr.ArgumentError, match="Norm"):
        eval(code, vars(cr))
