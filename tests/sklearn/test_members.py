"""Ensembles as estimators: lone networks side by side, their mean and its spread."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn import datasets
from sklearn.base import clone
from sklearn.neural_network import MLPRegressor as TheirRegressor

import chainrule as cr
from chainrule.sklearn import MLPClassifier, MLPRegressor, from_sklearn

from tests.support.libraries import here

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
BACKENDS = ["numpy", *[name for name in ("jax", "torch") if here(name)]]
everywhere = pytest.mark.parametrize("backend", BACKENDS)
X, Y = datasets.make_regression(60, 4, random_state=0)
Y = Y / Y.std()
XC, YC = datasets.make_classification(
    60, 4, n_informative=4, n_redundant=0, n_classes=3, random_state=1
)
XB, YB = datasets.make_classification(60, 4, random_state=1)
SMALL: dict[str, Any] = {
    "hidden_layer_sizes": (6, 5),
    "max_iter": 15,
    "random_state": 0,
    "learning_rate_init": 0.02,
}


def regressor(**params: Any) -> MLPRegressor:
    return MLPRegressor(**{**SMALL, **params})


def classifier(**params: Any) -> MLPClassifier:
    return MLPClassifier(**{**SMALL, **params})


def differences(f: Any, x: Any) -> Any:
    columns = []
    for j in range(x.shape[1]):
        h = np.zeros(x.shape[1])
        h[j] = 1e-6
        columns.append((f(x + h) - f(x - h)) / 2e-6)
    return np.stack(columns, axis=-1)


@everywhere
def test_members_are_lone_networks_side_by_side(backend: str) -> None:
    e = regressor(members=3, backend=backend).fit(X, Y)
    assert [c.shape for c in e.coefs_] == [(3, 4, 6), (3, 6, 5), (3, 5, 1)]
    assert [b.shape for b in e.intercepts_] == [(3, 6), (3, 5), (3, 1)]
    lone = regressor(backend=backend).fit(X, Y)
    assert e.n_iter_ == lone.n_iter_ == len(e.loss_curve_)
    for a, b in zip(e.coefs_, lone.coefs_, strict=True):
        np.testing.assert_allclose(a[0], b, rtol=1e-9, atol=1e-12)
    assert np.abs(e.coefs_[0][1] - e.coefs_[0][2]).min() > 1e-6
    each = []
    for k in range(3):
        lone.coefs_ = [c[k] for c in e.coefs_]
        lone.intercepts_ = [b[k] for b in e.intercepts_]
        each.append((lone.predict(X), lone.jacobian(X[:3]), lone.hidden_activations(X)))
    mean, std = e.predict(X, return_std=True)
    outputs = np.stack([z for z, *_ in each])
    np.testing.assert_allclose(mean, outputs.mean(axis=0), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(std, outputs.std(axis=0), rtol=1e-7, atol=1e-12)
    np.testing.assert_array_equal(e.predict(X), mean)
    slopes = np.mean([d for _, d, _ in each], axis=0)
    np.testing.assert_allclose(e.jacobian(X[:3]), slopes, rtol=1e-9, atol=1e-12)
    hidden = e.hidden_activations(X)
    assert [h.shape for h in hidden] == [(60, 3, 6), (60, 3, 5)]
    for k, (_, _, h) in enumerate(each):
        np.testing.assert_allclose(hidden[1][:, k], h[1], rtol=1e-9, atol=1e-12)


@everywhere
def test_members_of_a_classifier(backend: str) -> None:
    for data in ((XB, YB), (XC, YC)):
        e = classifier(members=3, early_stopping=True, backend=backend).fit(*data)
        p = e.predict_proba(data[0])
        np.testing.assert_allclose(p.sum(axis=1), 1.0)
        np.testing.assert_array_equal(e.predict(data[0]), e.classes_[p.argmax(axis=1)])
        assert len(e.validation_scores_ or []) == e.n_iter_
        again = pickle.loads(pickle.dumps(clone(e).fit(*data)))
        np.testing.assert_array_equal(again.predict_proba(data[0]), p)
    network = cr.Sequential(cr.Dense(7), cr.BatchNorm(), cr.ReLU(), cr.Dense(3))
    own = classifier(members=2, network=network, backend=backend).fit(XC, YC)
    assert own.predict_proba(XC).shape == (60, 3)
    np.testing.assert_allclose(
        own.jacobian(XC[:3]), differences(own.predict_proba, XC[:3]), atol=1e-7
    )


@everywhere
def test_each_member_stops_for_itself(backend: str) -> None:
    """Members that rest keep their weights; alpha still acts on each one alone."""

    def fitted(**params: Any) -> MLPRegressor:
        stop = cr.EarlyStopping(monitor="val_loss", patience=1, min_delta=0.1)
        e = regressor(
            callbacks=[stop],
            validation_data=(X[:20], Y[:20]),
            backend=backend,
            alpha=0.5,
            learning_rate_init=0.05,
            activation="tanh",
            max_iter=40,
            **params,
        )
        e.fit(X[20:], Y[20:])
        return e

    e, lone = fitted(members=3), fitted()
    assert lone.n_iter_ < 40
    assert e.n_iter_ > lone.n_iter_
    for a, b in zip(e.coefs_, lone.coefs_, strict=True):
        np.testing.assert_allclose(a[0], b, rtol=1e-9, atol=1e-12)


def test_members_go_on() -> None:
    a = regressor(members=2).partial_fit(X, Y).partial_fit(X, Y)
    b = regressor(members=2, max_iter=2).fit(X, Y)
    assert a.coefs_[0].shape == b.coefs_[0].shape
    lone = regressor().partial_fit(X, Y).partial_fit(X, Y)
    np.testing.assert_allclose(a.coefs_[0][0], lone.coefs_[0], rtol=1e-9)
    intervals = regressor(members=2, loss="quantile").fit(X, Y).predict_interval(X)
    assert (intervals[:, 0] <= intervals[:, 1]).all()
    rates = regressor(members=2, optimizer=cr.Adam([0.02, 1e-300])).fit(X, Y)
    start = regressor(members=2, learning_rate_init=1e-300).partial_fit(X, Y)
    np.testing.assert_allclose(rates.coefs_[0][1], start.coefs_[0][1], rtol=1e-12)
    assert np.abs(rates.coefs_[0][0] - start.coefs_[0][0]).max() > 0.01


def test_members_where_they_cannot_be() -> None:
    with pytest.raises(cr.ArgumentError, match="solver='lbfgs' trains one network"):
        regressor(members=2, solver="lbfgs").fit(X, Y)
    with pytest.raises(cr.ArgumentError, match="LBFGS trains one network at a time"):
        regressor(members=2, optimizer=cr.LBFGS()).fit(X, Y)
    with pytest.raises(ValueError, match="'members' parameter"):
        regressor(members=0).fit(X, Y)
    lone = regressor().fit(X, Y)
    with pytest.raises(cr.ArgumentError, match="return_std needs an ensemble"):
        lone.predict(X, return_std=True)
    with pytest.raises(cr.ArgumentError, match="members must be None"):
        lone.set_params(members=2, warm_start=True).fit(X, Y)
    e = regressor(members=2).fit(X, Y)
    with pytest.raises(cr.ArgumentError, match="no members=2"):
        e.to_sklearn()
    theirs = TheirRegressor(**SMALL).fit(X, Y)
    with pytest.raises(cr.ArgumentError, match="scikit-learn is one network"):
        from_sklearn(theirs, members=2)

    def everything(z: Any, t: Any, weight: Any = None, *, xp: Any) -> Any:
        return xp.sum((z - t) ** 2), lambda dvalue=1.0: (2.0 * (z - t) * dvalue,)

    with pytest.raises(cr.ShapeError, match="one value for each member"):
        regressor(members=2, loss=everything).fit(X, Y)
