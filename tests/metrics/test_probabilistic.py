"""Metrics of probabilities and distributions, against scikit-learn and integrals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import metrics

from tests.metrics.samples import each_case, softmax, weighted_case

OTHERS = {"log_loss": "log_loss", "brier": "brier_score_loss"}
each_name = pytest.mark.parametrize("name", OTHERS)


@each_case
@each_name
def test_probabilities_of_classes(name: str, case: int) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    rng, n, weight = weighted_case(case)
    m = int(rng.integers(2, 6))
    labels, z = rng.integers(0, m, n), rng.normal(size=(n, m))
    p = softmax(z)
    options = {"sample_weight": weight, "labels": np.arange(m)}
    want = getattr(sklearn, OTHERS[name])(labels, p if m > 2 else p[:, 1], **options)
    metric = getattr(metrics, name)
    for t, outputs, loss in (
        (labels, z, None),
        (labels, np.log(p), None),
        (labels, z, "cross_entropy"),
        (np.eye(m)[labels], z, "cross_entropy"),
    ):
        assert metric(t, outputs, weight, loss=loss) == pytest.approx(want, rel=1e-12)
    if m == 2:
        one = z[:, 1] - z[:, 0]
        for loss in (None, "binary_cross_entropy"):
            got = metric(labels, one, weight, loss=loss)
            assert got == pytest.approx(want, rel=1e-12)


@each_name
def test_probabilities_of_labels(name: str) -> None:
    """The mean over outputs; targets may lie between."""
    rng = np.random.default_rng(0)
    t, z, w = rng.uniform(size=(9, 3)), rng.normal(size=(9, 3)), rng.uniform(size=9)
    p = 1.0 / (1.0 + np.exp(-z))
    value = {
        "brier": (p - t) ** 2,
        "log_loss": -t * np.log(p) - (1.0 - t) * np.log(1.0 - p),
    }[name]
    want = np.average(value.mean(axis=1), weights=w)
    got = getattr(metrics, name)(t, z, w, loss="binary_cross_entropy")
    assert got == pytest.approx(want, rel=1e-12)
    rows = softmax(rng.normal(size=(9, 3)))
    q = softmax(z)
    value = ((q - rows) ** 2) if name == "brier" else -rows * np.log(q)
    got = getattr(metrics, name)(rows, z, w, loss="cross_entropy")
    assert got == pytest.approx(np.average(value.sum(axis=1), weights=w), rel=1e-12)


def test_log_loss_is_the_loss() -> None:
    rng = np.random.default_rng(1)
    x, labels = rng.normal(size=(30, 3)), rng.integers(0, 3, 30)
    loss: Any
    for loss, y in (("cross_entropy", labels), ("binary_cross_entropy", labels > 0)):
        outputs = 3 if loss == "cross_entropy" else 1
        model = cr.Model(cr.MLP((4, outputs)), loss=loss, metrics=["log_loss"])
        found = model.build(3).evaluate(x, y)
        assert found["log_loss"] == pytest.approx(found["loss"], rel=1e-5)


def test_log_loss_of_sure_answers() -> None:
    z = np.array([800.0, -800.0, np.inf, -np.inf])
    assert metrics.log_loss([1, 0, 1, 0], z) == 0.0
    assert metrics.log_loss([0, 1, 1, 0], z) == 400.0
    wide = np.stack([np.zeros(2), [800.0, -900.0], np.zeros(2)], axis=1)
    assert metrics.log_loss([0, 1], wide) == pytest.approx(850.0, rel=1e-3)


class Probit(cr.losses.BinaryCrossEntropy):
    """A loss of one's own with another link to probabilities."""

    link = "identity"

    def probabilities(self, z: Any, *, xp: Any) -> Any:
        return xp.clip(z / 4.0 + 0.25, 0.0, 1.0)


def test_a_link_of_ones_own() -> None:
    rng = np.random.default_rng(2)
    t, z = rng.integers(0, 2, 50), rng.uniform(-0.9, 2.9, 50)
    p = z / 4.0 + 0.25
    logit = np.log(p / (1.0 - p))
    for name in (
        *OTHERS,
        *("auc", "average_precision", "f1", "precision", "recall", "accuracy"),
        *("balanced_accuracy", "expected_calibration_error"),
    ):
        metric = getattr(metrics, name)
        assert metric(t, z, loss=Probit()) == pytest.approx(metric(t, logit)), name


