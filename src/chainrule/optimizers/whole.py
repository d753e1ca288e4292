"""Optimizers that take the whole problem and make iterations of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from chainrule.errors import ArgumentError
from chainrule.optimizers.base import BaseOptimizer

if TYPE_CHECKING:
    from chainrule.arrays.types import Array
    from chainrule.losses import Loss
    from chainrule.network import Network
    from chainrule.training.problem import Problem

__all__ = ["Iteration", "ProblemOptimizer", "Report"]


class Iteration(NamedTuple):
    """What one iteration of a `ProblemOptimizer` leaves.

    memory is an array, or None; logs are numbers for the history.
    """

    theta: Array
    loss: Loss
    memory: Any = None
    logs: Mapping[str, float] = {}


# Takes an iteration, and says whether there is to be another one.
Report = Callable[[Iteration], bool]


class ProblemOptimizer(BaseOptimizer):
    """Base of the kind that takes the whole problem; one iteration is one epoch.

    A subclass has `minimise`, which pushes its iterations. Batches only bound memory
    for it, and all its passes are those of inference.

    Attributes
    ----------
    least_squares : bool
        Whether a fit ends where the covariance of its parameters is worth keeping.
    """

    least_squares = False

    def check(self, loss: Loss) -> None:
        """Raise an error, before training, for a loss that does not fit."""

    def check_network(self, network: Network, who: str | None = None) -> None:
        """Raise an error, before training, for layers that would be ignored in part."""
        ignored = network.layer.training_only
        if ignored:
            msg = (
                f"{who or type(self).__name__} makes all passes as in inference, so "
                f"that what {', '.join(dict.fromkeys(ignored))} does in training alone "
                "would be ignored (a dropout that drops nothing, running statistics "
                "that never learn). Leave it out, freeze BatchNorm (trainable=False), "
                "or take an optimizer that goes by batches, such as Adam."
            )
            raise ArgumentError(msg)

    def check_memory(self, memory: Any, network: Network, dtype: str) -> None:
        """Raise an error if memory (host arrays of a file) is none of this optimizer.

        Parameters
        ----------
        memory : array, tree of arrays, or None
            What an `Iteration` left.
        network : Network
        dtype : str
            The model's.
        """

    def too_large(self, network: Network, itemsize: int) -> str:
        """Return what is too large where memory does not suffice, and what to do.

        "" where it is the rows that are worked on at a time: fewer may do.
        """
        return ""

    def conclude(
        self, problem: Problem, loss: float, made: int, *, ended: bool
    ) -> None:
        """Look at a fit that made its iterations, or all that it could; it may warn.

        `ended` says that there was no further iteration to make.
        """

    def minimise(
        self, problem: Problem, theta: Array, memory: Any, report: Report
    ) -> None:
        """Make iterations, and report each, as long as `report` wants another one.

        Parameters
        ----------
        problem : chainrule.training.problem.Problem
            ``problem.value_and_gradient(theta)`` over all samples, for example.
        theta : array, shape (P,)
            Where to start.
        memory : array or None
            What the last iteration left; None the first time.
        report : function
            ``report(Iteration(theta, loss, memory, logs)) -> bool``: whether there is
            to be another one. What it raises is to be let through.
        """
        raise NotImplementedError
