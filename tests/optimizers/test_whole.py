"""Optimizers of the whole problem: what holds for both."""

from __future__ import annotations

import builtins
import threading
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import backends
from chainrule.data import samples
from chainrule.network import Network
from chainrule.training import problem
from chainrule.training.objective import LossObjective

from tests.support.libraries import here
from tests.support.second_order import WEIGHT, X2, Y2, X, Y, model

OPTIMIZERS = [
    cr.LevenbergMarquardt(),
    pytest.param(
        cr.LBFGS(), marks=pytest.mark.skipif(not here("scipy"), reason="needs SciPy")
    ),
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: type(o).__name__)
@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-7), ("float32", 2e-2)])
def test_every_backend_goes_the_same_way(
    where: dict[str, Any], optimizer: Any, dtype: str, rtol: float
) -> None:
    network = cr.Sequential(cr.Dense(5), cr.Tanh(), cr.LayerNorm(), cr.Dense(3))
    losses = []
    for place in ({"backend": "numpy"}, where):
        fitted = model(optimizer, network=network, dtype=dtype, **place)
        history = fitted.fit(X2, Y2, epochs=8, batch_size=10, sample_weight=WEIGHT)
        losses.append(history["loss"])
    np.testing.assert_allclose(losses[1], losses[0], rtol=rtol)
    assert losses[0][-1] < 0.7 * losses[0][0]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: type(o).__name__)
def test_batches_bound_memory_alone_and_weights_are_counts(optimizer: Any) -> None:
    often = np.repeat(np.arange(23), WEIGHT.astype(int))
    ends = []
    for x, y, weight, size in (
        (X2, Y2, WEIGHT, 23),
        (X2, Y2, WEIGHT, 4),
        (X2, Y2, 3.0 * WEIGHT, 10),
        (X2[often], Y2[often], None, 5),
    ):
        fitted = model(optimizer, units=(4, 3))
        fitted.fit(x, y, epochs=6, batch_size=size, sample_weight=weight)
        ends.append(fitted.theta)
    for end in ends[1:]:
        np.testing.assert_allclose(end, ends[0], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: type(o).__name__)
def test_frozen_parameters_stay_and_the_rest_is_as_without_them(
    optimizer: Any, where: dict[str, Any]
) -> None:
    network = cr.Sequential(
        cr.Dense(6), cr.Tanh(), cr.Dense(4, trainable=False), cr.Tanh(), cr.Dense(3)
    )
    fitted = model(optimizer, network=network, **where).build(2)
    host = fitted.backend.to_numpy
    before = {k: host(v) for k, v in fitted.parameters.items()}
    history = fitted.fit(X2, Y2, epochs=6)
    after = {k: host(v) for k, v in fitted.parameters.items()}
    for name, value in after.items():
        moved = np.any(value != before[name])
        assert moved != name.startswith("2."), name
    assert history["loss"][-1] < history["loss"][0]


def test_a_linear_network_is_ridge_regression() -> None:
    decay = 0.3
    fitted = model(cr.LevenbergMarquardt(weight_decay=decay), units=(3,))
    fitted.fit(X2, Y2, epochs=40, sample_weight=WEIGHT)
    # E = Σ w (z - t)² / (3 Σ w) + decay/2 |W|², by its normal equations.
    a = np.concatenate([X2, np.ones((23, 1))], axis=1)
    share = 2.0 / (3.0 * WEIGHT.sum())
    gram = share * a.T @ (WEIGHT[:, None] * a) + decay * np.diag([1.0, 1.0, 0.0])
    wanted = np.linalg.solve(gram, share * a.T @ (WEIGHT[:, None] * Y2))
    found = fitted.parameters
    np.testing.assert_allclose(found["0.weight"], wanted[:2].T, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found["0.bias"], wanted[2], rtol=1e-6, atol=1e-9)


