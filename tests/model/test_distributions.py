"""A model that predicts a distribution: mean, spread, draws, metrics, files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import losses
from chainrule.losses import Loss

from tests.support.libraries import LIBRARIES, backend

LOSSES: list[Loss] = [
    losses.GaussianNLL(0.5),
    losses.StudentT(None),
    losses.NegativeBinomial(),
    losses.MixtureDensity(2),
]
each = pytest.mark.parametrize("loss", LOSSES, ids=repr)
everywhere = pytest.mark.parametrize("name", LIBRARIES)
RNG = np.random.default_rng(0)
X = RNG.uniform(-1.0, 1.0, (60, 2))
Y = RNG.poisson(np.exp(1.0 + X[:, :1])).astype(np.float64)


def model(loss: Any, units: int | None = None, **given: Any) -> cr.Model:
    units = losses.get(loss).units(1) if units is None else units
    given = {"dtype": "float64", "optimizer": cr.Adam(1e-2), **given}
    return cr.Model(cr.MLP((6, units), "tanh"), loss=loss, **given)


def raw(m: cr.Model, x: Any) -> Any:
    """The network's own outputs."""
    f, (theta, state) = m.function(), m._weights()
    with m._scope():
        z = f(theta, state, m.backend.asarray(x, "float64"))
    return m.backend.to_numpy(z)


@everywhere
@each
def test_predict_is_the_mean_and_its_spread(name: Any, loss: Loss) -> None:
    m = model(loss, **backend(name))
    m.fit(X, Y, epochs=3)
    mean, variance = loss.spread(raw(m, X), xp=np)
    for x in (X, X[:3]):  # a few rows go another way where the loss is another
        np.testing.assert_allclose(m.predict(x), mean[: len(x)], rtol=1e-12)
    got, std = m.predict(X, return_std=True)
    np.testing.assert_allclose(got, mean, rtol=1e-12)
    np.testing.assert_allclose(std, np.sqrt(variance), rtol=1e-12)


