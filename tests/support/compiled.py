"""What the tests of compiled steps share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr

from tests.support.libraries import here

needs_torch = pytest.mark.skipif(not here("torch"), reason="needs PyTorch")

RNG = np.random.default_rng(0)

X = RNG.normal(size=(40, 3))

Y = np.tanh(X[:, :2])


def plain() -> cr.Model:
    return model(cr.MLP((5, 2), activation="tanh"))


def model(network: Any, **options: Any) -> cr.Model:
    given: dict[str, Any] = {"backend": "torch", "jit_compile": True}
    return cr.Model(network, **(given | {"dtype": "float64"} | options))


def fit(m: cr.Model, y: Any = Y, epochs: int = 2, **more: Any) -> Any:
    # Batches of 16, 16 and 8.
    return m.fit(X, y, epochs=epochs, batch_size=16, progress=False, **more)
