"""How estimators live among scikit-learn's tools."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")
import pandas as pd
import sklearn
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.neural_network import MLPRegressor as TheirRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import chainrule as cr
from chainrule.sklearn import MLPClassifier, MLPRegressor, from_sklearn

from tests.support.estimators import (
    BACKENDS,
    SMALL,
    XC,
    YC,
    X,
    Y,
    classifier,
    everywhere,
    regressor,
    rng,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@everywhere
@pytest.mark.parametrize(
    "params",
    [{}, {"solver": "sgd"}, {"solver": "lbfgs"}, {"early_stopping": True}],
    ids=lambda v: getattr(v, "__name__", str(v)),
)
def test_from_and_to_sklearn(params: dict[str, Any], backend: str) -> None:
    for kind, ours, data in (
        (TheirRegressor, MLPRegressor, (X, Y)),
        (TheirClassifier, MLPClassifier, (XC, YC)),
    ):
        theirs = kind(**{**SMALL, **params}).fit(*data)
        taken = from_sklearn(theirs, backend=backend)
        assert type(taken) is ours is type(ours.from_sklearn(theirs))
        given = taken.to_sklearn()
        assert type(given) is kind
        for e in (taken, given):
            output = "predict_proba" if kind is TheirClassifier else "predict"
            a, b = (getattr(m, output)(data[0]) for m in (theirs, e))
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
        if params.get("solver") == "lbfgs" or "early_stopping" in params:
            continue
        there = pickle.loads(pickle.dumps(theirs))
        for e in (there, taken, given):
            e.partial_fit(*data)
        back = taken.to_sklearn().partial_fit(*data)
        for e in (taken, given):
            np.testing.assert_allclose(e.coefs_[0], there.coefs_[0], rtol=1e-9)
        np.testing.assert_allclose(
            back.coefs_[0], there.partial_fit(*data).coefs_[0], rtol=1e-9
        )


def test_what_scikit_learn_has_not_cannot_be_given() -> None:
    e = regressor(activation="gelu", loss="huber").fit(X, Y)
    with pytest.raises(cr.ArgumentError, match="no activation='gelu', no loss='huber'"):
        e.to_sklearn()
    with pytest.raises(cr.ArgumentTypeError, match="must be a fitted MLPRegressor"):
        from_sklearn(e)
    with pytest.raises(NotFittedError):
        from_sklearn(TheirRegressor())
    with pytest.raises(cr.ArgumentTypeError, match="MLPClassifier cannot take over"):
        MLPClassifier.from_sklearn(TheirRegressor(**SMALL).fit(X, Y))


def test_tools() -> None:
    e = classifier(backend="numpy")
    pipeline = make_pipeline(StandardScaler(), e)
    assert len(cross_val_score(pipeline, XC, YC, cv=3, n_jobs=2)) == 3
    search = GridSearchCV(e, {"alpha": [1e-4, 1.0], "dropout": [0.0, 0.2]}, cv=2)
    assert search.fit(XC, YC).best_estimator_.score(XC, YC) > 0.3
    assert clone(search.best_estimator_).get_params()["backend"] == "numpy"
    assert "MLPClassifier" in e._repr_html_()


@everywhere
def test_pickle_goes_on_as_the_original(backend: str) -> None:
    e = classifier(backend=backend, early_stopping=False).fit(XC, YC)
    copy = pickle.loads(pickle.dumps(e))
    for m in (e, copy):
        m.partial_fit(XC, YC)
    np.testing.assert_array_equal(e.coefs_[0], copy.coefs_[0])


def test_a_module_as_backend_is_cloned_and_pickled() -> None:
    import array_api_strict

    e = clone(regressor(backend=array_api_strict)).fit(X, Y)
    assert e.backend is array_api_strict
    copy = pickle.loads(pickle.dumps(e))
    np.testing.assert_array_equal(copy.predict(X), e.predict(X))
    assert clone(copy).fit(X, Y).n_iter_ == e.n_iter_


def test_metadata_routing() -> None:
    weight = rng.rand(60)
    with sklearn.config_context(enable_metadata_routing=True):
        e = classifier().set_fit_request(sample_weight=True)
        e.set_score_request(sample_weight=True)
        search = GridSearchCV(e, {"alpha": [1e-4]}, cv=2)
        search.fit(XC, YC, sample_weight=weight)
    plain = classifier(alpha=1e-4).fit(XC, YC, weight)
    np.testing.assert_allclose(search.best_estimator_.coefs_[0], plain.coefs_[0])


def test_frames_and_strings() -> None:
    polars = pytest.importorskip("polars")
    names = np.array(["low", "mid", "high"], dtype=object)[YC]
    for frame in (
        pd.DataFrame(XC, columns=list("abcd")),
        polars.DataFrame(XC, schema=list("abcd")),
    ):
        e = classifier(early_stopping=True).fit(frame, names)
        assert list(e.feature_names_in_) == list("abcd")
        assert set(e.predict(frame)) <= {"low", "mid", "high"}
        with pytest.warns(UserWarning, match="does not have valid feature names"):
            e.predict(XC)


def test_sparse() -> None:
    import scipy.sparse

    S = scipy.sparse.csr_array(XC)
    a, b = classifier().fit(S, YC), classifier().fit(XC, YC)
    np.testing.assert_array_equal(a.coefs_[0], b.coefs_[0])
    np.testing.assert_array_equal(a.predict_proba(S), b.predict_proba(XC))


@pytest.mark.skipif("jax" not in BACKENDS, reason="counts JAX's compilations")
def test_a_grid_search_compiles_only_for_new_shapes() -> None:
    import jax

    from chainrule.backends.jax import engine

    grid = {
        "alpha": [0.0, 1e-4, 1e-2],
        "learning_rate_init": [1e-3, 1e-2],
        "beta_1": [0.8, 0.9],
        "tol": [1e-4, 1e-3],
    }  # 24 candidates
    e = classifier(backend="jax", hidden_layer_sizes=(9,), max_iter=3)
    before = engine._compiled.cache_info().misses
    some = slice(0, 58)  # folds of 46 and 12 samples, and of 47 and 11
    one = {name: values[:1] for name, values in grid.items()}
    GridSearchCV(e, one, cv=5, refit=False).fit(XC[some], YC[some])
    # One group of epochs and one prediction, each for its shapes.
    assert engine._compiled.cache_info().misses - before == 2
    compiled: list[str] = []

    def note(event: str, duration: float, **_: Any) -> None:
        if "backend_compile" in event:
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        jax.jit(lambda x: 3.0 * x)(np.ones(17))
        assert len(compiled) == 1, "the listener hears of compilations"
        search = GridSearchCV(e, grid, cv=5, refit=False).fit(XC[some], YC[some])
    finally:
        jax.monitoring.unregister_event_duration_listener(note)
    assert len(search.cv_results_["params"]) == 24
    assert len(compiled) == 1


def test_without_scikit_learn_the_error_says_what_to_do() -> None:
    code = (
        "import sys; sys.modules['sklearn'] = None\n"
        "import chainrule\n"
        "try:\n    import chainrule.sklearn\n"
        "except chainrule.BackendError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "pip install scikit-learn" in done.stdout


@pytest.mark.parametrize("cls", [MLPRegressor, MLPClassifier])
@pytest.mark.parametrize(
    ("word", "wanted"),
    [("lr", "learning_rate_init"), ("epochs", "max_iter"), ("seed", "random_state")],
)
def test_words_of_others_are_told(cls: Any, word: str, wanted: str) -> None:
    match = f"^{cls.__name__} has no argument '{word}': write {wanted}="
    with pytest.raises(cr.ArgumentTypeError, match=match):
        cls(**{word: 1})
    assert wanted in cls().get_params()
