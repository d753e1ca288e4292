"""Where a model stands, as a value."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import backends
from chainrule.state import TrainingState

from tests.support.libraries import LIBRARIES, backend
from tests.support.models import standing

X = np.linspace(-1.0, 1.0, 40).reshape(20, 2)
Y = X[:, :1] * X[:, 1:]


def _model(**options: Any) -> cr.Model:
    network = cr.Sequential(cr.Dense(4), cr.BatchNorm(), cr.Tanh(), cr.Dense(1))
    return cr.Model(network, optimizer=cr.Adam(1e-2), seed=1, **options)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", LIBRARIES)
def test_a_state_on_another_backend(name: str, dtype: str) -> None:
    """To a backend and back: the same bits, in memory of its own."""
    model = _model(backend="numpy", dtype=dtype)
    model.fit(X, Y, epochs=2, batch_size=8)
    state = standing(model)
    options = backend(name)
    there = backends.get(options["backend"], options.get("device"))
    moved = state.on(there)
    assert all(there.owns(a) for a in (moved.theta, moved.state, *moved.slots))
    back = moved.map(there.to_numpy)
    for a, b in zip(_arrays(state), _arrays(back), strict=True):
        assert a.dtype == b.dtype == dtype
        assert a.tobytes() == b.tobytes()
        assert not np.shares_memory(a, b)
    counters = [(s.step, s.epoch, s.rate, s.rate_scale, s.begun) for s in (state, back)]
    assert counters[0] == counters[1] == (6, 2, 1e-2, 1.0, 0)


def _arrays(state: TrainingState) -> list[Any]:
    return [state.theta, state.state, *state.slots]


def test_map_reaches_every_array_and_nothing_else() -> None:
    tree = {"a": (np.ones(2), [np.zeros(3)]), "b": 4}
    state = TrainingState(np.ones(3), np.zeros(1), (tree,), step=5, rate=0.1)
    seen: list[Any] = []
    twice = state.map(lambda a: seen.append(a.shape) or a * 2.0)  # type: ignore[func-returns-value]
    assert sorted(seen) == [(1,), (2,), (3,), (3,)]
    assert np.array_equal(twice.theta, [2.0, 2.0, 2.0])
    assert twice.slots[0]["b"] == 4
    assert (twice.step, twice.rate) == (5, 0.1)
    assert np.array_equal(state.theta, np.ones(3))


def test_a_member_is_its_row() -> None:
    model = _model(backend="numpy", members=3)
    model.learning_rate = [1e-2, 1e-3, 1e-4]
    model.fit(X, Y, epochs=1, batch_size=8)
    state = standing(model)
    for k in range(3):
        alone = state.member(k)
        for a, b in zip(_arrays(state), _arrays(alone), strict=True):
            assert a[k].tobytes() == b.tobytes()
        assert alone.rate == state.rate[k]
        assert isinstance(alone.rate_scale, float)
        assert (alone.step, alone.epoch) == (state.step, state.epoch)
        assert model.member(k).learning_rate == pytest.approx([1e-2, 1e-3, 1e-4][k])


def test_a_model_replaces_its_state_and_never_writes_into_it() -> None:
    model = _model(backend="numpy")
    assert model.training is None
    assert model.bound is None
    model.fit(X, Y, epochs=1, batch_size=8)
    before = standing(model)
    kept = [a.copy() for a in (before.theta, before.state)]
    model.fit(X, Y, epochs=1, batch_size=8)
    assert standing(model) is not before
    assert all(map(np.array_equal, (before.theta, before.state), kept))
    model.learning_rate = 0.5
    assert standing(model).rate_scale == pytest.approx(50.0)
    assert before.rate_scale == 1.0


@pytest.mark.parametrize("name", LIBRARIES)
def test_callbacks_see_the_state_of_the_epoch(name: str) -> None:
    seen: list[tuple[int, int, Any]] = []

    class Watch(cr.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
            state = self.session.state
            assert state is self.model.training
            seen.append((epoch, state.epoch, self.model.get_weights()[0]))

    model = _model(**backend(name))
    model.fit(X, Y, epochs=3, batch_size=8, callbacks=[Watch()])
    assert [(epoch, now) for epoch, now, _ in seen] == [(0, 1), (1, 2), (2, 3)]
    assert np.array_equal(seen[-1][2], model.get_weights()[0])
