"""Levenberg-Marquardt: where it ends, its scaling, its damped systems."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import backends, optimizers
from chainrule.arrays import normal_equations
from chainrule.data import samples
from chainrule.network import Network, forward
from chainrule.training import problem
from chainrule.training.objective import LossObjective

from tests.support.libraries import estimators
from tests.support.models import standing
from tests.support.second_order import WEIGHT, X2, Y2, X, Y, model, worst


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
    data = samples.Data(X, Y, None)
    whole = problem.Problem(
        engine, network, LossObjective(fitted.loss), data, 100, np.zeros(0)
    )

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


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_cholesky_and_qr_take_the_same_steps(
    monkeypatch: pytest.MonkeyPatch, decay: float
) -> None:
    ends = []
    for size in (512, 0):
        monkeypatch.setattr(normal_equations, "QR_SIZE", size)
        fitted = model(cr.LevenbergMarquardt(weight_decay=decay), units=(5, 3))
        fitted.fit(X2, Y2, epochs=8)
        ends.append(fitted.theta)
    np.testing.assert_allclose(ends[1], ends[0], rtol=1e-6, atol=1e-8)


def test_residuals_jacobian_and_acceleration_are_derivatives() -> None:
    network = Network(cr.Sequential(cr.Dense(4), cr.GELU(), cr.Dense(3)), (2,))
    theta = network.initial(3)[0]
    v = np.random.default_rng(1).normal(size=theta.shape)
    data = samples.Data(X2, Y2, WEIGHT)
    engine = backends.get("numpy")
    whole = problem.Problem(
        engine, network, LossObjective(cr.losses.SquaredError()), data, 7, np.zeros(0)
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


def _wave(scale: float = 1.0, x_scale: float = 1.0, bias: float = 0.0) -> Any:
    x = np.random.default_rng(1).uniform(-1.0, 1.0, (60, 2))
    y = scale * np.sin(3.0 * x[:, :1]) * x[:, 1:] + bias
    return x * np.array([x_scale, 1.0]), y


SHARED = {
    "parabola": (X, Y, (8, 1)),
    "parabola in thousandths": (X, 1e3 * Y, (8, 1)),
    "parabola in millions": (X, 1e-6 * Y, (8, 1)),
    "parabola far away": (X, 1e4 + Y, (8, 1)),
    "wave": (*_wave(), (6, 1)),
    "wave in thousandths": (*_wave(1e3), (6, 1)),
    "a small feature": (*_wave(1.0, 1e-6), (6, 1)),
    "two layers": (*_wave(), (5, 5, 1)),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", SHARED)
def test_no_worse_than_minpack_from_the_same_weights(name: str, seed: int) -> None:
    """So many evaluations each; both may end in another minimum, hence the factor."""
    optimize = pytest.importorskip("scipy.optimize")
    x, y, units = SHARED[name]
    fitted = model(cr.LevenbergMarquardt(), seed, units).build(x.shape[1])
    network = Network(fitted.network, x.shape[1:])
    data = samples.Data(x, y, None)
    whole = problem.Problem(
        backends.get("numpy"),
        network,
        LossObjective(fitted.loss),
        data,
        len(x),
        np.zeros(0),
    )

    def part(k: int) -> Any:
        return lambda theta: next(whole.linearised(theta))[k]

    with np.errstate(all="ignore"):
        found = optimize.least_squares(
            part(0), fitted.theta, jac=part(1), method="lm", max_nfev=121,
            ftol=1e-15, xtol=1e-15, gtol=1e-15,
        )  # fmt: skip
    history = fitted.fit(x, y, epochs=120)
    assert history["loss"][-1] < 2.0 * np.sum(found.fun**2) + 1e-3 * np.var(y)
    assert history["loss"][-1] < 0.05 * np.var(y)


@pytest.mark.parametrize("solver", ["QR", "Cholesky"])
@pytest.mark.parametrize("acceleration", [0.0, 0.75])
def test_units_change_nothing(
    monkeypatch: pytest.MonkeyPatch, solver: str, acceleration: float
) -> None:
    """Powers of two, of which nothing is rounded: the same steps, bit by bit."""
    monkeypatch.setattr(normal_equations, "QR_SIZE", 512 if solver == "QR" else 0)
    optimizer = cr.LevenbergMarquardt(acceleration=acceleration)
    runs = []
    for column, target in ((0, 0), (20, 0), (-30, 0), (0, 17), (9, -40)):
        unit, out = np.array([2.0**column, 1.0]), 2.0**target
        fitted = model(optimizer, units=(5, 3)).build(2)
        theta = fitted.theta
        scale = np.ones_like(theta)
        scale[:10] = np.tile(1.0 / unit, 5)
        scale[15:] = out
        fitted.set_weights((theta * scale, np.zeros(0)))
        history = fitted.fit(X2 * unit, Y2 * out, epochs=12, sample_weight=WEIGHT)
        loss = np.array(history["loss"]) / out**2
        runs.append((fitted.theta / scale, loss, np.array(history["damping"])))
    for run in runs[1:]:
        for found, wanted in zip(run, runs[0], strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("out", [1e-5, 300.0, 1e5])
def test_targets_are_scaled_inside(where: dict[str, Any], out: float) -> None:
    """From the usual weights, each output's unit counts for nothing."""
    ends = []
    for scale in (1.0, out):
        fitted = model(cr.LevenbergMarquardt(), units=(8, 1), **where)
        history = fitted.fit(X, scale * Y + 3.0 * scale, epochs=9)
        ends.append(np.array(history["loss"]) / scale**2)
    np.testing.assert_allclose(ends[1], ends[0], rtol=1e-3, atol=1e-12)


