"""BatchNorm and LayerNorm against torch; running statistics, freezing, one row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.arrays import random
from chainrule.network import Network

from tests.support.layers import check_gradients, through
from tests.support.libraries import Library, here

pytestmark = pytest.mark.no_sync

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
    """It has no variance: the running statistics stand in, and stay."""
    network = Network(cr.BatchNorm(), (4,))
    given: dict[str, Any] = {"state": STATE, "lib": lib}
    still = through(network, THETA, X[:1], DZ[:1], train=False, **given)
    got = through(network, THETA, X[:1], DZ[:1], train=True, **given)
    for one, other in zip(got, still, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(got.kept, STATE)
    # A single sequence has as many rows as times.
    sequence = Network(cr.BatchNorm(), (6, 4))
    got = through(sequence, THETA, X[None], DZ[None], train=True, **given)
    want = through(network, THETA, X, DZ, train=True, **given)
    np.testing.assert_allclose(got.kept, want.kept, rtol=1e-12)


def _normed() -> cr.Layer:
    return cr.Sequential(cr.Dense(8), cr.BatchNorm(), cr.Tanh(), cr.Dense(1))


def _statistics(where: Any, rows: int, batch_size: int, **options: Any) -> Any:
    x = np.random.default_rng(1).normal(2.0, 3.0, (rows, 4))
    model = cr.Model(
        _normed(), dtype="float64", optimizer=cr.SGD(1e-300), **options, **where
    )
    model.fit(x, x[:, :1], epochs=1, batch_size=batch_size, shuffle=False)
    return model.get_weights()[1]


@pytest.mark.parametrize("members", [None, 2])
def test_a_last_batch_of_one_row_leaves_the_statistics(
    where: Any, members: int | None
) -> None:
    """33 rows in batches of 16 give the statistics of the first 32."""
    got, want = (_statistics(where, rows, 16, members=members) for rows in (33, 32))
    np.testing.assert_allclose(got, want, rtol=1e-13)


def test_batches_of_one_row_are_refused(where: Any) -> None:
    for rows, batch_size in ((8, 1), (1, 32)):
        model = cr.Model(_normed(), **where)
        with pytest.raises(cr.ArgumentError, match="batches of at least 2 rows"):
            model.fit(np.ones((rows, 4)), np.ones(rows), batch_size=batch_size)
        assert not model.built
    # Frozen, or with several rows in a sample, there is nothing to refuse.
    frozen = cr.Sequential(cr.BatchNorm(trainable=False), cr.Dense(1))
    cr.Model(frozen, **where).fit(np.ones((3, 4)), np.ones(3), epochs=1, batch_size=1)
    flat = cr.Sequential(cr.BatchNorm(), cr.Flatten(), cr.Dense(1))
    x = np.random.default_rng(0).normal(size=(3, 5, 4))
    cr.Model(flat, **where).fit(x, np.ones(3), epochs=1, batch_size=1)


def _before_batch_norm() -> dict[str, tuple[cr.Layer, set[str]]]:
    """Networks, and the parameters that a BatchNorm takes away."""
    seq, dense, norm = cr.Sequential, cr.Dense, cr.BatchNorm
    still = cr.BatchNorm(trainable=False)
    return {
        "right before": (seq(dense(5), norm(), cr.Tanh(), dense(1)), {"0.bias"}),
        "nested": (seq(seq(dense(5)), seq(norm(), dense(1))), {"0.0.bias"}),
        "a linear map between": (seq(dense(5), dense(3), norm()), {"0.bias", "1.bias"}),
        "identity between": (seq(dense(5), cr.Identity(), norm()), {"0.bias"}),
        "no dropout between": (seq(dense(5), cr.Dropout(0.0), norm()), {"0.bias"}),
        "frozen between": (seq(dense(5), still, norm()), {"0.bias", "1.shift"}),
        "shifts": (
            seq(norm(), cr.LayerNorm(), dense(3), norm()),
            {"1.shift", "2.bias"},
        ),
        "residual": (
            seq(dense(4), cr.Residual(seq(cr.Tanh(), dense(4))), norm()),
            {"1.layer.1.bias"},
        ),
        "linear residual": (
            seq(dense(4), cr.Residual(seq(dense(4), norm())), norm(), dense(1)),
            {"0.bias", "1.layer.0.bias", "1.layer.1.shift"},
        ),
        "an activation between": (seq(dense(5), cr.Tanh(), norm()), set()),
        "dropout between": (seq(dense(5), cr.Dropout(0.1), norm()), set()),
        "frozen": (seq(dense(5), still, dense(1)), set()),
        "all frozen": (seq(seq(dense(5), norm(), trainable=False), dense(1)), set()),
        "layer norm": (seq(dense(5), cr.LayerNorm(), dense(1)), set()),
        "no bias": (seq(dense(5, bias=False), norm()), set()),
    }


@pytest.mark.parametrize("case", _before_batch_norm())
@pytest.mark.parametrize("shape", [(4,), (3, 4)])
def test_what_batch_norm_takes_away_has_no_gradient(
    lib: Library, case: str, shape: tuple[int, ...]
) -> None:
    """Exactly none where it is absorbed; all others are those of differences."""
    layer, absorbed = _before_batch_norm()[case]
    network = Network(layer, shape)
    assert {e.name for e in network.entries if e.absorbed} == absorbed
    key = random.step_keys(0, 0, 1, network.draws)[0]
    if lib.name == "numpy":
        check_gradients(layer, shape, train=True, key=key)
    rng = np.random.default_rng(2)
    theta = rng.normal(size=network.size)
    state = rng.uniform(0.5, 1.0, network.state_size)
    x = rng.normal(size=(6, *shape))
    dz = rng.normal(size=(6, *network.output_shape))
    for train in (True, False):
        got = through(network, theta, x, dz, train=train, state=state, key=key, lib=lib)
        for e in network.entries:
            piece = got.dtheta[e.start : e.stop]
            if e.trainable:
                assert piece.any() == (not train or e.name not in absorbed), e.name


@pytest.mark.parametrize("members", [None, 2])
@pytest.mark.parametrize(
    "optimizer",
    [
        cr.Adam(1e-2),
        cr.Adam(1e-2, epsilon=0.0),
        cr.AdamW(1e-2),
        cr.RMSprop(1e-3, epsilon=0.0),
        cr.Adagrad(1e-2, epsilon=0.0),
        cr.Lion(1e-3),
        cr.NAdam(1e-3, epsilon=0.0),
    ],
    ids=repr,
)
def test_a_bias_before_batch_norm_stays(
    where: Any, optimizer: Any, members: int | None
) -> None:
    """Rounding makes no steps of it, in batches of one row neither."""
    network = cr.Sequential(
        cr.Dense(6, bias_initializer=_ramp),
        cr.BatchNorm(),
        cr.Tanh(),
        cr.Dense(1),
    )
    x = np.random.default_rng(0).normal(size=(33, 4))
    model = cr.Model(network, optimizer=optimizer, members=members, **where)
    model.fit(x, np.sin(x[:, 0]), epochs=3, batch_size=16)
    named = {k: model.backend.to_numpy(v) for k, v in model.parameters.items()}
    assert np.isfinite(model.get_weights()[0]).all()
    ramp = np.broadcast_to(np.float32(_ramp((6,), None)), named["0.bias"].shape)
    np.testing.assert_array_equal(named["0.bias"], ramp)
    assert np.any(named["1.shift"] != 0.0)
    told = model.summary()
    assert "no: BatchNorm takes it away" in told
    assert f"{4 * 6 + 2 * 6 + 7} trainable" in told


def _ramp(shape: tuple[int, ...], _: Any) -> Any:
    return np.linspace(-1.0, 1.0, shape[0])


@pytest.mark.parametrize(("dtype", "within"), [("float64", 1e-10), ("float32", 1e-4)])
@pytest.mark.parametrize("name", ["Adam", "AdamW", "RMSprop", "Lion", "NAdam"])
def test_trajectories_with_a_bias_before_batch_norm(
    where: Any, name: str, dtype: Any, within: float
) -> None:
    """200 steps: predictions agree with NumPy's to rounding."""
    x = np.random.default_rng(0).normal(size=(65, 3))
    y = np.sin(x[:, :2])
    found = []
    for one in (where, {"backend": "numpy"}):
        network = cr.Sequential(cr.Dense(16), cr.BatchNorm(), cr.Tanh(), cr.Dense(2))
        optimizer = getattr(cr, name)(1e-3)
        model = cr.Model(network, optimizer=optimizer, dtype=dtype, **one)
        model.fit(x, y, epochs=40, batch_size=16)
        found.append(np.asarray(model.predict(x)))
    assert np.abs(found[0] - found[1]).max() <= within * np.abs(found[1]).max()


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
