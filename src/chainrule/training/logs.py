"""Which numbers an epoch's logs have."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule import optimizers
from chainrule.training.objective import Objective

__all__ = ["log_names", "logs_rate", "plain_rate"]


def log_names(
    model: Any, hooks: list[Any], objective: Objective, validated: Objective | None
) -> dict[str, bool | None]:
    """Return the names of each epoch's logs, with whether more of them is better.

    `objective` is what is trained on, `validated` what is evaluated on the validation
    data, if there are any. Logs that are arrays, one value for each member, are left
    out.
    """
    names: dict[str, bool | None] = {"loss": False}
    names |= {k: metric.greater_is_better for k, metric in model.metrics.items()}
    both = dict(names)
    names |= dict.fromkeys(objective.terms, False)
    if validated is not None:
        both |= dict.fromkeys(validated.terms, False)
        names |= {f"val_{name}": rises for name, rises in both.items()}
    if logs_rate(model, hooks):
        # Not the rate itself: a schedule is a user's, and is asked epoch by epoch.
        own = isinstance(model.optimizer.learning_rate, tuple) or np.ndim(model._factor)
        names |= {} if own else {"learning_rate": None}
    return names


def plain_rate(rate: Any) -> Any:
    """Return a learning rate as logs have it: a float, or an array of the members'."""
    return rate if np.ndim(rate) else float(rate)


def logs_rate(model: Any, hooks: list[Any]) -> bool:
    """Whether the logs have the learning rate: where it may be another each epoch."""
    optimizer = model.optimizer
    if not isinstance(optimizer, optimizers.Optimizer):
        return False
    rates = optimizer.learning_rate
    numbers = rates if isinstance(rates, tuple) else (rates,)
    scheduled = not all(isinstance(rate, (int, float)) for rate in numbers)
    return scheduled or any(getattr(hook, "logs_rate", False) for hook in hooks)
