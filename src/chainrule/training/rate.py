"""The learning rate now, and what the scheduled one is multiplied with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import optimizers
from chainrule.config import checks
from chainrule.errors import ArgumentError, ShapeError

if TYPE_CHECKING:
    from chainrule.optimizers import Optimizer, ProblemOptimizer

__all__ = ["is_logged", "plain", "scale_for", "scheduled"]


def scheduled(optimizer: Optimizer | ProblemOptimizer, step: int) -> Any:
    """Return the schedule's rate of a step; an array (members,) where they have own."""
    if not isinstance(optimizer, optimizers.Optimizer):
        msg = f"{type(optimizer).__name__} has no learning rate."
        raise ArgumentError(msg)
    rate = optimizer.rates(step, 1)[..., -1]
    return rate if rate.ndim else float(rate)


def scale_for(
    wanted: Any, optimizer: Optimizer | ProblemOptimizer, step: int, members: int | None
) -> Any:
    """Return what to multiply the schedule with, so that its rate now is as wanted."""
    several = isinstance(wanted, (list, tuple)) or bool(getattr(wanted, "ndim", 0))
    number: Any
    if members is not None and several:
        if len(wanted) != members:
            msg = (
                f"learning_rate must be a number, or one for each of the "
                f"{members} members; got {len(wanted)}."
            )
            raise ShapeError(msg)
        number = np.array(
            [
                checks.real(f"learning_rate[{k}]", v, 0.0, open_low=True)
                for k, v in enumerate(wanted)
            ]
        )
    else:
        number = checks.real("learning_rate", wanted, 0.0, open_low=True)
    now = scheduled(optimizer, step)
    if np.any(now <= 0.0):
        msg = (
            f"learning_rate cannot be set to {number} while the schedule is at 0 "
            f"(step {step}); give the model another optimizer instead."
        )
        raise ArgumentError(msg)
    with np.errstate(over="ignore"):
        scale = number / np.float64(now)
    if not np.all(np.isfinite(scale)):
        msg = (
            f"learning_rate: {number} is too large beside the schedule's {now}; give "
            f"the model another optimizer instead."
        )
        raise ArgumentError(msg)
    return scale if np.ndim(scale) else float(scale)


def plain(rate: Any) -> Any:
    """Return a learning rate as logs have it: a float, or an array of the members'."""
    return rate if np.ndim(rate) else float(rate)


def is_logged(optimizer: Optimizer | ProblemOptimizer, wanted: bool) -> bool:
    """Whether the logs have the learning rate: where it may be another each epoch."""
    if not isinstance(optimizer, optimizers.Optimizer):
        return False
    rates = optimizer.learning_rate
    numbers = rates if isinstance(rates, tuple) else (rates,)
    return wanted or not all(isinstance(rate, (int, float)) for rate in numbers)
