"""CSVLogger: what is written, appended to, refused, and what a resumed fit cuts off."""

from __future__ import annotations

import copy
import csv
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.callbacks import Checkpoint, CSVLogger

from tests.support.libraries import LIBRARIES, backend
from tests.support.models import standing

X = np.random.default_rng(0).normal(size=(22, 3))
Y = X[:, :2]


def _model(**options: Any) -> cr.Model:
    return cr.Model(cr.MLP((4, 2)), **{"metrics": ["r2"], **options})


def _fit(model: cr.Model, epochs: int, *callbacks: Any, **options: Any) -> Any:
    return model.fit(X, Y, epochs=epochs, callbacks=callbacks, **options)


def _rows(path: Path, separator: str = ",") -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file, delimiter=separator))


@pytest.mark.parametrize("name", LIBRARIES)
def test_an_empty_file_gets_a_header(name: str, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.touch()
    model = _model(**backend(name))
    for _ in range(2):
        _fit(model, 2, CSVLogger(path, append=True))
    assert [row[0] for row in _rows(path)] == ["epoch", "0", "1", "2", "3"]


def test_other_columns_are_refused(tmp_path: Path) -> None:
    """Before anything is written: both are named, and the model is as it was."""
    path, model = tmp_path / "log.csv", _model()
    _fit(model, 2, CSVLogger(path))
    text, theta = path.read_bytes(), model.theta
    match = r"has the columns epoch,loss,r2, .* writes epoch,loss,r2,val_loss,val_r2"
    with pytest.raises(cr.ArgumentError, match=match):
        _fit(model, 2, CSVLogger(path, append=True), validation_split=0.2)
    with pytest.raises(cr.ArgumentError, match="has the columns"):
        _fit(model, 2, CSVLogger(path, separator=";", append=True))
    assert path.read_bytes() == text
    assert (model.history.epochs, standing(model).epoch) == (2, 2)
    assert np.array_equal(model.theta, theta)


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda d: CSVLogger(3), cr.ArgumentTypeError, "path must be .*got 3"),  # type: ignore[arg-type]
        (lambda d: CSVLogger(d / "a", ""), cr.ArgumentError, "separator must be one"),
        (lambda d: CSVLogger(d / "a", "ab"), cr.ArgumentError, "got 'ab'"),
        (lambda d: CSVLogger(d / "a", "\n"), cr.ArgumentError, "separator must be"),
        (lambda d: CSVLogger(d / "a", "."), cr.ArgumentError, "separator must be"),
        (lambda d: CSVLogger(d / "a", 1), cr.ArgumentTypeError, "separator must be"),  # type: ignore[arg-type]
        (lambda d: CSVLogger(d / "no" / "a"), cr.MissingFileError, "Make the folder"),
        (CSVLogger, cr.FileError, "cannot be written"),
    ],
    ids=range(8),
)
def test_refused_before_the_first_epoch(
    make: Any, error: Any, match: str, tmp_path: Path
) -> None:
    model = _model()
    with pytest.raises(error, match=match):
        _fit(model, 1, make(tmp_path))
    assert not model.built
    assert list(tmp_path.iterdir()) == []


def _killed(folder: Path, epochs: int, *logs: CSVLogger) -> None:
    """A fit whose last checkpoint is two epochs old."""
    _fit(_model(), epochs, *logs, Checkpoint(folder / "fit.st"))
    path = folder / "fit.st"
    written = path.read_bytes()
    _fit(_model(), epochs + 2, *map(copy.copy, logs), Checkpoint(path), resume=path)
    path.write_bytes(written)


def _resume(folder: Path, epochs: int, *logs: CSVLogger) -> cr.Model:
    model = _model()
    path = folder / "fit.st"
    _fit(model, epochs, *logs, Checkpoint(path), resume=path)
    return model


def test_lines_that_come_again_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    _fit(_model(), 7, CSVLogger(tmp_path / "alone.csv"))
    _killed(tmp_path, 3, CSVLogger(path))
    with path.open("ab") as file:
        file.write(b"5,0.1")  # a kill within a line
    _resume(tmp_path, 7, CSVLogger(path))
    assert path.read_bytes() == (tmp_path / "alone.csv").read_bytes()


def test_another_file_is_never_cut(tmp_path: Path) -> None:
    """Not under another name, nor under the log's own: it is said, and appended to."""
    path, notes = tmp_path / "log.csv", "epoch,loss,r2\r\n" + "0,my,notes\r\n" * 300
    _fit(_model(), 3, CSVLogger(path), Checkpoint(tmp_path / "fit.st"))
    other = tmp_path / "other.csv"
    other.write_text(notes, newline="")
    _resume(tmp_path, 4, CSVLogger(other, append=True))
    assert other.read_text().startswith(notes.replace("\r", ""))
    assert _rows(other)[-1][0] == "3"
    _fit(_model(), 3, CSVLogger(path), Checkpoint(tmp_path / "fit.st"))
    path.write_text(notes, newline="")
    with pytest.warns(cr.ChainruleWarning, match="is not what it was when"):
        _resume(tmp_path, 5, CSVLogger(path))
    assert path.read_text().startswith(notes.replace("\r", ""))
    # A line behind the checkpoint's that is none of a later epoch.
    _fit(_model(), 3, CSVLogger(path), Checkpoint(tmp_path / "fit.st"))
    with path.open("a") as file:
        file.write("my notes\n")
    with pytest.warns(cr.ChainruleWarning, match="something else than later epochs"):
        _resume(tmp_path, 4, CSVLogger(path))
    assert "my notes\n" in path.read_text()