def test_scaling_of_targets_leaves_what_fits_or_is_frozen() -> None:
    engine = backends.get("numpy")

    def start(network: Any, y: Any = Y2, theta: Any = None) -> Any:
        bound = Network(network, (2,))
        theta = bound.initial(0)[0] if theta is None else theta
        data = samples.Data(X2, y, WEIGHT)
        whole = problem.Problem(
            engine, bound, LossObjective(cr.losses.SquaredError()), data, 9, np.zeros(0)
        )
        z = forward.build_output(engine, bound)
        moved = whole.at_scale_of_targets(theta)
        return theta, moved, z(theta, np.zeros(0), X2), z(moved, np.zeros(0), X2)

    w = WEIGHT[:, None] / WEIGHT.sum()

    def moments(a: Any) -> Any:
        mean = np.sum(w * a, axis=0)
        return mean, np.sqrt(np.sum(w * (a - mean) ** 2, axis=0))

    y = Y2 * [1.0, 1e3, 1e-4] + [0.0, 7.0, 100.0]
    for last in (cr.Dense(3), cr.Sequential(cr.Dense(3), cr.LayerNorm())):
        _, _, before, z = start(cr.Sequential(cr.Dense(4), cr.Tanh(), last), y)
        (mean, deviation), (wanted, spread) = moments(z), moments(y)
        np.testing.assert_allclose(mean, wanted, rtol=1e-9)
        np.testing.assert_allclose(
            deviation, problem.INITIAL_SPREAD * spread, rtol=1e-9
        )
        # An output that fits stays as it is.
        _, _, _, z = start(
            cr.Sequential(cr.Dense(4), cr.Tanh(), last),
            np.stack([before[:, 0] + 1e-3, y[:, 1], y[:, 2]], axis=1),
        )
        np.testing.assert_array_equal(z[:, 0], before[:, 0])
    frozen = cr.Sequential(cr.Dense(4), cr.Dense(3, trainable=False))
    for network in (frozen, cr.Sequential(cr.Dense(3), cr.Tanh())):
        theta, moved, _, _ = start(network, y)
        np.testing.assert_array_equal(moved, theta)
    # Without a bias the deviation alone; constants have none.
    _, _, before, z = start(cr.Dense(3, bias=False), y)
    wanted = problem.INITIAL_SPREAD * moments(y)[1]
    np.testing.assert_allclose(moments(z)[1], wanted, rtol=1e-9)
    _, _, before, z = start(cr.Dense(3), np.full((23, 3), 0.1))
    np.testing.assert_allclose(moments(z)[0], 0.1, rtol=1e-12)
    np.testing.assert_allclose(moments(z)[1], moments(before)[1], rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scale", [1.0, 10.0, 300.0, 1e3, 1e5, 1e-3])
def test_the_parabola_in_any_unit(scale: float, dtype: str) -> None:
    for seed in range(5):
        fitted = model(cr.LevenbergMarquardt(), seed, dtype=dtype)
        history = fitted.fit(X, scale * Y, epochs=60)
        assert history["residual_norm"][-1] < 0.01 * scale * np.linalg.norm(Y)


def test_a_linear_network_with_a_large_feature() -> None:
    """At once where least squares ends, whatever the units."""
    x = X2 * [1e6, 1.0]
    a = np.concatenate([x, np.ones((23, 1))], axis=1)
    solution = np.linalg.lstsq(a / [1e6, 1.0, 1.0], Y2, rcond=None)[0]
    wanted = np.mean((a / [1e6, 1.0, 1.0] @ solution - Y2) ** 2)
    fitted = model(cr.LevenbergMarquardt(), units=(3,))
    history = fitted.fit(x, Y2, epochs=12)
    assert history["loss"][-1] == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("estimator", [False, True])
def test_a_fit_that_gains_nothing_says_so(estimator: bool) -> None:
    x = 1e6 * X + 1e9  # every unit of the first layer is saturated
    fit: Any = model(cr.LevenbergMarquardt()).fit
    options: dict[str, Any] = {"epochs": 40}
    if estimator:
        sklearn = estimators()
        fit, options = (
            sklearn.MLPRegressor(
                hidden_layer_sizes=(8,),
                activation="tanh",
                optimizer=cr.LevenbergMarquardt(),
                alpha=0,
                loss=cr.losses.SquaredError(),
                max_iter=40,
                n_iter_no_change=40,
            ).fit,
            {},
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Stochastic Optimizer: Maximum")
        with pytest.warns(cr.ChainruleWarning, match=r"gained nothing.*Scale each inp"):
            fit(x, Y[:, 0], **options)
    model(cr.LevenbergMarquardt()).fit(x, Y, epochs=3)  # too early to tell


def _refuses(memory: Any, match: str, optimizer: Any = None) -> None:
    network = Network(cr.Dense(3), (2,))
    with pytest.raises(cr.ArgumentError, match=match):
        (optimizer or cr.LevenbergMarquardt()).check_memory(memory, network, "float64")


def test_memory_from_a_file_is_checked() -> None:
    network, good = Network(cr.Dense(3), (2,)), np.ones(11) + 1.0
    cr.LevenbergMarquardt().check_memory(good, network, "float64")
    cr.LevenbergMarquardt().check_memory(None, network, "float64")
    cr.LBFGS().check_memory(None, network, "float64")
    _refuses(good, "LBFGS keeps no memory", cr.LBFGS())
    for bad in (good[:2], good[None], good.astype("float32"), {"a": good}, 3.0):
        _refuses(bad, r"must be an array of shape \(11,\) and dtype float64")
    for k, value in ((0, 0.0), (0, np.nan), (1, 1.0), (5, -1.0), (5, np.inf)):
        worse = good.copy()
        worse[k] = value
        _refuses(worse, "must be finite, with mu above 0")


def test_forged_memory_is_refused_when_it_is_loaded(tmp_path: Any) -> None:
    path = tmp_path / "m.safetensors"
    for optimizer in (cr.LevenbergMarquardt(), cr.LBFGS(), Plain()):
        for slots in ((np.ones(2),), (np.full(11, np.nan),), (np.ones(11),) * 2):
            if isinstance(optimizer, Plain) and len(slots) < 2:
                continue
            fitted = model(optimizer, units=(3,)).build(2)
            fitted.training = standing(fitted)._replace(slots=slots)
            fitted.save(path, include_optimizer=True)
            with pytest.raises(cr.SerializationError, match="memory"):
                cr.load(path)


@cr.serialization.register
class Plain(cr.optimizers.ProblemOptimizer):
    """Without a check of its own."""


def test_parameters_too_many_for_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The matrix is what is too large: fewer rows at a time would not help."""

    def none_left(*_: Any) -> Any:
        msg = "Unable to allocate"
        raise MemoryError(msg)

    monkeypatch.setattr(optimizers.LevenbergMarquardt, "_system", none_left)
    fitted = model(cr.LevenbergMarquardt(), units=(300, 3)).build(2)
    start = fitted.theta
    for size in (1, 32):
        with pytest.raises(
            cr.errors.OutOfMemoryError,
            match=r"1,803 parameters learn.*1,803 x 1,803.*24.8 MiB.*LBFGS or Adam",
        ) as caught:
            fitted.fit(X2, Y2, epochs=1, batch_size=size)
        assert "batch_size" not in str(caught.value)
    np.testing.assert_array_equal(fitted.theta, start)
    x, y = np.zeros((9000, 2)), np.zeros((9000, 3))
    with pytest.raises(cr.errors.OutOfMemoryError, match="Try batch_size=1550"):
        fitted.fit(x, y, epochs=1, batch_size=9000)


def test_it_ends_where_rounding_leaves_nothing() -> None:
    fitted = model(cr.LevenbergMarquardt(), units=(1,))
    history = fitted.fit(X, 2.0 * X + 1.0, epochs=500)
    assert history.epochs < 200
    assert history["loss"][-1] < 1e-28
