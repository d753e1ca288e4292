"""The search for a learning rate: what it finds, and what it leaves alone."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import chainrule as cr

from tests.support.libraries import here
from tests.support.training import LABELS, X, Y, normed

RNG = np.random.default_rng(5)
WIDE = RNG.normal(size=(400, 4))
LINEAR = WIDE @ np.array([1.0, -2.0, 0.5, 1.5]) + 0.3


def _bits(model: Any) -> Any:
    state = model.training
    slots = [np.asarray(model.backend.to_numpy(a)).tobytes() for a in state.slots]
    weights = [a.tobytes() for a in model.get_weights()]
    return weights, slots, state[3:], dict(model.history), model.spec


@pytest.mark.parametrize("members", [None, 3])
def test_the_model_stays_as_it_was(members: int | None, where: dict[str, Any]) -> None:
    rates = 0.01 if members is None else (0.01, 0.02, 0.03)
    model = cr.Model(
        normed(), optimizer=cr.Adam(rates), members=members, metrics=["r2"], **where
    )
    model.fit(X, Y, epochs=2, batch_size=16)
    before = _bits(model)
    found = model.find_learning_rate(X, Y, steps=40, batch_size=16)
    assert _bits(model) == before
    assert found.rates.shape == found.losses.shape == found.smoothed.shape
    assert np.isfinite(found.losses).all()
    np.testing.assert_allclose(
        found.rates, 1e-7 * 1e8 ** (np.arange(len(found.rates)) / 39), rtol=1e-12
    )
    again = model.find_learning_rate(X, Y, steps=40, batch_size=16)
    np.testing.assert_array_equal(again.losses, found.losses)
    model.fit(X, Y, epochs=1, batch_size=16)  # nothing is claimed any more


def test_one_without_weights_has_none_afterwards() -> None:
    model = cr.Model(cr.MLP((8, 2), "tanh"))
    found = model.find_learning_rate(X, Y)
    assert not model.built
    assert model.backend is None
    assert not model.history
    assert found.suggestion is not None


def test_losses_are_those_of_the_steps() -> None:
    """Plain descent by hand: one batch, the loss before each step."""
    options: dict[str, Any] = {"dtype": "float64", "backend": "numpy"}
    model = cr.Model(cr.Dense(1), optimizer=cr.SGD(0.1), **options).build(4)
    found = model.find_learning_rate(
        WIDE, LINEAR, low=1e-3, high=0.1, steps=12, batch_size=10**6
    )
    w, b = (np.array(a) for a in model.parameters.values())
    for k, rate in enumerate(np.geomspace(1e-3, 0.1, 12)):
        r = (WIDE @ w.T)[:, 0] + b - LINEAR
        np.testing.assert_allclose(found.losses[k], np.mean(r * r), rtol=1e-10)
        w = w - rate * 2.0 * (r @ WIDE)[None] / len(r)
        b = b - rate * 2.0 * r.mean()
    assert len(found.losses) == 12


def test_the_suggestion_is_stable_and_learns(where: dict[str, Any]) -> None:
    """Plain descent on a quadratic diverges above 2 / the largest eigenvalue."""
    ones = np.concatenate((WIDE, np.ones((len(WIDE), 1))), axis=1)
    limit = 2.0 / np.linalg.eigvalsh(2.0 * ones.T @ ones / len(ones)).max()
    model = cr.Model(cr.Dense(1), optimizer=cr.SGD(0.1), **where)
    found = model.find_learning_rate(WIDE, LINEAR, batch_size=64)
    assert found.suggestion is not None
    assert limit / 300 < found.suggestion < limit
    assert len(found.rates) < 100  # it diverged, and ended
    assert found.rates[-1] > limit / 2
    assert "suggestion=" in repr(found)
    # What the batches differ by is not in the smoothed losses.
    assert np.ptp(found.losses[:20]) > 0.5
    assert np.ptp(found.smoothed[:20]) < 1e-2
    model.learning_rate = found.suggestion
    history = model.fit(WIDE, LINEAR, epochs=5, batch_size=64)
    assert history["loss"][-1] < 0.2 * history["loss"][0]


def test_where_nothing_falls_nothing_is_suggested() -> None:
    model = cr.Model(cr.Dense(1), optimizer=cr.SGD(0.1), backend="numpy")
    found = model.find_learning_rate(WIDE, LINEAR, low=50.0, high=1e4)
    assert found.suggestion is None
    noise = RNG.normal(size=400)  # rates that change nothing
    still = cr.Model(cr.Dense(1), optimizer=cr.SGD(0.1), backend="numpy")
    assert still.find_learning_rate(WIDE, noise, high=1e-6).suggestion is None


def test_classes_weights_and_lists() -> None:
    model = cr.Model(cr.MLP((8, 2), "tanh"), loss="cross_entropy", backend="numpy")
    weight = np.where(LABELS > 0, 1.0, 0.0)
    found = model.find_learning_rate(
        X.tolist(), LABELS.tolist(), sample_weight=weight.tolist(), steps=20
    )
    plain = model.find_learning_rate(X, LABELS, steps=20)
    assert np.abs(found.losses - plain.losses).max() > 1e-3
    assert pickle.loads(pickle.dumps(found)).suggestion == found.suggestion


@pytest.mark.skipif(not here("pandas"), reason="needs pandas")
def test_data_frames_have_their_columns() -> None:
    import pandas as pd

    frame = pd.DataFrame(X, columns=list("abcd"))
    model = cr.Model(cr.MLP((8, 2), "tanh"), backend="numpy")
    model.fit(frame, Y, epochs=1)
    model.find_learning_rate(frame, Y, steps=10)
    with pytest.raises(cr.ChainruleError, match="column"):
        model.find_learning_rate(frame[list("dcba")], Y, steps=10)


@pytest.mark.skipif(not here("matplotlib"), reason="needs matplotlib")
def test_the_picture() -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    model = cr.Model(cr.Dense(1), optimizer=cr.SGD(0.1), backend="numpy")
    found = model.find_learning_rate(WIDE, LINEAR)
    ax = found.plot()
    losses, smoothed, line = ax.get_lines()
    np.testing.assert_array_equal(losses.get_xdata(), found.rates)
    np.testing.assert_array_equal(losses.get_ydata(), found.losses)
    np.testing.assert_array_equal(smoothed.get_ydata(), found.smoothed)
    assert list(line.get_xdata()) == [found.suggestion] * 2
    assert ax.get_xscale() == "log"
    _, mine = plt.subplots()
    assert found._replace(suggestion=None).plot(mine) is mine
    assert len(mine.get_lines()) == 2
    plt.close("all")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"low": 0.0}, r"^low must be a finite number above 0; got 0"),
        ({"low": 1.0, "high": 1.0}, r"^high must be above low.* Give them"),
        ({"high": "1"}, r"^high must be .*str"),
        ({"steps": 9}, r"^steps must be an integer of at least 10; got 9"),
        ({"batch_size": 0}, r"^batch_size must be"),
        ({"y": Y[:5]}, r"^y must have a row for each of the 70 samples of x; got 5"),
        (
            {"sample_weight": [1.0]},
            r"^sample_weight must have a row for each of the 70",
        ),
        ({"lr": 0.1}, r"find_learning_rate"),
    ],
)
def test_bad_arguments(given: Any, words: str) -> None:
    model = cr.Model(cr.MLP((8, 2), "tanh"))
    with pytest.raises(cr.ChainruleError, match=words):
        model.find_learning_rate(X, **{"y": Y, **given})
    assert not model.built


def test_an_optimizer_without_a_rate() -> None:
    model = cr.Model(cr.MLP((8, 2), "tanh"), optimizer="lbfgs")
    with pytest.raises(cr.ArgumentError, match="LBFGS has none: train with Adam"):
        model.find_learning_rate(X, Y)