def test_two_logs_in_another_order(tmp_path: Path) -> None:
    a, b = tmp_path / "a.csv", tmp_path / "b.csv"
    _fit(_model(), 2, CSVLogger(b, ";"))

    def logs() -> list[CSVLogger]:
        return [CSVLogger(a), CSVLogger(b, ";", append=True)]

    _killed(tmp_path, 3, *logs())
    _resume(tmp_path, 5, *logs()[::-1])
    assert [row[0] for row in _rows(a)] == ["epoch", *"01234"]
    assert [row[0] for row in _rows(b, ";")] == ["epoch", *"01", *"01234"]


def test_a_log_that_is_shorter_than_it_was(tmp_path: Path) -> None:
    """After a power cut, say: no line is glued to half a line, and it is said."""
    path = tmp_path / "log.csv"
    _fit(_model(), 4, CSVLogger(path), Checkpoint(tmp_path / "fit.st"))
    text = path.read_bytes()
    path.write_bytes(text[: len(text) // 2])
    with pytest.warns(cr.ChainruleWarning, match="shorter than when the checkpoint"):
        _resume(tmp_path, 6, CSVLogger(path))
    assert [row[0] for row in _rows(path)][-2:] == ["4", "5"]
    assert all(len(row) == 3 for row in _rows(path)[-2:])
    path.unlink()
    with pytest.warns(cr.ChainruleWarning, match=r"shorter .*\(0 bytes"):
        _resume(tmp_path, 7, CSVLogger(path))
    assert [row[0] for row in _rows(path)] == ["epoch", "6"]


def test_what_is_resumed_with_other_columns(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    _fit(_model(), 2, CSVLogger(path), Checkpoint(tmp_path / "fit.st"))
    text, model = path.read_bytes(), _model()
    plateau = cr.callbacks.ReduceLROnPlateau()
    with pytest.raises(cr.SerializationError, match="columns epoch,loss,r2, and this"):
        _fit(model, 4, CSVLogger(path), plateau, resume=tmp_path / "fit.st")
    assert not model.built
    assert path.read_bytes() == text


@pytest.mark.parametrize("size", [3, 16, -1, 2.0, "x", None, True])
def test_a_forged_state(size: Any, tmp_path: Path) -> None:
    """A size that is no line's end, or whose digest is another, cuts nothing."""
    path, log = tmp_path / "log.csv", CSVLogger(tmp_path / "log.csv")
    _fit(_model(), 3, log)
    state, text = log.state(), path.read_bytes()
    again = CSVLogger(path)
    forged = {**state, "size": size}
    if type(size) is int and size > 0:
        again.restore(forged)
        with pytest.warns(cr.ChainruleWarning, match="Nothing of it is cut off"):
            again.on_train_begin({})
    else:
        with pytest.raises((TypeError, ValueError)):
            again.restore(forged)
    assert path.read_bytes() == text


def test_the_state_is_of_what_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr("os.fsync", synced.append)
    log = CSVLogger(tmp_path / "log.csv")
    log.on_train_begin({})
    assert log.state() == {"name": "log.csv", "size": 0, "sha256": None}
    log.on_epoch_end(0, {"loss": 1.0})
    one = log.state()
    assert (len(synced), log.state()) == (1, one)
    assert one == pickle.loads(pickle.dumps(log)).state()
    log.on_epoch_end(1, {"loss": 1.0})
    assert log.state()["size"] > one["size"]


@pytest.mark.parametrize(
    "name", ["/proc/log.csv", "a" * 300 + ".csv", "no/log.csv", ""]
)
def test_a_file_that_cannot_be_is_told_before_training(
    name: str, tmp_path: Path
) -> None:
    """Whatever the reason: only the system knows, and nothing is left behind."""
    model = _model().build(3)
    theta = model.theta
    with pytest.raises(cr.FileError, match=r"CSVLogger: .* (written|read or written)"):
        _fit(model, 1, CSVLogger(tmp_path / name))
    assert np.array_equal(model.theta, theta)
    assert model.history.epochs == 0
    assert not list(tmp_path.iterdir())


def test_a_refused_fit_leaves_no_empty_log(tmp_path: Path) -> None:
    class Refuses(cr.callbacks.Callback):
        def check_logs(self, names: Any) -> None:
            msg = "no"
            raise cr.ArgumentError(msg)

    with pytest.raises(cr.ArgumentError):
        _fit(_model(), 1, CSVLogger(tmp_path / "log.csv"), Refuses())
    assert not list(tmp_path.iterdir())


def test_a_byte_order_mark_is_no_part_of_a_column(tmp_path: Path) -> None:
    """Spreadsheets write one."""
    path = tmp_path / "log.csv"
    path.write_bytes(b"\xef\xbb\xbfepoch,loss,r2\r\n0,1.0,0.0\r\n")
    _fit(_model(), 1, CSVLogger(path, append=True))
    rows = path.read_text(encoding="utf-8-sig").splitlines()
    assert rows[:2] == ["epoch,loss,r2", "0,1.0,0.0"]
    assert len(rows) == 3
