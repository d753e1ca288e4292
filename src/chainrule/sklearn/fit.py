"""A fit as an estimator makes it: a model is trained, and gives its weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.callbacks.base import CallbackList
from chainrule.config import checks
from chainrule.model import Model
from chainrule.model.access import Claim
from chainrule.model.fitting import session_of
from chainrule.sklearn.listener import CallbackMemory, EstimatorLogs, callbacks_of
from chainrule.sklearn.memory import OptimizerState
from chainrule.sklearn.samples import Job
from chainrule.state.epochs import EpochResult
from chainrule.state.history import History
from chainrule.state.snapshot import ModelSnapshot
from chainrule.state.training import TrainingState
from chainrule.training import rate
from chainrule.training.fit import Fit
from chainrule.training.options import FitPlan
from chainrule.training.session import Session

__all__ = ["EstimatorFit", "Listeners"]


class Listeners:
    """Who listens to a fit: its callbacks, and the model that they see.

    Attributes
    ----------
    going_on : bool
        Whether the callbacks go on from the `partial_fit` before.
    first : int
        The number of the first epoch, counted from the estimator's last beginning.
    """

    incremental: bool
    callbacks: CallbackList
    going_on: bool
    memory: CallbackMemory
    first: int
    model: Model

    def __init__(
        self,
        estimator: Any,
        job: Job,
        memory: OptimizerState,
        weights: tuple[Any, Any],
        incremental: bool,
    ) -> None:
        self.incremental = incremental
        self.callbacks, self.going_on = callbacks_of(estimator, incremental)
        self.memory: CallbackMemory = estimator._callback_memory
        self.first = len(getattr(estimator, "loss_curve_", ()))
        self.model = _model(estimator, job, memory, weights)
        now = self.model.training
        assert now is not None
        self.model.training = now._replace(
            epoch=self.first, rate=memory.last_rate, rate_scale=self.memory.rate_scale
        )

    @property
    def over(self) -> bool:
        """Whether a callback has ended the training that would go on."""
        return bool(len(self.callbacks)) and self.memory.stopped


def _model(
    estimator: Any, job: Job, memory: OptimizerState, weights: tuple[Any, Any]
) -> Model:
    """Return the model that is trained: the estimator's network, where it stands."""
    parts = {
        "network": job.network.layer,
        "loss": job.loss,
        "optimizer": memory.optimizer,
        "dtype": job.dtype,
        "members": estimator.members,
    }
    training = TrainingState(*weights, memory.slots or (), memory.step)
    shape, begun = job.network.input_shape, memory.slots is not None
    snapshot = ModelSnapshot(parts, shape, training, begun)
    return Model.from_snapshot(snapshot, job.backend, bound=job.network)


class EstimatorFit(Fit):
    """A fit of an estimator's network.

    A subclass says in `end_epoch` what becomes of an epoch.

    Attributes
    ----------
    last : EpochResult or None
        Of the last epoch that was made.
    """

    intact: bool
    listening: bool
    estimator: Any
    job: Job
    listeners: Listeners
    last: EpochResult | None
    rated: bool
    epoch_logs: EstimatorLogs  # type: ignore[assignment]
    ends_by_interrupt = False  # a search over estimators is to end, too

    def __init__(
        self, estimator: Any, job: Job, plan: FitPlan, listeners: Listeners
    ) -> None:
        self.estimator, self.job, self.listeners = estimator, job, listeners
        self.last: EpochResult | None = None
        callbacks: CallbackList = listeners.callbacks
        session: Session = session_of(listeners.model)
        logs: Any = EstimatorLogs(estimator, job)
        super().__init__(plan, session, callbacks, logs, History(), estimator.progress)
        # Whether somebody asks for an epoch's numbers before the next one begins.
        self.listening = bool(len(callbacks) or logs.wanted or self.bar.shown)
        self.rated = rate.is_logged(plan.optimizer, callbacks.logs_rate)
        own_rates = self.rated and np.ndim(listeners.model.learning_rate)
        names = self.epoch_logs.names(self.rated and not own_rates)
        last = listeners.first + plan.epochs, self.training.steps
        callbacks.check(listeners.model, names, last)

    def make(self) -> tuple[Any, Any] | None:
        """Train; return the weights that the fit ends with, None without an epoch."""
        claim = Claim()
        try:
            self.access.take(claim)
            self.run()
        finally:
            claim.over = True
            # What stays in the estimator holds no other model.
            self.callbacks.attach(None)
        if self.last is None:
            return None
        state = self.session.state
        # Callbacks may have set other weights in the end.
        mine = self.last.state
        return self.last.carry if state.theta is mine.theta else state.weights

    @property
    def stopping(self) -> bool:
        """Whether the fit ends: after one epoch at least, or nothing is fitted."""
        return self.last is not None and super().stopping

    def begin(self) -> None:
        """Tell the callbacks that the training begins, unless it goes on."""
        if not self.listeners.going_on:
            super().begin()

    def publish(self, result: EpochResult) -> None:
        """Make known, to callbacks, what an epoch leaves."""
        with self.access.lock:
            scale = self.session.state.rate_scale
            self.model.training = result.state._replace(rate_scale=scale)
            self.intact, self.access.in_step = True, False
            self.last = result

    def report(self, logs: dict[str, Any], epoch: int) -> None:
        """Call what listens; epochs are counted from the estimator's last beginning."""
        self.logs = logs
        if len(self.callbacks):
            told = dict(logs)
            if self.rated:
                told["learning_rate"] = rate.plain(self.session.state.rate)
            self.tell(self.callbacks.on_epoch_end, epoch, told)
        self.epoch_logs.warn(logs, epoch + 1)
        self.bar.show(lambda: dict(logs))

    def read_losses(self) -> None:
        """Read none: each was read when the epoch was judged."""

    def settle(self) -> None:
        """Put in order what the fit leaves, however it ended."""
        interrupted = self.interrupt.asked or self.history.interrupted
        self.bar.close(logs=self.logs, note="interrupted" if interrupted else "")
        super().settle()
        if interrupted:
            checks.warn("Training interrupted by user.", UserWarning)

    def finish(self) -> None:
        """Tell the callbacks that the training is over, unless it goes on."""
        memory = self.listeners.memory
        memory.rate_scale = self.session.state.rate_scale
        memory.stopped = self.model.stop_training
        if not self.listeners.incremental or memory.stopped:
            super().finish()
