"""scikit-learn's rules for the end of a fit."""

from __future__ import annotations

from typing import Any

from chainrule.sklearn.listener import Listener
from chainrule.sklearn.memory import OptimizerState
from chainrule.sklearn.samples import Job

__all__ = []


TOO_SMALL = 1e-6  # an adaptive learning rate at or below this ends the fit


def _judge(
    estimator: Any,
    job: Job,
    listener: Listener,
    memory: OptimizerState,
    record: Any,
    loss: Any,
    looked: Any,
    samples: int,
) -> tuple[dict[str, float], bool]:
    """Take an epoch's numbers down; return them, and whether the fit ends."""
    logs = listener.losses("", loss)
    loss = logs["loss"]
    estimator.n_iter_ += 1
    estimator.t_ += samples
    estimator.loss_ = loss
    estimator.loss_curve_.append(loss)
    if estimator.verbose:
        print(f"Iteration {estimator.n_iter_}, loss = {loss:.8f}")  # noqa: T201
    if looked is not None:
        z = job.backend.to_numpy(looked[0])
        logs |= listener.losses("val_", job.backend.to_numpy(looked[1]))
        value = logs["val_loss"]
        estimator.validation_loss_curve_.append(value)
        weights = (record.state.theta, record.state.state)
        if estimator.early_stopping or listener.hooks:
            logs["val_score"] = listener.score(z, value, weights)
    _count(estimator, logs, record)
    wants = listener.epoch(estimator.n_iter_ - 1, logs, record)
    if estimator._no_improvement_count <= estimator.n_iter_no_change:
        return logs, wants
    what = "Training loss"
    if estimator.early_stopping:
        what = "Validation score"
    msg = (
        f"{what} did not improve more than tol={estimator.tol:f} for "
        f"{estimator.n_iter_no_change:d} consecutive epochs."
    )
    ends = _ends(estimator, memory, msg)
    if not ends:
        estimator._no_improvement_count = 0
    return logs, ends or wants


def _count(estimator: Any, logs: dict[str, float], record: Any) -> None:
    """Count epochs without improvement, of the validation score or of the loss."""
    if estimator.early_stopping:
        score = logs["val_score"]
        estimator.validation_scores_.append(score)
        if estimator.verbose:
            print(f"Validation score: {score:f}")  # noqa: T201
        if score < estimator.best_validation_score_ + estimator.tol:
            estimator._no_improvement_count += 1
        else:
            estimator._no_improvement_count = 0
        if score > estimator.best_validation_score_:
            estimator.best_validation_score_ = score
            estimator._best_weights = record.weights
        return
    loss = logs["loss"]
    if loss > estimator.best_loss_ - estimator.tol:
        estimator._no_improvement_count += 1
    else:
        estimator._no_improvement_count = 0
    estimator.best_loss_ = min(estimator.best_loss_, loss)


def _ends(estimator: Any, memory: OptimizerState, msg: str) -> bool:
    """Whether to end; an adaptive learning rate is divided by 5 first."""
    adaptive = estimator.solver == "sgd" and estimator.learning_rate == "adaptive"
    if estimator.optimizer is not None or not adaptive:
        msg += " Stopping."
    elif memory.learning_rate <= TOO_SMALL:
        msg += " Learning rate too small. Stopping."
    else:
        memory.learning_rate /= 5.0
        msg += f" Setting learning rate to {memory.learning_rate:f}"
        if estimator.verbose:
            print(msg)  # noqa: T201
        return False
    if estimator.verbose:
        print(msg)  # noqa: T201
    return True
