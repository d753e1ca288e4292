"""The record of a fit: a mapping of lists, one value per epoch."""

from __future__ import annotations

import copy
import json
import math
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

import chainrule as cr

from tests.support.libraries import LIBRARIES, backend
from tests.support.models import standing

X = np.random.default_rng(0).normal(size=(20, 3))
Y = X[:, :2] * 2.0


def _model() -> cr.Model:
    return cr.Model(cr.MLP((4, 2)), metrics=["r2"])


def test_mapping() -> None:
    history = cr.History({"loss": [3.0, 2.0]})
    history.append({"loss": 1.0, "r2": 0.5})
    assert isinstance(history, Mapping)
    assert list(history) == ["loss", "r2"]
    assert (len(history), history.epochs) == (2, 3)
    assert history["loss"] == [3.0, 2.0, 1.0]
    assert all(math.isnan(v) for v in history["r2"][:2])
    history.append({"r2": 0.25})
    assert math.isnan(history["loss"][3])
    assert history["r2"][2:] == [0.5, 0.25]
    assert "val_loss" not in history
    with pytest.raises(KeyError, match="val_loss"):
        history["val_loss"]


def test_extend() -> None:
    one, two = cr.History({"loss": [1.0]}), cr.History({"loss": [2.0], "r2": [0.5]})
    one.extend(two)
    assert one["loss"] == [1.0, 2.0]
    assert one["r2"][1:] == [0.5]
    assert two == {"loss": [2.0], "r2": [0.5]}
    one.extend(cr.History())
    assert one.epochs == 2


def test_empty() -> None:
    history = cr.History()
    assert (len(history), history.epochs, history.interrupted) == (0, 0, False)
    assert repr(history) == "History(0 epochs; last: )"


def test_copies() -> None:
    """A history owns its lists."""
    values = {"loss": [1.0]}
    history = cr.History(values)
    for other in (cr.History(history), copy.deepcopy(history)):
        other.append({"loss": 2.0})
    values["loss"].append(3.0)
    assert history == {"loss": [1.0]}
    assert pickle.loads(pickle.dumps(history)) == history


def test_repr() -> None:
    history = cr.History({"loss": [1.0, 0.123456], "members": [np.ones(2)] * 2})
    assert repr(history) == "History(2 epochs; last: loss=0.1235, members)"


def test_fits_add_up() -> None:
    model = _model()
    one = model.fit(X, Y, epochs=2)
    two = model.fit(X, Y, epochs=3, validation_data=(X, Y))
    assert (one.epochs, two.epochs, model.history.epochs) == (2, 3, 5)
    assert model.history["loss"] == one["loss"] + two["loss"]
    assert model.history["val_r2"][2:] == two["val_r2"]
    assert all(math.isnan(v) for v in model.history["val_loss"][:2])
    assert set(two) == {"loss", "r2", "val_loss", "val_r2"}
    assert all(type(v) is float for column in two.values() for v in column)
    # The last epoch's numbers are those of the model that came out of it.
    assert two["val_loss"][-1] == model.evaluate(X, Y)["loss"]


def test_no_epochs() -> None:
    model = _model()
    assert model.fit(X, Y, epochs=0) == {}
    assert model.built
    assert model.history.epochs == 0


def test_the_same_whether_somebody_listens() -> None:
    quiet = cr.Model(cr.MLP((4, 2))).fit(X, Y, epochs=12)
    loud = cr.Model(cr.MLP((4, 2))).fit(X, Y, epochs=12, validation_data=(X, Y))
    assert quiet["loss"] == loud["loss"]


def test_divergence_keeps_the_finite_epochs() -> None:
    model = cr.Model(cr.MLP((4, 2)), optimizer=cr.SGD(1e3))
    with pytest.raises(cr.DivergenceError) as caught:
        model.fit(X, Y, epochs=50, batch_size=5)
    assert model.history.epochs == caught.value.epochs == standing(model).epoch
    assert np.isfinite(model.history.get("loss", [])).all()
    assert np.isfinite(model.theta).all()


def test_an_epoch_is_known_in_all_columns_at_once() -> None:
    """Columns that were cut off in the midst of an epoch are put right by the next."""
    history = cr.History({"loss": [1.0], "r2": [0.5]})
    grown = history.grown({"loss": 2.0, "r2": 0.6, "new": 1.0})  # never assigned
    assert grown[1] == 2
    assert history == {"loss": [1.0], "r2": [0.5]}
    assert (list(history), history.epochs) == (["loss", "r2"], 1)
    history.append({"loss": 3.0, "r2": 0.7})
    assert history == {"loss": [1.0, 3.0], "r2": [0.5, 0.7]}
    assert cr.History(history) == history


