"""Callbacks: when they are called, what they may do, and what a fit makes of it."""

from __future__ import annotations

import csv
import os
import pickle
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.callbacks import (
    Callback,
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    ReduceLROnPlateau,
)

from tests.support.listening import (
    Fake,
    X,
    Y,
    assert_same,
    fit_model,
    new_model,
    new_twin,
    play,
)

VALUES = [5, 4, 4, 4.5, 3, 3, 3, 3, 2, 2, 2, 2, 2, 2]


@pytest.mark.parametrize("cut", range(1, 8))
@pytest.mark.parametrize(
    "make",
    [
        lambda: EarlyStopping(patience=4),
        lambda: ReduceLROnPlateau(patience=2, factor=0.5),
        lambda: ReduceLROnPlateau(patience=2, factor=0.5, cooldown=2),
    ],
    ids=["stopping", "plateau", "cooldown"],
)
def test_state_goes_on(make: Callable[[], Any], cut: int) -> None:
    """Saved at any epoch, restored into a new callback: the rest is the same."""
    whole, one, two = Fake(), Fake(), Fake()
    straight, first, second = make(), make(), make()
    rates = play(straight, VALUES, whole)
    before = play(first, VALUES[:cut], one)
    second.restore(pickle.loads(pickle.dumps(first.state())))
    two.learning_rate = one.learning_rate
    after = play(second, VALUES[cut:], two, cut)
    assert before + after == rates
    assert second.state() == straight.state()
    assert two.stop_training == whole.stop_training
    for each, model in ((straight, whole), (second, two)):
        each.on_train_end({})
        assert model.weights == whole.weights
    # A restored state is good for one fit.
    second.on_train_begin({})
    assert second.best is None


def test_hooks() -> None:
    events: list[Any] = []

    def note(name: str) -> Callable[..., None]:
        return lambda *given: events.append((name, *given))

    names = ("on_train_begin", "on_epoch_begin", "on_epoch_end", "on_train_end")
    callback = LambdaCallback(**{name: note(name) for name in names})
    model = new_model(metrics=["r2"])
    history = fit_model(model, 2, callback)
    logs = [{k: v[i] for k, v in history.items()} for i in range(2)]
    assert callback.model is model
    assert events == [
        ("on_train_begin", {}),
        ("on_epoch_begin", 0, {}),
        ("on_epoch_end", 0, logs[0]),
        ("on_epoch_begin", 1, {}),
        ("on_epoch_end", 1, logs[1]),
        ("on_train_end", logs[1]),
    ]
    events.clear()
    fit_model(model, 1, callback)  # epochs are counted from the model's birth
    assert [e[:2] for e in events[1:3]] == [("on_epoch_begin", 2), ("on_epoch_end", 2)]


def test_callbacks_in_order_with_logs_of_their_own() -> None:
    seen: list[Any] = []
    first = LambdaCallback(on_epoch_end=lambda epoch, logs: logs.clear())
    second = LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(dict(logs)))
    history = fit_model(new_model(), 2, first, second)
    assert [logs["loss"] for logs in seen] == history["loss"]


def test_listening_changes_nothing() -> None:
    model = new_model()
    fit_model(model, 3, Callback(), LambdaCallback())
    assert_same(model, new_twin(3))
    assert Callback().state() == {}


def test_csv_logger(tmp_path: Path) -> None:
    file = tmp_path / "log.csv"

    def rows(separator: str = ",") -> list[list[str]]:
        with file.open(newline="") as stream:
            return list(csv.reader(stream, delimiter=separator))

    model = new_model(metrics=["r2"])
    one = fit_model(model, 2, CSVLogger(file), validation_data=(X, Y))
    names = ["loss", "r2", "val_loss", "val_r2"]
    assert rows()[0] == ["epoch", *names]
    for i, row in enumerate(rows()[1:]):
        assert [float(v) for v in row] == [i, *(one[name][i] for name in names)]
    fit_model(model, 1, CSVLogger(str(file), append=True), validation_data=(X, Y))
    assert [row[0] for row in rows()] == ["epoch", "0", "1", "2"]
    fit_model(model, 1, CSVLogger(file, separator=";"))
    assert [row[0] for row in rows(";")] == ["epoch", "3"]
    assert rows(";")[0] == ["epoch", "loss", "r2"]
    file.unlink()
    fit_model(model, 1, CSVLogger(file, append=True))
    assert rows()[0][0] == "epoch"


def _at(epoch: int, act: Callable[[], Any], hook: str) -> LambdaCallback:
    def at(number: int, logs: Any) -> None:
        if number == epoch:
            act()

    hooks: dict[str, Any] = {hook: at}
    return LambdaCallback(**hooks)


def _throw(error: BaseException) -> Callable[[], None]:
    def throw() -> None:
        raise error

    return throw


