"""Callbacks: when they are called, what they may do, and what a fit makes of it."""

from __future__ import annotations

import csv
import os
import pickle
import signal
from collections.abc import Callable, Iterator
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
from chainrule.metrics import Metric

from tests.support.models import standing

X = np.random.default_rng(0).normal(size=(20, 3))
Y = X[:, :2] * 2.0


def _model(values: Any = None, **options: Any) -> cr.Model:
    """A small model; if there are `values`, its metric "scripted" reads them out."""
    if values is not None:
        script: Iterator[float] = iter(values)

        def scripted(y_true: Any, y_pred: Any) -> float:
            return next(script)

        options["metrics"] = [Metric(scripted, greater_is_better=False)]
    return cr.Model(cr.MLP((4, 2)), optimizer=cr.Adam(0.01), **options)


def _fit(model: cr.Model, epochs: int, *callbacks: Any, **options: Any) -> cr.History:
    return model.fit(X, Y, epochs=epochs, batch_size=6, callbacks=callbacks, **options)


def _twin(epochs: int) -> cr.Model:
    model = _model()
    if epochs:
        _fit(model, epochs)
    return model


def _assert_same(model: cr.Model, twin: cr.Model, *, slots: bool = True) -> None:
    assert model.theta.tobytes() == twin.theta.tobytes()
    if slots:
        assert (standing(model).epoch, standing(model).step) == (
            standing(twin).epoch,
            standing(twin).step,
        )
        assert [a.tobytes() for a in standing(model).slots] == [
            a.tobytes() for a in standing(twin).slots
        ]


class Fake:
    """What monitors need of a model."""

    def __init__(self, learning_rate: float = 1.0) -> None:
        self.stop_training = False
        self.learning_rate = learning_rate
        self.weights: Any = None

    def get_weights(self) -> Any:
        return self.weights

    def set_weights(self, weights: Any) -> None:
        self.weights = weights


def _play(
    callback: Callback, values: Any, model: Fake, first: int = 0, name: str = "loss"
) -> list[float]:
    """Show the callback a loss per epoch, until it stops; return the learning rates."""
    callback.model = model
    callback.on_train_begin({})
    rates = []
    for epoch, value in enumerate(values, first):
        model.weights = epoch
        callback.on_epoch_end(epoch, {name: value})
        rates.append(model.learning_rate)
        if model.stop_training:
            break
    return rates


@pytest.mark.parametrize(
    ("options", "name", "values", "stopped", "best"),
    [
        ({"patience": 2}, "loss", [3, 1, 2, 2, 0], 3, 1),
        ({"patience": 2}, "loss", [3, 3, 2, 2, 1, 1], None, 4),
        ({"patience": 1}, "loss", [3, 3, 0], 1, 0),
        ({"patience": 0}, "loss", [3, 2, 2, 0], 2, 1),
        ({"patience": 2, "min_delta": 0.5}, "loss", [3, 2.6, 2.4, 2.2, 2], 4, 2),
        ({"patience": 1, "mode": "max"}, "loss", [1, 2, 3, 3], 3, 2),
        ({"patience": 1, "monitor": "r2"}, "r2", [1, 2, 3, 3], 3, 2),
        ({"patience": 1, "monitor": "r2", "mode": "min"}, "r2", [1, 2], 1, 0),
        (
            {"patience": 1, "monitor": "val_accuracy"},
            "val_accuracy",
            [0.1, 0.2, 0.2],
            2,
            1,
        ),
        ({"patience": 2}, "val_loss", [float("nan"), 2, float("nan"), 2], 3, 1),
        ({"patience": 2}, "loss", [float("nan"), float("nan"), 1], 1, None),
    ],
)
def test_early_stopping(
    options: dict[str, Any], name: str, values: Any, stopped: Any, best: Any
) -> None:
    callback, model = EarlyStopping(**options), Fake()
    _play(callback, values, model, name=name)
    assert (callback.stopped_epoch, callback.best_epoch) == (stopped, best)
    assert model.stop_training == (stopped is not None)
    last = model.weights
    callback.on_train_end({})
    assert model.weights == (last if best is None else best)


@pytest.mark.parametrize("restore", [True, False])
def test_early_stopping_of_a_model(restore: bool) -> None:
    stopping = EarlyStopping("scripted", 2, restore_best_weights=restore)
    model = _model([3, 1, 2, 2, 0])
    assert _fit(model, 9, stopping).epochs == 4
    _assert_same(model, _twin(2 if restore else 4), slots=not restore)
    assert (standing(model).epoch, stopping.best_epoch, stopping.stopped_epoch) == (
        4,
        1,
        3,
    )


