"""Covariance of the parameters and the band: against linear least squares."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import chainrule as cr

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 2))
Y = X @ np.array([[1.0, -2.0, 0.5], [0.3, 0.0, 1.0]]) + RNG.normal(size=(40, 3))
WEIGHT = RNG.integers(0, 4, size=40).astype(np.float64)
NEW = RNG.normal(size=(300, 2))


def fitted(units: Any = (3,), weight: Any = None, **options: Any) -> Any:
    options = {"dtype": "float64", "backend": "numpy", **options}
    network = options.pop("network", None) or cr.MLP(units, activation="tanh")
    model = cr.Model(network, optimizer=cr.LevenbergMarquardt(), **options)
    model.fit(X, Y, epochs=40, sample_weight=weight, batch_size=40)
    return model


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
def test_a_linear_network_is_linear_least_squares(
    where: dict[str, Any], weight: Any
) -> None:
    """The textbook: s² (AᵀWA)⁻¹, with one s² over all outputs."""
    model = fitted(weight=weight, **where)
    w = np.ones(40) if weight is None else weight
    a = np.concatenate([X, np.ones((40, 1))], axis=1)
    gram = a.T @ (w[:, None] * a)
    solution = np.linalg.solve(gram, a.T @ (w[:, None] * Y))
    residuals = Y - a @ solution
    s2 = np.sum(w[:, None] * residuals**2) / (3 * np.sum(w > 0) - 9)
    cov = s2 * np.linalg.inv(gram)
    found = model.backend.to_numpy(model.parameter_covariance())
    # theta: weight (3, 2) row-major, then bias (3,); outputs are independent.
    for k in range(3):
        rows = [2 * k, 2 * k + 1, 6 + k]
        np.testing.assert_allclose(found[np.ix_(rows, rows)], cov, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found[0, 3], 0.0, atol=1e-9)
    mean, std = model.predict(NEW, return_std=True, method="laplace")
    b = np.concatenate([NEW, np.ones((300, 1))], axis=1)
    wanted = np.sqrt(np.einsum("ri,ij,rj->r", b, cov, b))
    assert std.shape == mean.shape == (300, 3)
    np.testing.assert_allclose(std, np.stack([wanted] * 3, axis=1), rtol=1e-6)
    np.testing.assert_array_equal(mean, model.predict(NEW))


def test_the_band_covers_as_often_as_it_says() -> None:
    """Over many noisy data sets, the truth lies within two deviations in 95 %."""
    x = np.linspace(-1.0, 1.0, 60)[:, None]
    truth = np.tanh(2.0 * x)
    inside = []
    for seed in range(30):
        y = truth + 0.05 * np.random.default_rng(seed).normal(size=truth.shape)
        model = cr.Model(
            cr.MLP((2, 1), activation="tanh"),
            optimizer=cr.LevenbergMarquardt(),
            dtype="float64",
            seed=seed,
        )
        model.fit(x, y, epochs=60, batch_size=60)
        mean, std = model.predict(x, return_std=True, method="laplace")
        inside.append(np.mean(np.abs(mean - truth) < 2.0 * std))
    assert 0.85 < np.mean(inside) < 1.0


def test_directions_without_data_are_left_out() -> None:
    """Two layers without activation: a redundant parameter does not matter."""
    plain = fitted()
    deep = fitted(network=cr.Sequential(cr.Dense(4), cr.Dense(3)))
    bands = [
        m.predict(NEW, return_std=True, method="laplace")[1] for m in (plain, deep)
    ]
    np.testing.assert_allclose(bands[1], bands[0], rtol=1e-4)


def test_frozen_parameters_have_no_variance() -> None:
    network = cr.Sequential(cr.Dense(4, trainable=False), cr.Tanh(), cr.Dense(3))
    cov = fitted(network=network).parameter_covariance()
    assert not cov[:12].any()
    assert not cov[:, :12].any()
    assert (np.diag(cov)[12:] > 0.0).all()


def test_it_follows_the_parameters_and_the_data() -> None:
    model = fitted()
    first = model.parameter_covariance()
    np.testing.assert_array_equal(model.parameter_covariance(X, Y), first)
    theta, state = model.get_weights()
    model.set_weights((theta + 0.1, state))
    assert (np.diag(model.parameter_covariance()) > np.diag(first)).all()


def test_errors() -> None:
    model = fitted()
    with pytest.raises(cr.ArgumentError, match=r"lone model needs method='laplace'"):
        model.predict(X, return_std=True)
    with pytest.raises(cr.ArgumentError, match=r"method must be one of ensemble, lapl"):
        model.predict(X, return_std=True, method="laplac")
    moved = [model.to("numpy"), pickle.loads(pickle.dumps(model))]
    for other in moved:
        with pytest.raises(cr.ArgumentError, match=r"parameter_covariance\(x, y\)"):
            other.predict(X, return_std=True, method="laplace")
        other.parameter_covariance(X, Y)
        np.testing.assert_allclose(
            other.predict(X, return_std=True, method="laplace")[1],
            model.predict(X, return_std=True, method="laplace")[1],
        )
    few = cr.Model(cr.MLP((20, 3), activation="tanh"), dtype="float64")
    few.fit(X[:10], Y[:10], epochs=1)
    with pytest.raises(cr.ArgumentError, match=r"more numbers to fit than.*got 30 and"):
        few.predict(X, return_std=True, method="laplace")
    ensemble = cr.Model(cr.MLP((3,)), members=2)
    ensemble.fit(X, Y, epochs=1)
    with pytest.raises(cr.ArgumentError, match="ensemble has its own spread"):
        ensemble.predict(X, return_std=True, method="laplace")
    other = cr.Model(cr.MLP((3,)), loss="huber")
    other.fit(X, Y, epochs=1)
    with pytest.raises(cr.ArgumentError, match=r"laplace' needs a loss that is a sum"):
        other.predict(X, return_std=True, method="laplace")
    with pytest.raises(cr.NotBuiltError):
        cr.Model(cr.MLP((3,))).parameter_covariance()