@everywhere
@each
def test_total_variance_of_an_ensemble(name: Any, loss: Loss) -> None:
    m = model(loss, members=3, **backend(name))
    m.fit(X, Y, epochs=3)
    alone = [m.member(k).predict(X, return_std=True) for k in range(3)]
    means, stds = (np.stack(a) for a in zip(*alone, strict=True))
    np.testing.assert_allclose(m.predict_members(X), means, rtol=1e-9)
    mean, std = m.predict(X, return_std=True)
    np.testing.assert_allclose(mean, means.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(m.predict(X), mean, rtol=1e-12)
    total = (stds**2).mean(axis=0) + means.var(axis=0)
    np.testing.assert_allclose(std, np.sqrt(total), rtol=1e-9)
    # How far members disagree stays to be had.
    _, apart = m.predict(X, return_std=True, method="ensemble")
    np.testing.assert_allclose(apart, means.std(axis=0), rtol=1e-6, atol=1e-12)


@everywhere
@pytest.mark.parametrize("members", [None, 2])
def test_samples_are_a_function_of_the_seed(name: Any, members: Any) -> None:
    m = model("gaussian_nll", members=members, **backend(name)).build(2)
    draws = m.sample(X, 4, seed=3)
    assert isinstance(draws, np.ndarray)
    assert draws.shape == (4, 60, 1)
    assert draws.dtype == "float64"
    np.testing.assert_array_equal(m.sample(X, 2, seed=3), draws[:2])
    assert np.all(m.sample(X, 4, seed=4) != draws)
    assert np.all(draws[0] != draws[1])


def test_draws_scatter_as_the_spread_says() -> None:
    m = model("gaussian_nll", members=3).build(2)
    draws = m.sample(X[:4], 6000)
    mean, std = m.predict(X[:4], return_std=True)
    np.testing.assert_allclose(draws.mean(axis=0), mean, atol=6 * std.max() / 77)
    np.testing.assert_allclose(draws.std(axis=0), std, rtol=0.1)


@each
def test_metrics_see_the_mean(loss: Loss) -> None:
    seen = []

    def own(y_true: Any, y_pred: Any) -> float:
        seen.append(y_pred.shape)
        return float(np.abs(y_true - y_pred).mean())

    for members in (None, 2):
        m = model(loss, metrics=["mean_absolute_error", own], members=members).build(2)
        logs = m.evaluate(X, Y)
        wanted = np.abs(Y - m.predict(X)).mean()
        assert logs["mean_absolute_error"] == pytest.approx(wanted, rel=1e-12)
        assert logs["own"] == pytest.approx(wanted, rel=1e-12)
    assert set(seen) == {(60, 1)}


@everywhere
def test_a_noise_that_depends_on_x_is_found(name: Any) -> None:
    rng = np.random.default_rng(1)
    x = rng.uniform(-1.0, 1.0, (600, 1))
    scale = np.exp(x - 1.0)
    y = x + scale * rng.normal(size=x.shape)
    m = model("gaussian_nll", optimizer=cr.Adam(2e-2), **backend(name))
    m.fit(x, y, epochs=60)
    at = np.array([[-0.8], [0.0], [0.8]])
    _, std = m.predict(at, return_std=True)
    np.testing.assert_allclose(std, np.exp(at - 1.0), rtol=0.25)


@each
def test_files_hold_such_losses(loss: Loss, tmp_path: Path) -> None:
    m = model(loss).build(2)
    m.save(tmp_path / "m")
    back = cr.load(tmp_path / "m")
    assert back.loss == loss
    np.testing.assert_array_equal(back.predict(X), m.predict(X))
    np.testing.assert_array_equal(back.sample(X, 2), m.sample(X, 2))


def test_another_loss_predicts_another_thing() -> None:
    m = model("squared_error", units=2).build(2)
    z = m.predict(X[:3])
    m.loss = "gaussian_nll"
    np.testing.assert_array_equal(m.predict(X[:3]), z[:, :1])
    m.loss = "squared_error"
    np.testing.assert_array_equal(m.predict(X[:3]), z)


def test_derivatives_are_those_of_the_outputs() -> None:
    m = model("gaussian_nll").build(2)
    assert m.jacobian(X[:3]).shape == (3, 2, 2)
    step = np.array([[1e-6, 0.0]])
    slope = (m.predict(X[:3] + step) - m.predict(X[:3] - step)) / 2e-6
    np.testing.assert_allclose(m.jacobian(X[:3])[:, :1, 0], slope, rtol=1e-6)


@pytest.mark.parametrize(
    ("act", "match"),
    [
        (
            lambda: model("huber", 1).build(2).sample(X),
            "^sample needs a loss of a whole",
        ),
        (lambda: model("student_t").build(2).sample(X, 0), "^sample: n must .*got 0"),
        (lambda: model("student_t").build(2).sample(X, seed=-1), "^sample: seed .*-1"),
        (
            lambda: model("student_t").build(2).predict(X, True, "laplace"),
            "squared_error; this model's loss is student_t",
        ),
        (
            lambda: model(losses.GaussianNLL(0.5), optimizer=cr.LBFGS()).fit(X, Y),
            "^LBFGS needs a loss whose gradient .*beta=0",
        ),
        (
            lambda: model("gaussian_nll").fit(X, Y, slopes=np.ones((60, 1, 2))),
            "^slopes are those of one output",
        ),
        (
            lambda: model("gaussian_nll", metrics=["accuracy"]).fit(X, Y),
            "^accuracy has no meaning under gaussian_nll",
        ),
        (
            lambda: cr.Model(
                cr.Sequential(cr.Dense(2), cr.Softplus()), loss="gaussian_nll"
            ),
            r"^loss: gaussian_nll takes heads.*ends in Softplus\(\)",
        ),
    ],
    ids=range(8),
)
def test_refusals(act: Any, match: str) -> None:
    with pytest.raises(cr.ArgumentError, match=match):
        act()


def test_lbfgs_fits_the_likelihood_itself() -> None:
    pytest.importorskip("scipy")
    m = model("gaussian_nll", optimizer=cr.LBFGS())
    history = m.fit(X, Y, epochs=20)
    assert history["loss"][-1] < history["loss"][0]
