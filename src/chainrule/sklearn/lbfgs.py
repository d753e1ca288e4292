"""The solver "lbfgs": SciPy's L-BFGS-B on the flat vector, on any backend."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import scipy.optimize
from sklearn.utils.fixes import _get_additional_lbfgs_options_dict
from sklearn.utils.optimize import _check_optimize_result

from chainrule.optimizers import LBFGS
from chainrule.sklearn.listener import Listener
from chainrule.sklearn.samples import Job
from chainrule.state import epochs, training
from chainrule.training.objective import LossObjective
from chainrule.training.problem import Problem

__all__ = ["run"]


def run(estimator: Any, job: Job, theta: Any, state: Any) -> None:
    """Train from the host vectors theta and state; leave the fitted attributes.

    The caller has entered the backend's scope.
    """
    backend = job.backend
    LBFGS().check_network(job.network, "solver='lbfgs'")
    samples = job.data.x.shape[0]
    total = samples if job.weight is None else float(job.weight.sum())
    running = backend.asarray(state, job.dtype)
    problem = Problem(
        backend,
        job.network,
        LossObjective(job.loss),
        job.data,
        samples,
        running,
        penalty=float(estimator.alpha) / total if total else 0.0,
    )

    def placed(host: Any) -> Any:
        return backend.copy(backend.asarray(host.astype(job.dtype), job.dtype))

    def value_and_gradient(host: Any) -> tuple[float, Any]:
        value, gradient = problem.value_and_gradient(placed(host))
        gradient = backend.to_numpy(gradient).astype(np.float64)
        return float(backend.to_numpy(value)), gradient

    nobody = LBFGS()  # SciPy iterates: there is no learning rate
    listener = Listener(estimator, job, (placed(theta), running), nobody, 1)
    epoch = 0
    logs: dict[str, float] = {}

    def callback(intermediate_result: Any) -> None:
        nonlocal epoch, logs
        weights = (placed(intermediate_result.x), running)
        logs = {"loss": float(intermediate_result.fun)}
        if job.validation is not None:
            z, value = (backend.to_numpy(a) for a in job.validation.look(job, *weights))
            logs["val_loss"] = float(value)
            logs["val_score"] = listener.score(z, float(value), weights)
            estimator.validation_loss_curve_.append(float(value))
        record = epochs.EpochResult(
            logs["loss"],
            weights,
            training.TrainingState(*weights, (), epoch, epoch, 0.0),
        )
        epoch += 1
        if listener.epoch(epoch - 1, logs, record):
            raise StopIteration

    with contextlib.closing(listener):
        heard = not listener.quiet or job.validation is not None
        loud = estimator.verbose is True or estimator.verbose >= 1
        result = scipy.optimize.minimize(
            value_and_gradient,
            np.asarray(theta, dtype=np.float64),
            method="L-BFGS-B",
            jac=True,
            callback=callback if heard else None,
            options={
                "maxfun": estimator.max_fun,
                "maxiter": estimator.max_iter,
                "gtol": estimator.tol,
                **_get_additional_lbfgs_options_dict("iprint", 1 if loud else -1),
            },
        )
        if not (listener.model is not None and listener.model.stop_training):
            estimator.n_iter_ = _check_optimize_result(
                "lbfgs", result, estimator.max_iter
            )
        else:
            estimator.n_iter_ = int(result.nit)
        estimator.loss_ = float(result.fun)
        weights = listener.end(logs, (placed(result.x), running))
        estimator._publish(job.network, *weights, backend)
