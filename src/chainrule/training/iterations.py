"""The iterations of an optimizer that takes the whole problem, each an epoch."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from chainrule.arrays.trees import tree_map
from chainrule.config.memory import exhausted
from chainrule.derivatives.cost import LIMIT
from chainrule.optimizers import Iteration
from chainrule.state.epochs import EpochResult
from chainrule.state.training import TrainingState
from chainrule.training.minibatch import check_finite
from chainrule.training.options import Listener
from chainrule.training.problem import Problem

__all__ = ["ProblemTraining"]


class ProblemTraining:
    """The iterations of a `ProblemOptimizer`.

    Parameters
    ----------
    problem : Problem
    optimizer : ProblemOptimizer
    state : TrainingState
        Where training begins.

    Attributes
    ----------
    steps : int
        Of one epoch: an iteration is a step.
    """

    steps = 1

    def __init__(self, problem: Problem, optimizer: Any, state: TrainingState) -> None:
        self._problem, self._optimizer, self._state = problem, optimizer, state
        self._made = 0
        self._value: Any = None
        self._goes_on = True  # whether another iteration was wanted after the last one

    def prepare(self, ahead: int, rate_scale: Any) -> None:
        """Prepare nothing: iterations need no plan of the host's."""

    def advance(self, listener: Listener) -> None:
        """Make iterations as long as they are wanted, and as the optimizer has some.

        Parameters
        ----------
        listener : Listener
            Hears of each iteration. It is not kept: it may own this object.

        Raises
        ------
        DivergenceError
            When the loss or the parameters stop being finite.
        """
        backend, state = self._problem.backend, self._state
        theta = backend.copy(state.theta)
        memory = tree_map(backend.copy, state.slots)[0] if state.slots else None
        minimise = self._optimizer.minimise

        def report(iteration: Iteration) -> bool:
            self._goes_on = listener.end_iteration(self._result(iteration))
            return self._goes_on

        if inspect.isgeneratorfunction(minimise):  # as they were until 0.1
            for iteration in minimise(self._problem, theta, memory):
                if not report(iteration):
                    return
        else:
            minimise(self._problem, theta, memory, report)

    def _result(self, iteration: Iteration) -> EpochResult:
        """Take an iteration, if it is finite."""
        backend = self._problem.backend
        xp = backend.xp
        theta, value, memory, logs = Iteration(*iteration)
        finite = xp.all(xp.isfinite(theta)) & xp.all(xp.isfinite(value))
        check_finite(backend, self._made + 1, finite)
        before = self._state
        self._state = before._replace(
            theta=backend.copy(theta),
            # A copy: the optimizer may write into its own.
            slots=() if memory is None else (tree_map(backend.copy, memory),),
            step=before.step + 1,
            epoch=before.epoch + 1,
        )
        self._made, self._value = self._made + 1, value
        return EpochResult(value, self._state, (theta, before.state), logs)

    def drain(self) -> None:
        """Let the optimizer look back on what it reached; it may warn."""
        if self._made:
            problem, value = self._problem, self._problem.number(self._value)
            ended = self._goes_on  # it was wanted, and there was none
            self._optimizer.conclude(problem, value, self._made, ended=ended)

    def exhausted(self, error: Exception) -> Exception:
        """Return the error that says what is too large, and what to do."""
        problem, network = self._problem, self._problem.network
        dtype = str(self._state.theta.dtype).rpartition(".")[2]
        advice = self._optimizer.too_large(network, np.dtype(dtype).itemsize)
        rows, each = problem.batch_size, network.widest
        if self._optimizer.least_squares:
            each = network.size * network.output_size
        if rows * each > LIMIT and rows * network.output_size > network.size:
            advice = f"Try batch_size={max(1, LIMIT // each)}"
        advice = (
            f"{advice or 'Use a smaller network'}. The parameters of the last whole "
            f"iteration are kept, the optimizer starts anew."
        )
        what = f"in an iteration of {type(self._optimizer).__name__}"
        return exhausted(problem.backend, what, advice, error)