@each_case
def test_calibration(case: int) -> None:
    """Of scikit-learn's curve, with each bin's share of the samples."""
    calibration = pytest.importorskip("sklearn.calibration")
    rng, n, weight = weighted_case(case)
    m = int(rng.integers(2, 5))
    labels, z = rng.integers(0, m, n), rng.normal(size=(n, m))
    bins = int(rng.integers(2, 20))
    p = softmax(z)
    confidence, right = p.max(axis=1), p.argmax(axis=1) == labels
    count = np.ones(n, int) if weight is None else np.round(4 * weight).astype(int)
    c, r = np.repeat(confidence, count), np.repeat(right, count)
    true, said = calibration.calibration_curve(r, c, n_bins=bins, pos_label=True)
    held = np.histogram(c, np.linspace(0.0, 1.0, bins + 1))[0]
    want = (held[held > 0] / held.sum() * np.abs(true - said)).sum()
    name = metrics.ExpectedCalibrationError(bins)
    assert name(labels, z, count) == pytest.approx(want, rel=1e-9)
    if m == 2:
        one = name(labels, z[:, 1] - z[:, 0], count)
        assert one == pytest.approx(want, rel=1e-9)


def test_calibration_of_labels() -> None:
    rng = np.random.default_rng(3)
    t, z = rng.integers(0, 2, (40, 2)), rng.normal(size=(40, 2))
    metric = metrics.expected_calibration_error
    each = [metric(t[:, k], z[:, k]) for k in range(2)]
    both = metric(t, z, loss="binary_cross_entropy")
    assert both == pytest.approx(np.mean(each), rel=1e-12)
    assert np.isnan(metric(t[:, 0], z[:, 0] * np.nan))
    assert metric([1, 0], [900.0, -900.0]) == 0.0


@pytest.mark.parametrize("name", [*OTHERS, "expected_calibration_error"])
@pytest.mark.parametrize("loss", ["squared_error", "huber"])
def test_values_are_no_probabilities(name: Any, loss: Any) -> None:
    with pytest.raises(cr.ArgumentError, match=f"{name} compares probabilities"):
        getattr(metrics, name)([0, 1], [0.2, 0.7], loss=loss)
    model = cr.Model(cr.MLP((1,)), loss=loss, metrics=[name])
    with pytest.raises(cr.ArgumentError, match=f"{name} compares probabilities"):
        model.fit(np.ones((4, 1)), np.ones(4), epochs=1)
    assert not model.built


# Distributions of values.


def integral(below: Any, x: Any, y: float) -> float:
    """Return the integral of (F(x) - [x >= y])² by the trapezoidal rule."""
    return float(np.trapezoid((below - (x >= y)) ** 2, x))


def test_crps_of_gaussians_is_the_integral() -> None:
    special = pytest.importorskip("scipy.special")
    rng = np.random.default_rng(0)
    x = np.linspace(-40.0, 40.0, 800_001)
    for _ in range(10):
        y, mean, std = rng.normal(), rng.normal(), rng.uniform(0.2, 3.0)
        want = integral(special.ndtr((x - mean) / std), x, y)
        assert metrics.crps([y], [mean], std=std) == pytest.approx(want, rel=1e-3)


def test_crps_without_spread_is_the_absolute_error() -> None:
    rng = np.random.default_rng(0)
    t, mean, w = rng.normal(size=(9, 2)), rng.normal(size=(9, 2)), rng.uniform(size=9)
    want = metrics.mean_absolute_error(t, mean, w)
    for std in (0.0, np.zeros((9, 2)), 1e-320):
        assert metrics.crps(t, mean, w, std=std) == pytest.approx(want, rel=1e-12)
    assert metrics.crps_members(t, mean[None], w) == pytest.approx(want, rel=1e-12)
    assert metrics.crps(t, t, std=1.0) == pytest.approx(
        (np.sqrt(2.0) - 1.0) / np.sqrt(np.pi)
    )


