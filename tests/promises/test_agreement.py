"""Whole trainings agree between backends, and learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.network import chunks

from tests.support.libraries import LIBRARIES, backend
from tests.support.models import bound, standing
from tests.support.training import LABELS, WEIGHT, X, Y, normed


def _plain(activation: Any) -> cr.Layer:
    return cr.MLP((16, 8, 2), activation)


CASES = {
    "tanh, squared error, SGD with Nesterov": (
        _plain("tanh"),
        "squared_error",
        cr.SGD(0.01, momentum=0.9, nesterov=True),
        False,
    ),
    "relu, Huber, Adam": (_plain("relu"), "huber", cr.Adam(1e-3), True),
    "gelu, cross entropy, AdamW": (
        _plain("gelu"),
        "cross_entropy",
        cr.AdamW(1e-3, clip_norm=0.5),
        False,
    ),
    "BatchNorm and Dropout, Adam": (normed(), "squared_error", cr.Adam(1e-3), True),
    "cosine, L2, RMSprop": (
        _plain("silu"),
        "squared_error",
        cr.RMSprop(cr.schedules.CosineDecay(1e-3, 200, 20), weight_decay=1e-3),
        True,
    ),
}


def _trained(case: str, where: Any, dtype: Any) -> cr.Model:
    loss: Any
    network, loss, optimizer, weighted = CASES[case]
    model = cr.Model(
        network, loss=loss, optimizer=optimizer, dtype=dtype, seed=3, **backend(where)
    )
    y = LABELS if loss == "cross_entropy" else Y
    # 70 = 4 · 16 + 6: five steps an epoch, the last of them smaller.
    weight = WEIGHT if weighted else None
    model.fit(X, y, epochs=40, batch_size=16, sample_weight=weight)
    assert standing(model).step == 200
    return model


def _host(model: cr.Model) -> dict[str, Any]:
    theta, _ = model.get_weights()
    assert model.bound is not None
    return {e.name: theta[e.start : e.stop] for e in bound(model).entries}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("where", LIBRARIES[1:])
def test_same_seed_same_trajectory_in_float64(case: str, where: str) -> None:
    reference = _trained(case, "numpy", "float64")
    other = _trained(case, where, "float64")
    ours, theirs = _host(reference), _host(other)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        gap = np.linalg.norm(value - theirs[name]) / np.linalg.norm(value)
        assert gap < 1e-10, (name, gap)
    np.testing.assert_allclose(
        reference.get_weights()[1], other.get_weights()[1], rtol=1e-10
    )
    np.testing.assert_allclose(
        reference.history["loss"], other.history["loss"], rtol=1e-10
    )
    # It did train: a test of agreement alone would pass on frozen weights.
    assert reference.history["loss"][-1] < 0.9 * reference.history["loss"][0]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("where", LIBRARIES[1:])
def test_same_seed_same_trajectory_in_float32(case: str, where: str) -> None:
    ours = _host(_trained(case, "numpy", "float32"))
    theirs = _host(_trained(case, where, "float32"))
    for name, value in ours.items():
        gap = np.linalg.norm(value - theirs[name]) / np.linalg.norm(value)
        assert gap < 1e-4, (name, gap)


def test_weights_are_bit_equal_before_training(where: dict[str, Any]) -> None:
    for dtype in ("float32", "float64"):
        ours = cr.Model(normed(), dtype=dtype, seed=7).build(4)
        theirs = cr.Model(normed(), dtype=dtype, seed=7, **where).build(4)
        for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
            assert a.dtype == b.dtype == dtype
            np.testing.assert_array_equal(a, b)


def test_jacobian_is_the_derivative_of_predict(where: dict[str, Any]) -> None:
    model = cr.Model(normed(), dtype="float64", **where)
    model.fit(X, Y, epochs=2)
    jacobian = model.jacobian(X[:5])
    assert jacobian.shape == (5, 2, 4)
    for k in range(4):
        e = 1e-6 * np.eye(4)[k]
        slope = (model.predict(X[:5] + e) - model.predict(X[:5] - e)) / 2e-6
        np.testing.assert_allclose(jacobian[:, :, k], slope, rtol=1e-6, atol=1e-8)


def test_many_rows_are_predicted_in_chunks(
    where: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = cr.Model(normed(), dtype="float64", **where)
    model.fit(X, Y, epochs=1)
    whole, loss = model.predict(X), model.evaluate(X, Y, WEIGHT)["loss"]
    monkeypatch.setattr(chunks, "CHUNK", 16)
    np.testing.assert_allclose(model.predict(X), whole, rtol=1e-12)
    assert model.evaluate(X, Y, WEIGHT)["loss"] == pytest.approx(loss, rel=1e-12)
    assert model.predict(X[:0]).shape == (0, 2)


@pytest.mark.parametrize("where", [name for name in LIBRARIES if name != "strict"])
def test_the_readme_s_parabola(where: Any) -> None:
    x = np.linspace(-1, 1, 256)[:, None]
    schedule = cr.schedules.CosineDecay(1e-2, 300 * 8)
    model = cr.Model(
        cr.MLP((32, 32, 1), "tanh"), optimizer=cr.Adam(schedule), backend=where
    )
    model.fit(x, x**2, epochs=300, batch_size=32)
    assert np.abs(model.predict(x) - x**2).max() < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("where", [name for name in LIBRARIES if name != "strict"])
def test_digits(where: Any) -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    selection = pytest.importorskip("sklearn.model_selection")
    x, y = datasets.load_digits(return_X_y=True)
    split = selection.train_test_split(x / 16, y, random_state=0, stratify=y)
    model = cr.Model(
        cr.MLP((128, 10), "relu"),
        loss="cross_entropy",
        metrics=["accuracy"],
        backend=where,
    )
    model.fit(split[0], split[2], epochs=40, batch_size=64)
    assert model.evaluate(split[1], split[3])["accuracy"] >= 0.965
    proba = model.predict_proba(split[1])
    np.testing.assert_allclose(proba.sum(axis=1), 1.0, rtol=1e-5)
