"""The same numbers as scikit-learn's own perceptrons, on NumPy and JAX."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn import datasets
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.neural_network import MLPRegressor as TheirRegressor

from chainrule.sklearn import MLPClassifier, MLPRegressor

from tests.support.libraries import here

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
BACKENDS = ["numpy", *[name for name in ("jax", "torch") if here(name)]]
OURS = {TheirRegressor: MLPRegressor, TheirClassifier: MLPClassifier}

rng = np.random.RandomState(0)
WEIGHT = rng.rand(200)


def scaled(X: Any, y: Any) -> Any:
    return (X - X.mean(axis=0)) / (X.std(axis=0) + 1e-9), (y - y.mean()) / y.std()


ONE = scaled(*datasets.make_regression(70, 5, random_state=0))
MANY = scaled(*datasets.make_regression(70, 5, n_targets=3, random_state=0))
COUNTS = (ONE[0], np.floor(np.abs(3 * ONE[1])))
TWO = datasets.make_classification(80, 6, random_state=1)
THREE = datasets.make_classification(
    80, 6, n_informative=4, n_classes=3, random_state=1
)
LABELS = datasets.make_multilabel_classification(70, 6, n_classes=4, random_state=0)
R, C = TheirRegressor, TheirClassifier
SGD = {"solver": "sgd", "learning_rate_init": 0.02}
RATE = {**SGD, "learning_rate_init": 0.05, "tol": 0.05, "n_iter_no_change": 2}
STOP = {"early_stopping": True, "validation_fraction": 0.3, "n_iter_no_change": 4}

# name -> estimator, data, whether weighted, parameters
CASES: dict[str, tuple[Any, Any, bool, dict[str, Any]]] = {
    "adam relu": (R, ONE, False, {}),
    "adam tanh": (R, ONE, True, {"activation": "tanh"}),
    "adam logistic": (C, THREE, False, {"activation": "logistic"}),
    "adam identity": (R, MANY, False, {"activation": "identity"}),
    "adam converges": (R, ONE, False, {"tol": 0.01, "learning_rate_init": 0.02}),
    "sgd constant": (R, ONE, False, {**RATE, "learning_rate": "constant"}),
    "sgd invscaling": (R, ONE, False, {**RATE, "learning_rate": "invscaling"}),
    "sgd adaptive": (R, ONE, False, {**RATE, "learning_rate": "adaptive"}),
    "sgd relu": (C, THREE, True, SGD),
    "sgd tanh": (R, MANY, True, {**SGD, "activation": "tanh"}),
    "sgd logistic": (C, TWO, False, {**SGD, "activation": "logistic"}),
    "sgd identity": (R, MANY, False, {**SGD, "activation": "identity"}),
    "sgd no momentum": (R, MANY, False, {**SGD, "momentum": 0}),
    "sgd momentum one": (C, TWO, False, {**SGD, "momentum": 1, "max_iter": 6}),
    "sgd not nesterov": (R, ONE, True, {**SGD, "nesterovs_momentum": False}),
    "multilabel": (C, LABELS, True, SGD),
    "poisson": (
        R,
        COUNTS,
        True,
        {**SGD, "loss": "poisson", "learning_rate_init": 5e-3},
    ),
    "no shuffle": (C, TWO, False, {**SGD, "shuffle": False}),
    "no remainder": (C, TWO, False, {**SGD, "batch_size": 20}),
    "one batch": (C, TWO, False, {"batch_size": "auto"}),
    "strong alpha": (R, ONE, True, {**SGD, "alpha": 10.0}),
    "no alpha": (R, ONE, False, {"alpha": 0.0}),
    "stop regressor": (R, ONE, True, STOP),
    "stop two": (C, TWO, False, {**STOP, "learning_rate_init": 0.02}),
    "stop three": (C, THREE, True, {**STOP, "learning_rate_init": 0.02}),
    "stop multilabel": (C, LABELS, False, STOP),
}


def pair(theirs: Any, backend: str, **params: Any) -> tuple[Any, Any]:
    common = {
        "hidden_layer_sizes": (7, 4),
        "max_iter": 25,
        "random_state": 3,
        "batch_size": 32,
        "alpha": 0.03,
        **params,
    }
    return theirs(**common), OURS[theirs](**common, backend=backend)


def assert_same(theirs: Any, ours: Any, rel: float = 1e-10) -> None:
    """All that was fitted is the same, within `rel` of each array's largest entry."""
    for name in ("coefs_", "intercepts_"):
        for a, b in zip(getattr(theirs, name), getattr(ours, name), strict=True):
            assert a.shape == b.shape
            assert a.dtype == b.dtype
            np.testing.assert_allclose(b, a, rtol=0, atol=rel * np.max(np.abs(a)))
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_"):
        assert getattr(theirs, name) == getattr(ours, name), name
    assert len(theirs.loss_curve_) == len(ours.loss_curve_)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=rel)
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=rel)
    for name in ("best_loss_", "best_validation_score_"):
        a, b = getattr(theirs, name), getattr(ours, name)
        assert (a is None) == (b is None), name
        assert a is None or b == pytest.approx(a, rel=rel), name
    if theirs.validation_scores_ is None:
        assert ours.validation_scores_ is None
    else:
        np.testing.assert_allclose(
            ours.validation_scores_, theirs.validation_scores_, rtol=rel, atol=rel
        )
    assert ours._no_improvement_count == theirs._no_improvement_count


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", CASES)
def test_fit(name: str, backend: str) -> None:
    estimator, (X, y), weighted, params = CASES[name]
    theirs, ours = pair(estimator, backend, **params)
    weight = WEIGHT[: len(X)] if weighted else None
    theirs.fit(X, y, weight)
    ours.fit(X, y, weight)
    assert_same(theirs, ours)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), atol=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_partial_fit_and_warm_start(solver: str, backend: str) -> None:
    theirs, ours = pair(C, backend, solver=solver, learning_rate="invscaling")
    for _ in range(4):
        for e in (theirs, ours):
            e.partial_fit(*THREE, WEIGHT[:80], classes=[0, 1, 2])
    assert_same(theirs, ours)
    for e in (theirs, ours):
        e.set_params(warm_start=True, max_iter=4)
        e.fit(*THREE).fit(*THREE)
    assert_same(theirs, ours)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("estimator", [R, C], ids=["regressor", "classifier"])