def test_a_view_stays_as_it_is() -> None:
    history = cr.History({"loss": [1.0]})
    view = history.view()
    history.append({"loss": 2.0})
    assert view == {"loss": [1.0]}
    view.append({"loss": 3.0})
    assert (view["loss"], history["loss"]) == ([1.0, 3.0], [1.0, 2.0])


def test_pickles_of_an_earlier_version() -> None:
    history = cr.History()
    history.__setstate__({"_values": {"loss": [1.0]}, "interrupted": True})
    assert history == {"loss": [1.0]}
    assert history.interrupted
    history.append({"loss": 2.0})
    assert history.epochs == 2


# As a table, and as a picture.


@pytest.mark.parametrize("members", [None, 2])
@pytest.mark.parametrize("listen", [False, True])
@pytest.mark.parametrize("name", LIBRARIES)
def test_a_frame_has_a_row_for_each_epoch(
    name: str, listen: bool, members: int | None
) -> None:
    pandas = pytest.importorskip("pandas")
    model = cr.Model(cr.MLP((4, 2)), members=members, **backend(name))
    how = {"validation_data": (X, Y)} if listen else {}
    one = model.fit(X, Y, epochs=3, **how)  # type: ignore[arg-type]
    model.fit(X, Y, epochs=2)
    for history in (one, model.history, pickle.loads(pickle.dumps(one))):
        for given in (history, history.history):
            frame = pandas.DataFrame(given)
            assert frame.shape == (history.epochs, len(history))
            assert list(frame.columns) == list(history)
            assert frame["loss"].tolist() == history["loss"]
    if members is None:
        assert json.loads(json.dumps(one)) == dict(one)


def test_a_frame_of_polars() -> None:
    polars = pytest.importorskip("polars")
    history = _model().fit(X, Y, epochs=3, validation_data=(X, Y))
    frame = polars.DataFrame(history)
    assert frame.shape == (3, 4)
    assert frame["val_r2"].to_list() == history["val_r2"]


def test_a_history_is_read_only() -> None:
    history = cr.History({"loss": [1.0]})
    writes: list[Any] = [
        lambda h: h.__setitem__("loss", []),
        lambda h: h.__delitem__("loss"),
        lambda h: h.update(loss=[]),
        lambda h: h.pop("loss"),
        lambda h: h.setdefault("r2", []),
        lambda h: h.popitem(),
        lambda h: h.clear(),
    ]
    for write in writes:
        with pytest.raises(cr.ArgumentTypeError, match="read only"):
            write(history)
    assert history == {"loss": [1.0]}
    assert isinstance(history, dict)
    twin = history.copy()  # type: ignore[attr-defined]
    twin.append({"loss": 2.0})
    assert history == {"loss": [1.0]}
    assert {**twin} == dict(twin) == twin == {"loss": [1.0, 2.0]}
    assert repr(history) == "History(1 epoch; last: loss=1)"


def test_epochs_are_counted_from_0() -> None:
    model, stopping = _model(), cr.EarlyStopping("loss")
    for first in (0, 4):
        history = model.fit(X, Y, epochs=4, callbacks=[stopping])
        best = stopping.best_epoch
        assert history.first == first
        assert history["loss"][best - first] == model.history["loss"][best]
        assert stopping.best == min(history["loss"])


def test_a_picture() -> None:
    """Losses above, a panel for each metric and the rate; whole numbers of epochs."""
    pytest.importorskip("matplotlib").use("agg")
    schedule = cr.schedules.CosineDecay(0.1, 40)
    model = cr.Model(cr.MLP((4, 2)), optimizer=cr.SGD(schedule), metrics=["r2"])
    history = model.fit(X, Y, epochs=4, validation_data=(X, Y))
    top = history.plot()
    panels = top.figure.axes
    assert [ax.get_ylabel() for ax in panels] == ["loss", "r2", "learning rate"]
    assert [len(ax.get_lines()) for ax in panels] == [2, 2, 1]
    assert top.get_lines()[0].get_xdata().tolist() == [0, 1, 2, 3]
    assert all(tick == int(tick) for tick in panels[-1].get_xticks())
    mine = top.figure.add_subplot()
    assert history.plot(mine) is mine
    assert len(mine.get_lines()) == 2


def test_a_picture_of_one_epoch() -> None:
    """It is a point, and so is each epoch of a column that stands alone."""
    pytest.importorskip("matplotlib").use("agg")
    model = _model()
    ax = model.fit(X, Y, epochs=1).plot()
    assert [line.get_marker() for line in ax.get_lines()] == ["None", "o"]
    ax.figure.canvas.draw()
    low, high = ax.get_xlim()
    assert [t for t in ax.get_xticks() if low <= t <= high] == [0]
    model.fit(X, Y, epochs=1, validation_data=(X, Y))
    model.fit(X, Y, epochs=1)
    points = model.history.plot().get_lines()[-1]
    assert (points.get_marker(), points.get_xdata().tolist()) == ("o", [1])
    cr.History().plot()
