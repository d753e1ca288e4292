"""scikit-learn's rules for the end of a fit."""

from __future__ import annotations

from typing import Any

from sklearn.exceptions import ConvergenceWarning

from chainrule.config import checks
from chainrule.sklearn.listener import EstimatorLogs
from chainrule.sklearn.memory import OptimizerState
from chainrule.sklearn.samples import Job
from chainrule.state.epochs import EpochResult

__all__ = ["Rules"]

_TOO_SMALL = 1e-6  # an adaptive learning rate at or below this ends the fit


class Rules:
    """Takes an epoch's numbers down, as fitted attributes, and says when it is enough.

    Parameters
    ----------
    estimator : estimator
    memory : OptimizerState
        Whose learning rate "adaptive" divides.
    logs : EstimatorLogs
    scores : bool
        Whether the validation score is wanted also without early stopping.
    """

    def __init__(
        self, estimator: Any, memory: OptimizerState, logs: EstimatorLogs, scores: bool
    ) -> None:
        self._estimator, self._memory = estimator, memory
        self._logs, self._scores = logs, scores

    def record(
        self, job: Job, result: EpochResult, loss: Any, looked: Any
    ) -> dict[str, float]:
        """Take an epoch's numbers down; return them."""
        estimator, backend = self._estimator, job.backend
        logs = self._logs.losses("", loss)
        estimator.n_iter_ += 1
        estimator.t_ += job.data.x.shape[0]
        estimator.loss_ = logs["loss"]
        estimator.loss_curve_.append(logs["loss"])
        if estimator.verbose:
            print(f"Iteration {estimator.n_iter_}, loss = {logs['loss']:.8f}")  # noqa: T201
        if looked is not None:
            z, value = (backend.to_numpy(a) for a in looked)
            logs |= self._logs.losses("val_", value)
            estimator.validation_loss_curve_.append(logs["val_loss"])
            if estimator.early_stopping or self._scores:
                score = self._logs.score(z, logs["val_loss"], result.carry)
                logs["val_score"] = score
        self._count(logs, result)
        return logs

    def _count(self, logs: dict[str, float], result: EpochResult) -> None:
        """Count epochs without improvement, of the validation score or of the loss."""
        estimator = self._estimator
        if estimator.early_stopping:
            score = logs["val_score"]
            estimator.validation_scores_.append(score)
            if estimator.verbose:
                print(f"Validation score: {score:f}")  # noqa: T201
            better = not score < estimator.best_validation_score_ + estimator.tol
            if score > estimator.best_validation_score_:
                estimator.best_validation_score_ = score
                estimator._best_weights = result.state.weights
        else:
            loss = logs["loss"]
            better = not loss > estimator.best_loss_ - estimator.tol
            estimator.best_loss_ = min(estimator.best_loss_, loss)
        count = estimator._no_improvement_count
        estimator._no_improvement_count = 0 if better else count + 1

    def ends(self) -> bool:
        """Whether to end; an adaptive learning rate is divided by 5 first."""
        estimator, memory = self._estimator, self._memory
        if estimator._no_improvement_count <= estimator.n_iter_no_change:
            return False
        what = "Validation score" if estimator.early_stopping else "Training loss"
        msg = (
            f"{what} did not improve more than tol={estimator.tol:f} for "
            f"{estimator.n_iter_no_change:d} consecutive epochs."
        )
        adaptive = estimator.solver == "sgd" and estimator.learning_rate == "adaptive"
        ends = True
        if estimator.optimizer is not None or not adaptive:
            msg += " Stopping."
        elif memory.learning_rate <= _TOO_SMALL:
            msg += " Learning rate too small. Stopping."
        else:
            memory.learning_rate /= 5.0
            msg += f" Setting learning rate to {memory.learning_rate:f}"
            estimator._no_improvement_count = 0
            ends = False
        if estimator.verbose:
            print(msg)  # noqa: T201
        return ends

    def warn_of_limit(self) -> None:
        """Warn that max_iter was reached."""
        checks.warn(
            f"Stochastic Optimizer: Maximum iterations ({self._estimator.max_iter}) "
            f"reached and the optimization hasn't converged yet.",
            ConvergenceWarning,
        )
