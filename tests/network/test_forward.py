"""The short way of predict for a few rows: the same answers, the same refusals."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.network import forward

from tests.support.libraries import here
from tests.support.models import standing

X = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)


def model(**options: Any) -> Any:
    network = cr.Sequential(cr.Dense(4), cr.BatchNorm(), cr.Tanh(), cr.Dense(2))
    return cr.Model(network, backend="numpy", **options).build(3)


def the_long_way(m: Any, x: Any) -> Any:
    return m._apply(x, forward.build_output)


def test_it_is_taken_and_gives_the_same_bits() -> None:
    m = model()
    for _ in range(2):
        short = m._direct(standing(m), X)
        assert short is not None
        np.testing.assert_array_equal(short, the_long_way(m, X))
        np.testing.assert_array_equal(m.predict(X), short)
        m.fit(X, X[:, :2], epochs=1)  # other weights, other running statistics


@pytest.mark.parametrize(
    "x",
    [
        X.astype(np.float64),
        X.tolist(),
        X[0:0],
        np.concatenate([X] * 20),
        np.asfortranarray(X),
        X[::-1],
    ],
    ids=["dtype", "list", "no rows", "many rows", "order", "strides"],
)
def test_all_else_goes_the_long_way_or_agrees(x: Any) -> None:
    m = model()
    np.testing.assert_array_equal(m.predict(x), the_long_way(m, x))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_it_refuses_what_is_not_finite(bad: float) -> None:
    x = X.copy()
    x[3, 1] = bad
    with pytest.raises(cr.ArgumentError, match="x must be finite"):
        model().predict(x)
    x[3, 2] = -bad  # the sum of both is NaN, or cancels
    with pytest.raises(cr.ArgumentError, match="x must be finite"):
        model().predict(x)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, None])
@pytest.mark.parametrize("rows", [1, 2, 64])
def test_it_takes_what_is_finite_and_nothing_else(rows: int, bad: Any) -> None:
    # 2e38: finite, and the product with itself is not.
    x = np.full((rows, 3), 2e38, dtype=np.float32)
    m = model()
    assert m._direct(standing(m), x).shape == (rows, 2)
    if bad is not None:
        x[-1, 1] = bad
        assert m._direct(standing(m), x) is None
        with pytest.raises(cr.ArgumentError, match="must be finite"):
            m.predict(x)


@pytest.mark.parametrize("shape", [(3,), (2, 4), (2, 3, 1)])
def test_it_refuses_other_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(cr.ShapeError):
        model().predict(np.ones(shape, dtype=np.float32))


def test_it_warns_of_nothing() -> None:
    network = cr.Sequential(cr.Dense(2), cr.Exp())
    m = cr.Model(network, backend="numpy").build(3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isinf(m.predict(np.full((1, 3), 1e3, dtype=np.float32))).any()


def test_copies_of_a_model_have_their_own() -> None:
    m = model()
    others = [m.to("numpy"), pickle.loads(pickle.dumps(m))]
    before = m.predict(X)
    for other in others:
        np.testing.assert_array_equal(other.predict(X), before)
        other.fit(X, X[:, :2], epochs=1)
        assert (other.predict(X) != before).any()
    np.testing.assert_array_equal(m.predict(X), before)
    theta, state = m.get_weights()
    m.set_weights((theta * 0.0, state))
    assert not m.predict(X).any()


def test_members_have_their_own() -> None:
    ensemble = cr.Model(cr.MLP((2,)), backend="numpy", members=3).build(3)
    each = np.stack([ensemble.member(k).predict(X) for k in range(3)])
    np.testing.assert_allclose(each, ensemble.predict_members(X), rtol=1e-6)


def test_what_is_derived_from_an_array_goes_the_long_way() -> None:
    m = model()
    x = np.ones((2, 3), dtype=np.float32)
    x[0, 0] = np.nan
    masked = np.ma.masked_array(x, mask=np.isnan(x))
    assert m._direct(standing(m), masked) is None
    with pytest.raises(cr.ChainruleError, match="masked"):
        m.predict(masked)


class Halves(cr.losses.Loss):
    """A loss of one's own: half of the mean square."""

    def __call__(
        self, z: Any, t: Any, weight: Any, output_shape: Any, *, xp: Any
    ) -> Any:
        """Return the value and its pullback, with weights as they come."""
        share = weight[:, None] / xp.sum(weight)
        value = xp.sum(0.5 * (z - t) * (z - t) * share, axis=(-2, -1))
        return value, lambda dvalue=1.0: (dvalue * (z - t) * share,)


LOSSES: dict[str, Any] = {
    "squared_error": lambda d: d * d,
    "absolute_error": np.abs,
    "huber": lambda d: np.where(abs(d) <= 1, d * d / 2, abs(d) - 0.5),
    "quantile": lambda d: np.abs(d) / 2,
    "own": lambda d: d * d / 2,
}


@pytest.mark.parametrize("name", ["numpy", "jax", "torch"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("members", [None, 2])
@pytest.mark.parametrize("rows", [3, 4, 5])
def test_an_infinite_output(
    name: Any, loss: Any, members: int | None, rows: int
) -> None:
    here(name) or pytest.skip(f"needs {name}")
    given = Halves() if loss == "own" else loss
    if members and loss == "own":
        return
    network = cr.Dense(1, bias=False)
    m = cr.Model(network, loss=given, backend=name, members=members).build(1)
    theta = np.full((1,) if members is None else (members, 1), 2.0)
    m.set_weights((theta, np.zeros((*theta.shape[:-1], 0))))
    x, y = np.arange(rows)[:, None] / 4.0, np.ones((rows, 1))
    x[0] = 3e38  # twice that is not in float32
    with pytest.warns(cr.ChainruleWarning, match="the loss is inf"):
        assert m.evaluate(x, y)["loss"] == np.inf
    weight = np.arange(rows) / 2.0  # the first row has none
    each = LOSSES[loss](2.0 * x - y)[1:, 0]
    want = each @ weight[1:] / weight.sum()
    np.testing.assert_allclose(m.evaluate(x, y, weight)["loss"], want, rtol=1e-6)
