"""Histories and models as tables: data frames, and what notebooks show."""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.state.tables import html_table

from tests.support.libraries import here
from tests.support.training import X, Y, normed


class Cells(HTMLParser):
    """Reads the cells of a table, and sees that each tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.caption = ""
        self._open: list[str] = []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1] == "caption":
            self.caption += data
        else:
            assert self._open[-1] in ("td", "th", "pre")
            if self.rows:
                self.rows[-1][-1] += data


def _fitted(epochs: int = 3, **options: Any) -> Any:
    model = cr.Model(normed(), backend="numpy", metrics=["r2"], **options)
    return model, model.fit(X, Y, epochs=epochs, validation_split=0.2)


def test_a_table_is_escaped() -> None:
    text = html_table("<b>&", ["a", "<i>"], [["<script>", '"1"'], ["x", "2"]])
    assert "<script" not in text
    assert "<b>" not in text
    cells = Cells(text)
    assert cells.caption == "<b>&"
    assert cells.rows == [["a", "<i>"], ["<script>", '"1"'], ["x", "2"]]
    assert text.count("text-align: right") == 3


@pytest.mark.skipif(not here("pandas"), reason="needs pandas")
def test_a_frame_has_a_row_for_each_epoch() -> None:
    model, _ = _fitted(2)
    history = model.fit(X, Y, epochs=3, validation_split=0.2)
    frame = history.to_frame()
    assert list(frame.columns) == list(history)
    assert list(frame.index) == [2, 3, 4]
    assert frame.index.name == "epoch"
    for name, column in history.items():
        np.testing.assert_array_equal(frame[name], column)
        assert frame[name].dtype == np.float64
    assert cr.History().to_frame().shape == (0, 0)


@pytest.mark.skipif(not here("pandas"), reason="needs pandas")
def test_a_frame_has_a_column_for_each_member() -> None:
    _, history = _fitted(members=2, optimizer=cr.Adam((0.01, 0.02)))
    frame = history.to_frame()
    names = {"member_loss_0", "member_loss_1", "val_member_loss_1", "loss", "r2"}
    assert names <= set(frame.columns)
    assert "member_loss" not in frame.columns
    losses = np.stack(history["member_loss"])
    np.testing.assert_array_equal(frame[["member_loss_0", "member_loss_1"]], losses)
    late = cr.History({"loss": [1.0]})
    late.append({"loss": 0.5, "member_loss": np.array([0.4, 0.6])})
    filled = late.to_frame()["member_loss_1"]
    assert np.isnan(filled[0])
    assert filled[1] == 0.6


def test_a_frame_without_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(
        cr.MissingLibraryError, match=r"to_frame needs pandas.*pip inst"
    ):
        cr.History({"loss": [1.0]}).to_frame()


def test_a_notebook_shows_a_history() -> None:
    _, history = _fitted(13)
    cells = Cells(history._repr_html_())
    assert cells.caption == "History: 13 epochs, the last 10"
    assert cells.rows[0] == ["epoch", *history]
    assert [row[0] for row in cells.rows[1:]] == [str(k) for k in range(3, 13)]
    assert cells.rows[-1][1:] == [f"{v[-1]:.4g}" for v in history.values()]
    _, few = _fitted(1, members=2)
    cells = Cells(few._repr_html_())
    assert cells.caption == "History: 1 epoch"
    losses = few["member_loss"][0]
    assert f"{losses.min():.4g} to {losses.max():.4g}" in cells.rows[1]
    assert Cells(cr.History()._repr_html_()).rows == [["epoch"]]
    named = cr.History({"<b>": [1.0]})
    assert Cells(named._repr_html_()).rows == [["epoch", "<b>"], ["0", "1"]]


@pytest.mark.parametrize("members", [None, 3])
def test_a_notebook_shows_a_model(
    members: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    model, _ = _fitted(members=members)
    cells = Cells(model._repr_html_())
    assert not capsys.readouterr().out
    text = model.summary()
    assert cells.rows[0] == ["layer", "output", "trainable", "number"]
    words = set(text.split())
    for row in cells.rows[1:]:
        for cell in row:
            assert set(cell.split()) <= words
    entries = {row[0].strip(): row for row in cells.rows[1:]}
    for name, value in model.parameters.items():
        size = value.size if members is None else value.size // members
        assert entries[name][3] == f"{size:,}"
    last = text.rpartition("\n")[2]
    assert cells.caption.startswith("Model: ")
    assert cells.caption.endswith(last)
    assert ("an ensemble of 3" in cells.caption) == (members is not None)


def test_a_model_without_weights_is_shown_as_text() -> None:
    shown = cr.Model(cr.MLP((3, 1)))._repr_html_()
    assert shown.startswith("<pre>Model(")
    assert "&#x27;" in shown
    Cells(shown)


class Marked(cr.Tanh):
    """Has a name that looks like a tag."""


Marked.__name__ = "<b>Tanh</b>"


def test_names_of_layers_are_escaped() -> None:
    model = cr.Model(cr.Sequential(cr.Dense(2), Marked())).build(3)
    shown = model._repr_html_()
    assert "<b>" not in shown
    assert any("<b>Tanh</b>" in row[0] for row in Cells(shown).rows)
