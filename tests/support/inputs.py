"""What tests of refusals and of intake share: data, a model, how it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.config.choices import LossName

from tests.support.models import standing

RNG = np.random.default_rng(0)


# Whole numbers: every dtype below holds them exactly.
X = RNG.integers(0, 4, (24, 3)).astype(np.float64)


Y = RNG.integers(0, 2, (24, 2)).astype(np.float64)


LABELS = RNG.integers(0, 2, 24)


WEIGHT = RNG.uniform(0.5, 2.0, 24)


TARGETS = {
    "squared_error": Y,
    "poisson": Y,
    "binary_cross_entropy": Y,
    "cross_entropy": LABELS,
}


WHERE = {"backend": "numpy"}


Value, Type, Shape, Device = (
    cr.ArgumentError,
    cr.ArgumentTypeError,
    cr.ShapeError,
    cr.DeviceError,
)


BUILTIN: dict[Any, type[Exception]] = {
    Value: ValueError,
    Type: TypeError,
    Shape: ValueError,
    Device: ValueError,
    cr.OutOfMemoryError: MemoryError,
    cr.BusyError: RuntimeError,
}


def new_model(loss: Any = "squared_error", fitted: int = 2, **where: Any) -> cr.Model:
    model = cr.Model(
        cr.Sequential(cr.Dense(5), cr.BatchNorm(), cr.Tanh(), cr.Dense(2)),
        loss=loss,
        optimizer=cr.Adam(0.01),
        **(where or WHERE),
    )
    if fitted:
        model.fit(X, TARGETS[loss], epochs=fitted, batch_size=10)
    return model


def snapshot(model: cr.Model) -> Any:
    slots = [
        np.asarray(model.backend.to_numpy(a)).tobytes() for a in standing(model).slots
    ]
    weights = [a.tobytes() for a in model.get_weights()]
    counters = (
        standing(model).step,
        standing(model).epoch,
        standing(model).rate,
        standing(model).rate_scale,
    )
    return weights, slots, counters, dict(model.history)


def refused(
    call: Callable[[], Any], error: type[Exception], match: str, *models: Any
) -> None:
    """Check the error, its family and its words; the models stay as they were."""
    before = [snapshot(model) for model in models]
    with pytest.raises(error, match=match) as caught:
        call()
    assert caught.type is error
    assert isinstance(caught.value, cr.ChainruleError)
    assert isinstance(caught.value, BUILTIN[error])
    assert [snapshot(model) for model in models] == before


def with_value(a: Any, value: float) -> Any:
    a = np.array(a, dtype=np.float64)
    a[5, ...] = value
    return a


SQ: LossName = "squared_error"
CE: LossName = "cross_entropy"
BCE: LossName = "binary_cross_entropy"
POISSON: LossName = "poisson"


def call_method(name: str) -> Callable[[cr.Model, Any], Any]:
    return lambda model, x: getattr(model, name)(x)


def outcome(x: Any, y: Any, loss: LossName = SQ, **options: Any) -> Any:
    """Loss and outputs after two epochs."""
    model = new_model(loss, fitted=0)
    history = model.fit(x, y, epochs=2, batch_size=10, **options)
    return history["loss"], np.asarray(model.predict(X)).tobytes()
