"""Who hears of an epoch: callbacks, the progress bar, the validation set."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
from sklearn.metrics import check_scoring, r2_score

from chainrule.arrays import trees
from chainrule.callbacks import Checkpoint, base
from chainrule.errors import ArgumentError
from chainrule.model import Model
from chainrule.sklearn.samples import Job, Validation
from chainrule.training import fit
from chainrule.training.logs import logs_rate, plain_rate
from chainrule.training.progress import ProgressBar

__all__ = ["Heard", "Listener", "accuracy", "r2"]


def accuracy(estimator: Any, z: Any, check: Validation) -> float:
    """Accuracy of probabilities against encoded labels: what accuracy_score gives."""
    right = estimator._encoded(z) == estimator._encoded(check.t)
    if right.ndim == 2:
        right = right.all(axis=1)
    return float(np.average(right, weights=check.weight))


def r2(z: Any, check: Validation) -> float:
    """R² of predictions, NaN where they are not finite."""
    if not np.isfinite(z).all():
        return float("nan")
    return float(r2_score(check.t, z, sample_weight=check.weight))


class Heard:
    """What callbacks keep from one `partial_fit` to the next, beside themselves.

    Attributes
    ----------
    given : list of callbacks
        The parameter's, of which `callbacks_` are copies.
    factor : float or array (members,)
        What they have made of the learning rate.
    incremental : bool
        Whether they are those of a `partial_fit`, after which training goes on.
    stopped : bool
        Whether one of them has ended the training.
    """

    def __init__(self, given: list[Any], incremental: bool) -> None:
        self.given, self.incremental = given, incremental
        self.factor: Any = 1.0
        self.stopped = False


def _hooks(estimator: Any, incremental: bool) -> tuple[list[Any], bool]:
    """Return the callbacks of a fit, and whether they go on from the `partial_fit` before.

    They are copies: what a user hands to the constructor is not changed by a fit.
    """
    given = base.check_callbacks(estimator.callbacks or ())
    if any(isinstance(hook, Checkpoint) for hook in given):
        msg = (
            "callbacks: Checkpoint writes the files of a chainrule.Model; an "
            "estimator is kept with pickle or joblib. Leave it out."
        )
        raise ArgumentError(msg)
    heard: Any = getattr(estimator, "_heard", None)
    # Not by ==: another object that looks alike begins anew.
    same = heard is not None and [*map(id, heard.given)] == [*map(id, given)]
    if incremental and same and heard.incremental:
        return estimator.callbacks_, True
    estimator.callbacks_ = [_copied(hook) for hook in given]
    estimator._heard = Heard(given, incremental)
    return estimator.callbacks_, False


def _copied(hook: Any) -> Any:
    try:
        return copy.deepcopy(hook)
    except Exception:  # it holds a lock, say, or an open file
        return copy.copy(hook)


class Listener:
    """Tells callbacks and the bar of each epoch, and scores the validation set.

    Parameters
    ----------
    estimator : estimator
    job : Job
    weights : (theta, state) on the backend
    optimizer : Optimizer
    steps : int
        Steps of an epoch, for the bar.
    first : int
        The number of the first epoch, counted from the estimator's last beginning.
    incremental : bool
        Whether this is a `partial_fit`: the training ends when a callback ends it.
    """

    def __init__(
        self,
        estimator: Any,
        job: Job,
        weights: Any,
        optimizer: Any,
        steps: int,
        *,
        first: int = 0,
        incremental: bool = False,
    ) -> None:
        self.estimator, self.job = estimator, job
        self.first, self.incremental = first, incremental
        self.hooks, going_on = _hooks(estimator, incremental)
        self.bar = ProgressBar(estimator.progress, estimator.max_iter, steps)
        self.last: dict[str, float] = {}  # what the last epoch logged
        self.model: Any = None
        self.scorer: Any = None
        self.warned = False
        if estimator.scoring not in (None, "loss"):
            self.scorer = check_scoring(estimator, estimator.scoring)
        if self.hooks:
            self.model = _model(estimator, job, weights, optimizer)
            self.model._factor = estimator._heard.factor
            self.model._epoch = first
            names: dict[str, bool | None] = {"loss": False}
            if logs_rate(self.model, self.hooks) and not np.ndim(
                self.model.learning_rate
            ):
                names["learning_rate"] = None
            if job.validation is not None:
                # A score is to rise, whichever it is: that is scikit-learn's contract.
                names |= {"val_loss": False, "val_score": True}
            for hook in self.hooks:
                if hasattr(hook, "check_model"):
                    hook.check_model(self.model)
                if hasattr(hook, "check_logs"):
                    hook.check_logs(names)
            for hook in self.hooks:
                hook.model = self.model
                if not going_on:
                    hook.on_train_begin({})

    @property
    def over(self) -> bool:
        """Whether a callback has ended the training that would go on."""
        return bool(self.hooks) and self.estimator._heard.stopped

    @property
    def quiet(self) -> bool:
        """Whether nobody asks for an epoch's numbers before the next one begins."""
        return not (
            self.hooks or self.scorer or self.estimator.verbose or self.bar.shown
        )

    @property
    def factor(self) -> Any:
        """What callbacks multiply the learning rate with; 0 for members that rest."""
        return 1.0 if self.model is None else self.model._rate_factor()

    def losses(self, prefix: str, host: Any) -> dict[str, Any]:
        """Return the logs of a loss on the host: a scalar, or one for each member."""
        logs: dict[str, Any] = {f"{prefix}loss": float(np.mean(host, dtype=np.float64))}
        if host.ndim:
            logs[f"{prefix}member_loss"] = host
        return logs

    def begin(self, epoch: int) -> None:
        """Before an epoch."""
        for hook in self.hooks:
            hook.on_epoch_begin(self.first + epoch, {})

    def score(self, z: Any, loss: float, weights: Any) -> float:
        """Score predictions of the validation set."""
        estimator, check = self.estimator, self.job.validation
        assert check is not None
        if estimator.scoring == "loss":
            return -loss
        if self.scorer is None:
            return float(estimator._default_score(z, check))
        # A scorer predicts: it gets a copy that stands at this epoch, and that was not
        # told of feature names, since X has become an array.
        fitted = copy.copy(estimator)
        fitted.__dict__.pop("feature_names_in_", None)
        fitted._publish(self.job.network, *weights, self.job.backend)
        weight = {} if check.weight is None else {"sample_weight": check.weight}
        return float(self.scorer(fitted, check.X, check.y, **weight))

    def epoch(self, epoch: int, logs: dict[str, float], record: Any) -> bool:
        """After an epoch; return whether a callback wants to stop."""
        self.last = logs
        if self.model is not None:
            self.model._weights = record.weights
            self.model._epoch = self.first + record.state.epoch
            self.model._step = record.state.step
            if logs_rate(self.model, self.hooks):
                logs = {**logs, "learning_rate": plain_rate(record.state.rate)}
            for hook in self.hooks:
                hook.on_epoch_end(self.first + epoch, dict(logs))
        self._warn(logs, self.first + epoch + 1)
        self.bar.show(lambda: dict(logs))
        return self.model is not None and self.model.stop_training

    def _warn(self, logs: dict[str, float], epoch: int) -> None:
        """Say once if the validation loss is not finite."""
        value = logs.get("val_loss", 0.0)
        if not self.warned and not math.isfinite(value):
            self.warned = True
            fit.warn_of(value, epoch, self.job.dtype)

    def end(self, logs: dict[str, float], weights: Any, note: str = "") -> Any:
        """After the last epoch; return the weights, or what callbacks made of them.

        `note` is for the bar: how the fit ended, if not as it was meant to.
        """
        self.bar.close(logs=self.last, note=note)
        if self.model is None:
            return weights
        heard = self.estimator._heard
        heard.factor, heard.stopped = self.model._factor, self.model.stop_training
        if self.incremental and not heard.stopped:
            return weights  # the training goes on
        before = self.model._weights
        for hook in self.hooks:
            hook.on_train_end(dict(logs))
        after = self.model._weights
        return weights if after is before else after

    def close(self) -> None:
        """Let the callbacks go: what stays in the estimator holds no other model."""
        self.bar.close(logs=self.last)
        for hook in self.hooks:
            hook.model = None


def _model(estimator: Any, job: Job, weights: Any, optimizer: Any) -> Any:
    """Return a `Model` of the fit: what callbacks read, and what they may change."""
    model = Model(
        job.network.layer,
        loss=job.loss,
        optimizer=optimizer,
        backend=job.backend,
        dtype=job.dtype,
        members=estimator.members,
    )
    model.build(job.network.input_shape)
    model._weights = trees.tree_map(job.backend.copy, weights)
    return model
