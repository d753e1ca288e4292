"""Examples of every optimizer."""

from __future__ import annotations

from chainrule import optimizers, schedules
from chainrule.optimizers import Optimizer, ProblemOptimizer

__all__ = ["OPTIMIZERS"]

OPTIMIZERS: dict[str, Optimizer | ProblemOptimizer] = {
    "SGD": optimizers.SGD(0.1),
    "SGD, momentum": optimizers.SGD(0.05, momentum=0.9),
    "SGD, Nesterov": optimizers.SGD(0.05, momentum=0.9, nesterov=True),
    "SGD, schedule": optimizers.SGD(
        schedules.CosineDecay(0.1, 20), momentum=0.9, rate_in_velocity=True
    ),
    "Adam": optimizers.Adam(1e-2),
    "Adam, epsilon_hat": optimizers.Adam(1e-2, epsilon_hat=True),
    "Adam, clip_norm": optimizers.Adam(1e-2, clip_norm=0.1, weight_decay=1e-3),
    "SGD, clip_value": optimizers.SGD(0.1, clip_value=0.05, clip_norm=0.2),
    "AdamW": optimizers.AdamW(1e-2),
    "RMSprop": optimizers.RMSprop(1e-2),
    "Adagrad": optimizers.Adagrad(1e-1),
    "NAdam": optimizers.NAdam(1e-2),
    "Lion": optimizers.Lion(1e-3, weight_decay=1e-2),
    "LBFGS": optimizers.LBFGS(),
    "LevenbergMarquardt": optimizers.LevenbergMarquardt(),
}
