"""What callbacks may do to the fit that calls them."""

from __future__ import annotations

import contextlib
import copy
import pickle
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

import chainrule as cr
from chainrule.callbacks import Callback, Cut, LambdaCallback

from tests.support.libraries import LIBRARIES, backend, estimators

X = np.linspace(-1.0, 1.0, 40).reshape(20, 2)
Y = X[:, :1]


def _model(**options: Any) -> cr.Model:
    return cr.Model(cr.MLP((4, 1)), **options)


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("optimizer", [cr.Adam(), cr.LevenbergMarquardt()])
def test_stop(name: str, optimizer: Any) -> None:
    class Stop(Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
            if epoch == 1:
                self.session.stop()

    model = _model(optimizer=optimizer, **backend(name))
    callback = Stop()
    assert model.fit(X, Y, epochs=9, callbacks=[callback]).epochs == 2
    assert model.stop_training
    assert callback.session is None  # it was the fit's
    assert model.fit(X, Y, epochs=1).epochs == 1


def test_hold() -> None:
    class Hold(Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
            self.session.hold([epoch == 0, False])
            weights.append(self.model.get_weights()[0])

    weights: list[Any] = []
    model = _model(members=2, backend="numpy")
    model.fit(X, Y, epochs=3, callbacks=[Hold()])
    assert model.stopped_members.tolist() == [True, False]  # who rests goes on resting
    assert np.array_equal(weights[0][0], weights[2][0])
    assert not np.array_equal(weights[0][1], weights[2][1])


@pytest.mark.parametrize("members", [None, 3])
def test_hold_refuses_other_shapes(members: int | None) -> None:
    class Hold(Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
            self.session.hold([True, False])

    with pytest.raises(cr.ShapeError, match="members must be a bool array"):
        _model(members=members).fit(X, Y, epochs=3, callbacks=[Hold()])


@pytest.mark.parametrize("name", LIBRARIES)
def test_save_writes_a_checkpoint_from_any_callback(name: str, tmp_path: Path) -> None:
    path = tmp_path / "here"

    class Save(Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
            if epoch == 1:
                assert self.session.save(path)
                assert self.session.identify(path) == "2"
                assert self.session.owns(path, "2")
                assert not self.session.owns(path, "1")

    options = backend(name)
    whole = _model(**options)
    whole.fit(X, Y, epochs=5, batch_size=8, callbacks=[Save()])
    resumed = _model(**options)
    history = resumed.fit(X, Y, epochs=5, batch_size=8, callbacks=[Save()], resume=path)
    assert history.epochs == 5
    assert all(map(np.array_equal, resumed.get_weights(), whole.get_weights()))


def test_cuts_are_where_a_fit_can_be_resumed(tmp_path: Path) -> None:
    """All callbacks have seen an epoch when the first of them hears of its cut."""
    seen: list[Any] = []

    class Saver(Callback):
        every_steps = 2

        def on_cut(self, cut: Cut) -> None:
            seen.append((cut.epoch, cut.steps, cut.last, cut.number))
            assert self.session.save(tmp_path / cut.number)

    note = LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(epoch))
    model = _model(backend="numpy")
    model.fit(X, Y, epochs=2, batch_size=4, callbacks=[Saver(), note])
    assert seen == [
        (0, 2, False, "0-2"),
        0,
        (1, 0, False, "1"),
        (1, 2, False, "1-2"),
        1,
        (2, 0, True, "2"),
    ]
    for number in ("0-2", "1", "1-2"):
        resumed = _model(backend="numpy")
        resumed.fit(
            X,
            Y,
            epochs=2,
            batch_size=4,
            callbacks=[Saver(), note],
            resume=tmp_path / number,
        )
        assert all(map(np.array_equal, resumed.get_weights(), model.get_weights()))


def test_an_estimator_has_no_checkpoints(tmp_path: Path) -> None:
    neural = estimators()

    class Save(Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
            self.session.save(tmp_path / "no")

    estimator = neural.MLPRegressor(callbacks=[Save()], max_iter=2)
    with pytest.raises(cr.ArgumentError, match="joblib"):
        estimator.fit(X, Y[:, 0])


def test_a_session_of_ones_own_is_left_alone() -> None:
    class Own(Callback):
        def __init__(self) -> None:
            self.session = "of a database"

    class Plain:
        def on_train_begin(self, logs: Any) -> None: ...
        def on_epoch_begin(self, epoch: int, logs: Any) -> None: ...
        def on_epoch_end(self, epoch: int, logs: Any) -> None:
            assert not hasattr(self, "session")

        def on_train_end(self, logs: Any) -> None: ...

    own, plain = Own(), cast("Callback", Plain())
    _model().fit(X, Y, epochs=1, callbacks=[own, plain])
    assert own.session == "of a database"


@pytest.mark.parametrize("diverges", [False, True])
def test_the_session_is_there_until_the_fit_is_over(diverges: bool) -> None:
    class Last(Callback):
        def on_train_end(self, logs: dict[str, Any]) -> None:
            seen.append(self.session.state.epoch)

    seen: list[int] = []
    last, model = Last(), _model(optimizer=cr.SGD(1e30 if diverges else 0.1))
    with pytest.raises(cr.DivergenceError) if diverges else contextlib.nullcontext():
        model.fit(X, Y, epochs=3, callbacks=[last])
    assert len(seen) == 1
    assert "session" not in vars(last)


def test_a_callback_is_copied_and_pickled_without_the_session() -> None:
    class Copied(Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
            copied = copy.deepcopy({**vars(self), "model": None})
            assert copied["session"] is None
            assert pickle.loads(pickle.dumps(self.session)) is None

    _model().fit(X, Y, epochs=1, callbacks=[Copied()])
