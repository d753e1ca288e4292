"""Learning rates as functions of the step, computed on the host in float64.

A schedule is any callable from the step's number (0, 1, 2, ...) to a learning rate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainrule.config.explain import explain_missing
from chainrule.schedules.base import Constant, Schedule, get, rate
from chainrule.schedules.cycles import CosineRestarts, OneCycle
from chainrule.schedules.decay import (
    CosineDecay,
    ExponentialDecay,
    InverseTimeDecay,
    PolynomialDecay,
    StepDecay,
)
from chainrule.schedules.warmup import Join, LinearWarmup, PolynomialWarmup

__all__ = [
    "Constant",
    "CosineDecay",
    "CosineRestarts",
    "ExponentialDecay",
    "InverseTimeDecay",
    "Join",
    "LinearWarmup",
    "OneCycle",
    "PolynomialDecay",
    "PolynomialWarmup",
    "Schedule",
    "StepDecay",
    "get",
    "rate",
]

# Pickles, and what is shown, know them by the package, whichever file they stand in.
for _name in __all__:
    globals()[_name].__module__ = __name__


if not TYPE_CHECKING:
    __getattr__ = explain_missing(__name__, __all__)