@pytest.mark.parametrize(("hook", "done"), [("on_epoch_begin", 2), ("on_epoch_end", 3)])
@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
def test_a_callback_that_raises(kind: Any, hook: str, done: int) -> None:
    """The model is that of the last whole epoch, and goes on as if nothing had been."""
    model = new_model()
    ended: list[Any] = []
    callbacks = [
        _at(2, _throw(kind("mine")), hook),
        LambdaCallback(on_train_end=ended.append),
    ]
    if kind is KeyboardInterrupt:
        history = fit_model(model, 9, *callbacks)
        assert history.interrupted
        assert history.epochs == done
        assert len(ended) == 1
    else:
        with pytest.raises(kind, match=r"^mine$"):
            fit_model(model, 9, *callbacks)
    assert model.history.epochs == done
    twin = new_twin(done)
    assert_same(model, twin)
    for each in (model, twin):
        fit_model(each, 2)
    assert_same(model, twin)


def test_stop_training() -> None:
    model = new_model()

    def stop() -> None:
        model.stop_training = True

    history = fit_model(model, 9, _at(1, stop, "on_epoch_end"))
    assert (history.epochs, history.interrupted) == (2, False)
    assert_same(model, new_twin(2))
    assert fit_model(model, 2).epochs == 2  # it holds for one fit


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send")
@pytest.mark.parametrize(("hook", "done"), [("on_epoch_begin", 2), ("on_epoch_end", 2)])
def test_ctrl_c_finishes_the_epoch(hook: str, done: int) -> None:
    model = new_model()
    before = signal.getsignal(signal.SIGINT)
    press = lambda: os.kill(os.getpid(), signal.SIGINT)  # noqa: E731
    history = fit_model(model, 9, _at(1, press, hook))
    assert history.interrupted
    assert (history.epochs, model.history.epochs) == (done, done)
    assert_same(model, new_twin(done))
    assert signal.getsignal(signal.SIGINT) is before


def test_a_handler_of_ones_own_stays() -> None:
    caught: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: caught.append(number))
    try:
        press = lambda: signal.raise_signal(signal.SIGINT)  # noqa: E731
        assert not fit_model(new_model(), 3, _at(1, press, "on_epoch_end")).interrupted
    finally:
        signal.signal(signal.SIGINT, before)
    assert caught == [signal.SIGINT]


@pytest.mark.parametrize("progress", [True, False, None])
def test_progress(progress: bool | None, capsys: pytest.CaptureFixture[str]) -> None:
    model = new_model()
    fit_model(model, 3, progress=progress, validation_data=(X, Y))
    out, err = capsys.readouterr()
    assert not out
    if progress:
        assert "12/12" in err  # four steps an epoch
        assert f"loss={model.history['loss'][-1]:.3g}" in err
        assert f"val_loss={model.history['val_loss'][-1]:.3g}" in err
    else:
        assert not err
    assert_same(model, new_twin(3))


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: EarlyStopping(patience=-1), ValueError, "^EarlyStopping: patience"),
        (lambda: EarlyStopping(patience=1.5), TypeError, "^EarlyStopping: patience"),  # type: ignore[arg-type]
        (lambda: EarlyStopping(min_delta=-1), ValueError, "^EarlyStopping: min_delta"),
        (lambda: EarlyStopping(mode="mx"), ValueError, "mode .*Did you mean 'max'"),  # type: ignore[arg-type]
        (lambda: EarlyStopping(3), TypeError, "^EarlyStopping: monitor .*got 3"),  # type: ignore[arg-type]
        (lambda: ReduceLROnPlateau(factor=1.0), ValueError, "factor .*got 1.0"),
        (lambda: ReduceLROnPlateau(factor=0.0), ValueError, "factor .*got 0.0"),
        (lambda: ReduceLROnPlateau(cooldown=-1), ValueError, "cooldown .*got -1"),
        (lambda: ReduceLROnPlateau(min_lr=-1.0), ValueError, "min_lr .*got -1.0"),
        (lambda: LambdaCallback(3), TypeError, "on_epoch_begin must be a function"),  # type: ignore[arg-type]
    ],
    ids=range(10),
)
def test_bad_options(make: Callable[[], Any], error: Any, match: str) -> None:
    with pytest.raises(error, match=match) as caught:
        make()
    assert isinstance(caught.value, cr.ChainruleError)


def test_a_misspelled_monitor_is_refused_before_training() -> None:
    model = cr.Model(cr.MLP((2, 1)), metrics=["r2"])
    x = np.linspace(-1.0, 1.0, 8)[:, None]
    for monitor in ("val_los", "val_loss", "accuracy"):
        with pytest.raises(cr.ArgumentError, match=f"monitor '{monitor}'.*loss, r2"):
            model.fit(x, x, callbacks=[cr.EarlyStopping(monitor=monitor)])
        assert not model.built
    model.fit(x, x, epochs=2, callbacks=[cr.EarlyStopping(monitor="r2")])
    assert len(model.history["r2"]) == 2