@pytest.mark.parametrize("fair", [False, True])
def test_crps_of_members(fair: bool) -> None:
    rng = np.random.default_rng(0)
    m, t, x = 5, rng.normal(size=(7, 2)), rng.normal(size=(5, 7, 2))
    w = rng.uniform(size=7)
    near = np.abs(x - t).mean(axis=0)
    far = np.abs(x[:, None] - x[None]).sum(axis=(0, 1)) / (2.0 * m * (m - fair))
    want = np.average((near - far).mean(axis=1), weights=w)
    assert metrics.crps_members(t, x, w, fair=fair) == pytest.approx(want, rel=1e-12)
    column = metrics.crps_members(t[:, 0], x[:, :, :1], fair=fair)
    assert column == metrics.crps_members(t[:, 0], x[:, :, 0], fair=fair)


def test_crps_of_many_members_is_that_of_their_gaussian() -> None:
    rng = np.random.default_rng(0)
    t = rng.normal(size=50)
    x = 0.3 + 1.4 * rng.normal(size=(20_000, 50))
    want = metrics.crps(t, np.full(50, 0.3), std=1.4)
    assert metrics.crps_members(t, x, fair=True) == pytest.approx(want, rel=1e-2)


def test_crps_of_a_model() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 2)), rng.normal(size=40)
    model = cr.Model(cr.MLP((4, 1)), members=3, seed=0)
    model.fit(x, y, epochs=2)
    mean, std = model.predict(x, return_std=True)
    assert metrics.crps(y, mean, std=std) > 0.0
    assert metrics.crps_members(y, model.predict_members(x)) > 0.0
    with pytest.raises(cr.ArgumentError, match="under squared_error the outputs have"):
        cr.Model(cr.MLP((4, 1)), metrics=["crps"]).fit(x, y, epochs=1)


@pytest.mark.parametrize("members", [None, 3])
def test_metrics_of_a_distribution_see_its_mean_and_deviation(
    members: int | None,
) -> None:
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(40, 2)), rng.random(40)
    y = x.sum(axis=1, keepdims=True)
    names: Any = ["crps", "root_mean_squared_error", "r2"]
    model = cr.Model(
        cr.MLP((4, 2)), loss="gaussian_nll", metrics=names, members=members, seed=0
    )
    history = model.fit(x, y, epochs=2, sample_weight=w)
    mean, std = model.predict(x, return_std=True)
    logs = model.evaluate(x, y, w)
    assert logs["crps"] == pytest.approx(metrics.crps(y, mean, w, std=std), rel=1e-5)
    assert history["crps"][-1] == pytest.approx(logs["crps"], rel=1e-5)
    for name in names[1:]:
        for loss in (None, "gaussian_nll"):
            want = getattr(metrics, name)(y, mean, w, loss=loss)
            assert logs[name] == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize("weight", [None, [1.0, 2.0, 1.0, 0.0]])
def test_coverage(weight: Any) -> None:
    y = np.array([0.0, 1.0, 2.0, 3.0])
    low, high = np.array([0.0, 0.0, 2.5, 0.0]), np.array([0.0, 1.0, 3.0, 9.0])
    want = np.average([1.0, 1.0, 0.0, 1.0], weights=weight)
    assert metrics.interval_coverage(y, low, high, weight) == pytest.approx(want)
    column = metrics.interval_coverage(y, low[:, None], high[:, None], weight)
    assert column == pytest.approx(want)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: metrics.crps([1.0], [1.0]), r"^crps compares a distribution.*std=std"),
        (lambda: metrics.crps([1.0], [1.0], std=-1.0), "std must not be negative"),
        (lambda: metrics.crps([1.0], [1.0], std=np.ones(3)), "std must be a number or"),
        (lambda: metrics.crps_members([1.0], [1.0]), "members must have the shape"),
        (
            lambda: metrics.crps_members([1.0], [[1.0]], fair=True),
            "at least 2 of them if fair",
        ),
        (lambda: metrics.crps_members([1.0], [[1.0]], fair=1), "fair must be True"),  # type: ignore[arg-type]
        (lambda: metrics.interval_coverage([1.0], [2.0], [0.0]), "low must not be abo"),
        (
            lambda: metrics.interval_coverage([1.0], [0.0], [2.0, 3.0]),
            r"^interval_coverage: y_true must have the shape of high, \(2,\)",
        ),
        (lambda: metrics.ExpectedCalibrationError(0), "bins must be an integer"),
        (
            lambda: metrics.expected_calibration_error([1], [1.0], bins=0),
            "^expected_calibration_error: bins must be",
        ),
    ],
)
def test_bad_distributions(call: Any, match: str) -> None:
    with pytest.raises(cr.ChainruleError, match=match):
        call()