def test_early_stopping_forgets_the_last_fit() -> None:
    stopping, model = EarlyStopping("scripted", 1), _model([1, 2, 5, 4, 6])
    assert _fit(model, 9, stopping).epochs == 2
    assert _fit(model, 9, stopping).epochs == 3
    assert (stopping.best, stopping.best_epoch, stopping.stopped_epoch) == (4.0, 3, 4)


def test_validation_loss_is_the_default() -> None:
    stopping, model = EarlyStopping(patience=50), _model()
    history = _fit(model, 5, stopping, validation_data=(X, Y + 1.0))
    assert stopping.best == min(history["val_loss"])


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
    rates = _play(straight, VALUES, whole)
    before = _play(first, VALUES[:cut], one)
    second.restore(pickle.loads(pickle.dumps(first.state())))
    two.learning_rate = one.learning_rate
    after = _play(second, VALUES[cut:], two, cut)
    assert before + after == rates
    assert second.state() == straight.state()
    assert two.stop_training == whole.stop_training
    for each, model in ((straight, whole), (second, two)):
        each.on_train_end({})
        assert model.weights == whole.weights
    # A restored state is good for one fit.
    second.on_train_begin({})
    assert second.best is None


def test_early_stopping_goes_on_in_a_model() -> None:
    straight, model = EarlyStopping("scripted", 3), _model([5, 3, 4, 4, 4, 4])
    _fit(model, 9, straight)
    one, two = EarlyStopping("scripted", 3), EarlyStopping("scripted", 3)
    # Not its on_train_end, which gives back the best weights.
    one.on_train_end = lambda logs: None  # type: ignore[method-assign]
    other = _model([5, 3, 4, 4, 4, 4])
    _fit(other, 3, one)
    two.restore(one.state())
    _fit(other, 9, two)
    _assert_same(other, model)
    assert (two.best_epoch, two.stopped_epoch) == (1, 4)


@pytest.mark.parametrize(
    ("options", "rates"),
    [
        ({}, [1, 1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]),
        ({"min_lr": 0.3}, [1, 1, 0.5, 0.5, 0.3, 0.3, 0.3, 0.3]),
        ({"min_lr": 2.0}, [1] * 8),
        ({"cooldown": 1}, [1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25]),
        ({"cooldown": 2}, [1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25]),
    ],
    ids=str,
)
def test_plateau(options: dict[str, Any], rates: list[float]) -> None:
    """A loss that never falls; in a cooldown nothing is counted."""
    callback = ReduceLROnPlateau(factor=0.5, patience=2, **options)
    assert _play(callback, [1.0] * 8, Fake()) == rates


def test_plateau_waits_for_less() -> None:
    callback = ReduceLROnPlateau(factor=0.5, patience=2, min_delta=0.1)
    assert _play(callback, [3, 2, 2, 1, 0.95, 0.5, 0.45, 0.42], Fake())[-2:] == [1, 0.5]
    callback = ReduceLROnPlateau("r2", factor=0.5, patience=1)
    assert _play(callback, [1, 2, 3, 3], Fake(), name="r2") == [1, 1, 1, 0.5]


def test_plateau_of_a_model() -> None:
    """The reduced rate is that of the next epoch."""
    model, twin = _model([1, 1, 1, 1]), _model()
    plateau = ReduceLROnPlateau("scripted", factor=0.5, patience=1)
    _fit(model, 3, plateau)
    assert model.learning_rate == pytest.approx(0.0025)
    for factor in (1.0, 1.0, 0.5):
        twin.learning_rate = 0.01 * factor
        _fit(twin, 1)
    _assert_same(model, twin)


def test_hooks() -> None:
    events: list[Any] = []

    def note(name: str) -> Callable[..., None]:
        return lambda *given: events.append((name, *given))

    names = ("on_train_begin", "on_epoch_begin", "on_epoch_end", "on_train_end")
    callback = LambdaCallback(**{name: note(name) for name in names})
    model = _model(metrics=["r2"])
    history = _fit(model, 2, callback)
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
    _fit(model, 1, callback)  # epochs are counted from the model's birth
    assert [e[:2] for e in events[1:3]] == [("on_epoch_begin", 2), ("on_epoch_end", 2)]


def test_callbacks_in_order_with_logs_of_their_own() -> None:
    seen: list[Any] = []
    first = LambdaCallback(on_epoch_end=lambda epoch, logs: logs.clear())
    second = LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(dict(logs)))
    history = _fit(_model(), 2, first, second)
    assert [logs["loss"] for logs in seen] == history["loss"]


def test_listening_changes_nothing() -> None:
    model = _model()
    _fit(model, 3, Callback(), LambdaCallback())
    _assert_same(model, _twin(3))
    assert Callback().state() == {}


