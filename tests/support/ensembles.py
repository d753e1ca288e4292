"""What the tests of ensembles share."""

from __future__ import annotations

from typing import Any

import numpy as np

import chainrule as cr

RNG = np.random.default_rng(0)

X = RNG.normal(size=(70, 3))

Y = np.stack([np.sin(X[:, 0]) + X[:, 1], np.cos(X[:, 2])], axis=1)

LABELS = RNG.integers(0, 2, 70)

MEMBERS = 3


def normed() -> cr.Layer:
    return cr.Sequential(
        cr.Dense(8, bias=False),
        cr.BatchNorm(),
        cr.GELU(),
        cr.Dropout(0.2),
        cr.Residual(cr.Sequential(cr.Dense(8), cr.LayerNorm(), cr.Tanh())),
        cr.Dense(2),
    )


def new_ensemble(members: int | None = MEMBERS, **options: Any) -> cr.Model:
    options = {"optimizer": cr.Adam(1e-2), "dtype": "float64", "seed": 3, **options}
    network = options.pop("network", None) or cr.MLP((8, 2), "tanh")
    return cr.Model(network, members=members, **options)


def gap(a: Any, b: Any) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))
