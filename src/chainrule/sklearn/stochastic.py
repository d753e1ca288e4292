"""The solvers "adam" and "sgd", and any optimizer of ours: epochs and when they end.

The epochs are `chainrule.training.minibatch.epochs`; here are scikit-learn's order of samples, its
learning rates and its rules for stopping. An engine that runs ahead of Python is let run
as far ahead as no rule can apply yet, so that nothing is computed in vain.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from chainrule import optimizers
from chainrule.arrays import trees
from chainrule.config import checks
from chainrule.errors import DivergenceError
from chainrule.sklearn import validated
from chainrule.sklearn.listener import Listener
from chainrule.sklearn.memory import OptimizerState, going_on, solver
from chainrule.sklearn.samples import Job
from chainrule.sklearn.stopping import _judge
from chainrule.state import training
from chainrule.training import iterations, minibatch
from chainrule.training.interrupt import Interrupt
from chainrule.training.objective import LossObjective
from chainrule.training.problem import Problem

__all__ = ["check_finite", "run"]


class Pace:
    """How many epochs may be begun before one of them is judged.

    No rule can apply before the count of epochs without improvement passes
    n_iter_no_change: so many may be under way, where the engine runs ahead of Python and
    nobody asks for an epoch's numbers.

    Attributes
    ----------
    under_way : int
        Epochs that were begun and not judged.
    """

    def __init__(
        self, estimator: Any, eager: bool, quiet: bool, validated: bool
    ) -> None:
        self.estimator, self.under_way = estimator, 0
        # Each epoch is looked at by itself, or has a learning rate of its own.
        self.single = validated or _invscaling(estimator)
        self.most = minibatch.LAG if self.single else 2 * minibatch.LAG
        if eager or not quiet:
            self.most = 1

    def free(self) -> int:
        """How many may be begun now, all of them in one call."""
        count = self.estimator._no_improvement_count
        ahead = max(1, self.estimator.n_iter_no_change + 1 - count)
        free = int(min(ahead, self.most)) - self.under_way
        return min(free, 1) if self.single else free


def sample_order(
    estimator: Any, samples: int, batch_size: int
) -> Callable[[int], tuple[Any, Any]]:
    """Return scikit-learn's order of samples, epoch after epoch.

    Each epoch permutes the last one's order, beginning with the samples' own.
    """
    generator = estimator._random_state
    numbers = np.arange(samples)
    cut = samples - samples % batch_size

    def parts(numbers: Any) -> tuple[Any, Any]:
        some = numbers.astype(np.int32)
        full = some[:cut].reshape(-1, batch_size)
        return full, (some[cut:][None, :] if cut < samples else None)

    fixed = parts(numbers)

    def order(_: int) -> tuple[Any, Any]:
        nonlocal numbers
        if not estimator.shuffle:
            return fixed
        permutation = np.arange(samples)
        generator.shuffle(permutation)
        numbers = numbers[permutation]
        return parts(numbers)

    return order


def _penalty(alpha: float, weight: Any) -> Callable[[Any], Any]:
    """Return alpha / Σw of each batch, 0 where nothing weighs."""

    def penalty(part: Any) -> Any:
        if weight is None:
            return np.full(part.shape[0], alpha / part.shape[1])
        total = weight[part].sum(axis=1)
        return np.where(total != 0, alpha / np.where(total != 0, total, 1.0), 0.0)

    return penalty


def _batch_size(estimator: Any, samples: int) -> int:
    if estimator.batch_size == "auto":
        return min(200, samples)
    if estimator.batch_size > samples:
        warnings.warn(
            "Got `batch_size` less than 1 or larger than sample size. It is going to "
            "be clipped",
            stacklevel=6,
        )
    return int(np.clip(estimator.batch_size, 1, samples))


def run(estimator: Any, job: Job, theta: Any, state: Any, incremental: bool) -> None:
    """Train from the host vectors theta and state; leave the fitted attributes.

    The caller has entered the backend's scope.
    """
    backend, network = job.backend, job.network
    if incremental and hasattr(estimator, "_optimizer"):
        memory = going_on(estimator, estimator._optimizer)
    else:
        memory = solver(estimator)
    estimator._optimizer = memory
    if isinstance(memory.optimizer, optimizers.ProblemOptimizer):
        memory.optimizer.check(job.loss)
        memory.optimizer.check_network(network)
    samples = job.data.x.shape[0]
    batch_size = _batch_size(estimator, samples)
    network.layer.check_rows(min(batch_size, samples))
    seed = 0
    if network.draws:  # nothing else may draw from scikit-learn's generator
        seed = int(estimator._random_state.randint(np.iinfo(np.int32).max))
    weights = tuple(backend.copy(backend.asarray(a, job.dtype)) for a in (theta, state))
    slots = memory.slots
    if slots is None:
        names = getattr(memory.optimizer, "slots", ())
        slots = tuple(backend.xp.zeros_like(weights[0]) for _ in names)
    else:
        slots = trees.tree_map(lambda a: backend.copy(_placed(backend, a)), slots)
    steps = -(-samples // batch_size)
    listener = Listener(
        estimator,
        job,
        weights,
        memory.optimizer,
        steps,
        first=len(getattr(estimator, "loss_curve_", ())),
        incremental=incremental,
    )
    if listener.over:
        listener.close()
        return
    pace = Pace(estimator, backend.eager, listener.quiet, job.validation is not None)
    start = training.TrainingState(
        weights[0], weights[1], slots, memory.step, 0, memory.last_rate
    )
    epochs = 1 if incremental else estimator.max_iter
    penalty = _penalty(float(estimator.alpha), job.weight)
    if not hasattr(memory.optimizer, "update"):
        everything = np.arange(samples)[None, :]
        whole = Problem(
            backend,
            network,
            LossObjective(job.loss),
            job.data,
            batch_size,
            weights[1],
            penalty=float(penalty(everything)[0]),
        )
        records: Any = iterations.epochs(whole, memory.optimizer, start, epochs=epochs)
    else:
        scheduled = estimator.optimizer is None
        init = memory.optimizer.learning_rate
        records = minibatch.epochs(
            backend,
            network,
            LossObjective(job.loss),
            memory.optimizer,
            start,
            job.data,
            epochs=epochs,
            batch_size=batch_size,
            order=sample_order(estimator, samples, batch_size),
            seed=seed,
            dtype=job.dtype,
            factor=lambda: (
                listener.factor * (memory.learning_rate / init if scheduled else 1.0)
            ),
            ahead=pace.free,
            penalty=penalty,
            guard=False,
        )
    try:
        final = _loop(
            estimator, job, listener, memory, records, samples, pace, incremental
        )
    finally:
        listener.close()
        records.close()
    # What stays in the estimator stays on the host: it is pickled and copied.
    memory.slots = trees.tree_map(backend.to_numpy, memory.slots)
    if final is not None:
        estimator._publish(network, *final, backend)
    if estimator.early_stopping:
        estimator._best_weights = tuple(
            _host(backend, a) for a in estimator._best_weights
        )


def check_finite(estimator: Any) -> None:
    """Tell where numbers beside the weights, which are finite, have overflowed.

    Training that goes on with such slots moves nothing, or the wrong way, without a
    word. The optimizer starts anew. The weights are those that the fit ended with; with
    `early_stopping` those of the best epoch, which are what was asked for: a warning.
    """
    memory: OptimizerState | None = getattr(estimator, "_optimizer", None)
    kept = [estimator._state]
    if memory is not None and hasattr(memory.optimizer, "update"):
        kept += memory.slots or ()
    if all(np.isfinite(validated.host(a)).all() for a in kept):
        return
    if memory is not None:
        memory.slots, memory.step = None, 0
    msg = (
        "training diverged: the optimizer's slots or the running statistics overflowed, "
        "and what is trained from there on stands still or goes astray. Scale X and y "
        "(StandardScaler), look for outliers in them, or take float64."
    )
    if estimator.early_stopping:
        checks.warn(f"{msg} The weights of the best epoch are kept.")
        return
    raise DivergenceError(msg)


def _placed(backend: Any, a: Any) -> Any:
    return backend.asarray(a, str(a.dtype)) if isinstance(a, np.ndarray) else a


def _host(backend: Any, a: Any) -> Any:
    return a if isinstance(a, np.ndarray) else backend.to_numpy(a)


def _loop(
    estimator: Any,
    job: Job,
    listener: Listener,
    memory: OptimizerState,
    records: Any,
    samples: int,
    pace: Pace,
    incremental: bool,
) -> Any:
    """Draw epochs, judge them in order; return the weights that the fit ends with."""
    backend, check = job.backend, job.validation
    pending: deque[tuple[Any, Any]] = deque()
    running, seen = True, estimator.t_
    logs: dict[str, float] = {}
    record: Any = None
    stopped = False
    estimator.n_iter_ = 0
    with Interrupt() as interrupt:
        while not stopped:
            while running and pace.free() > 0 and not interrupt.asked:
                listener.begin(estimator.n_iter_ + pace.under_way)
                fresh = next(records, None)
                if fresh is None:
                    running = False
                    break
                record = fresh
                pace.under_way += record.epochs
                seen += record.epochs * samples
                _after(estimator, memory, record, seen)
                looked = None
                if check is not None:
                    looked = check.look(job, record.state.theta, record.state.state)
                pending.append((record, looked))
            if not pending:
                break
            oldest, looked = pending.popleft()
            for loss in oldest.losses(backend):
                pace.under_way -= 1
                logs, stopped = _judge(
                    estimator, job, listener, memory, oldest, loss, looked, samples
                )
            if incremental or stopped:
                break
            if estimator.n_iter_ == estimator.max_iter:
                warnings.warn(
                    f"Stochastic Optimizer: Maximum iterations ({estimator.max_iter}) "
                    f"reached and the optimization hasn't converged yet.",
                    ConvergenceWarning,
                    stacklevel=6,
                )
                break
        if interrupt.asked:
            warnings.warn("Training interrupted by user.", stacklevel=6)
        elif running and not stopped and not hasattr(memory.optimizer, "update"):
            next(records, None)  # it looks back on what it reached
    if record is None:
        return None
    final = (record.state.theta, record.state.state)
    final = listener.end(logs, final, "interrupted" if interrupt.asked else "")
    estimator.stopped_ = stopped
    if estimator.early_stopping and (stopped or not incremental):
        final = estimator._best_weights
    return final


def _invscaling(estimator: Any) -> bool:
    """Whether the learning rate falls epoch by epoch."""
    inverse = estimator.solver == "sgd" and estimator.learning_rate == "invscaling"
    return bool(inverse and estimator.optimizer is None)


def _after(estimator: Any, memory: OptimizerState, record: Any, seen: int) -> None:
    """Remember where the optimizer stands; scikit-learn's rate of the next epoch."""
    memory.slots = record.state.slots
    memory.step, memory.last_rate = record.state.step, record.state.rate
    if _invscaling(estimator):
        rate = float(estimator.learning_rate_init)
        memory.learning_rate = rate / (seen + 1) ** estimator.power_t
