"""What the tests of training share: data, networks, trained models."""

from __future__ import annotations

from typing import Any

import numpy as np

import chainrule as cr

RNG = np.random.default_rng(0)

X = RNG.normal(size=(70, 4))

Y = np.stack([np.sin(X[:, 0]) + X[:, 1] * X[:, 2], np.cos(X[:, 3])], axis=1)

LABELS = RNG.integers(0, 2, 70)

WEIGHT = RNG.uniform(0.0, 2.0, 70)


def normed() -> cr.Layer:
    # A bias before BatchNorm would stay at 0, of which there are no relative errors.
    return cr.Sequential(
        cr.Dense(16, bias=False),
        cr.BatchNorm(),
        cr.GELU(),
        cr.Dropout(0.2),
        cr.Residual(cr.Sequential(cr.Dense(16), cr.LayerNorm(), cr.Tanh())),
        cr.Dense(2),
    )


class GoingOn:
    """A listener that never ends a fit."""

    def cut_within(self, part: Any) -> bool:
        return True

    def end_iteration(self, result: Any) -> bool:
        return True
