"""What the tests of optimizers share: gradients, rates, and a run over them."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np

import chainrule as cr

RNG = np.random.default_rng(1)

X = RNG.normal(size=(90, 3))

Y = np.stack([np.sin(2.0 * X[:, 0]), X[:, 1] * X[:, 2]], axis=1)

NETWORK = cr.MLP((8, 2), "tanh")

GRADIENTS = RNG.normal(size=(60, 7))

RATES = np.geomspace(0.1, 1e-3, 60)


def each_scalars(optimizer: Any, steps: int) -> Iterator[Any]:
    """Scalars of steps 0, 1, ..., as the step sees them."""
    columns = optimizer.scalars(0, optimizer.rates(0, steps), 0.0)
    for i in range(steps):
        row = {k: float(np.broadcast_to(v, steps)[i]) for k, v in columns.items()}
        yield SimpleNamespace(**row)


DEFAULTS: dict[Any, dict[str, Any]] = {
    cr.SGD: {
        "learning_rate": 0.01,
        "momentum": 0.0,
        "nesterov": False,
        "rate_in_velocity": False,
    },
    cr.Adam: {"learning_rate": 1e-3, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8},
    cr.AdamW: {"learning_rate": 1e-3, "weight_decay": 0.01, "epsilon_hat": False},
    cr.RMSprop: {"learning_rate": 0.01, "rho": 0.99, "epsilon": 1e-8},
    cr.Adagrad: {"learning_rate": 0.01, "epsilon": 1e-10},
    cr.NAdam: {
        "learning_rate": 2e-3,
        "beta_1": 0.9,
        "beta_2": 0.999,
        "epsilon": 1e-8,
        "momentum_decay": 4e-3,
    },
    cr.Lion: {"learning_rate": 1e-4, "beta_1": 0.9, "beta_2": 0.99},
}
DEFAULTS[cr.Adam]["epsilon_hat"] = False
DEFAULTS[cr.AdamW] = {**DEFAULTS[cr.Adam], **DEFAULTS[cr.AdamW]}
