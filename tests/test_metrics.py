"""Metrics: agreement with scikit-learn, and where a fit shows them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import metrics

from support import LIBRARIES, backend

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))
Y = np.stack([X[:, 0] - X[:, 1], np.sin(X[:, 2])], axis=1)
Z = Y + RNG.normal(size=Y.shape)
LABELS = RNG.integers(0, 3, 40)
LOGITS = RNG.normal(size=(40, 3)) + np.eye(3)[LABELS]
WEIGHT = RNG.uniform(0.0, 2.0, 40)
WEIGHTS = pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])


@WEIGHTS
@pytest.mark.parametrize("one_hot", [False, True])
def test_accuracy_of_classes(one_hot: bool, weight: Any) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    t = np.eye(3)[LABELS] if one_hot else LABELS.astype(np.int32)
    want = sklearn.accuracy_score(LABELS, LOGITS.argmax(1), sample_weight=weight)
    assert metrics.accuracy(t, LOGITS, weight) == pytest.approx(want, rel=1e-12)


@WEIGHTS
def test_accuracy_of_yes_and_no(weight: Any) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    t, z = (LABELS > 0).astype(np.float64), LOGITS[:, 0]
    want = sklearn.accuracy_score(t, z > 0, sample_weight=weight)
    got = metrics.accuracy(t[:, None], z[:, None], weight)
    assert got == pytest.approx(want, rel=1e-12)
    # Several outputs of their own: the share of those that are right.
    t2 = np.array([[1.0, 1.0], [0.0, 0.0], [1.0, 0.0]])
    z2 = np.array([[2.0, -1.0], [-1.0, -1.0], [1.0, -3.0]])
    assert metrics.accuracy(t2, z2) == pytest.approx(2.5 / 3.0)


def test_accuracy_of_sequences() -> None:
    t = LABELS.reshape(8, 5).astype(np.int32)
    z = LOGITS.reshape(8, 5, 3)
    assert metrics.accuracy(t, z) == pytest.approx(
        metrics.accuracy(t.ravel(), LOGITS), rel=1e-12
    )
    weight = WEIGHT[:8]
    assert metrics.accuracy(t, z, weight) == pytest.approx(
        metrics.accuracy(t.ravel(), LOGITS, np.repeat(weight, 5)), rel=1e-12
    )


@WEIGHTS
@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize(
    ("name", "other"), [("r2", "r2_score"), ("mean_absolute_error",) * 2]
)
def test_regression(name: str, other: str, outputs: int, weight: Any) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    t, z = Y[:, :outputs], Z[:, :outputs]
    want = getattr(sklearn, other)(t, z, sample_weight=weight)
    got = getattr(metrics, name)(t, z, weight)
    assert type(got) is float
    assert got == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize("met", [True, False])
def test_r2_of_a_constant(met: bool) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    t = np.full((5, 1), 3.0)
    z = t if met else t + 1.0
    assert metrics.r2(t, z) == sklearn.r2_score(t, z) == float(met)


def test_no_weight_at_all() -> None:
    nothing = np.zeros(40)
    assert metrics.accuracy(LABELS, LOGITS, nothing) == 0.0
    assert metrics.mean_absolute_error(Y, Z, nothing) == 0.0
    assert np.isfinite(metrics.r2(Y, Z, nothing))


def plain(y_true: Any, y_pred: Any) -> Any:
    """Mean of the errors, not weighted."""
    assert type(y_true) is type(y_pred) is np.ndarray
    return np.abs(y_true - y_pred).max()


def weighted(y_true: Any, y_pred: Any, sample_weight: Any = None) -> float:
    """Mean of the errors, weighted if there are weights."""
    error = np.abs(y_true.astype(np.float64) - y_pred).mean(axis=1)
    return float(np.average(error, weights=sample_weight))


class Scorer:
    """An object that can be called, without a name of its own."""

    def __call__(self, y_true: Any, y_pred: Any) -> int:
        return 7


@WEIGHTS
@pytest.mark.parametrize("name", LIBRARIES)
def test_in_a_fit(name: str, weight: Any) -> None:
    model = cr.Model(
        cr.MLP((4, 2)),
        metrics=["r2", "mean_absolute_error", plain, weighted, Scorer()],
        **backend(name),
    )
    names = ["r2", "mean_absolute_error", "plain", "weighted", "Scorer"]
    check: Any = (X[:9], Y[:9])
    if weight is not None:
        check = (*check, weight[:9])
    history = model.fit(X, Y, epochs=2, sample_weight=weight, validation_data=check)
    assert set(history) == {p + n for p in ("", "val_") for n in ("loss", *names)}
    assert all(type(v) is float for column in history.values() for v in column)
    scores = model.evaluate(X, Y, weight)
    assert list(scores) == ["loss", *names]
    assert {n: history[n][-1] for n in names} == {n: scores[n] for n in names}
    vals = model.evaluate(*check)
    assert {n: history[f"val_{n}"][-1] for n in scores} == vals
    z = np.asarray(model.predict(X), np.float64)
    assert scores["weighted"] == pytest.approx(scores["mean_absolute_error"], rel=1e-6)
    assert scores["weighted"] == pytest.approx(weighted(Y, z, weight), rel=1e-5)
    assert scores["plain"] == pytest.approx(plain(Y, z), rel=1e-5)
    assert scores["Scorer"] == 7.0


def test_accuracy_in_a_fit() -> None:
    model = cr.Model(cr.MLP((8, 3)), loss="cross_entropy", metrics="accuracy")
    history = model.fit(X, LABELS, epochs=2)
    want = float((model.predict(X).argmax(axis=1) == LABELS).mean())
    assert history["accuracy"][-1] == pytest.approx(want)


@pytest.mark.parametrize("name", ["loss", "val_loss"])
def test_taken_names(name: str) -> None:
    def metric(y_true: Any, y_pred: Any) -> float:
        return 0.0

    metric.__name__ = name
    with pytest.raises(cr.ArgumentError, match=f"not be called '{name}'"):
        cr.Model(cr.MLP((2,)), metrics=[metric])


def test_metrics_change_nothing() -> None:
    one, two = cr.Model(cr.MLP((4, 2))), cr.Model(cr.MLP((4, 2)), metrics=["r2"])
    for model in (one, two):
        model.fit(X, Y, epochs=3)
    assert one.theta.tobytes() == two.theta.tobytes()
