"""The library's own metrics in a fit: names, options, directions, files."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import metrics
from chainrule.metrics.table import NAMES

from tests.support.libraries import LIBRARIES, backend

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3))
Y = X[:, 0] - np.abs(X[:, 1])
LABELS = np.argmax(X + 0.3 * RNG.normal(size=X.shape), axis=1)
WEIGHT = RNG.uniform(0.5, 2.0, 60)

VALUES = (
    *("mean_absolute_error", "mean_absolute_percentage_error", "mean_squared_error"),
    *("median_absolute_error", "pinball", "r2", "root_mean_squared_error"),
)
ANSWERS = ("accuracy", "balanced_accuracy", "f1", "precision", "recall")
ORDERS = ("auc", "average_precision")
SHARES = ("brier", "expected_calibration_error", "log_loss")
CLASSES = (*ANSWERS, *ORDERS, *SHARES)

RISING = {*ANSWERS, *ORDERS, "r2", "top_k"}


def test_every_name_has_its_direction() -> None:
    assert set(NAMES) == {*VALUES, *CLASSES, "top_k", "crps"}
    for name, function in NAMES.items():
        assert function.greater_is_better is (name in RISING), name  # type: ignore[attr-defined]
        assert metrics.get(name)[1].greater_is_better is (name in RISING)  # type: ignore[attr-defined, arg-type]
        assert getattr(metrics, name) is function


OPTIONS: dict[str, Any] = {
    "auc": metrics.AUC(),
    "auc_weighted": metrics.AUC("weighted"),
    "auc_2": metrics.AUC(label=2),
    "average_precision_0": metrics.AveragePrecision(label=0),
    "f1": metrics.F1(),
    "f1_macro": metrics.F1("macro"),
    "precision_micro": metrics.Precision("micro"),
    "recall_1": metrics.Recall(label=1),
    "top_k_2": metrics.TopK(2),
    "expected_calibration_error_10": metrics.ExpectedCalibrationError(10),
}


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
def test_in_a_fit(name: str, weight: Any) -> None:
    """A model's numbers are those of its outputs, by hand."""
    for loss, outputs, y, names in (
        ("squared_error", 1, Y, VALUES),
        ("cross_entropy", 3, LABELS, CLASSES),
        ("cross_entropy", 2, LABELS > 0, CLASSES),
        ("binary_cross_entropy", 1, LABELS > 0, CLASSES),
        ("binary_cross_entropy", 3, X > 0, CLASSES),
        ("squared_error", 1, (LABELS > 0).astype(float), (*ANSWERS, *ORDERS)),
    ):
        model = cr.Model(
            cr.MLP((4, outputs)),
            loss=loss,  # type: ignore[arg-type]
            metrics=names,  # type: ignore[arg-type]
            **backend(name),
        )
        history = model.fit(X, y, epochs=2, sample_weight=weight)
        found = model.evaluate(X, y, weight)
        z = np.asarray(model.predict(X), np.float64)
        for metric in names:
            want = getattr(metrics, metric)(y, z, weight, loss=loss)
            assert found[metric] == pytest.approx(want, rel=1e-4, abs=1e-6), metric
            assert history[metric][-1] == found[metric]


@pytest.mark.parametrize("name", LIBRARIES)
def test_options_in_a_fit(name: str, tmp_path: Any) -> None:
    model = cr.Model(
        cr.MLP((8, 3)),
        loss="cross_entropy",
        metrics=list(OPTIONS.values()),
        **backend(name),
    )
    history = model.fit(X, LABELS, epochs=3, validation_split=0.3)
    assert set(history) == {f"{v}{k}" for v in ("", "val_") for k in ("loss", *OPTIONS)}
    z = np.asarray(model.predict(X))
    found = model.evaluate(X, LABELS)
    for key, metric in OPTIONS.items():
        assert found[key] == pytest.approx(metric(LABELS, z), rel=1e-4)
        assert model.metrics[key].greater_is_better is metric.greater_is_better
    model.save(tmp_path / "model.st")
    for back in (
        cr.load(tmp_path / "model.st", **backend(name)),
        pickle.loads(pickle.dumps(model)),
    ):
        assert list(back.metrics) == list(OPTIONS)
        assert back.spec.metrics == model.spec.metrics
        assert back.evaluate(X, LABELS) == found


@pytest.mark.parametrize("name", NAMES)
def test_names_are_kept_in_files(name: Any, tmp_path: Any) -> None:
    for given in (name, getattr(metrics, name)):
        model = cr.Model(cr.MLP((4, 1)), metrics=[given]).build(3)
        model.save(tmp_path / "model.st")
        for back in (cr.load(tmp_path / "model.st"), pickle.loads(pickle.dumps(model))):
            assert list(back.metrics) == [name]
            assert back.spec.metrics == (given,)


