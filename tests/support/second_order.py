"""What the tests of second-order optimizers share."""

from __future__ import annotations

from typing import Any

import numpy as np

import chainrule as cr

X = np.linspace(-1.0, 1.0, 100)[:, None]

Y = X**2

RNG = np.random.default_rng(0)

X2, Y2 = RNG.normal(size=(23, 2)), RNG.normal(size=(23, 3))

WEIGHT = RNG.integers(0, 3, size=23).astype(np.float64)


def model(optimizer: Any, seed: int = 0, units: Any = (16, 1), **options: Any) -> Any:
    network = options.pop("network", None) or cr.MLP(units, activation="tanh")
    options = {"dtype": "float64", "backend": "numpy", **options}
    return cr.Model(network, optimizer=optimizer, seed=seed, **options)


def worst(fitted: Any) -> float:
    return float(np.max(np.abs(fitted.predict(X) - Y)))
