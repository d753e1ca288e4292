"""Metrics of values: they are scikit-learn's, and take outputs for what they mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import metrics

from tests.metrics.samples import each_case, weighted_case

OTHERS = {
    "mean_absolute_error": "mean_absolute_error",
    "mean_absolute_percentage_error": "mean_absolute_percentage_error",
    "mean_squared_error": "mean_squared_error",
    "median_absolute_error": "median_absolute_error",
    "pinball": "mean_pinball_loss",
    "r2": "r2_score",
    "root_mean_squared_error": "root_mean_squared_error",
}


@each_case
@pytest.mark.parametrize("name", OTHERS)
def test_values_are_scikit_learn_s(name: str, case: int) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    rng, n, weight = weighted_case(case)
    shape = (n, int(rng.integers(1, 4)))
    t, z = rng.normal(size=shape), rng.normal(size=shape)
    if case % 2:  # ties, targets of 0, and errors that are met
        t, z = np.round(t), np.round(z)
    want = getattr(sklearn, OTHERS[name])(t, z, sample_weight=weight)
    got = getattr(metrics, name)(t, z, weight)
    assert type(got) is float
    assert got == pytest.approx(want, rel=1e-12)
    if shape[1] == 1:
        assert getattr(metrics, name)(t[:, 0], z, weight) == got
        assert getattr(metrics, name)(t, z[:, 0], weight) == got


@each_case
def test_pinball_of_a_quantile(case: int) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    rng, n, weight = weighted_case(case)
    t, z = rng.normal(size=(n, 2)), rng.normal(size=(n, 2))
    alpha = float(rng.uniform(0.05, 0.95))
    want = sklearn.mean_pinball_loss(t, z, sample_weight=weight, alpha=alpha)
    for got in (
        metrics.pinball(t, z, weight, alpha=alpha),
        metrics.Pinball(alpha)(t, z, weight),
        metrics.pinball(t, z, weight, loss=cr.losses.Quantile(alpha)),
    ):
        assert got == pytest.approx(want, rel=1e-12)


@each_case
def test_whole_weights_are_repeated_samples(case: int) -> None:
    rng, n, _ = weighted_case(case)
    t, z = rng.normal(size=(n, 2)), rng.normal(size=(n, 2))
    count = rng.integers(0, 4, n)
    count[0] += 1
    for name in OTHERS:
        metric = getattr(metrics, name)
        many = metric(np.repeat(t, count, axis=0), np.repeat(z, count, axis=0))
        assert metric(t, z, count) == pytest.approx(many, rel=1e-12), name


@pytest.mark.parametrize("name", OTHERS)
def test_values_under_a_loss(name: str) -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=(20, 2)).astype(np.float32)
    t = np.floor(rng.uniform(1.0, 4.0, (20, 2)))
    metric = getattr(metrics, name)
    mean = np.exp(z.astype(np.float64))
    assert metric(t, z, loss="poisson") == metric(t, mean)
    share = 1.0 / (1.0 + np.exp(-z.astype(np.float64)))
    got = metric(t > 2, z, loss="binary_cross_entropy")
    assert got == pytest.approx(metric(t > 2, share), rel=1e-12)
    with pytest.raises(cr.ArgumentError, match=f"{name} compares values"):
        metric(t, z, loss="cross_entropy")


def test_values_of_a_distribution_are_its_means() -> None:
    rng = np.random.default_rng(0)
    t, mean = rng.normal(size=30), rng.normal(size=(30, 1))
    for name in OTHERS:
        metric = getattr(metrics, name)
        assert metric(t, mean, loss="gaussian_nll") == metric(t, mean)


BAD: dict[str, tuple[Any, str]] = {
    "rows": (lambda m: m(np.ones(3), np.ones(4)), "y_true must have the shape"),
    "outputs": (
        lambda m: m(np.ones((4, 1)), np.ones((4, 2))),
        r"y_true .* of y_pred, \(4, 2\)",
    ),
    "text": (lambda m: m(["a"], [1.0]), "y_true must be an array of real numbers"),
    "complex": (lambda m: m([1.0], [1j]), "y_pred must be an array of real numbers"),
    "a number": (lambda m: m(1.0, 1.0), "y_pred must have an axis of samples"),
    "weights": (lambda m: m(np.ones(3), np.ones(3), np.ones(2)), "sample_weight.*3"),
    "below 0": (lambda m: m([1.0], [1.0], [-1.0]), "sample_weight must be finite"),
    "NaN": (lambda m: m([1.0], [1.0], [np.nan]), "sample_weight must be finite.*nan"),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("case", BAD)
def test_bad_values(case: str, name: str) -> None:
    call, match = BAD[case]
    with pytest.raises(cr.ChainruleError, match=f"^{name}: {match}"):
        call(getattr(metrics, name))


@pytest.mark.parametrize("alpha", [0.0, 1.0, 2, "high", None])
def test_bad_alpha(alpha: Any) -> None:
    if alpha is None:  # of a loss with several
        several = cr.losses.Quantile(0.5).replace(q=(0.1, 0.9))
        with pytest.raises(cr.ArgumentError, match="alpha must be one number"):
            metrics.pinball([1.0], [1.0], loss=several)
        return
    for call in (
        lambda: metrics.Pinball(alpha),
        lambda: metrics.pinball([1.0], [1.0], alpha=alpha),
    ):
        with pytest.raises(cr.ChainruleError, match=r"pinball: alpha must be a number"):
            call()


def test_huge_weights_and_none() -> None:
    t, z = np.arange(4.0), np.array([1.0, 1.0, 5.0, 3.0])
    for name in OTHERS:
        metric = getattr(metrics, name)
        w = np.array([1.0, 2.0, 0.0, 1.0])
        assert metric(t, z, w * 2.0**1000) == metric(t, z, w) == metric(t, z, w / 1024)
        assert np.isfinite(metric(t, z, np.zeros(4)))
