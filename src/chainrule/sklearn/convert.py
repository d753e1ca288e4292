"""Between scikit-learn's fitted perceptrons and ours."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from sklearn.neural_network import _stochastic_optimizers as theirs
from sklearn.utils.validation import check_is_fitted

from chainrule import backends
from chainrule.errors import ArgumentError
from chainrule.sklearn import validated, weights
from chainrule.sklearn.losses import HalfPoissonDeviance, HalfSquaredError, LogLoss
from chainrule.sklearn.memory import solver

__all__ = ["from_sklearn", "to_sklearn"]

# Fitted attributes that both sides have, under the same name.
_SHARED = (
    "n_iter_", "t_", "n_outputs_", "n_layers_", "out_activation_", "loss_",
    "best_loss_", "loss_curve_", "validation_scores_", "best_validation_score_",
    "n_features_in_", "feature_names_in_", "classes_", "_label_binarizer",
    "_random_state", "_no_improvement_count",
)  # fmt: skip


def from_sklearn(estimator: Any, ours: type[Any], **params: Any) -> Any:
    """Return an estimator of the class `ours` that takes over a fitted perceptron.

    See `chainrule.sklearn.from_sklearn`.
    """
    check_is_fitted(estimator, "coefs_")
    if params.get("members") is not None:
        msg = (
            "members: a fitted perceptron of scikit-learn is one network; leave it out."
        )
        raise ArgumentError(msg)
    new = ours(**{**estimator.get_params(deep=False), **params})
    _share(estimator, new)
    new.coefs_ = [np.array(a) for a in estimator.coefs_]
    new.intercepts_ = [np.array(a) for a in estimator.intercepts_]
    new.stopped_ = False
    new.validation_loss_curve_ = []
    if estimator.out_activation_ in ("softmax", "logistic"):
        new._loss = LogLoss(estimator.out_activation_ == "softmax")
    else:
        poisson = estimator.out_activation_ == "exp"
        new._loss = HalfPoissonDeviance() if poisson else HalfSquaredError()
    if estimator.early_stopping and estimator.solver != "lbfgs":
        new._best_weights = new._flat()
    _take_optimizer(estimator, new)
    return new


def _share(source: Any, target: Any) -> None:
    for name in _SHARED:
        if hasattr(source, name):
            setattr(target, name, copy.deepcopy(getattr(source, name)))


def _take_optimizer(source: Any, new: Any) -> None:
    state = getattr(source, "_optimizer", None)
    if state is None:
        return
    memory = solver(new)
    network, numpy = new._network(), backends.get("numpy")
    count = len(source.coefs_)

    def flat(arrays: Any) -> Any:
        return weights.pack(network, arrays[:count], arrays[count:], numpy)

    if isinstance(state, theirs.AdamOptimizer):
        memory.step = state.t
        memory.slots = (flat(state.ms), flat(state.vs))
    else:
        rate = memory.learning_rate = memory.last_rate = float(state.learning_rate)
        # Their velocity is -rate times our momentum; any rate will do for both.
        velocity = (-flat(state.velocities) / rate,)
        memory.slots = velocity if memory.optimizer.momentum else ()
    new._optimizer = memory


def to_sklearn(estimator: Any) -> Any:
    """Return a fitted scikit-learn perceptron with an estimator's weights.

    Raises
    ------
    ArgumentError
        If the network is one that scikit-learn does not have.
    """
    check_is_fitted(estimator, "coefs_")
    theirs_class = estimator._theirs
    _check_known(estimator)
    names = theirs_class().get_params(deep=False)
    values = {k: v for k, v in estimator.get_params(deep=False).items() if k in names}
    if estimator.activation == "sigmoid":
        values["activation"] = "logistic"
    new = theirs_class(**values)
    _share(estimator, new)
    new.coefs_ = [np.array(validated.host(a)) for a in estimator.coefs_]
    new.intercepts_ = [np.array(validated.host(a)) for a in estimator.intercepts_]
    new._best_coefs = [a.copy() for a in new.coefs_]
    new._best_intercepts = [a.copy() for a in new.intercepts_]
    _give_optimizer(estimator, new)
    return new


def _check_known(estimator: Any) -> None:
    reasons = []
    if estimator.activation not in ("identity", "logistic", "sigmoid", "tanh", "relu"):
        reasons.append(f"activation={estimator.activation!r}")
    if estimator.network is not None:
        reasons.append("a network of your own")
    known = (LogLoss, HalfPoissonDeviance, HalfSquaredError)
    if not isinstance(estimator._loss, known):
        reasons.append(f"loss={estimator.loss!r}")
    if estimator._output_layer is not None:
        reasons.append(f"output_activation={estimator.output_activation!r}")
    if estimator._lead:
        reasons.append(f"members={estimator.members}")
    if reasons:
        msg = (
            f"to_sklearn: scikit-learn's perceptron has no {', no '.join(reasons)}. "
            f"Keep this estimator, or fit one with scikit-learn's own options."
        )
        raise ArgumentError(msg)


def _give_optimizer(estimator: Any, new: Any) -> None:
    memory = getattr(estimator, "_optimizer", None)
    if memory is None or memory.slots is None or estimator.optimizer is not None:
        return
    network = estimator._network()
    params = new.coefs_ + new.intercepts_

    def lists(vector: Any) -> Any:
        coefs, intercepts = weights.unpack(network, vector)
        return [*coefs, *intercepts]

    if estimator.solver == "adam":
        state: Any = theirs.AdamOptimizer(
            params,
            estimator.learning_rate_init,
            estimator.beta_1,
            estimator.beta_2,
            estimator.epsilon,
        )
        state.t = memory.step
        state.ms, state.vs = (lists(v) for v in memory.slots)
    else:
        state = theirs.SGDOptimizer(
            params,
            estimator.learning_rate_init,
            estimator.learning_rate,
            estimator.momentum,
            estimator.nesterovs_momentum,
            estimator.power_t,
        )
        state.learning_rate = memory.learning_rate
        if memory.slots:
            state.velocities = [-memory.last_rate * v for v in lists(memory.slots[0])]
    new._optimizer = state