def _layers(*more: Any) -> Any:
    return cr.Sequential(cr.Dense(4), *more, cr.Tanh(), cr.Dense(3))


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: type(o).__name__)
@pytest.mark.parametrize(
    ("network", "named"),
    [
        (_layers(cr.Dropout(0.5)), r"Dropout\(rate=0.5\)"),
        (_layers(cr.BatchNorm()), "BatchNorm"),
        (_layers(cr.Residual(cr.Dropout(0.1))), "Dropout"),
    ],
)
def test_layers_that_would_be_ignored(optimizer: Any, network: Any, named: str) -> None:
    fitted = model(optimizer, network=network)
    name = type(optimizer).__name__
    with pytest.raises(
        cr.ArgumentError, match=f"{name} makes all passes.*{named}.*would be ignored"
    ):
        fitted.fit(X2, Y2, epochs=1)
    assert not fitted.built
    # What does nothing, or is frozen, is welcome.
    network = _layers(cr.Dropout(0.0), cr.BatchNorm(trainable=False))
    model(optimizer, network=network).fit(X2, Y2, epochs=1)


@pytest.mark.parametrize("units", [(300, 3), (4, 3)])
def test_rows_worked_on_at_a_time(units: Any) -> None:
    """As many as are a few megabytes, or no more than J's own square; or as asked."""
    network, data = Network(cr.MLP(units), (2,)), samples.Data(X2, Y2, None)
    for asked in (1, 10**6):
        whole = problem.Problem(
            backends.get("numpy"),
            network,
            LossObjective(cr.losses.SquaredError()),
            data,
            asked,
            np.zeros(0),
        )
        rows = whole._jacobian_rows()
        numbers = rows * network.size * 3
        assert rows == asked or 1 << 16 < numbers <= 1 << 23


def test_fitting_again_goes_on() -> None:
    once, twice = model(cr.LevenbergMarquardt()), model(cr.LevenbergMarquardt())
    once.fit(X, Y, epochs=10)
    twice.fit(X, Y, epochs=4)
    twice.fit(X, Y, epochs=6)
    np.testing.assert_array_equal(twice.theta, once.theta)
    assert twice.history["damping"] == once.history["damping"]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: type(o).__name__)
def test_callbacks_stop_it_and_no_thread_is_left(optimizer: Any) -> None:
    before = threading.active_count()
    seen = []

    def stop(epoch: int, logs: dict[str, Any]) -> None:
        seen.append(logs["val_loss"])
        fitted.stop_training = epoch == 2

    fitted = model(optimizer)
    callback = cr.callbacks.LambdaCallback(on_epoch_end=stop)
    fitted.fit(X, Y, epochs=50, callbacks=[callback], validation_data=(X, Y))
    assert len(seen) == 3
    assert threading.active_count() == before

    def fail(epoch: int, logs: dict[str, Any]) -> None:
        msg = "mine"
        raise RuntimeError(msg)

    callback = cr.callbacks.LambdaCallback(on_epoch_end=fail)
    with pytest.raises(RuntimeError, match="mine"):
        fitted.fit(X, Y, callbacks=[callback])
    assert threading.active_count() == before


def test_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = model(cr.LevenbergMarquardt(), units=(3,), loss="cross_entropy")
    with pytest.raises(
        cr.ArgumentError,
        match=r"LevenbergMarquardt needs a loss that is a sum of squares, "
        r"squared_error; this model's loss is cross_entropy",
    ):
        fitted.fit(X2, np.zeros(23, dtype=int))
    assert not fitted.built
    with pytest.raises(cr.ArgumentError, match=r"damping must be .* above 0; got 0"):
        cr.LevenbergMarquardt(damping=0)
    with pytest.raises(cr.ArgumentError, match="acceleration must be"):
        cr.LevenbergMarquardt(acceleration=-1.0)
    with pytest.raises(cr.ArgumentError, match="history_size must be"):
        cr.LBFGS(history_size=0)
    with pytest.raises(cr.ArgumentError, match="LBFGS has no learning rate"):
        model(cr.LBFGS()).build(1).learning_rate
    real = builtins.__import__

    def blocked(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == "scipy":
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", blocked)
    with pytest.raises(ImportError, match=r"pip install scipy"):
        model(cr.LBFGS()).fit(X, Y)
