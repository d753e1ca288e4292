"""What the estimators' parameters may be, as types: for annotations alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any, Literal

import numpy as np

from chainrule import losses
from chainrule.backends import Backend
from chainrule.callbacks import Callback
from chainrule.config.choices import (
    ActivationAlias,
    ActivationName,
    BackendName,
    Int,
    OptimizerAlias,
    OptimizerName,
    PointLossName,
    Real,
)
from chainrule.layers import Layer
from chainrule.optimizers import BaseOptimizer

__all__ = [
    "AnyBackend",
    "AnyOptimizer",
    "BatchSize",
    "Between",
    "Callbacks",
    "ClassWeight",
    "ClassifierLoss",
    "Hidden",
    "OutputActivation",
    "RandomState",
    "Rates",
    "RegressorLoss",
    "Scoring",
    "ValidationData",
]

# A function of a user's own stands for an activation, and for a loss.
OutputActivation = ActivationName | Literal["logistic"] | Layer | Callable[..., Any]
Between = OutputActivation | Sequence[OutputActivation | ActivationAlias]
RegressorLoss = PointLossName | losses.Loss | Callable[..., Any]
ClassifierLoss = Literal["log_loss"] | RegressorLoss

Hidden = Int | Sequence[Int] | np.ndarray[Any, Any]
Rates = Real | Sequence[Real]
BatchSize = Int | Literal["auto"]
RandomState = Int | np.random.RandomState | None
ClassWeight = (
    Mapping[Any, Real] | Sequence[Mapping[Any, Real]] | Literal["balanced"] | None
)
AnyBackend = BackendName | Backend | ModuleType | None
AnyOptimizer = OptimizerName | OptimizerAlias | BaseOptimizer | None
Callbacks = Callback | Iterable[Callback] | None
Scoring = str | Callable[..., Any] | None
ValidationData = tuple[Any, ...] | list[Any] | None
