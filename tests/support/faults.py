"""What the tests of faults share: a model, its twin, and how they are compared."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

import chainrule as cr

from tests.support.libraries import here
from tests.support.models import host_slots, standing

X = np.random.default_rng(0).normal(size=(22, 3))

Y = X[:, :2] * 2.0


def new_model(backend: Any = "numpy", **options: Any) -> cr.Model:
    network = cr.Sequential(
        cr.Dense(4), cr.BatchNorm(), cr.Tanh(), cr.Dropout(0.2), cr.Dense(2)
    )
    given = {"optimizer": cr.Adam(0.01), "backend": backend, **options}
    return cr.Model(network, **given)


def fit_model(
    model: cr.Model, epochs: int, *callbacks: Any, **options: Any
) -> cr.History:
    return model.fit(X, Y, epochs=epochs, batch_size=4, callbacks=callbacks, **options)


def new_twin(epochs: int, **options: Any) -> cr.Model:
    model = new_model(**options)
    fit_model(model, epochs)
    return model


def assert_same(model: cr.Model, twin: cr.Model) -> None:
    pairs = zip(
        (*model.get_weights(), *host_slots(model)),
        (*twin.get_weights(), *host_slots(twin)),
        strict=True,
    )
    assert all(a.tobytes() == b.tobytes() for a, b in pairs)
    assert dict(model.history) == dict(twin.history)
    assert standing(model).epoch == standing(twin).epoch


BACKENDS = ["numpy", *[name for name in ("jax", "torch") if here(name)]]

POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