def test_options_are_compared() -> None:
    assert metrics.TopK(3) == metrics.TopK(3) != metrics.TopK(4)
    assert hash(metrics.Pinball(0.9)) == hash(metrics.Pinball(0.9))
    assert metrics.Recall(label=1) != metrics.Precision(label=1)
    assert repr(metrics.AUC(label=2)) == "AUC(average='macro', label=2)"
    with pytest.raises(AttributeError, match="immutable"):
        metrics.TopK(3).k = 4
    renamed = metrics.Metric(metrics.TopK(2), name="few")
    assert metrics.get(renamed)[0] == "few"
    assert metrics.get(renamed)[1].greater_is_better is True  # type: ignore[attr-defined]
    with pytest.raises(cr.ArgumentError, match="metrics must have different names"):
        cr.Model(cr.MLP((3,)), metrics=["auc", metrics.AUC()])


def test_pinball_takes_the_quantile_of_the_loss() -> None:
    model = cr.Model(
        cr.MLP((4, 1)),
        loss=cr.losses.Quantile(0.9),
        metrics=["pinball", metrics.Pinball(0.5)],
    )
    found = model.build(3).evaluate(X, Y)
    assert found["pinball"] == pytest.approx(found["loss"], rel=1e-5)
    error = np.abs(Y - np.asarray(model.predict(X))[:, 0]).mean()
    assert found["pinball_0.5"] == pytest.approx(error / 2, rel=1e-5)


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("rmse", "root_mean_squared_error"),
        ("mape", "mean_absolute_percentage_error"),
        ("mse", "mean_squared_error"),
        ("ROC_AUC", "auc"),
        ("AUC", "auc"),
        ("ece", "expected_calibration_error"),
        ("f1_score", "f1"),
        ("log-loss", "log_loss"),
    ],
)
def test_aliases(alias: Any, name: str) -> None:
    assert metrics.get(alias)[0] == name


@pytest.mark.parametrize(
    ("monitor", "best"),
    [("val_auc", max), ("val_rmse", min), ("val_top_k_2", max), ("val_log_loss", min)],
)
def test_early_stopping_knows_the_way(monitor: str, best: Any) -> None:
    values = monitor == "val_rmse"
    named: Any = ["root_mean_squared_error"]
    if not values:
        named = ["auc", metrics.TopK(2), "log_loss"]
    monitor = monitor.replace("rmse", "root_mean_squared_error")
    stopping = cr.EarlyStopping(monitor, patience=3)
    model = cr.Model(
        cr.MLP((4, 1 if values else 3)),
        loss="squared_error" if values else "cross_entropy",
        metrics=named,
    )
    history = model.fit(
        X,
        Y if values else LABELS,
        epochs=12,
        validation_split=0.3,
        callbacks=[stopping],
    )
    assert stopping.best == best(history[monitor])


def test_a_function_that_says_no_direction_is_refused() -> None:
    """Though it is called as one of the library's own."""

    def auc(y_true: Any, y_pred: Any) -> float:
        return 0.0

    model = cr.Model(cr.MLP((4, 1)), metrics=[auc])
    with pytest.raises(cr.ArgumentError, match="whether 'val_auc' is to rise or to"):
        model.fit(X, Y, validation_split=0.3, callbacks=[cr.EarlyStopping("val_auc")])
    assert not model.built


@pytest.mark.parametrize(
    ("metric", "loss", "outputs", "match"),
    [
        ("root_mean_squared_error", "cross_entropy", 3, "compares values"),
        ("auc", "poisson", 1, "auc has no meaning under poisson"),
        ("auc", "squared_error", 1, "auc under squared_error needs targets 0 and 1"),
        ("f1", "squared_error", 1, "f1 under squared_error needs targets 0 and 1"),
        ("top_k", "cross_entropy", 3, "top_k: k must be below .* 3.*TopK"),
        ("top_k", "binary_cross_entropy", 1, "top_k needs exclusive classes"),
        (metrics.F1("binary"), "cross_entropy", 3, "f1: average must not be 'binary'"),
        (metrics.Recall(label=3), "cross_entropy", 3, "recall: label must be"),
        (metrics.AUC(label=2), "binary_cross_entropy", 1, "auc: label must be .* 1"),
        (metrics.Pinball(), cr.losses.Quantile(0.5), 1, ""),
    ],
)
def test_refused_before_the_first_epoch(
    metric: Any, loss: Any, outputs: int, match: str
) -> None:
    y: Any = LABELS if outputs == 3 else (LABELS > 0).astype(float)
    if loss == "squared_error":
        y = LABELS.astype(float)
    model = cr.Model(cr.MLP((4, outputs)), loss=loss, metrics=[metric])
    if not match:
        model.fit(X, y, epochs=1)
        return
    with pytest.raises(cr.ArgumentError, match=match):
        model.fit(X, y, epochs=1)
    assert not model.built
    with pytest.raises(cr.ArgumentError, match=match):
        model.build(3).evaluate(X, y)


def test_one_class_in_the_validation_data() -> None:
    """NaN, and a warning; the fit goes on."""
    y = (LABELS > 0).astype(float)
    model = cr.Model(cr.MLP((4, 1)), loss="binary_cross_entropy", metrics=["auc"])
    there = y == 0
    with pytest.warns(cr.ChainruleWarning, match="auc is NaN"):
        history = model.fit(X, y, epochs=2, validation_data=(X[there], y[there]))
    assert np.isnan(history["val_auc"]).all()
    assert np.isfinite(history["auc"]).all()