def test_csv_logger(tmp_path: Path) -> None:
    file = tmp_path / "log.csv"

    def rows(separator: str = ",") -> list[list[str]]:
        with file.open(newline="") as stream:
            return list(csv.reader(stream, delimiter=separator))

    model = _model(metrics=["r2"])
    one = _fit(model, 2, CSVLogger(file), validation_data=(X, Y))
    names = ["loss", "r2", "val_loss", "val_r2"]
    assert rows()[0] == ["epoch", *names]
    for i, row in enumerate(rows()[1:]):
        assert [float(v) for v in row] == [i, *(one[name][i] for name in names)]
    _fit(model, 1, CSVLogger(str(file), append=True), validation_data=(X, Y))
    assert [row[0] for row in rows()] == ["epoch", "0", "1", "2"]
    _fit(model, 1, CSVLogger(file, separator=";"))
    assert [row[0] for row in rows(";")] == ["epoch", "3"]
    assert rows(";")[0] == ["epoch", "loss", "r2"]
    file.unlink()
    _fit(model, 1, CSVLogger(file, append=True))
    assert rows()[0][0] == "epoch"


def _at(epoch: int, act: Callable[[], Any], hook: str) -> LambdaCallback:
    def at(number: int, logs: Any) -> None:
        if number == epoch:
            act()

    return LambdaCallback(**{hook: at})


def _throw(error: BaseException) -> Callable[[], None]:
    def throw() -> None:
        raise error

    return throw


@pytest.mark.parametrize(("hook", "done"), [("on_epoch_begin", 2), ("on_epoch_end", 3)])
@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
def test_a_callback_that_raises(kind: Any, hook: str, done: int) -> None:
    """The model is that of the last whole epoch, and goes on as if nothing had been."""
    model = _model()
    ended: list[Any] = []
    callbacks = [
        _at(2, _throw(kind("mine")), hook),
        LambdaCallback(on_train_end=ended.append),
    ]
    if kind is KeyboardInterrupt:
        history = _fit(model, 9, *callbacks)
        assert history.interrupted
        assert history.epochs == done
        assert len(ended) == 1
    else:
        with pytest.raises(kind, match=r"^mine$"):
            _fit(model, 9, *callbacks)
    assert model.history.epochs == done
    twin = _twin(done)
    _assert_same(model, twin)
    for each in (model, twin):
        _fit(each, 2)
    _assert_same(model, twin)


def test_stop_training() -> None:
    model = _model()

    def stop() -> None:
        model.stop_training = True

    history = _fit(model, 9, _at(1, stop, "on_epoch_end"))
    assert (history.epochs, history.interrupted) == (2, False)
    _assert_same(model, _twin(2))
    assert _fit(model, 2).epochs == 2  # it holds for one fit


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send")
@pytest.mark.parametrize(("hook", "done"), [("on_epoch_begin", 2), ("on_epoch_end", 2)])
def test_ctrl_c_finishes_the_epoch(hook: str, done: int) -> None:
    model = _model()
    before = signal.getsignal(signal.SIGINT)
    press = lambda: os.kill(os.getpid(), signal.SIGINT)  # noqa: E731
    history = _fit(model, 9, _at(1, press, hook))
    assert history.interrupted
    assert (history.epochs, model.history.epochs) == (done, done)
    _assert_same(model, _twin(done))
    assert signal.getsignal(signal.SIGINT) is before


def test_a_handler_of_ones_own_stays() -> None:
    caught: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: caught.append(number))
    try:
        press = lambda: signal.raise_signal(signal.SIGINT)  # noqa: E731
        assert not _fit(_model(), 3, _at(1, press, "on_epoch_end")).interrupted
    finally:
        signal.signal(signal.SIGINT, before)
    assert caught == [signal.SIGINT]


@pytest.mark.parametrize("progress", [True, False, None])
def test_progress(progress: bool | None, capsys: pytest.CaptureFixture[str]) -> None:
    model = _model()
    _fit(model, 3, progress=progress, validation_data=(X, Y))
    out, err = capsys.readouterr()
    assert not out
    if progress:
        assert "12/12" in err  # four steps an epoch
        assert f"loss={model.history['loss'][-1]:.3g}" in err
        assert f"val_loss={model.history['val_loss'][-1]:.3g}" in err
    else:
        assert not err
    _assert_same(model, _twin(3))


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: EarlyStopping(patience=-1), ValueError, "^EarlyStopping: patience"),
        (lambda: EarlyStopping(patience=1.5), TypeError, "^EarlyStopping: patience"),  # type: ignore[arg-type]
        (lambda: EarlyStopping(min_delta=-1), ValueError, "^EarlyStopping: min_delta"),
        (lambda: EarlyStopping(mode="mx"), ValueError, "mode .*Did you mean 'max'"),
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
