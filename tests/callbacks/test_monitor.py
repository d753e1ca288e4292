"""What callbacks watch: its direction, and what counts as an improvement."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.callbacks import (
    Callback,
    Checkpoint,
    EarlyStopping,
    LambdaCallback,
    ReduceLROnPlateau,
)
from chainrule.metrics import Metric

from tests.support.libraries import LIBRARIES, backend
from tests.support.models import standing

X = np.random.default_rng(0).normal(size=(40, 3))
Y = X[:, :2] * 2.0


def scripted(values: Any, **direction: Any) -> Any:
    """A metric that reads values out, with a direction or without."""
    script = iter(values)

    def gain(y_true: Any, y_pred: Any) -> float:
        return float(next(script))

    return Metric(gain, **direction) if direction else gain


def _model(metric: Any, **options: Any) -> cr.Model:
    return cr.Model(cr.MLP((4, 2)), metrics=[metric], **options)


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_score_is_maximised(name: str) -> None:
    metric = scripted([1.0, 3.0, 2.0, 2.5, 0.0], greater_is_better=True)
    stopping = EarlyStopping("gain", patience=2)
    history = _model(metric, **backend(name)).fit(X, Y, epochs=9, callbacks=[stopping])
    assert history.epochs == 4
    assert (stopping.best, stopping.best_epoch, stopping.stopped_epoch) == (3.0, 1, 3)


def test_the_best_checkpoint_of_a_score(tmp_path: Any) -> None:
    metric = scripted([1.0, 3.0, 2.0], greater_is_better=True)
    cr.serialization.register(metric.function, name=f"gain {tmp_path}")
    saver = Checkpoint(tmp_path / "best.st", best=True, monitor="gain")
    _model(metric).fit(X, Y, epochs=3, callbacks=[saver])
    assert standing(cr.load(tmp_path / "best.st")).epoch == 2
    assert saver.best == 3.0


@pytest.mark.parametrize(
    "make",
    [
        lambda path: EarlyStopping("val_gain"),
        lambda path: ReduceLROnPlateau("val_gain"),
        lambda path: Checkpoint(path, best=True, monitor="val_gain"),
    ],
    ids=["stopping", "plateau", "checkpoint"],
)
def test_nobody_says_the_direction(make: Any, tmp_path: Any) -> None:
    """Refused before the first epoch, with the way out; the model is as it was."""
    model = _model(scripted([]))
    how: dict[str, Any] = {
        "validation_data": (X, Y),
        "callbacks": [make(tmp_path / "best.st")],
    }
    match = "whether 'val_gain' is to rise or to fall.*mode='max' or mode='min'"
    with pytest.raises(cr.ArgumentError, match=match):
        model.fit(X, Y, **how)
    assert not model.built
    assert model.history.epochs == 0
    assert list(tmp_path.iterdir()) == []


def test_a_mode_says_it() -> None:
    mode: Any
    for mode, best in (("min", 1.0), ("max", 3.0)):
        stopping = EarlyStopping("gain", mode=mode)
        _model(scripted([2.0, 3.0, 1.0])).fit(X, Y, epochs=3, callbacks=[stopping])
        assert stopping.best == best
        assert stopping.state()["best"] == best


@pytest.mark.parametrize(
    ("options", "best"),
    [
        ({"monitor": "r2"}, 0.5),
        ({"monitor": "val_accuracy"}, 0.5),
        ({"monitor": "gain", "mode": "max"}, 0.5),
        ({"monitor": "gain", "mode": "min"}, -0.5),
        ({}, -0.5),
    ],
)
def test_a_state_of_before(options: Any, best: float) -> None:
    """Earlier files have the negated best value of what is to rise."""
    stopping = EarlyStopping(**options)
    old = {"best": -0.5, "wait": 1, "best_epoch": 3, "stopped_epoch": None}
    stopping.restore({**old, "weights": None})
    assert (stopping.best, stopping.wait, stopping.best_epoch) == (best, 1, 3)


@pytest.mark.parametrize(
    ("make", "change"),
    [
        (make, {name: bad})
        for make, names in (
            (EarlyStopping, ("best", "wait", "best_epoch", "stopped_epoch")),
            (ReduceLROnPlateau, ("best", "wait", "rest")),
            (lambda: Checkpoint("x"), ("best", "wait", "older")),
        )
        for name in names
        for bad in ("x", [[1]], {"a": 1}, float("nan"))
    ],
)
def test_states_of_other_kinds(make: Any, change: Any) -> None:
    callback = make()
    state, before = callback.state(), callback.state()
    with pytest.raises((TypeError, ValueError, KeyError)):
        callback.restore({**state, **change})
    assert callback.state() == before


def _rates(callback: Any, values: Any, name: str = "loss") -> list[float]:
    class Fake:
        learning_rate: Any = 1.0

    callback.model = Fake()
    callback.on_train_begin({})
    found = []
    for epoch, value in enumerate(values):
        callback.on_epoch_end(epoch, {name: value})
        found.append(callback.model.learning_rate)
    return found


def test_a_small_loss_that_halves_improves() -> None:
    """PyTorch's relative threshold; by a difference of 1e-4 nothing would improve."""
    halving = [1e-5 * 0.5**k for k in range(12)]
    assert _rates(ReduceLROnPlateau(patience=2), halving) == [1.0] * 12
    keras = ReduceLROnPlateau(patience=2, factor=0.5, min_delta=1e-4)
    assert _rates(keras, halving)[:4] == [1.0, 1.0, 0.5, 0.5]


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
def test_the_threshold_of_pytorch(mode: Any, threshold_mode: Any) -> None:
    torch = pytest.importorskip("torch")
    values = np.random.default_rng(3).normal(5.0, 1.0, 80) + np.linspace(0, 2, 80)
    weight = torch.nn.Parameter(torch.ones(1))
    theirs = torch.optim.SGD([weight], lr=1.0)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
        theirs,
        mode=mode,
        factor=0.5,
        patience=1,  # theirs: one more than that
        threshold=0.05,
        threshold_mode=threshold_mode,
        eps=0.0,
    )
    wanted = []
    for value in values:
        plateau.step(value)
        wanted.append(theirs.param_groups[0]["lr"])
    ours = ReduceLROnPlateau(
        factor=0.5,
        patience=2,
        min_delta=0.05,
        mode=mode,
        threshold_mode=threshold_mode,
    )
    assert _rates(ours, values) == wanted


