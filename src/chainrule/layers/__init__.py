"""What networks are made of: frozen records that call `chainrule.rules`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainrule.config.explain import explain_missing
from chainrule.layers.activations import (
    CELU,
    ELU,
    GELU,
    SELU,
    Activation,
    Exp,
    GELUTanh,
    HardSigmoid,
    HardSiLU,
    HardTanh,
    Identity,
    LeakyReLU,
    LogSoftmax,
    Mish,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Softsign,
    Tanh,
)
from chainrule.layers.base import Layer, Variable
from chainrule.layers.containers import Residual, Sequential
from chainrule.layers.dense import Dense
from chainrule.layers.dropout import Dropout
from chainrule.layers.mlp import MLP
from chainrule.layers.normalization import BatchNorm, LayerNorm
from chainrule.layers.reshaping import Flatten

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "MLP",
    "SELU",
    "Activation",
    "BatchNorm",
    "Dense",
    "Dropout",
    "Exp",
    "Flatten",
    "GELUTanh",
    "HardSiLU",
    "HardSigmoid",
    "HardTanh",
    "Identity",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "LogSoftmax",
    "Mish",
    "ReLU",
    "Residual",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Softsign",
    "Tanh",
    "Variable",
]


def __dir__() -> list[str]:
    return __all__


if not TYPE_CHECKING:
    __getattr__ = explain_missing(__name__, __all__)
