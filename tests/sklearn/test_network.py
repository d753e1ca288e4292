"""What an estimator's network may be: losses, activations, layers, optimizers."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")
import chainrule as cr
from chainrule.sklearn import MLPRegressor

from tests.support.estimators import (
    XB,
    XC,
    YB,
    YC,
    X,
    Y,
    classifier,
    differences,
    everywhere,
    regressor,
)
from tests.support.own_layers import Embedding

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def quartic(z: Any, t: Any, weight: Any = None, *, xp: Any) -> Any:
    d = z - t
    share = 1.0 / (z.shape[-2] * z.shape[-1])
    return xp.sum(d**4) * share, lambda dvalue=1.0: (4.0 * d**3 * (share * dvalue),)


def swish(x: Any, *, xp: Any) -> Any:
    s = 1.0 / (1.0 + xp.exp(-x))
    return x * s, lambda dz: (dz * (s + x * s * (1.0 - s)),)


@everywhere
@pytest.mark.parametrize(
    "loss",
    ["huber", "absolute_error", cr.losses.Quantile(0.9), cr.losses.Poisson(), quartic],
    ids=lambda v: getattr(v, "__name__", str(v)),
)
def test_losses_of_the_library_and_of_ones_own(loss: Any, backend: str) -> None:
    y = np.abs(np.round(3 * Y)) if isinstance(loss, cr.losses.Poisson) else Y
    e = regressor(loss=loss, max_iter=40, backend=backend).fit(X, y)
    assert e.loss_curve_[-1] < e.loss_curve_[0]
    assert e.predict(X).shape == (60,)
    if isinstance(loss, cr.losses.Poisson):
        assert e.predict(X).min() > 0


def test_a_loss_of_ones_own_has_the_gradient_that_it_says() -> None:
    def squared(z: Any, t: Any, weight: Any = None, *, xp: Any) -> Any:
        d = z - t
        share = 1.0 / z.shape[-2]
        return 0.5 * xp.sum(d * d) * share, lambda dvalue=1.0: (d * (share * dvalue),)

    mine, theirs = regressor(loss=squared).fit(X, Y), regressor().fit(X, Y)
    np.testing.assert_allclose(mine.coefs_[0], theirs.coefs_[0], rtol=1e-10)
    with pytest.raises(cr.ArgumentError, match=r"must return \(value, pullback\)"):
        regressor(loss=lambda *_, **__: 1.0).fit(X, Y)


@everywhere
def test_activations_by_layer_and_at_the_output(backend: str) -> None:
    e = regressor(
        activation=["gelu", cr.Tanh()], output_activation="softplus", backend=backend
    ).fit(X, Y)
    assert e.predict(X).min() >= 0
    assert e.out_activation_ == "softplus"
    hidden = e.hidden_activations(X)
    assert [h.shape for h in hidden] == [(60, 6), (60, 5)]
    assert np.abs(hidden[1]).max() <= 1
    z = hidden[1] @ e.coefs_[2] + e.intercepts_[2]
    np.testing.assert_allclose(np.logaddexp(z, 0)[:, 0], e.predict(X), rtol=1e-10)


def test_an_activation_of_ones_own() -> None:
    mine, ours = (
        regressor(activation=swish).fit(X, Y),
        regressor(activation="silu").fit(X, Y),
    )
    np.testing.assert_allclose(mine.coefs_[0], ours.coefs_[0], rtol=1e-10)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(cr.ArgumentError, match="one entry per hidden layer, 2; got 1"):
        regressor(activation=["relu"]).fit(X, Y)
    with pytest.raises(cr.ArgumentError, match="one entry per hidden layer, 2; got 3"):
        regressor(dropout=[0.1, 0.1, 0.1]).fit(X, Y)
    with pytest.raises(cr.ArgumentError, match="output_activation must be None or"):
        classifier(output_activation="tanh").fit(XC, YC)
    with pytest.raises(cr.ShapeError, match="network must have 3 outputs"):
        classifier(network=cr.MLP((4, 2))).fit(XC, YC)
    with pytest.raises(cr.ArgumentError, match="quantiles needs loss='quantile'"):
        regressor(quantiles=(0.1, 0.9)).fit(X, Y)
    with pytest.raises(cr.ArgumentError, match="loss='quantile'; this one"):
        regressor().fit(X, Y).predict_interval(X)
    with pytest.raises(ValueError, match="'backend' parameter"):
        regressor(backend=3).fit(X, Y)
    with pytest.raises(cr.ArgumentTypeError, match="validation_data must be"):
        regressor(validation_data=(X,)).fit(X, Y)
    with pytest.raises(cr.ArgumentError, match="an estimator is kept with pickle"):
        regressor(callbacks=[cr.callbacks.Checkpoint("x")]).fit(X, Y)
    with pytest.raises(ValueError, match="class_weight 'balanced' is not supported"):
        classifier(class_weight="balanced").partial_fit(XB, YB, classes=[0, 1])


@everywhere
def test_dropout_is_random_in_training_only(backend: str) -> None:
    e = regressor(dropout=0.5, backend=backend).fit(X, Y)
    other = regressor(dropout=0.5).fit(X, Y)
    np.testing.assert_allclose(e.coefs_[0], other.coefs_[0], atol=1e-9)
    assert np.abs(e.coefs_[0] - regressor().fit(X, Y).coefs_[0]).max() > 1e-3
    np.testing.assert_array_equal(e.predict(X), e.predict(X))


@everywhere
def test_a_network_of_ones_own(backend: str) -> None:
    network = cr.Sequential(cr.Dense(7), cr.BatchNorm(), cr.ReLU(), cr.Dense(3))
    e = classifier(network=network, backend=backend).fit(XC, YC)
    assert [c.shape for c in e.coefs_] == [(4, 7), (7, 3)]
    assert len(e.intercepts_) == 4  # two biases, the norm's gain and shift
    p = e.predict_proba(XC)
    np.testing.assert_allclose(p.sum(axis=1), 1.0)
    np.testing.assert_allclose(
        e.jacobian(XC[:4]), differences(e.predict_proba, XC[:4]), atol=1e-8
    )
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(e)).predict_proba(XC), p)


def test_any_optimizer_and_schedule() -> None:
    schedule = cr.schedules.CosineDecay(0.05, decay_steps=15)
    a = regressor(optimizer=cr.AdamW(schedule)).fit(X, Y)
    assert a.loss_curve_[-1] < a.loss_curve_[0]
    # SGD without momentum is one definition: the solver's and the optimizer's agree.
    b = regressor(optimizer=cr.SGD(0.02)).fit(X, Y)
    c = regressor(solver="sgd", momentum=0).fit(X, Y)
    np.testing.assert_allclose(b.coefs_[0], c.coefs_[0], rtol=1e-10)
    assert hasattr(regressor(optimizer="lion", solver="lbfgs"), "partial_fit")


@everywhere
def test_optimizers_of_the_whole_problem(backend: str) -> None:
    a = regressor(optimizer=cr.LBFGS(), activation="tanh", backend=backend).fit(X, Y)
    assert a.loss_curve_[-1] < 0.5 * a.loss_curve_[0]
    assert a.predict(X).shape == (60,)
    params = {"loss": cr.losses.SquaredError(), "hidden_layer_sizes": (4,)}
    b = regressor(optimizer=cr.LevenbergMarquardt(), alpha=0, backend=backend, **params)
    assert b.fit(X, Y).loss_curve_[-1] < 0.5 * b.loss_curve_[0]
    with pytest.raises(cr.ArgumentError, match="alpha=0"):
        b.set_params(alpha=1e-4).fit(X, Y)


def test_class_weight_multiplies_sample_weight() -> None:
    weights = {0: 2.0, 1: 0.5}
    by_hand = np.where(YB == 0, 2.0, 0.5)
    a = classifier(class_weight=weights).fit(XB, YB)
    b = classifier().fit(XB, YB, by_hand)
    np.testing.assert_allclose(a.coefs_[0], b.coefs_[0], rtol=1e-12)
    skewed = np.r_[np.flatnonzero(YB == 0)[:5], np.flatnonzero(YB == 1)]
    plain = classifier(max_iter=60).fit(XB[skewed], YB[skewed])
    even = classifier(max_iter=60, class_weight="balanced").fit(XB[skewed], YB[skewed])
    assert even.predict_proba(XB)[:, 0].mean() > plain.predict_proba(XB)[:, 0].mean()


@pytest.mark.parametrize(
    "loss",
    [
        cr.losses.CrossEntropy(label_smoothing=0.1),
        "binary_cross_entropy",
        "squared_error",
    ],
    ids=lambda v: getattr(v, "__name__", str(v)),
)
@pytest.mark.parametrize("data", [(XB, YB), (XC, YC)], ids=["two", "three"])
def test_losses_of_classifiers(loss: Any, data: Any) -> None:
    e = classifier(loss=loss, max_iter=150).fit(*data)
    p = e.predict_proba(data[0])
    assert p.shape == (60, len(e.classes_))
    np.testing.assert_allclose(p.sum(axis=1), 1.0)
    assert e.score(*data) > 0.7
    np.testing.assert_array_equal(e.predict(data[0]), e.classes_[p.argmax(axis=1)])


@everywhere
@pytest.mark.parametrize(
    "params",
    [
        {"solver": "lbfgs"},
        {"optimizer": cr.LBFGS()},
        {"optimizer": cr.LevenbergMarquardt(), "loss": cr.losses.SquaredError()},
    ],
    ids=["lbfgs", "LBFGS", "LevenbergMarquardt"],
)
def test_dropout_that_would_be_ignored(params: Any, backend: str) -> None:
    e = regressor(dropout=0.5, backend=backend, alpha=0, **params)
    with pytest.raises(cr.ArgumentError, match=r"Dropout\(rate=0.5\).*be ignored"):
        e.fit(X, Y)


def test_networks_of_indices_are_refused() -> None:
    network = cr.Sequential(Embedding(5, 3), cr.Flatten(), cr.Dense(1))
    estimator = MLPRegressor(network=network)
    with pytest.raises(cr.ArgumentError, match="takes indices"):
        estimator.fit(np.ones((4, 2)), np.ones(4))
    assert not hasattr(estimator, "coefs_")