@pytest.mark.parametrize("make", [EarlyStopping, ReduceLROnPlateau])
def test_infinite_and_negative_values(make: Any) -> None:
    callback = make(threshold_mode="rel", min_delta=0.1)
    callback.restore_best_weights = False
    _rates(callback, [float("inf"), 5.0, -1.0, -1.05])
    assert (callback.best, callback.wait) == (-1.0, 1)


def test_a_rate_that_underflows_or_is_0() -> None:
    plateau = ReduceLROnPlateau(patience=1, factor=1e-200)
    rates = _rates(plateau, [1.0] * 5)
    assert rates[1:] == [1e-200] * 4
    model = cr.Model(cr.MLP((4, 2)), optimizer=cr.SGD(lambda step: 0.0))
    model.fit(X, Y, epochs=4, callbacks=[ReduceLROnPlateau(patience=1)])


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("optimizer", [cr.LevenbergMarquardt(), cr.LBFGS()], ids=str)
def test_a_plateau_without_a_rate(name: str, optimizer: Any) -> None:
    pytest.importorskip("scipy")
    model = cr.Model(cr.MLP((4, 2)), optimizer=optimizer, **backend(name))
    kind = type(optimizer).__name__
    with pytest.raises(cr.ArgumentError, match=f"learning rate, and {kind} has none"):
        model.fit(X, Y, epochs=3, callbacks=[ReduceLROnPlateau()])
    assert not model.built


# The learning rate in the logs.


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("listen", [False, True])
def test_the_rate_of_a_schedule(name: str, listen: bool) -> None:
    """That of each epoch's last step, whether somebody listens or not."""
    schedule = cr.schedules.CosineDecay(0.1, 40)
    model = cr.Model(cr.MLP((4, 2)), optimizer=cr.SGD(schedule), **backend(name))
    hooks = [LambdaCallback()] if listen else []
    history = model.fit(X, Y, epochs=12, batch_size=16, callbacks=hooks)
    again = model.fit(X, Y, epochs=1, batch_size=16, callbacks=hooks)
    wanted = [schedule(3 * epoch + 2) for epoch in range(13)]
    found = history["learning_rate"] + again["learning_rate"]
    assert found == pytest.approx(wanted)
    assert all(type(rate) is float for rate in found)


def test_the_rate_of_a_plateau(tmp_path: Any) -> None:
    path = tmp_path / "log.csv"
    plateau = ReduceLROnPlateau(patience=1, factor=0.5, min_delta=100.0)
    model = cr.Model(cr.MLP((4, 2)), optimizer=cr.SGD(0.1))
    hooks = [plateau, cr.callbacks.CSVLogger(path)]
    history = model.fit(X, Y, epochs=4, callbacks=hooks)
    assert history["learning_rate"] == pytest.approx([0.1, 0.1, 0.05, 0.025])
    assert path.read_text().startswith("epoch,learning_rate,loss")
    members = cr.Model(cr.MLP((4, 2)), optimizer=cr.SGD([0.1, 0.2]), members=2)
    history = members.fit(X, Y, epochs=3, callbacks=hooks)
    np.testing.assert_allclose(history["learning_rate"][2], [0.05, 0.1])
    assert history.member(1)["learning_rate"] == pytest.approx([0.2, 0.2, 0.1])
    assert path.read_text().startswith("epoch,loss\n")
    plain = cr.Model(cr.MLP((4, 2))).fit(X, Y, epochs=2, callbacks=[Callback()])
    assert list(plain) == ["loss"]


# Hooks that do not exist.


def test_a_hook_that_does_not_exist() -> None:
    class Keras(Callback):
        def on_train_batch_end(self, batch: int, logs: Any) -> None:
            raise AssertionError

    match = "Keras.on_train_batch_end will never be called.*on_epoch_begin"
    model = cr.Model(cr.MLP((4, 2)))
    with pytest.warns(cr.ChainruleWarning, match=match):
        model.fit(X, Y, epochs=1, callbacks=[Keras()])
    with pytest.raises(cr.ArgumentTypeError, match="no hook on_batch_end; the hooks"):
        LambdaCallback(on_batch_end=print)
