"""What the tests of callbacks share: a model, its fit, and a fake of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import chainrule as cr
from chainrule.callbacks import (
    Callback,
)
from chainrule.metrics import Metric

from tests.support.models import standing

X = np.random.default_rng(0).normal(size=(20, 3))

Y = X[:, :2] * 2.0


def new_model(values: Any = None, **options: Any) -> cr.Model:
    """A small model; if there are `values`, its metric "scripted" reads them out."""
    if values is not None:
        script: Iterator[float] = iter(values)

        def scripted(y_true: Any, y_pred: Any) -> float:
            return next(script)

        options["metrics"] = [Metric(scripted, greater_is_better=False)]
    return cr.Model(cr.MLP((4, 2)), optimizer=cr.Adam(0.01), **options)


def fit_model(
    model: cr.Model, epochs: int, *callbacks: Any, **options: Any
) -> cr.History:
    return model.fit(X, Y, epochs=epochs, batch_size=6, callbacks=callbacks, **options)


def new_twin(epochs: int) -> cr.Model:
    model = new_model()
    if epochs:
        fit_model(model, epochs)
    return model


def assert_same(model: cr.Model, twin: cr.Model, *, slots: bool = True) -> None:
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


def play(
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
