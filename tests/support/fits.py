"""What the tests of checkpoints share: a fit, its end at any moment, its twin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.callbacks import (
    LambdaCallback,
)

from tests.support.models import host_slots, standing

RNG = np.random.default_rng(0)

X = RNG.normal(size=(46, 3))

Y = np.sin(X[:, :2])

WEIGHT = RNG.uniform(0.5, 1.0, 46)

VALIDATION = (X[:7] + 0.1, Y[:7])


class Stop(Exception):
    """What stands for a crash."""


def new_network() -> cr.Layer:
    return cr.Sequential(
        cr.Dense(8), cr.BatchNorm(), cr.Tanh(), cr.Dropout(0.3), cr.Dense(2)
    )


def new_model(where: Any = None, **options: Any) -> cr.Model:
    options = {"optimizer": cr.Adam(0.02), "metrics": ["r2"], **options}
    return cr.Model(new_network(), **(where or {"backend": "numpy"}), **options)


def fit_model(model: cr.Model, epochs: int = 6, *callbacks: Any, **options: Any) -> Any:
    given = {"sample_weight": WEIGHT, "validation_data": VALIDATION, **options}
    return model.fit(
        X, Y, epochs=epochs, batch_size=4, callbacks=callbacks, progress=False, **given
    )


def names_of(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def crash_at(epoch: int, hook: str = "on_epoch_end") -> LambdaCallback:
    def crash(number: int, logs: Any) -> None:
        if number == epoch:
            raise Stop

    hooks: dict[str, Any] = {hook: crash}
    return LambdaCallback(**hooks)


def crashed(epoch: int, *callbacks: Any, where: Any = None, **options: Any) -> None:
    with pytest.raises(Stop):
        fit_model(new_model(where), 6, *callbacks, crash_at(epoch), **options)


def assert_same(model: cr.Model, twin: cr.Model) -> None:
    pairs = zip(model.get_weights(), twin.get_weights(), strict=True)
    assert all(a.tobytes() == b.tobytes() for a, b in pairs)
    slots = zip(host_slots(model), host_slots(twin), strict=True)
    assert all(a.tobytes() == b.tobytes() for a, b in slots)
    np.testing.assert_equal(dict(model.history), dict(twin.history))
    now, then = standing(model), standing(twin)
    for name in ("step", "epoch", "rate", "rate_scale"):
        assert np.array_equal(getattr(now, name), getattr(then, name))
    assert np.array_equal(model.learning_rate, twin.learning_rate)
