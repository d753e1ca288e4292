"""L-BFGS and Levenberg-Marquardt: where they end, and that their parts are right."""

from __future__ import annotations

import builtins
import threading
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import backends, inference, problem, second_order
from chainrule.network import Network

from support import here

X = np.linspace(-1.0, 1.0, 100)[:, None]
Y = X**2
RNG = np.random.default_rng(0)
X2, Y2 = RNG.normal(size=(23, 2)), RNG.normal(size=(23, 3))
WEIGHT = RNG.integers(0, 3, size=23).astype(np.float64)


def model(optimizer: Any, seed: int = 0, units: Any = (16, 1), **options: Any) -> Any:
    network = options.pop("network", None) or cr.MLP(units, activation="tanh")
    options = {"dtype": "float64", "backend": "numpy", **options}
    return cr.Model(network, optimizer=optimizer, seed=seed, **options)


def worst(fitted: Any) -> float:
    return float(np.max(np.abs(fitted.predict(X) - Y)))


@pytest.mark.parametrize("seed", range(10))
def test_levenberg_marquardt_on_the_parabola(seed: int) -> None:
    fitted = model(cr.LevenbergMarquardt(), seed)
    history = fitted.fit(X, Y, epochs=200, batch_size=100)
    assert worst(fitted) < 1e-6
    assert history["loss"][-1] == min(history["loss"])
    norm = np.linalg.norm(fitted.predict(X) - Y)
    assert history["residual_norm"][-1] == pytest.approx(norm, rel=1e-9)
    assert all(d > 0.0 for d in history["damping"])


@pytest.mark.parametrize("seed", range(3))
def test_ten_times_below_least_squares(seed: int) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    fitted = model(cr.LevenbergMarquardt(), seed).build(1)
    start, network = fitted.theta, Network(fitted.network, (1,))
    engine = backends.get("numpy")
    data = inference.Data(X, Y, None)
    whole = problem.Problem(engine, network, fitted.loss, data, 100, np.zeros(0))

    def part(k: int) -> Any:
        return lambda theta: next(whole.linearised(theta))[k] * 10.0

    found = optimize.least_squares(
        part(0),
        start,
        jac=part(1),
        method="trf",
        max_nfev=200,
        ftol=1e-15,
        gtol=1e-15,
        xtol=1e-15,
    )
    fitted.fit(X, Y, epochs=200, batch_size=100)
    ours = worst(fitted)
    fitted.set_weights((found.x, np.zeros(0)))
    assert ours < 0.1 * worst(fitted)


@pytest.mark.slow
def test_levenberg_marquardt_on_the_sphere() -> None:
    i = np.arange(400)
    z = 1.0 - (2.0 * i + 1.0) / 400
    longitude = np.mod(np.pi * (3.0 - np.sqrt(5.0)) * i + np.pi, 2 * np.pi) - np.pi
    latitude = np.arcsin(z)
    x = np.stack([longitude, latitude], axis=1)
    r = np.cos(latitude)
    y = np.stack([r * np.cos(longitude), r * np.sin(longitude), z], axis=1)
    fitted = model(cr.LevenbergMarquardt(), units=(24, 24, 3))
    fitted.fit(x, y, epochs=150, batch_size=400)
    assert np.linalg.norm(fitted.predict(x) - y, axis=1).max() < 1e-4


@pytest.mark.skipif(not here("scipy"), reason="needs SciPy")
@pytest.mark.parametrize("seed", range(10))
def test_lbfgs_on_the_parabola(seed: int) -> None:
    fitted = model(cr.LBFGS(), seed)
    fitted.fit(X, Y, epochs=300, batch_size=100)
    assert worst(fitted) < 2e-3


