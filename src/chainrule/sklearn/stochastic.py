"""The solvers "adam" and "sgd", and any optimizer of ours: their epochs.

Here are scikit-learn's order of samples and its learning rates; its rules for stopping
are in `chainrule.sklearn.stopping`. An engine that runs ahead of Python is let run as
far ahead as no rule can apply yet, so that nothing is computed in vain.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule import optimizers
from chainrule.arrays.types import Array
from chainrule.config import checks
from chainrule.errors import DivergenceError
from chainrule.sklearn import validated
from chainrule.sklearn.fit import EstimatorFit, Listeners
from chainrule.sklearn.memory import OptimizerState, going_on, solver
from chainrule.sklearn.samples import Job
from chainrule.sklearn.stopping import Rules
from chainrule.state.epochs import EpochResult
from chainrule.training.minibatch import LAG
from chainrule.training.objective import LossObjective
from chainrule.training.options import FitPlan

__all__ = ["StochasticFit", "check_finite", "run", "sample_order"]


class StochasticFit(EstimatorFit):
    """Epochs, and scikit-learn's rules for their end.

    An epoch is made, and judged when its numbers are asked for: no rule can apply
    before the count of epochs without improvement passes n_iter_no_change, so that so
    many may be under way where the engine runs ahead of Python and nobody listens.
    """

    stopped: bool

    def __init__(
        self,
        estimator: Any,
        job: Job,
        plan: FitPlan,
        listeners: Listeners,
        memory: OptimizerState,
    ) -> None:
        super().__init__(estimator, job, plan, listeners)
        self._memory = memory
        self.stopped = False  # by a rule or a callback
        self._rules = Rules(estimator, memory, self.epoch_logs, bool(self.callbacks))
        # (result, what was looked at of the validation set), not judged yet.
        self._pending: deque[tuple[EpochResult, Any]] = deque()
        self._under_way = 0
        self._seen = estimator.t_
        # Each epoch is looked at by itself, or has a learning rate of its own.
        self._single = job.validation is not None or _invscaling(estimator)
        self._most = LAG if self._single else 2 * LAG
        if plan.backend.eager or self.listening:
            self._most = 1
        estimator.n_iter_ = 0

    @property
    def stopping(self) -> bool:
        """Whether a rule, a callback or a signal ends the fit."""
        return self.stopped or super().stopping

    def ahead(self) -> int:
        """How many epochs may be begun now, all of them in one call."""
        estimator = self.estimator
        count = estimator._no_improvement_count
        ahead = max(1, estimator.n_iter_no_change + 1 - count)
        free = int(min(ahead, self._most)) - self._under_way
        return min(free, 1) if self._single else free

    def rate_scale(self) -> Any:
        """Return what callbacks make of the rate, times the solver's own."""
        scale = super().rate_scale()
        if self.estimator.optimizer is not None:
            return scale
        ratio = self._memory.learning_rate / self._memory.optimizer.learning_rate
        return scale * ratio

    def end_epoch(self, result: EpochResult) -> None:
        """Make an epoch known; judge the oldest ones when no other may be begun."""
        estimator, check = self.estimator, self.job.validation
        self.publish(result)
        self.agree()
        self._seen += result.epochs * self.plan.data.x.shape[0]
        if _invscaling(estimator):
            init = float(estimator.learning_rate_init)
            self._memory.learning_rate = init / (self._seen + 1) ** estimator.power_t
        looked = None if check is None else check.look(self.job, *result.carry)
        self._pending.append((result, looked))
        self._under_way += result.epochs
        while self._pending and self.ahead() <= 0:
            self._judge()

    def drain(self) -> None:
        """Judge what is under way."""
        while self._pending and not self.stopped:
            self._judge()
        if not self.by_batches:
            super().drain()

    def _judge(self) -> None:
        """Take the oldest epochs' numbers down, and decide whether the fit ends."""
        estimator = self.estimator
        result, looked = self._pending.popleft()
        for loss in result.losses(self.plan.backend):
            self._under_way -= 1
            logs = self._rules.record(self.job, result, loss, looked)
            self.report(logs, self.listeners.first + estimator.n_iter_ - 1)
            ends = self._rules.ends()
            self.stopped = ends or self.model.stop_training
        if self.listeners.incremental or self.stopped or self._pending:
            return
        if estimator.n_iter_ == estimator.max_iter:
            self._rules.warn_of_limit()


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


def _penalty(alpha: float, weight: Array | None) -> Callable[[Any], Any]:
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
        checks.warn(
            "Got `batch_size` less than 1 or larger than sample size. It is going to "
            "be clipped",
            UserWarning,
        )
    return int(np.clip(estimator.batch_size, 1, samples))


def _invscaling(estimator: Any) -> bool:
    """Whether the learning rate falls epoch by epoch."""
    inverse = estimator.solver == "sgd" and estimator.learning_rate == "invscaling"
    return bool(inverse and estimator.optimizer is None)


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
    listeners = Listeners(estimator, job, memory, (theta, state), incremental)
    if listeners.over:
        return
    plan = FitPlan(
        backend,
        network,
        LossObjective(job.loss),
        memory.optimizer,
        job.data,
        1 if incremental else estimator.max_iter,
        batch_size,
        sample_order(estimator, samples, batch_size),
        seed,
        job.dtype,
        penalty=_penalty(float(estimator.alpha), job.weight),
        guarded=False,
    )
    fit = StochasticFit(estimator, job, plan, listeners, memory)
    final = fit.make()
    # What stays in the estimator stays on the host: it is pickled and copied.
    after = fit.session.state
    memory.slots = after.on_host(backend, network.size).slots
    memory.step, memory.last_rate = after.step, after.rate
    if final is not None:
        estimator.stopped_ = fit.stopped
        if estimator.early_stopping and (fit.stopped or not incremental):
            final = estimator._best_weights
        estimator._publish(network, *final, backend)
    if estimator.early_stopping:
        estimator._best_weights = tuple(
            a if isinstance(a, np.ndarray) else backend.to_numpy(a)
            for a in estimator._best_weights
        )


def check_finite(estimator: Any) -> None:
    """Report where numbers beside the weights, which are finite, have overflowed.

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
        "training diverged: the optimizer's slots or the running statistics "
        "overflowed, and what is trained from there on stands still or goes astray. "
        "Scale X and y (StandardScaler), look for outliers in them, or take float64."
    )
    if estimator.early_stopping:
        checks.warn(f"{msg} The weights of the best epoch are kept.")
        return
    raise DivergenceError(msg)
