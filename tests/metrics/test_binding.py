"""Metrics in a model: what they are told, their names and directions; accuracy."""

from __future__ import annotations

import pickle
from functools import partial
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import metrics

from tests.support.libraries import LIBRARIES, backend

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
    got = metrics.accuracy(t, LOGITS, weight, loss="cross_entropy")
    assert got == pytest.approx(want, rel=1e-12)


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
    got = metrics.accuracy(t2, z2, loss="binary_cross_entropy")
    assert got == pytest.approx(2.5 / 3.0)


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


@pytest.mark.parametrize("name", ["loss", "val_loss", "learning_rate", "epoch"])
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


# What outputs mean: the loss says it.


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("end", [(), (cr.Sigmoid(),)], ids=["linear", "sigmoid"])
def test_accuracy_of_values(name: str, end: Any) -> None:
    """Under a squared error the boundary is one half, in fits and evaluation."""
    y = (X[:, 0] > 0.3).astype(int)
    network = cr.Sequential(cr.Dense(4), cr.Tanh(), cr.Dense(1), *end)
    model = cr.Model(network, metrics=["accuracy"], **backend(name))
    history = model.fit(X, y, epochs=3, validation_data=(X[:9], y[:9]))
    right = (np.asarray(model.predict(X))[:, 0] > 0.5) == y
    assert history["accuracy"][-1] == pytest.approx(right.mean())
    assert history["val_accuracy"][-1] == pytest.approx(right[:9].mean())
    assert model.evaluate(X, y)["accuracy"] == pytest.approx(right.mean())


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("one_hot", [False, True])
def test_accuracy_of_several_labels(name: str, one_hot: bool) -> None:
    """Each output counts, also where the rows of the targets happen to sum to 1."""
    y = np.eye(3)[LABELS] if one_hot else (X > 0.2).astype(float)
    model = cr.Model(
        cr.MLP((4, 3)),
        loss="binary_cross_entropy",
        metrics=["accuracy"],
        **backend(name),
    )
    history = model.fit(X, y, epochs=2)
    right = (np.asarray(model.predict(X)) > 0) == (y > 0.5)
    assert history["accuracy"][-1] == pytest.approx(right.mean())


def test_accuracy_of_one_hot_rows() -> None:
    model = cr.Model(cr.MLP((4, 3)), loss="cross_entropy", metrics=["accuracy"])
    model.fit(X, np.eye(3)[LABELS], epochs=2)
    want = (model.predict(X).argmax(axis=1) == LABELS).mean()
    rows = model.evaluate(X, np.eye(3)[LABELS])["accuracy"]
    assert rows == model.evaluate(X, LABELS)["accuracy"] == pytest.approx(want)


class Probit(cr.losses.BinaryCrossEntropy):
    """A loss of one's own with another link to probabilities."""

    link = "identity"

    def probabilities(self, z: Any, *, xp: Any) -> Any:
        return xp.clip(z / 4.0 + 0.25, 0.0, 1.0)


def test_accuracy_of_a_link_of_ones_own() -> None:
    y = (X[:, 0] > 0.3).astype(int)
    model = cr.Model(cr.MLP((4, 1)), loss=Probit(), metrics=["accuracy"])
    model.fit(X, y, epochs=2)
    right = (model.predict(X)[:, 0] > 1.0) == y
    assert model.evaluate(X, y)["accuracy"] == pytest.approx(right.mean())


@pytest.mark.parametrize("name", LIBRARIES)
def test_values_of_other_links(name: Any) -> None:
    """r2 and the mean error compare what outputs stand for."""
    y = np.floor(np.exp(X[:, :2]))
    names: list[Any] = ["r2", "mean_absolute_error"]
    loss: Any
    for loss, link in (
        ("poisson", np.exp),
        ("binary_cross_entropy", lambda z: 1.0 / (1.0 + np.exp(-z))),
    ):
        t = y if loss == "poisson" else (y > 1).astype(float)
        model = cr.Model(cr.MLP((4, 2)), loss=loss, metrics=names, **backend(name))
        model.fit(X, t, epochs=2)
        found = model.evaluate(X, t)
        z = link(np.asarray(model.predict(X), np.float64))
        assert found["r2"] == pytest.approx(metrics.r2(t, z), rel=1e-5)
        assert found["mean_absolute_error"] == pytest.approx(
            np.abs(t - z).mean(), rel=1e-5
        )


@pytest.mark.parametrize(
    ("metric", "loss", "y", "match"),
    [
        ("accuracy", "squared_error", np.eye(3)[LABELS], "outputs are 3 values"),
        ("accuracy", "squared_error", 2.0 * (LABELS > 1) - 1, "targets from -1 to 1"),
        ("accuracy", "huber", LABELS, "targets from 0 to 2"),
        ("accuracy", "poisson", LABELS, "the logarithm of a rate"),
        ("r2", "cross_entropy", LABELS, "r2 compares values"),
        ("mean_absolute_error", "cross_entropy", LABELS, "compares values"),
    ],
)
def test_metrics_without_a_meaning(metric: Any, loss: Any, y: Any, match: str) -> None:
    """Refused before the first epoch, by `evaluate` too; the model is as it was."""
    outputs = 3 if y.ndim == 2 or loss == "cross_entropy" else 1
    model = cr.Model(cr.MLP((4, outputs)), loss=loss, metrics=[metric])
    with pytest.raises(cr.ArgumentError, match=match):
        model.fit(X, y, epochs=1)
    assert not model.built
    assert model.history.epochs == 0
    with pytest.raises(cr.ArgumentError, match=match):
        model.build(3).evaluate(X, y)


