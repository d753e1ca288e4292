"""The solver "lbfgs": SciPy's L-BFGS-B on the flat vector, on any backend."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.fixes import _get_additional_lbfgs_options_dict
from sklearn.utils.optimize import _check_optimize_result

from chainrule.optimizers import LBFGS
from chainrule.optimizers.lbfgs import minimise
from chainrule.sklearn.fit import EstimatorFit, Hearing
from chainrule.sklearn.memory import OptimizerState
from chainrule.sklearn.samples import Job
from chainrule.state.epochs import EpochResult
from chainrule.training.objective import LossObjective
from chainrule.training.options import FitPlan
from chainrule.training.problem import Problem

__all__ = ["LBFGSFit", "run"]


class _Iterations:
    """SciPy's iterations with scikit-learn's options, as a fit draws its epochs."""

    steps = 1

    def __init__(self, fit: LBFGSFit, penalty: float) -> None:
        plan, state = fit.plan, fit.session.state
        self._fit = fit
        self._problem = Problem(
            plan.backend,
            plan.network,
            plan.objective,
            plan.data,
            plan.batch_size,
            state.state,
            penalty=penalty,
        )
        self._start = plan.backend.to_numpy(state.theta)

    def prepare(self, ahead: int, rate_scale: Any) -> None:
        """Prepare nothing."""

    def drain(self) -> None:
        """Nothing is under way."""

    def placed(self, host: Any) -> Any:
        """Return a vector of SciPy's on the backend."""
        plan = self._fit.plan
        return plan.backend.copy(
            plan.backend.asarray(host.astype(plan.dtype), plan.dtype)
        )

    def advance(self) -> None:
        """Let SciPy iterate to the end."""
        fit, backend, problem = self._fit, self._fit.plan.backend, self._problem
        estimator = fit.estimator

        def value_and_gradient(host: Any) -> tuple[float, Any]:
            value, gradient = problem.value_and_gradient(self.placed(host))
            gradient = backend.to_numpy(gradient).astype(np.float64)
            return float(backend.to_numpy(value)), gradient

        def on_iteration(host: Any, value: float) -> bool:
            return fit.end_iteration(fit.result(self.placed(host), value))

        loud = estimator.verbose is True or estimator.verbose >= 1
        heard = fit.listening or fit.job.validation is not None
        fit.found = minimise(
            value_and_gradient,
            np.asarray(self._start, dtype=np.float64),
            {
                "maxfun": estimator.max_fun,
                "maxiter": estimator.max_iter,
                "gtol": estimator.tol,
                **_get_additional_lbfgs_options_dict("iprint", 1 if loud else -1),
            },
            on_iteration if heard else None,
        )
        # Where nobody listens, nothing was published on the way.
        fit.publish(fit.result(self.placed(fit.found.x), float(fit.found.fun)))


class LBFGSFit(EstimatorFit):
    """A fit by the solver "lbfgs"."""

    found: Any = None  # what SciPy returned

    def __init__(
        self, estimator: Any, job: Job, plan: FitPlan, hearing: Hearing, penalty: float
    ) -> None:
        self._penalty = penalty
        super().__init__(estimator, job, plan, hearing)

    def _training(self) -> Any:
        return _Iterations(self, self._penalty)

    def result(self, theta: Any, value: float) -> EpochResult:
        """Return an iteration as the result of an epoch."""
        before = self.session.state
        after = before._replace(theta=theta, epoch=before.epoch + 1)
        return EpochResult(value, after, (theta, before.state))

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


def run(estimator: Any, job: Job, theta: Any, state: Any) -> None:
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
    hearing = Hearing(estimator, job, memory, (theta, state), False)
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
        guarded=False,
    )
    fit = LBFGSFit(estimator, job, plan, hearing, penalty)
    final, found = fit.make(), fit.found
    if found is None or final is None:  # a second Ctrl-C, within it
        return
    estimator.n_iter_ = int(found.nit)
    if not hearing.model.stop_training:
        estimator.n_iter_ = _check_optimize_result("lbfgs", found, estimator.max_iter)
    estimator.loss_ = float(found.fun)
    estimator._publish(job.network, *final, backend)
