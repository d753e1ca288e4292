"""What lies where on several devices, and a model's life there."""

from __future__ import annotations

import copy
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402

from tests.support.meshes import (  # noqa: E402
    W,
    X,
    Y,
    difference,
    first,
    new_model,
    smooth,
)

pytestmark = pytest.mark.skipif(
    len(jax.devices("cpu")) < 8, reason="needs 8 CPU devices"
)

CLOSE = 1e-12


def trained(device: Any, *network: cr.Layer, **options: Any) -> Any:
    model = new_model(device, *network, **options)
    model.fit(X, Y, epochs=2)
    return model


@pytest.mark.parametrize(("n", "rows"), [(2, 203), (3, 7), (3, 203), (8, 1)])
def test_inference_is_that_of_one_device(n: int, rows: int) -> None:
    one, many = (trained(device, smooth()) for device in ("cpu:0", first(n)))
    x, y = X[:rows], Y[:rows]
    for name, given in [
        ("predict", (x,)),
        ("jacobian", (x,)),
        ("sample_gradients", (x, y)),
        ("parameter_jacobian", (x,)),
        ("jvp", (x, np.ones_like(x))),
        ("vjp", (x, np.ones_like(y))),
    ]:
        a, b = (getattr(model, name)(*given) for model in (one, many))
        a, b = (v if isinstance(v, tuple) else (v,) for v in (a, b))
        assert difference(a, b) < CLOSE, name
    a, b = (model.evaluate(x, y, W[:rows] + 0.1) for model in (one, many))
    assert a["loss"] == pytest.approx(b["loss"], rel=1e-12)


@pytest.mark.parametrize("members", [4, 3])
def test_an_ensemble_is_that_of_one_device(members: int) -> None:
    one, many = (trained(d, smooth(), members=members) for d in ("cpu:0", first(4)))
    spreads = [model.predict(X, return_std=True) for model in (one, many)]
    assert difference(*spreads) < CLOSE
    assert difference([one.jacobian(X)], [many.jacobian(X)]) < CLOSE
    assert difference([one.predict_members(X)], [many.predict_members(X)]) < CLOSE
    a, b = (model.member(1) for model in (one, many))
    assert difference(a.get_weights(), b.get_weights()) < CLOSE
    assert b.backend == many.backend
    for model in (a, b):
        model.fit(X, Y, epochs=1)
    assert difference(a.get_weights(), b.get_weights()) < CLOSE


def test_arrays_of_jax_come_back_where_they_were() -> None:
    model = trained(first(4), smooth())
    with jax.enable_x64(True):
        alone = jax.device_put(jnp.asarray(X), first(2)[1])
        z = model.predict(alone)
        assert z.devices() == alone.devices()
        everywhere = model.backend.asarray(X)
        assert model.predict(everywhere).devices() == {*first(4)}
    assert difference([z], [model.predict(X)]) < CLOSE


def test_x_on_several_devices_chooses_them() -> None:
    mesh = new_model(first(2)).backend
    x = mesh.asarray(X.astype("float32"))
    model = cr.Model(smooth(), seed=1)
    model.fit(x, mesh.asarray(Y.astype("float32")), epochs=1)
    assert model.backend == mesh


def test_theta_and_state_are_whole_for_users() -> None:
    model = trained(first(8), cr.Sequential(cr.Dense(4), cr.BatchNorm(), cr.Dense(2)))
    size = model.bound.size
    assert size % 8
    assert model.theta.shape == (size,)
    assert sum(a.size for a in model.parameters.values()) == size
    assert model.get_weights()[0].shape == (size,)
    f = model.function()
    with jax.enable_x64(True):
        z = f(model.theta, model.state, jnp.asarray(X))
    assert difference([z], [model.predict(X)]) < CLOSE


def test_weights_can_be_set() -> None:
    one, many = trained("cpu:0"), new_model(first(4)).build(5)
    many.set_weights(one.get_weights())
    assert difference([one.predict(X)], [many.predict(X)]) < CLOSE
    with pytest.raises(cr.errors.ShapeError):
        many.set_weights((many.training.theta, many.training.state))


@pytest.mark.parametrize("members", [None, 4, 3])
def test_models_travel(members: int | None, tmp_path: Path) -> None:
    network = cr.Sequential(cr.Dense(4), cr.BatchNorm(), cr.Dense(2))
    model = trained(first(4), network, members=members)
    path = tmp_path / "model.safetensors"
    model.save(path, include_optimizer=True)
    others = [
        pickle.loads(pickle.dumps(model)),
        copy.deepcopy(model),
        model.to("numpy").to("jax", first(8)),
        cr.load(path, backend="jax", device=first(3)),
    ]
    model.fit(X, Y, epochs=2)
    for other in others:
        other.fit(X, Y, epochs=2)
        assert difference(model.get_weights(), other.get_weights()) < CLOSE
    assert others[0].backend == model.backend


