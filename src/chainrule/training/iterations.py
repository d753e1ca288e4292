"""Epochs of an optimizer that makes iterations of its own."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np

from chainrule.arrays.trees import tree_map
from chainrule.config.memory import exhausted
from chainrule.derivatives.cost import LIMIT
from chainrule.errors import OutOfMemoryError
from chainrule.optimizers import Iteration
from chainrule.state.epochs import EpochResult
from chainrule.state.training import TrainingState
from chainrule.training.minibatch import ask
from chainrule.training.problem import Problem

__all__ = ["epochs"]


def epochs(
    problem: Problem, optimizer: Any, state: TrainingState, *, epochs: int
) -> Generator[EpochResult, None, None]:
    """Train by an optimizer's own iterations, yielding a `EpochResult` after each.

    Raises
    ------
    DivergenceError
        When the loss or the parameters stop being finite.
    """
    backend = problem.backend
    xp = backend.xp
    made, value = 0, None
    memory = state.slots[0] if state.slots else None
    iterations = optimizer.minimise(problem, state.theta, memory)
    try:
        for number in range(1, epochs + 1):
            found = _next(problem, optimizer, iterations)
            if found is None:
                break
            theta, value, memory, logs = Iteration(*found)
            finite = xp.all(xp.isfinite(theta)) & xp.all(xp.isfinite(value))
            ask(backend, number, finite)
            state = state._replace(
                theta=theta,
                # A copy: the optimizer may write into its own.
                slots=() if memory is None else (tree_map(backend.copy, memory),),
                step=state.step + 1,
                epoch=state.epoch + 1,
            )
            weights = (backend.copy(theta), state.state)
            made = number
            yield EpochResult(value, weights, state, logs)
        if made:
            ended = made < epochs
            optimizer.conclude(problem, problem.number(value), made, ended=ended)
    finally:
        iterations.close()


def _next(problem: Problem, optimizer: Any, iterations: Any) -> Any:
    """Return the next iteration; say what to do where memory does not suffice for it."""
    backend = problem.backend
    try:
        return next(iterations, None)
    except Exception as error:
        if isinstance(error, OutOfMemoryError) or not backend.is_out_of_memory(error):
            raise
        kind = str(problem.data.x.dtype).rpartition(".")[2]
        advice = optimizer.too_large(problem.network, np.dtype(kind).itemsize)
        network, rows = problem.network, problem.batch_size
        each = network.widest
        if optimizer.least_squares:
            each = network.size * network.output_size
        if rows * each > LIMIT and rows * network.output_size > network.size:
            advice = f"Try batch_size={max(1, LIMIT // each)}"
        advice = (
            f"{advice or 'Use a smaller network'}. The parameters of the last whole "
            f"iteration are kept, the optimizer starts anew."
        )
        what = f"in an iteration of {type(optimizer).__name__}"
        raise exhausted(backend, what, advice, error) from error
