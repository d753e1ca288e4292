"""EarlyStopping: when it stops, what it restores, and that it goes on."""

from __future__ import annotations

from typing import Any

import pytest

from chainrule.callbacks import (
    EarlyStopping,
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
from tests.support.models import standing


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
    play(callback, values, model, name=name)
    assert (callback.stopped_epoch, callback.best_epoch) == (stopped, best)
    assert model.stop_training == (stopped is not None)
    last = model.weights
    callback.on_train_end({})
    assert model.weights == (last if best is None else best)


@pytest.mark.parametrize("restore", [True, False])
def test_early_stopping_of_a_model(restore: bool) -> None:
    stopping = EarlyStopping("scripted", 2, restore_best_weights=restore)
    model = new_model([3, 1, 2, 2, 0])
    assert fit_model(model, 9, stopping).epochs == 4
    assert_same(model, new_twin(2 if restore else 4), slots=not restore)
    assert (standing(model).epoch, stopping.best_epoch, stopping.stopped_epoch) == (
        4,
        1,
        3,
    )


def test_early_stopping_forgets_the_last_fit() -> None:
    stopping, model = EarlyStopping("scripted", 1), new_model([1, 2, 5, 4, 6])
    assert fit_model(model, 9, stopping).epochs == 2
    assert fit_model(model, 9, stopping).epochs == 3
    assert (stopping.best, stopping.best_epoch, stopping.stopped_epoch) == (4.0, 3, 4)


def test_validation_loss_is_the_default() -> None:
    stopping, model = EarlyStopping(patience=50), new_model()
    history = fit_model(model, 5, stopping, validation_data=(X, Y + 1.0))
    assert stopping.best == min(history["val_loss"])


def test_early_stopping_goes_on_in_a_model() -> None:
    straight, model = EarlyStopping("scripted", 3), new_model([5, 3, 4, 4, 4, 4])
    fit_model(model, 9, straight)
    one, two = EarlyStopping("scripted", 3), EarlyStopping("scripted", 3)
    # Not its on_train_end, which gives back the best weights.
    one.on_train_end = lambda logs: None  # type: ignore[method-assign]
    other = new_model([5, 3, 4, 4, 4, 4])
    fit_model(other, 3, one)
    two.restore(one.state())
    fit_model(other, 9, two)
    assert_same(other, model)
    assert (two.best_epoch, two.stopped_epoch) == (1, 4)