@pytest.mark.parametrize("shape", [(40,), (40, 1)], ids=["a vector", "a column"])
def test_accuracy_by_hand(shape: Any) -> None:
    """Whole numbers of one output are yes and no, not classes."""
    t = (LABELS > 0).astype(int).reshape(shape)
    want = ((LOGITS[:, 0] > 0) == (LABELS > 0)).mean()
    assert metrics.accuracy(t, LOGITS[:, :1]) == pytest.approx(want)
    column = metrics.accuracy(LABELS[:, None], LOGITS, loss="cross_entropy")
    assert column == metrics.accuracy(LABELS, LOGITS)
    with pytest.raises(cr.ArgumentError, match="needs to know what they mean"):
        metrics.accuracy(np.eye(3)[LABELS], LOGITS)


# Directions.


def _rises(metric: Any) -> bool | None:
    return metrics.get(metric)[1].greater_is_better  # type: ignore[attr-defined,no-any-return]


def test_directions_are_declared() -> None:
    assert [_rises(name) for name in ("accuracy", "r2")] == [True, True]
    assert _rises("mean_absolute_error") is False
    assert _rises(plain) is None

    def marked(y_true: Any, y_pred: Any) -> float:
        return 0.0

    marked.greater_is_better = True  # type: ignore[attr-defined]
    assert _rises(marked) is True
    assert _rises(partial(marked)) is True
    assert _rises(metrics.Metric(marked, greater_is_better=False)) is False
    assert _rises(metrics.Metric("r2", name="mine_error")) is True
    marked.greater_is_better = "yes"  # type: ignore[attr-defined]
    with pytest.raises(cr.ArgumentTypeError, match="greater_is_better must be True"):
        _rises(marked)


def test_directions_of_scikit_learn() -> None:
    """Its own rule for names; what has no name under the rule is in a table."""
    sklearn = pytest.importorskip("sklearn.metrics")
    falling = "mean_squared_error max_error log_loss hinge_loss mean_poisson_deviance"
    rising = "r2_score f1_score roc_auc_score d2_pinball_score matthews_corrcoef auc"
    for names, rises in ((falling, False), (rising, True)):
        for name in names.split():
            assert _rises(getattr(sklearn, name)) is rises, name
    assert _rises(partial(sklearn.f1_score, average="macro")) is True
    assert metrics.get(partial(sklearn.f1_score, average="macro"))[0] == "f1_score"
    # Each scorer's sign says the same of its function.
    for name in sklearn.get_scorer_names():
        scorer = sklearn.get_scorer(name)
        known = _rises(scorer._score_func)
        assert known in (None, scorer._sign > 0), name


@pytest.mark.parametrize(
    ("name", "rises"),
    [
        ("rmse", None),
        ("auc", None),
        ("f1", None),
        ("brier_score", None),
        ("neg_mean_squared_error", None),
        ("relative_error", False),
        ("my_loss", False),
        ("top_5_accuracy", True),
        ("val_r2", True),
        ("inaccuracy", None),
    ],
)
def test_a_name_that_says_it(name: str, rises: bool | None) -> None:
    def metric(y_true: Any, y_pred: Any) -> float:
        return 0.0

    metric.__name__ = name
    assert _rises(metric) is rises


def test_a_metric_is_kept_in_files(tmp_path: Any) -> None:
    cr.serialization.register(plain, name="plain of test_metrics")
    given = metrics.Metric(plain, name="worst", greater_is_better=False)
    model = cr.Model(cr.MLP((4, 2)), metrics=[given]).build(3)
    model.save(tmp_path / "model.st")
    for back in (cr.load(tmp_path / "model.st"), pickle.loads(pickle.dumps(model))):
        assert list(back.metrics) == ["worst"]
        assert back.metrics["worst"].greater_is_better is False
        assert back.evaluate(X, Y) == model.evaluate(X, Y)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: metrics.Metric(3), "function must be a function; got 3"),
        (lambda: metrics.Metric("f2"), "must be one of accuracy"),
        (lambda: metrics.Metric(metrics.AUC), r"function or an object.*Write AUC"),
        (lambda: metrics.get(metrics.AUC), r"must be names or functions.*Write AUC"),
        (lambda: metrics.get(metrics.crps_members), "crps_members is called with"),
        (lambda: metrics.get(metrics.interval_coverage), "coverage is called with"),
        (lambda: metrics.Metric(plain, name=3), "name must be a string"),  # type: ignore[arg-type]
        (lambda: metrics.Metric(plain, greater_is_better=1), "True, False or None"),  # type: ignore[arg-type]
    ],
)
def test_a_bad_metric(make: Any, match: str) -> None:
    with pytest.raises(cr.ChainruleError, match=match):
        make()


@pytest.mark.parametrize("value", [None, "high", [1.0, 2.0], np.ones(2), {}])
def test_a_metric_that_returns_no_number_is_told_by_name(value: Any) -> None:
    """A forgotten return; the model is that of the last whole epoch."""

    def forgetful(y_true: Any, y_pred: Any) -> Any:
        return value

    model = cr.Model(cr.MLP((4, 2)), metrics=[forgetful]).build(3)
    theta = model.theta
    with pytest.raises(
        cr.ArgumentTypeError, match="metrics: forgetful must return one"
    ):
        model.fit(X, Y, epochs=2)
    assert model.history.epochs == 0
    assert np.array_equal(model.theta, theta)
