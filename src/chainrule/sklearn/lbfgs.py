"""The solver "lbfgs": SciPy's L-BFGS-B on the flat vector, on any backend."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.fixes import _get_additional_lbfgs_options_dict
from sklearn.utils.optimize import _check_optimize_result

from chainrule.arrays.types import Array
from chainrule.config.memory import exhausted
from chainrule.optimizers import LBFGS
from chainrule.optimizers.lbfgs import minimise
from chainrule.sklearn.fit import EstimatorFit, Listeners
from chainrule.sklearn.memory import OptimizerState
from chainrule.sklearn.samples import Job
from chainrule.state.epochs import EpochResult
from chainrule.state.training import TrainingState
from chainrule.training.objective import LossObjective
from chainrule.training.options import FitPlan, Listener
from chainrule.training.problem import Problem

__all__ = ["LBFGSFit", "run"]


class _Iterations:
    """SciPy's iterations with scikit-learn's options, as a fit draws its epochs.

    Attributes
    ----------
    found : scipy.optimize.OptimizeResult or None
        What SciPy returned.
    """

    steps = 1

    def __init__(
        self, problem: Problem, state: TrainingState, options: dict[str, Any]
    ) -> None:
        self._problem, self._state, self._options = problem, state, options
        self.found: Any = None

    def prepare(self, ahead: int, rate_scale: Any) -> None:
        """Prepare nothing."""

    def drain(self) -> None:
        """Nothing is under way."""

    def advance(self, listener: Listener) -> None:
        """Let SciPy iterate to the end."""
        problem, before = self._problem, self._state
        backend = problem.backend
        dtype = str(before.theta.dtype).rpartition(".")[2]

        def placed(host: Any) -> Any:
            return backend.copy(backend.asarray(host.astype(dtype), dtype))

        def value_and_gradient(host: Any) -> tuple[float, Any]:
            value, gradient = problem.value_and_gradient(placed(host))
            gradient = backend.to_numpy(gradient).astype(np.float64)
            return float(backend.to_numpy(value)), gradient

        def on_iteration(host: Any, value: float) -> bool:
            return listener.end_iteration(self._result(placed(host), value))

        start = backend.to_numpy(before.theta).astype(np.float64)
        self.found = minimise(value_and_gradient, start, self._options, on_iteration)
        if self._state is before:  # it made no step: the start is the result
            on_iteration(self.found.x, float(self.found.fun))

    def _result(self, theta: Array, value: float) -> EpochResult:
        """Return an iteration as the result of an epoch."""
        before = self._state
        self._state = before._replace(theta=theta, epoch=before.epoch + 1)
        return EpochResult(value, self._state, (theta, before.state))

    def exhausted(self, error: Exception) -> Exception:
        """Return the error that says what to make smaller."""
        what = "in an iteration of the solver 'lbfgs'"
        advice = "Use a smaller network, or another solver."
        return exhausted(self._problem.backend, what, advice, error)


class LBFGSFit(EstimatorFit):
    """A fit by the solver "lbfgs"."""

    def _training(self) -> Any:
        estimator, state = self.estimator, self.session.state
        loud = estimator.verbose is True or estimator.verbose >= 1
        options = {
            "maxfun": estimator.max_fun,
            "maxiter": estimator.max_iter,
            "gtol": estimator.tol,
            **_get_additional_lbfgs_options_dict("iprint", 1 if loud else -1),
        }
        return _Iterations(self._problem(), state, options)

    @property
    def found(self) -> Any:
        """What SciPy returned, None if it did not."""
        return self.training.found  # type: ignore[union-attr]

    def end_iteration(self, result: EpochResult) -> bool:
        """Make an iteration known; SciPy counts them itself, and says at its limit."""
        super().end_iteration(result)
        return not self.stopping

    def end_epoch(self, result: EpochResult) -> None:
        """Score the validation set, and call what listens."""
        self.publish(result)
        job, logs = self.job, {"loss": float(result.loss)}
        if job.validation is not None:
            looked = job.validation.look(job, *result.carry)
            z, value = (self.plan.backend.to_numpy(a) for a in looked)
            logs["val_loss"] = float(value)
            score = self.epoch_logs.score(z, float(value), result.carry)
            logs["val_score"] = score
            self.estimator.validation_loss_curve_.append(float(value))
        self.report(logs, self.session.state.epoch - 1)


def run(estimator: Any, job: Job, theta: Array, state: Any) -> None:
    """Train from the host vectors theta and state; leave the fitted attributes.

    The caller has entered the backend's scope.
    """
    backend = job.backend
    nobody = LBFGS()  # SciPy iterates: there is no learning rate
    nobody.check_network(job.network, "solver='lbfgs'")
    samples = job.data.x.shape[0]
    total = samples if job.weight is None else float(job.weight.sum())
    penalty = float(estimator.alpha) / total if total else 0.0
    memory = OptimizerState(nobody, 0.0)
    listeners = Listeners(estimator, job, memory, (theta, state), False)
    plan = FitPlan(
        backend,
        job.network,
        LossObjective(job.loss),
        nobody,
        job.data,
        estimator.max_iter,
        samples,
        lambda _: (None, None),
        0,
        job.dtype,
        penalty=lambda _: [penalty],
        guarded=False,
    )
    fit = LBFGSFit(estimator, job, plan, listeners)
    final, found = fit.make(), fit.found
    if found is None or final is None:  # a second Ctrl-C, within it
        return
    estimator.n_iter_ = int(found.nit)
    if not listeners.model.stop_training:
        estimator.n_iter_ = _check_optimize_result("lbfgs", found, estimator.max_iter)
    estimator.loss_ = float(found.fun)
    estimator._publish(job.network, *final, backend)
