"""What the tests of files share: a model, its file, and how a file is refused."""

from __future__ import annotations

from typing import Any

import numpy as np

import chainrule as cr

from tests.support.libraries import backend

RNG = np.random.default_rng(0)

X = RNG.normal(size=(16, 3)).astype(np.float32)

Y = (X[:, :2] ** 2).astype(np.float32)

NETWORK = cr.Sequential(
    cr.Dense(4),
    cr.BatchNorm(),
    cr.Residual(cr.Sequential(cr.Tanh(), cr.Dropout(0.2))),
    cr.Dense(2, bias=False, trainable=False),
)


def new_model(name: str = "numpy", **options: Any) -> cr.Model:
    given = {"optimizer": cr.Adam(cr.schedules.StepDecay(0.01, 5)), **options}
    model = cr.Model(NETWORK, metrics=["r2"], seed=7, **backend(name), **given)
    model.fit(X, Y, epochs=2, batch_size=8)
    return model


class Scale(cr.Layer):
    """z = factor x."""

    factor: float

    def __init__(self, factor: float, *, trainable: bool = True) -> None:
        self._configure(trainable, factor=factor)

    def forward(self, params: Any, x: Any, context: Any) -> Any:
        def pullback(dz: Any, dx: bool = True, dp: bool = True) -> Any:
            return dz * self.factor, ()

        return x * self.factor, pullback


def own_model(layer: cr.Layer | None = None, **options: Any) -> cr.Model:
    network = cr.Sequential(cr.Dense(2), layer or Scale(2.0))
    return cr.Model(network, backend="numpy", **options).build(3)
