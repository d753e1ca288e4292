"""The callback that writes checkpoints: when, which are kept, what it refuses."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.callbacks import (
    Checkpoint,
    LambdaCallback,
)
from chainrule.files import registry
from chainrule.metrics import Metric

from tests.support.fits import (
    assert_same,
    fit_model,
    names_of,
    new_model,
)
from tests.support.models import standing


def test_every_and_the_last(tmp_path: Path) -> None:
    path = tmp_path / "fit"
    written: list[int] = []

    class Counted(Checkpoint):
        def _save(self, number: str) -> None:
            super()._save(number)
            written.append(int(number))

    model = new_model()
    fit_model(model, 7, Counted(path, every=3))
    assert written == [3, 6, 7]
    fit_model(model, 2, Counted(path, every=3))  # counted from the model's birth
    assert written == [3, 6, 7, 9]
    model.stop_training = False

    def stop(epoch: int, logs: Any) -> None:
        model.stop_training = True

    fit_model(model, 5, Counted(path, every=100), LambdaCallback(on_epoch_end=stop))
    assert written[-1] == 10


def test_keep(tmp_path: Path) -> None:
    (tmp_path / "fit-1.st").write_text("not ours")
    path = tmp_path / "fit.st"
    fit_model(new_model(), 6, Checkpoint(path, keep=3, every=2))
    names = ["fit-1.st", "fit-2.st", "fit-4.st", "fit.st"]
    assert names_of(tmp_path) == names
    assert [standing(cr.load(tmp_path / n)).epoch for n in names[1:]] == [2, 4, 6]
    # A resumed fit goes on counting; from each that was kept it ends the same.
    fit_model(new_model(), 8, Checkpoint(path, keep=3, every=2), resume=path)
    assert names_of(tmp_path) == [
        "fit-1.st",
        "fit-4.st",
        "fit-6.st",
        "fit.st",
    ]
    alone = new_model()
    fit_model(alone, 8)
    for name in ("fit-4.st", "fit-6.st"):
        model = new_model()
        fit_model(model, 8, resume=tmp_path / name)
        assert_same(model, alone)
    other = tmp_path / "all.st"
    fit_model(new_model(), 3, Checkpoint(other, keep=None))
    assert all((tmp_path / f"all{n}.st").exists() for n in ("-1", "-2", ""))
    fit_model(new_model(), 3, Checkpoint(tmp_path / "one.st"))
    assert not list(tmp_path.glob("one-*"))


def test_the_best_is_known_to_the_newest(tmp_path: Path) -> None:
    """Whichever stands first: a resumed fit does not take a worse one for the best."""
    last, best = tmp_path / "last.st", tmp_path / "best.st"
    for order in (1, -1):
        scripted = iter([2.0, 1.0, 1.5, 1.4])

        def metric(y_true: Any, y_pred: Any, values: Any = scripted) -> Any:
            return next(values)

        registry.register(metric, name=f"metric {tmp_path} {order}")
        falls = Metric(metric, greater_is_better=False)

        def savers() -> list[Any]:
            both = [Checkpoint(last), Checkpoint(best, best=True, monitor="metric")]
            return both[::order]

        options = {"validation_data": None}
        fit_model(new_model(metrics=[falls]), 2, *savers(), **options)
        fit_model(new_model(metrics=[falls]), 4, *savers(), resume=last, **options)
        assert standing(cr.load(best)).epoch == 2
        assert standing(cr.load(last)).epoch == 4


def test_keep_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", link)
    fit_model(new_model(), 3, Checkpoint(tmp_path / "fit.st", keep=2))
    assert [standing(cr.load(tmp_path / n)).epoch for n in ("fit-2.st", "fit.st")] == [
        2,
        3,
    ]


@pytest.mark.parametrize(("mode", "best"), [("min", 3), ("max", 2)])
def test_best(mode: Any, best: int, tmp_path: Path) -> None:
    values = iter([3.0, 5.0, 1.0, float("nan"), 1.0, 4.0])

    def scripted(y_true: Any, y_pred: Any) -> float:
        return next(values)

    model = new_model(metrics=[scripted])
    registry.register(scripted, name=f"scripted-{mode}-{tmp_path}")
    path = tmp_path / "best.st"
    saver = Checkpoint(path, best=True, monitor="scripted", mode=mode)
    fit_model(model, 6, saver, validation_data=None)
    twin = new_model()
    fit_model(twin, best, validation_data=None)
    assert cr.load(path).theta.tobytes() == twin.theta.tobytes()


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"every": 0}, ValueError, "^Checkpoint: every must be"),
        ({"keep": 0}, ValueError, "^Checkpoint: keep must be"),
        ({"every_steps": 0}, ValueError, "^Checkpoint: every_steps must be"),
        ({"every_steps": 2.5}, TypeError, "^Checkpoint: every_steps must be"),
        ({"every_steps": 2, "best": True}, ValueError, "exclude each other"),
        ({"mode": "mx"}, ValueError, "Checkpoint: mode .*Did you mean 'max'"),
        ({"path": 3}, TypeError, "path must be a string"),
    ],
    ids=range(7),
)
def test_bad_options(options: Any, error: Any, match: str) -> None:
    with pytest.raises(error, match=match) as caught:
        Checkpoint(**{"path": "fit", **options})
    assert isinstance(caught.value, cr.ChainruleError)


def test_what_no_file_can_hold_is_refused_before_training(tmp_path: Path) -> None:
    model = new_model(metrics=[lambda y_true, y_pred: 0.0])
    with pytest.raises(cr.SerializationError, match=r"metrics.*register"):
        fit_model(model, 2, Checkpoint(tmp_path / "fit"))
    assert not model.built
    assert names_of(tmp_path) == []


def test_a_callback_can_be_pickled_after_its_fit(tmp_path: Path) -> None:
    saver = Checkpoint(tmp_path / "fit")
    fit_model(new_model(), 1, saver)
    assert pickle.loads(pickle.dumps(saver)).state() == saver.state()


def test_stopped_before_the_first_epoch(tmp_path: Path) -> None:
    model = new_model().build(3)
    theta = model.theta

    def stop(logs: Any) -> None:
        model.stop_training = True

    steps: list[int] = []

    def rate(step: int) -> float:
        steps.append(step)
        return 0.01

    model.optimizer = cr.Adam(rate)
    steps.clear()
    asked = fit_model(model, 3, LambdaCallback(on_train_begin=stop))
    assert asked.epochs == 0
    assert len(steps) <= 12  # the check of the schedule, and no epoch
    assert np.array_equal(model.theta, theta)


def test_a_bad_monitor_is_refused_before_training(tmp_path: Path) -> None:
    model = new_model()
    saver = Checkpoint(tmp_path / "fit", best=True, monitor="val_accuracy")
    with pytest.raises(cr.ArgumentError, match=r"^Checkpoint: monitor 'val_accuracy'"):
        fit_model(model, 2, saver)
    assert not model.built


def test_files_of_others_are_never_removed(tmp_path: Path) -> None:
    """What a checkpoint claims of other files is not believed: they say it."""
    path = tmp_path / "fit.st"
    fit_model(new_model(), 2, Checkpoint(path, keep=2))
    notes = tmp_path / "fit-7.st"
    notes.write_text("my notes")
    model, saver = cr.load(path), Checkpoint(path, keep=2, every=3)
    saver.restore({**saver.state(), "older": ["7", "1"]})
    fit_model(model, 6, saver)
    assert notes.read_text() == "my notes"
    assert not (tmp_path / "fit-1.st").exists()


@pytest.mark.parametrize("options", [{}, {"every_steps": 2}])
@pytest.mark.parametrize("keep", [3, None])
def test_second_names_that_are_too_long_are_told_before_training(
    keep: int | None, options: dict[str, Any], tmp_path: Path
) -> None:
    """255 bytes is the longest name; "-12" in it, or "-11-12", is one too long."""
    extra = len("-11-12") - 1 if options else len("-12") - 1
    for size, fits in ((255 - extra - 1, True), (255 - extra, False)):
        path = tmp_path / ("a" * (size - len(".safetensors")) + ".safetensors")
        model = new_model().build(3)
        theta = model.theta
        saver = Checkpoint(path, keep=keep, **options)
        if fits:
            fit_model(model, 12, saver)
            assert len(names_of(tmp_path)) >= 3
            continue
        before = names_of(tmp_path)
        with pytest.raises(cr.FileError, match="name too long"):
            fit_model(model, 12, saver)
        assert np.array_equal(model.theta, theta)
        assert model.history.epochs == 0
        assert names_of(tmp_path) == before
        fit_model(model, 2, Checkpoint(path))  # it has no second name
