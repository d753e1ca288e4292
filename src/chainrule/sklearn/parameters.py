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
    LossName,
    OptimizerAlias,
    OptimizerName,
)
from chainrule.layers import Layer
from chainrule.optimizers import Optimizer, ProblemOptimizer

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
RegressorLoss = LossName | losses.Loss | Callable[..., Any]
ClassifierLoss = Literal["log_loss"] | RegressorLoss

Hidden = int | Sequence[int] | np.ndarray[Any, Any]
Rates = float | Sequence[float]
BatchSize = int | Literal["auto"]
RandomState = int | np.random.RandomState | None
ClassWeight = (
    Mapping[Any, float] | Sequence[Mapping[Any, float]] | Literal["balanced"] | None
)
AnyBackend = BackendName | Backend | ModuleType | None
AnyOptimizer = OptimizerName | OptimizerAlias | Optimizer | ProblemOptimizer | None
Callbacks = Callback | Iterable[Callback] | None
Scoring = str | Callable[..., Any] | None
ValidationData = tuple[Any, ...] | list[Any] | None