def test_resumed_on_other_devices(tmp_path: Path) -> None:
    network = cr.Sequential(cr.Dense(8), cr.BatchNorm(), cr.Dropout(0.3), cr.Dense(2))

    def fit(device: Any, **options: Any) -> Any:
        model = new_model(device, network)
        model.fit(X, Y, epochs=3, batch_size=30, **options)
        return model

    left = fit(first(4))
    path = tmp_path / "fit.ckpt"
    saver = cr.callbacks.Checkpoint(path, every_steps=2, keep=None)
    cut = fit(first(4), callbacks=[saver])
    assert difference(left.get_weights(), cut.get_weights()) == 0.0
    inner = tmp_path / "fit-1-4.ckpt"
    for file in (tmp_path / "fit-0-2.ckpt", inner, tmp_path / "fit-2.ckpt"):
        same = fit(first(4), resume=file)  # bit for bit
        assert difference(left.get_weights(), same.get_weights()) == 0.0
    for device in ("cpu:0", first(8)):
        with pytest.warns(cr.ChainruleWarning, match="devices 4 ->"):
            other = fit(device, resume=inner)
        assert difference(left.get_weights(), other.get_weights()) < CLOSE


def test_streams_are_trained_on(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    one, many = new_model("cpu:0"), new_model(first(3))
    for model in (one, many):
        model.fit(x, Y, epochs=3, chunk_bytes=4000, batch_size=30)
    assert difference(one.get_weights(), many.get_weights()) < CLOSE
    a, b = (model.evaluate(x, Y)["loss"] for model in (one, many))
    assert a == pytest.approx(b, rel=1e-12)
    out = [np.zeros_like(Y), np.zeros_like(Y)]
    for model, place in zip((one, many), out, strict=True):
        model.predict(x, out=place, chunk_bytes=4000)
    assert difference(out[:1], out[1:]) < CLOSE


def test_callbacks_steer() -> None:
    histories, models = [], []
    for device in ("cpu:0", first(4)):
        model = new_model(device, optimizer=cr.Adam(0.3))
        callbacks = [
            cr.callbacks.EarlyStopping(patience=4, restore_best_weights=True),
            cr.callbacks.ReduceLROnPlateau(patience=1),
        ]
        given: Any = {"validation_data": (X[:50], Y[:50]), "callbacks": callbacks}
        histories.append(model.fit(X, Y, epochs=40, **given))
        models.append(model)
    assert histories[0].epochs == histories[1].epochs < 40
    a, b = (model.get_weights() for model in models)
    assert difference(a, b) < 1e-10


def test_divergence_leaves_the_last_finite_epoch() -> None:
    model = new_model(first(4), smooth(), optimizer=cr.SGD(1e200))
    before = model.build(5).get_weights()
    with pytest.raises(cr.errors.DivergenceError):
        model.fit(X, Y, epochs=3)
    after = model.get_weights()
    assert np.isfinite(after[0]).all()
    model.optimizer = cr.Adam(0.01)
    model.fit(X, Y, epochs=1)
    assert difference(before, model.get_weights()) > 0


def test_optimizers_of_the_whole_problem_are_refused() -> None:
    for optimizer in ("lbfgs", "levenberg_marquardt"):
        with pytest.raises(cr.errors.ArgumentError, match="over 4 devices"):
            new_model(first(4), optimizer=optimizer)
        whole = new_model("cpu:0", optimizer=optimizer)
        with pytest.raises(cr.errors.ArgumentError, match="over 4 devices"):
            whole.to("jax", first(4))
        model = trained(first(4))
        with pytest.raises(cr.errors.ArgumentError, match="over 4 devices"):
            model.optimizer = optimizer
        model.fit(X, Y, epochs=1)


def test_more_devices_than_parameters_are_refused() -> None:
    model = new_model(first(8), cr.Sequential(cr.Dense(1)))
    with pytest.raises(cr.errors.DeviceError, match="8 devices"):
        model.fit(X, Y[:, :1])
    assert not model.built
    small = new_model(first(6), cr.Sequential(cr.Dense(1)))
    small.fit(X, Y[:, :1], epochs=1)


def test_an_estimator_trains_there() -> None:
    sklearn = pytest.importorskip("chainrule.sklearn")
    found = []
    for device in ("cpu:0", first(4)):
        estimator = sklearn.MLPRegressor(
            hidden_layer_sizes=(8,),
            backend="jax",
            device=device,
            dtype="float64",
            random_state=0,
            max_iter=6,
            early_stopping=True,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it does not converge
            estimator.fit(X, Y)
        found.append((*estimator.coefs_, estimator.predict(X)))
    assert difference(*found) < CLOSE


def test_one_process_leads_and_agrees_with_itself() -> None:
    engine = new_model(first(4)).backend
    assert engine.processes == 1
    assert engine.leads
    assert engine.any(True, False) == (True, False)
    engine.compare({"seed": 3})
    with engine.together():
        pass
    with pytest.raises(ZeroDivisionError), engine.together():
        raise ZeroDivisionError


def test_only_the_end_of_a_peer_is_a_peer_error() -> None:
    engine = new_model(first(4)).backend
    with pytest.raises(ValueError, match="Gloo"), engine.scope("float32"):
        raise ValueError("Gloo AllGather failed")  # noqa: EM101, TRY003 - as JAX does
