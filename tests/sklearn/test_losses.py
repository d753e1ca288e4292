"""Losses of scikit-learn's convention: their values, gradients by differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.neural_network import _base as theirs

from chainrule.sklearn import losses

from tests.support.libraries import Library

rng = np.random.default_rng(0)
Z = rng.normal(size=(6, 3))
T = rng.normal(size=(6, 3))
COUNTS = rng.poisson(1.5, size=(6, 3)).astype(float)
ONE_HOT = np.eye(3)[[0, 2, 1, 1, 0, 2]]
WEIGHT = np.array([0.5, 0.0, 2.0, 1.0, 3.0, 0.25])


def softmax(z: Any) -> Any:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def sigmoid(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


def exclusive_no(*args: Any, **kwargs: Any) -> Any:
    return losses.log_loss(*args, **kwargs, exclusive=False)


# ours, theirs, their output activation, the target, gradient's factor beside the
# value's
CASES: dict[str, Any] = {
    "squared": (losses.half_squared_error, theirs.squared_loss, lambda z: z, T, 3.0),
    "poisson": (losses.half_poisson_deviance, theirs.poisson_loss, np.exp, COUNTS, 1.0),
    "softmax": (losses.log_loss, theirs.log_loss, softmax, ONE_HOT, 1.0),
    "sigmoid": (exclusive_no, theirs.binary_log_loss, sigmoid, ONE_HOT, 1.0),
}


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["equal", "weighted"])
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(name: str, weight: Any, lib: Library) -> None:
    mine, other, link, t, factor = CASES[name]
    placed = [None if a is None else lib.array(a) for a in (Z, t, weight)]
    value, pull = mine(*placed, xp=lib.xp)
    assert float(value) == pytest.approx(other(t, link(Z), weight), rel=1e-13)
    (dz,) = pull()
    steps = np.zeros_like(Z)
    for index in np.ndindex(*Z.shape):
        h = np.zeros_like(Z)
        h[index] = 1e-6
        high, low = other(t, link(Z + h), weight), other(t, link(Z - h), weight)
        steps[index] = (high - low) / 2e-6
    np.testing.assert_allclose(lib.host(dz), factor * steps, atol=2e-9)


def test_log_loss_is_clipped_as_theirs_is() -> None:
    z, t = np.array([[60.0, 0.0], [0.0, 60.0]]), np.array([[1.0, 0.0], [1.0, 0.0]])
    value, _ = losses.log_loss(z, t, xp=np)
    assert float(value) == pytest.approx(theirs.log_loss(t, softmax(z)), rel=1e-12)


def test_multi_quantile_is_the_mean_of_its_quantiles(lib: Library) -> None:
    from chainrule import rules

    levels = (0.1, 0.5, 0.8)
    z = rng.normal(size=(6, 6))
    t = rng.normal(size=(6, 2))
    value, pull = losses.multi_quantile(
        lib.array(z), lib.array(t), lib.array(WEIGHT), quantiles=levels, xp=lib.xp
    )
    parts = [
        rules.quantile(z[:, 2 * j : 2 * j + 2], t, WEIGHT, q=q, xp=np)
        for j, q in enumerate(levels)
    ]
    assert float(value) == pytest.approx(np.mean([p[0] for p in parts]), rel=1e-13)
    wanted = np.concatenate([p[1]()[0] for p in parts], axis=1) / 3
    np.testing.assert_allclose(lib.host(pull()[0]), wanted, atol=1e-15)