def test_lbfgs(estimator: Any, backend: str) -> None:
    X, y = MANY if estimator is R else THREE
    theirs, ours = pair(estimator, backend, solver="lbfgs", max_iter=30)
    theirs.fit(X, y)
    ours.fit(X, y)
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-8)
    assert ours.n_iter_ == theirs.n_iter_
    # A convex problem: there is one end to come to.
    params = {"activation": "identity", "alpha": 10.0, "max_iter": 2000, "tol": 1e-7}
    theirs, ours = pair(C, backend, solver="lbfgs", **params)
    theirs.fit(*THREE)
    ours.fit(*THREE)
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-6)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize(
    "name", ["iris", "digits", "wine", "breast_cancer", "diabetes"]
)
def test_toy_data(name: str, solver: str) -> None:
    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    X, z = scaled(X[:300], y[:300].astype(float))
    estimator, target = (R, z) if name == "diabetes" else (C, y[:300])
    theirs, ours = pair(
        estimator, "numpy", solver=solver, max_iter=8, batch_size="auto"
    )
    theirs.fit(X, target)
    ours.fit(X, target)
    assert_same(theirs, ours)


@pytest.mark.parametrize("backend", BACKENDS)
def test_float32(backend: str) -> None:
    X, y = THREE[0].astype(np.float32), THREE[1]
    theirs, ours = pair(C, backend, max_iter=10, learning_rate_init=1e-2)
    theirs.fit(X, y)
    ours.fit(X, y)
    assert_same(theirs, ours, rel=1e-5)
    assert ours.predict_proba(X).dtype == np.float32


def test_a_shared_generator_is_left_where_theirs_is() -> None:
    states = []
    for e in pair(R, "jax" if "jax" in BACKENDS else "numpy", tol=0.5, max_iter=50):
        generator = np.random.RandomState(5)
        e.set_params(random_state=generator, n_iter_no_change=3).fit(*ONE)
        states.append(generator.randint(1 << 30, size=3).tolist())
    assert states[0] == states[1]


def test_the_same_warnings() -> None:
    for e in pair(R, "numpy", max_iter=2):
        with pytest.warns(
            ConvergenceWarning, match=r"Maximum iterations \(2\) reached"
        ):
            e.fit(*ONE)
    for e in pair(R, "numpy", batch_size=1000, max_iter=500, tol=10):
        with pytest.warns(UserWarning, match="Got `batch_size` less than 1 or larger"):
            e.fit(*ONE)
    for e in pair(R, "numpy", solver="lbfgs", max_iter=2):
        with pytest.warns(ConvergenceWarning, match="lbfgs failed to converge after 2"):
            e.fit(*ONE)


def test_the_same_parameters() -> None:
    import inspect

    for theirs, ours in OURS.items():
        a, b = (list(inspect.signature(e).parameters.values()) for e in (theirs, ours))
        for p, q in zip(a, b, strict=False):
            assert (p.name, p.default, p.kind) == (q.name, q.default, q.kind)


def test_verbose_prints_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    out = []
    params = {**STOP, "tol": 0.2, "verbose": True, "max_iter": 9}
    for e in pair(R, "numpy", **params):
        e.fit(*ONE)
        out.append(capsys.readouterr().out)
    assert out[0] == out[1]
    assert "Validation score" in out[0]
