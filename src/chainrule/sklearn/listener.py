"""The callbacks of an estimator, and how its validation set is scored."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.metrics import check_scoring, r2_score

from chainrule.callbacks import Checkpoint
from chainrule.callbacks.base import CallbackList
from chainrule.errors import ArgumentError
from chainrule.sklearn.samples import Job, Validation
from chainrule.training.logs import warn_of_validation

__all__ = ["CallbackMemory", "EstimatorLogs", "accuracy", "callbacks_of", "r2"]


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


class CallbackMemory:
    """What callbacks keep from one `partial_fit` to the next, beside themselves.

    Attributes
    ----------
    given : list of callbacks
        The parameter's, of which `callbacks_` are copies.
    rate_scale : float or array (members,)
        What they have made of the learning rate.
    incremental : bool
        Whether they are those of a `partial_fit`, after which training goes on.
    stopped : bool
        Whether one of them has ended the training.
    """

    given: list[Any]
    incremental: bool
    rate_scale: Any
    stopped: bool

    def __init__(self, given: list[Any], incremental: bool) -> None:
        self.given, self.incremental = given, incremental
        self.rate_scale: Any = 1.0
        self.stopped = False


def callbacks_of(estimator: Any, incremental: bool) -> tuple[CallbackList, bool]:
    """Return a fit's callbacks, and whether they go on from the last `partial_fit`.

    They are copies: what a user hands to the constructor is not changed by a fit.
    """
    callbacks = CallbackList(estimator.callbacks or ())
    given = list(callbacks)
    if any(isinstance(each, Checkpoint) for each in given):
        msg = (
            "callbacks: Checkpoint writes the files of a chainrule.Model; an "
            "estimator is kept with pickle or joblib. Leave it out."
        )
        raise ArgumentError(msg)
    memory: CallbackMemory | None = getattr(estimator, "_callback_memory", None)
    # Not by ==: another object that looks alike begins anew.
    same = memory is not None and [*map(id, memory.given)] == [*map(id, given)]
    going_on = incremental and same and memory is not None and memory.incremental
    if not going_on:
        estimator.callbacks_ = [_copied(each) for each in given]
        estimator._callback_memory = CallbackMemory(given, incremental)
    callbacks.become(estimator.callbacks_)
    return callbacks, going_on


def _copied(callback: Any) -> Any:
    try:
        return copy.deepcopy(callback)
    except Exception:  # it holds a lock, say, or an open file
        return copy.copy(callback)


class EstimatorLogs:
    """The numbers of an estimator's epochs.

    Attributes
    ----------
    wanted : bool
        Whether an epoch's numbers are asked for before the next one begins.
    """

    estimator: Any
    job: Job
    wanted: bool

    def __init__(self, estimator: Any, job: Job) -> None:
        self.estimator, self.job = estimator, job
        self._warned = False
        self._scorer: Any = None
        if estimator.scoring not in (None, "loss"):
            self._scorer = check_scoring(estimator, estimator.scoring)
        self.wanted = bool(self._scorer or estimator.verbose)

    def losses(self, prefix: str, host: Any) -> dict[str, Any]:
        """Return the logs of a loss on the host: a scalar, or one for each member."""
        logs: dict[str, Any] = {f"{prefix}loss": float(np.mean(host, dtype=np.float64))}
        if host.ndim:
            logs[f"{prefix}member_loss"] = host
        return logs

    def names(self, rated: bool) -> dict[str, bool | None]:
        """Return the names that callbacks see, with whether more is better."""
        names: dict[str, bool | None] = {"loss": False}
        if rated:
            names["learning_rate"] = None
        if self.job.validation is not None:
            # A score is to rise, whichever it is: that is scikit-learn's contract.
            names |= {"val_loss": False, "val_score": True}
        return names

    def score(self, z: Any, loss: float, weights: tuple[Any, Any]) -> float:
        """Score predictions of the validation set."""
        estimator, check = self.estimator, self.job.validation
        assert check is not None
        if estimator.scoring == "loss":
            return -loss
        if self._scorer is None:
            return float(estimator._default_score(z, check))
        # A scorer predicts: it gets a copy that stands at this epoch, and that was not
        # given feature names, since X has become an array.
        fitted = copy.copy(estimator)
        fitted.__dict__.pop("feature_names_in_", None)
        fitted._publish(self.job.network, *weights, self.job.backend)
        weight = {} if check.weight is None else {"sample_weight": check.weight}
        return float(self._scorer(fitted, check.X, check.y, **weight))

    def warn(self, logs: Mapping[str, Any], epoch: int) -> None:
        """Say once if the validation loss is not finite."""
        value = logs.get("val_loss", 0.0)
        if not self._warned and not math.isfinite(value):
            self._warned = True
            warn_of_validation(value, epoch, self.job.dtype)
