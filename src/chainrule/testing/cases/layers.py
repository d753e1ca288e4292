"""Examples of every layer."""

from __future__ import annotations

from chainrule import layers
from chainrule.testing.cases.base import LayerCase

__all__ = ["LAYERS"]

_KINKED = (
    layers.ReLU,
    layers.LeakyReLU,
    layers.SELU,
    layers.HardSigmoid,
    layers.HardTanh,
    layers.HardSiLU,
)


_NESTED = layers.Sequential(
    layers.Dense(4),
    layers.Residual(
        layers.Sequential(layers.LayerNorm(), layers.Dense(4), layers.Tanh())
    ),
    layers.Sequential(layers.Dropout(0.25), layers.BatchNorm()),
    layers.Dense(2),
)


LAYERS: dict[str, LayerCase] = {
    **{
        cls.__name__: LayerCase(cls(), kinks=cls in _KINKED)
        for cls in (
            layers.CELU,
            layers.ELU,
            layers.Exp,
            layers.GELU,
            layers.GELUTanh,
            layers.HardSigmoid,
            layers.HardSiLU,
            layers.HardTanh,
            layers.Identity,
            layers.LeakyReLU,
            layers.LogSoftmax,
            layers.Mish,
            layers.ReLU,
            layers.SELU,
            layers.Sigmoid,
            layers.SiLU,
            layers.Softmax,
            layers.Softplus,
            layers.Softsign,
            layers.Tanh,
        )
    },
    "Dense": LayerCase(layers.Dense(4)),
    "Dense, no bias": LayerCase(layers.Dense(4, bias=False)),
    "Dense, square": LayerCase(layers.Dense(3)),
    "Dense, sequences": LayerCase(layers.Dense(4), (2, 3)),
    "Dense, frozen": LayerCase(layers.Dense(4, trainable=False)),
    "Flatten": LayerCase(layers.Flatten(), (2, 3)),
    "Dropout": LayerCase(layers.Dropout(0.4)),
    "Dropout, sequences": LayerCase(layers.Dropout(0.4), (2, 3)),
    "Dropout, inference": LayerCase(layers.Dropout(0.4), train=False),
    "BatchNorm": LayerCase(layers.BatchNorm()),
    "BatchNorm, sequences": LayerCase(layers.BatchNorm(), (2, 3)),
    "BatchNorm, inference": LayerCase(layers.BatchNorm(), train=False),
    "BatchNorm, frozen": LayerCase(layers.BatchNorm(trainable=False)),
    "LayerNorm": LayerCase(layers.LayerNorm()),
    "LayerNorm, sequences": LayerCase(layers.LayerNorm(), (2, 3)),
    "Residual": LayerCase(layers.Residual(layers.Dense(3))),
    "Sequential": LayerCase(_NESTED),
    "Sequential, sequences": LayerCase(_NESTED, (2, 3)),
    "Sequential, inference": LayerCase(_NESTED, train=False),
    "Sequential, partly frozen": LayerCase(
        layers.Sequential(
            layers.Dense(4), layers.Tanh(), layers.Dense(3, trainable=False)
        )
    ),
    "MLP": LayerCase(layers.MLP((4, 4, 2), activation="relu"), kinks=True),
}
