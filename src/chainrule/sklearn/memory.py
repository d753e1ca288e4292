"""What goes on from one `partial_fit` to the next."""

from __future__ import annotations

from typing import Any

from chainrule import optimizers

__all__ = ["OptimizerState", "going_on", "solver"]


class OptimizerState:
    """What goes on from one `partial_fit` to the next.

    Attributes
    ----------
    optimizer : Optimizer
    given : str, Optimizer or None
        The parameter `optimizer` that it was made from; None where it is the solver's.
    learning_rate : float
        Of the next epoch; for Adam, before its bias corrections.
    slots : tuple of host arrays (P,), or None before the first step
    step : int
    last_rate : float
        Learning rate of the last step.
    """

    optimizer: Any
    given: Any
    learning_rate: float
    slots: Any
    step: int
    last_rate: float

    def __init__(self, optimizer: Any, learning_rate: float, given: Any = None) -> None:
        self.optimizer, self.given = optimizer, given
        self.learning_rate = learning_rate
        self.slots: Any = None
        self.step = 0
        self.last_rate = learning_rate


def solver(estimator: Any) -> OptimizerState:
    """Return the optimizer that the parameters describe, at its beginning."""
    rate = float(estimator.learning_rate_init)
    if estimator.optimizer is not None:
        given = estimator.optimizer
        return OptimizerState(optimizers.get(given), rate, given)
    if estimator.solver == "adam":
        adam = optimizers.Adam(
            rate,
            estimator.beta_1,
            estimator.beta_2,
            estimator.epsilon,
            epsilon_hat=True,
        )
        return OptimizerState(adam, rate)
    momentum = float(estimator.momentum)
    sgd = optimizers.SGD(rate, rate_in_velocity=True).replace(
        momentum=momentum, nesterov=bool(estimator.nesterovs_momentum and momentum)
    )
    return OptimizerState(sgd, rate)


def going_on(estimator: Any, memory: OptimizerState) -> OptimizerState:
    """Return the optimizer of a fit that goes on, with the parameters as they are now.

    Other numbers of the solver, such as `learning_rate_init`, hold from the next step
    on, and what "adaptive" and "invscaling" have made of the rate goes along. Another
    solver, or another `optimizer`, begins anew.
    """
    fresh = solver(estimator)
    old, new = memory.optimizer, fresh.optimizer
    kinds = [(type(o), getattr(o, "slots", ())) for o in (old, new)]
    if memory.given != fresh.given or kinds[0] != kinds[1]:
        return fresh
    if fresh.given is None and old != new:
        memory.learning_rate *= new.learning_rate / old.learning_rate
        memory.optimizer = new
    return memory