@pytest.mark.skipif(not here("scipy"), reason="needs SciPy")
@pytest.mark.parametrize("decay", [0.0, 1e-3])
def test_lbfgs_is_scipys(decay: float) -> None:
    from scipy import optimize

    fitted = model(cr.LBFGS(weight_decay=decay)).build(1)
    start = fitted.theta
    whole = problem.Problem(
        backends.get("numpy"),
        Network(fitted.network, (1,)),
        fitted.loss,
        inference.Data(X, Y, None),
        100,
        np.zeros(0),
    )
    weights = np.concatenate([np.ones(16), np.zeros(16), np.ones(16), np.zeros(1)])

    def function(theta: Any) -> Any:
        value, gradient = whole.value_and_gradient(theta)
        penalty = 0.5 * decay * np.sum(weights * theta**2)
        return float(value) + penalty, gradient + decay * weights * theta

    options = {"maxiter": 20, "ftol": 0.0, "gtol": 0.0}
    wanted = optimize.minimize(
        function, start, jac=True, method="L-BFGS-B", options=options
    )
    history = fitted.fit(X, Y, epochs=20, batch_size=100)
    np.testing.assert_allclose(fitted.theta, wanted.x, rtol=1e-9, atol=1e-12)
    loss = wanted.fun - 0.5 * decay * np.sum(weights * wanted.x**2)
    assert history["loss"][-1] == pytest.approx(loss, rel=1e-9)


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


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_cholesky_and_qr_take_the_same_steps(
    monkeypatch: pytest.MonkeyPatch, decay: float
) -> None:
    ends = []
    for size in (512, 0):
        monkeypatch.setattr(second_order, "QR_SIZE", size)
        fitted = model(cr.LevenbergMarquardt(weight_decay=decay), units=(5, 3))
        fitted.fit(X2, Y2, epochs=8)
        ends.append(fitted.theta)
    np.testing.assert_allclose(ends[1], ends[0], rtol=1e-6, atol=1e-8)


def test_residuals_jacobian_and_acceleration_are_derivatives() -> None:
    network = Network(cr.Sequential(cr.Dense(4), cr.GELU(), cr.Dense(3)), (2,))
    theta = network.initial(3)[0]
    v = np.random.default_rng(1).normal(size=theta.shape)
    data = inference.Data(X2, Y2, WEIGHT)
    engine = backends.get("numpy")
    whole = problem.Problem(
        engine, network, cr.losses.SquaredError(), data, 7, np.zeros(0)
    )

    def residuals(theta: Any) -> Any:
        return np.concatenate([r for r, _ in whole.linearised(theta)])

    r = residuals(theta)
    value, gradient = whole.value_and_gradient(theta)
    assert np.sum(r * r) == pytest.approx(float(value), rel=1e-12)
    assert whole.value(theta) == pytest.approx(float(value), rel=1e-12)
    j = np.concatenate([j for _, j in whole.linearised(theta)])
    np.testing.assert_allclose(2.0 * j.T @ r, gradient, rtol=1e-9, atol=1e-12)
    h = 1e-4
    plus, minus = residuals(theta + h * v), residuals(theta - h * v)
    np.testing.assert_allclose(j @ v, (plus - minus) / (2 * h), rtol=1e-5, atol=1e-7)
    bend = j.T @ ((plus - 2.0 * r + minus) / h**2)
    np.testing.assert_allclose(whole.acceleration(theta, v), bend, rtol=1e-5, atol=1e-6)


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


def test_it_ends_where_rounding_leaves_nothing() -> None:
    fitted = model(cr.LevenbergMarquardt(), units=(1,))
    history = fitted.fit(X, 2.0 * X + 1.0, epochs=500)
    assert history.epochs < 200
    assert history["loss"][-1] < 1e-28


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
    with pytest.raises(ImportError, match=r"pip install 'chainrule\[scipy\]'"):
        model(cr.LBFGS()).fit(X, Y)


@pytest.mark.skipif(not here("scipy"), reason="needs SciPy")
def test_lbfgs_that_finds_no_lower_point_has_an_epoch() -> None:
    fitted = model(cr.LBFGS()).build(1)
    start = fitted.theta
    history = fitted.fit(X, Y, epochs=5, sample_weight=np.zeros(len(X)))
    assert history["loss"] == [0.0]
    np.testing.assert_array_equal(fitted.theta, start)


@pytest.mark.skipif(not here("scipy"), reason="needs SciPy")
def test_lbfgs_from_an_infinite_loss_diverges() -> None:
    with (
        np.errstate(all="ignore"),
        pytest.raises(cr.DivergenceError, match="in epoch 1"),
    ):
        model(cr.LBFGS()).fit(X, 1e200 * Y, epochs=5)
