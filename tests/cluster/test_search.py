"""Many fits at once give the numbers of one after the other: `nox -s tests-cluster`.

Each way starts processes of its own. They run where Dask is installed; without Ray, its
tests skip.
"""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.support.libraries import here

pytest.importorskip("sklearn")
pytest.importorskip("distributed", reason="these tests are of nox -s tests-cluster")

import joblib
from sklearn.ensemble import BaggingClassifier
from sklearn.model_selection import GridSearchCV, cross_val_score

from chainrule.sklearn import MLPClassifier

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 6)).astype(np.float32)
Y = np.digitize(X[:, 0] + X[:, 1] ** 2, [0.0, 1.5])
GRID = {"alpha": [1e-4, 1e-1], "learning_rate_init": [1e-3, 1e-2]}
BACKENDS = [name for name in ("numpy", "jax") if here(name)]


@contextlib.contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextlib.contextmanager
def _loky() -> Iterator[None]:
    with joblib.parallel_config("loky", n_jobs=2):
        yield


@contextlib.contextmanager
def _threads() -> Iterator[None]:
    with joblib.parallel_config("threading", n_jobs=2):
        yield


@contextlib.contextmanager
def _dask() -> Iterator[None]:
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with (
        distributed.LocalCluster(**options) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config("dask"),
    ):
        yield


@contextlib.contextmanager
def _ray() -> Iterator[None]:
    ray = pytest.importorskip("ray")
    from ray.util.joblib import register_ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    register_ray()
    try:
        with joblib.parallel_config("ray", n_jobs=2):
            yield
    finally:
        ray.shutdown()


WAYS = {"loky": _loky, "threads": _threads, "dask": _dask, "ray": _ray}


def estimator(backend: Any, **options: Any) -> Any:
    """Return a small classifier."""
    given = {"hidden_layer_sizes": (8,), "max_iter": 5, "random_state": 0, **options}
    return MLPClassifier(backend=backend, **given)


def scores(backend: str) -> Any:
    """Return the scores of a search over four candidates and three folds."""
    search = GridSearchCV(estimator(backend), GRID, cv=3)
    search.fit(X, Y)
    return search.cv_results_["mean_test_score"], search.predict_proba(X)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("way", WAYS)
def test_a_search_finds_what_it_finds_alone(way: str, backend: str) -> None:
    wanted = scores(backend)
    with WAYS[way]():
        found = scores(backend)
    for a, b in zip(wanted, found, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("way", ["loky", "threads"])
def test_ensembles_of_estimators(way: str) -> None:
    bag = BaggingClassifier(estimator("numpy"), n_estimators=4, random_state=0)
    wanted = bag.fit(X, Y).predict_proba(X)
    with WAYS[way]():
        np.testing.assert_array_equal(bag.fit(X, Y).predict_proba(X), wanted)
        assert len(cross_val_score(bag, X, Y, cv=3)) == 3


def _threads_of_blas() -> int:
    import threadpoolctl

    np.dot(np.ones((4, 4)), np.ones((4, 4)))
    counts = [p["num_threads"] for p in threadpoolctl.threadpool_info()]
    return max(counts, default=1)


def test_workers_do_not_ask_for_more_threads_than_there_are_processors() -> None:
    with joblib.parallel_config("loky", n_jobs=2):
        each = joblib.Parallel()(joblib.delayed(_threads_of_blas)() for _ in range(2))
    assert max(each) <= max(1, joblib.cpu_count() // 2)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("backend", BACKENDS)
def test_models_travel_small(backend: str) -> None:
    """A pickle is the parameters, the optimizer's memory, and some kilobytes."""
    fitted = estimator(backend, hidden_layer_sizes=(256, 256)).fit(X, Y)
    numbers = sum(w.size for w in (*fitted.coefs_, *fitted.intercepts_))
    assert len(pickle.dumps(fitted)) < 4 * 3 * numbers + 16_000
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))
