"""Estimators that go on: `partial_fit` and `warm_start` with other parameters."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

import chainrule as cr
from chainrule.sklearn import MLPClassifier, MLPRegressor

from tests.support.libraries import here

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
BACKENDS = ["numpy", *[name for name in ("jax", "torch") if here(name)]]
everywhere = pytest.mark.parametrize("backend", BACKENDS)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(80, 4))
Y = X[:, 0] ** 2 + X[:, 1]


def _fitted(**params: Any) -> MLPRegressor:
    given = {"hidden_layer_sizes": (8,), "max_iter": 5, "random_state": 0, **params}
    estimator: MLPRegressor = MLPRegressor(**given).fit(X, Y)
    return estimator


def _step(estimator: MLPRegressor, **params: Any) -> Any:
    """Return how far one epoch of one step moves the weights, with other parameters."""
    e = copy.deepcopy(estimator).set_params(**params)
    before = e.coefs_[0].copy()
    return e.partial_fit(X, Y).coefs_[0] - before


@everywhere
@pytest.mark.parametrize(
    "solver",
    [{"solver": "adam"}, {"solver": "sgd", "momentum": 0.0}],
    ids=["adam", "sgd"],
)
def test_a_new_learning_rate_holds_from_the_next_step(
    solver: dict[str, Any], backend: str
) -> None:
    e = _fitted(learning_rate_init=1e-2, backend=backend, alpha=0.0, **solver)
    same = _step(e)
    for rate in (1e-4, 1e-3, 1e-1):
        moved = _step(e, learning_rate_init=rate)
        np.testing.assert_allclose(moved, same * (rate / 1e-2), rtol=1e-6, atol=1e-12)


def test_momentum_and_other_numbers_hold_too() -> None:
    e = _fitted(solver="sgd", learning_rate_init=1e-2)
    assert e._optimizer.optimizer.momentum == 0.9
    velocity = e._optimizer.slots[0].copy()
    e.set_params(momentum=0.5).partial_fit(X, Y)
    assert e._optimizer.optimizer.momentum == 0.5
    assert velocity.shape == e._optimizer.slots[0].shape


def test_what_adaptive_has_made_of_the_rate_goes_along() -> None:
    e = _fitted(solver="sgd", learning_rate="adaptive", learning_rate_init=1e-2)
    e._optimizer.learning_rate /= 5.0
    e.set_params(learning_rate_init=1e-3).partial_fit(X, Y)
    assert e._optimizer.learning_rate == pytest.approx(1e-3 / 5.0)


@everywhere
def test_a_new_optimizer_begins_anew(backend: str) -> None:
    e = _fitted(backend=backend, alpha=0.0)
    slow, fast = (_step(e, optimizer=cr.SGD(rate)) for rate in (1e-3, 1e-2))
    np.testing.assert_allclose(fast, 10.0 * slow, rtol=1e-6, atol=1e-12)
    # Adam's first step is one learning rate long, wherever the gradient is not 0.
    moved = np.abs(_step(e, optimizer=cr.Adam(1e-3)))
    assert moved.max() == pytest.approx(1e-3, rel=1e-3)
    # Given twice, it goes on.
    e.set_params(optimizer=cr.Adam(1e-3)).partial_fit(X, Y)
    e.partial_fit(X, Y)
    assert e._optimizer.step == 2
    e.set_params(solver="sgd", optimizer=None).partial_fit(X, Y)
    assert e._optimizer.step == 1


@pytest.mark.parametrize("sizes", [(16,), (8, 8), (), 3])
@pytest.mark.parametrize("how", ["warm_start", "partial_fit"])
def test_another_shape_is_refused(sizes: Any, how: str) -> None:
    e = _fitted(warm_start=how == "warm_start")
    before = e.coefs_[0].copy()
    e.set_params(hidden_layer_sizes=sizes)
    again = e.fit if how == "warm_start" else e.partial_fit
    with pytest.raises(cr.ArgumentError, match=r"hidden_layer_sizes must be \[8\], as"):
        again(X, Y)
    np.testing.assert_array_equal(e.coefs_[0], before)
    e.set_params(hidden_layer_sizes=[8])
    again(X, Y)


def test_another_network_or_other_targets_are_refused() -> None:
    network = cr.MLP((8, 1), activation="tanh")
    e = _fitted(warm_start=True, network=network)
    e.set_params(network=cr.Sequential(cr.Dense(8), cr.BatchNorm(), cr.Dense(1)))
    with pytest.raises(cr.ArgumentError, match="network must have the parameters"):
        e.fit(X, Y)
    e.set_params(network=cr.MLP((8, 1), activation="relu")).fit(X, Y)
    e = _fitted(
        warm_start=True,
        network=cr.Sequential(cr.Dense(8), cr.LayerNorm(), cr.Dense(1)),
    )
    with pytest.raises(cr.ArgumentError, match="network must have the parameters"):
        e.set_params(network=None).fit(X, Y)
    one = _fitted(warm_start=True)
    with pytest.raises(cr.ArgumentError, match="y must have the outputs 1, as in"):
        one.fit(X, np.stack([Y, Y], axis=1))
    assert one.predict(X).shape == (80,)


def test_the_first_argument_of_each() -> None:
    assert MLPClassifier((8,)).hidden_layer_sizes == (8,)
    for sizes in ((8,), [8], 8):
        with pytest.raises(cr.ArgumentTypeError, match="write hidden_layer_sizes="):
            MLPRegressor(sizes).fit(X, Y)  # type: ignore[arg-type]


@everywhere
def test_another_dtype_is_refused(backend: str) -> None:
    """The weights are of the first one; it was ignored in silence."""
    e = _fitted(backend=backend, dtype="float32", warm_start=True)
    for call in (e.fit, e.partial_fit):
        e.set_params(dtype="float64")
        with pytest.raises(
            cr.ArgumentError, match="dtype must be float32, as in the f"
        ):
            call(X, Y)
        for same in (np.float32, None):
            e.set_params(dtype=same).fit(X, Y)
            assert e.coefs_[0].dtype == np.float32
    e.set_params(dtype="float64", warm_start=False).fit(X, Y)
    assert e.coefs_[0].dtype == np.float64


@everywhere
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_an_infinite_validation_loss_is_told(backend: Any, solver: Any) -> None:
    """Once in a fit, on the user's line, as `Model.fit` tells it."""
    far = np.where(np.arange(80) == 3, 1e30, Y)
    e = MLPRegressor(
        hidden_layer_sizes=(4,),
        max_iter=3,
        solver=solver,
        validation_data=(X, far),
        backend=backend,
        dtype="float32",
    )
    with pytest.warns(cr.ChainruleWarning, match="val_loss is inf in epoch 1") as told:
        e.fit(X, Y)
    files = [w.filename for w in told if issubclass(w.category, cr.ChainruleWarning)]
    assert files == [__file__]
