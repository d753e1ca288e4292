"""The classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self, overload

import numpy as np
from sklearn import neural_network
from sklearn.base import ClassifierMixin
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import column_or_1d, compute_sample_weight
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.multiclass import (
    _check_partial_fit_first_call,
    type_of_target,
    unique_labels,
)
from sklearn.utils.validation import (
    _check_y,
    check_consistent_length,
    validate_data,
)

from chainrule import backends, losses
from chainrule.config.explain import explain_call
from chainrule.data import intake
from chainrule.sklearn import network, validated
from chainrule.sklearn.base import MultilayerPerceptron, assign
from chainrule.sklearn.decorators import goes_on
from chainrule.sklearn.listener import accuracy
from chainrule.sklearn.losses import LogLoss
from chainrule.sklearn.network import LOSSES, custom_loss
from chainrule.sklearn.samples import Validation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chainrule.arrays.types import ArrayT
    from chainrule.config.choices import DType, Int, RateSchedule, Real, SolverName
    from chainrule.layers import Layer
    from chainrule.sklearn import parameters

__all__ = ["MLPClassifier"]


class MLPClassifier(ClassifierMixin, MultilayerPerceptron):  # type: ignore[misc]
    """Multi-layer perceptron classifier: scikit-learn's, on any backend.

    The parameters up to `max_fun` are those of `sklearn.neural_network.MLPClassifier`,
    with its defaults, its draws and its numbers; those that follow, and what activation
    takes beyond, are as in `MLPRegressor`, but for:

    Parameters
    ----------
    hidden_layer_sizes, activation, solver, alpha, batch_size, learning_rate, \
learning_rate_init, power_t, max_iter, shuffle, random_state, tol, verbose, \
warm_start, momentum, nesterovs_momentum, early_stopping, validation_fraction, beta_1, \
beta_2, epsilon, n_iter_no_change, max_fun, backend, device, dtype, output_activation, \
dropout, optimizer, validation_data, callbacks, progress, network
        See `MLPRegressor`.
    scoring : str, callable or None
        As there; None is the accuracy.
    loss : str, Loss or function
        "log_loss" is scikit-learn's. `chainrule.losses.CrossEntropy` (from logits, two
        outputs for two classes) and `BinaryCrossEntropy` (each class for itself) bring
        label smoothing; every other loss compares probabilities with one-hot targets.
    class_weight : dict, "balanced", list of dicts or None
        Multiplies sample weights, as elsewhere in scikit-learn.
    members : int, optional
        As there; probabilities are the mean over members, and so are the decisions.

    Attributes
    ----------
    classes_ : array of labels
    coefs_, intercepts_, loss_, best_loss_, loss_curve_, validation_scores_, \
best_validation_score_, validation_loss_curve_, stopped_, t_, n_iter_, n_layers_, \
n_outputs_, out_activation_, n_features_in_, feature_names_in_, callbacks_
        See `MLPRegressor`.
    """

    classes_: Any

    _theirs = neural_network.MLPClassifier

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **MultilayerPerceptron._parameter_constraints,
        "loss": [StrOptions({"log_loss", *LOSSES}), losses.Loss, callable],
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
    }

    @explain_call(1)
    def __init__(
        self,
        hidden_layer_sizes: parameters.Hidden = (100,),
        activation: parameters.Between = "relu",
        *,
        solver: SolverName = "adam",
        alpha: Real = 0.0001,
        batch_size: parameters.BatchSize = "auto",
        learning_rate: RateSchedule = "constant",
        learning_rate_init: Real = 0.001,
        power_t: Real = 0.5,
        max_iter: Int = 200,
        shuffle: bool = True,
        random_state: parameters.RandomState = None,
        tol: Real = 1e-4,
        verbose: bool | Int = False,
        warm_start: bool = False,
        momentum: Real = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: Real = 0.1,
        beta_1: Real = 0.9,
        beta_2: Real = 0.999,
        epsilon: Real = 1e-8,
        n_iter_no_change: Real = 10,
        max_fun: Int = 15000,
        backend: parameters.AnyBackend = None,
        device: Any = None,
        dtype: DType | None = None,
        output_activation: parameters.OutputActivation | None = None,
        dropout: parameters.Rates = 0.0,
        optimizer: parameters.AnyOptimizer = None,
        validation_data: parameters.ValidationData = None,
        callbacks: parameters.Callbacks = None,
        scoring: parameters.Scoring = None,
        progress: bool | None = False,
        network: Layer | None = None,
        loss: parameters.ClassifierLoss = "log_loss",
        class_weight: parameters.ClassWeight = None,
        members: Int | None = None,
    ) -> None:
        assign(self, locals())

    # Fitting.

    def _validate_input(self, X: Any, y: Any, incremental: bool, reset: bool) -> Any:  # noqa: N803
        intake.check_filled("X", X)
        origin = backends.of(X)
        if origin.name == "numpy":
            X, y = validate_data(  # noqa: N806
                self,
                X,
                validated.host(y),
                accept_sparse=validated.SPARSE,
                multi_output=True,
                dtype=(np.float64, np.float32),
                reset=reset,
            )
            X = validated.dense(X)  # noqa: N806
        else:
            X = validated.receive_device(self, X, origin, reset=reset)  # noqa: N806
            y = _check_y(validated.host(y), multi_output=True)
            check_consistent_length(np.empty(X.shape[0]), y)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if not hasattr(self, "classes_") or not (self.warm_start or incremental):
            self._label_binarizer = LabelBinarizer().fit(y)
            self.classes_ = self._label_binarizer.classes_
        else:
            self._check_classes(y)
        return X, y, origin

    def _check_classes(self, y: Any) -> None:
        classes = unique_labels(y)
        if self.warm_start:
            if set(classes) != set(self.classes_):
                msg = (
                    f"warm_start can only be used where `y` has the same classes as in "
                    f"the previous call to fit. Previously got {self.classes_}, `y` "
                    f"has {classes}"
                )
                raise ValueError(msg)
        elif len(np.setdiff1d(classes, self.classes_, assume_unique=True)):
            msg = (
                f"`y` has classes not in `self.classes_`. `self.classes_` has "
                f"{self.classes_}. 'y' has {classes}."
            )
            raise ValueError(msg)

    def _known_targets(self, y: Any) -> Any:
        y = _check_y(validated.host(y), multi_output=True)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        unseen = np.setdiff1d(unique_labels(y), self.classes_)
        if len(unseen):
            msg = f"validation_data has classes that y has not: {unseen}."
            raise ValueError(msg)
        return y

    def _weights_of(self, X: Any, y: Any, sample_weight: Any) -> Any:  # noqa: N803
        weight = super()._weights_of(X, y, sample_weight)
        if self.class_weight is None:
            return weight
        factor = compute_sample_weight(self.class_weight, y)
        return factor if weight is None else weight * factor

    @property
    def _two_outputs(self) -> bool:
        """Whether two exclusive classes have an output each."""
        binary = self._label_binarizer.y_type_ == "binary"
        loss = self.loss
        return binary and (
            loss == "cross_entropy" or isinstance(loss, losses.CrossEntropy)
        )

    def _encode(self, y: Any) -> Any:
        t = self._label_binarizer.transform(y).astype(bool)
        return np.concatenate([~t, t], axis=1) if self._two_outputs else t

    def _strata(self, t: Any) -> Any:
        if self._label_binarizer.y_type_ == "binary":
            return t[:, -1:]
        # scikit-learn stratifies where there is one output; not for several classes.
        return None

    def _choose(self) -> tuple[losses.Loss, str, Any]:
        multiclass = self._label_binarizer.y_type_ == "multiclass"
        exclusive = multiclass or self._two_outputs
        link = "softmax" if exclusive else "logistic"
        if self.loss == "log_loss":
            loss: losses.Loss = LogLoss(exclusive)
        else:
            loss = custom_loss(self.loss)
        if isinstance(loss, losses.BinaryCrossEntropy):
            link = "logistic"
        elif not isinstance(loss, (LogLoss, losses.CrossEntropy)):
            # It compares probabilities: they are the network's own outputs.
            return loss, *network.output_activation(self, "identity", default=link)
        return loss, *network.output_activation(self, link)

    def _encoded(self, p: Any) -> Any:
        """Turn probabilities or encoded targets into comparable decisions."""
        if self._label_binarizer.y_type_ == "multiclass" or self._two_outputs:
            return np.argmax(p, axis=1)
        return p > 0.5

    def _default_score(self, z: Any, check: Validation) -> float:
        return accuracy(self, z, check)

    @goes_on
    def partial_fit(
        self,
        X: Any,  # noqa: N803
        y: Any,
        sample_weight: Any = None,
        classes: Any = None,
    ) -> Self:
        """Go through the data once more.

        Parameters
        ----------
        X : array-like, shape (n_samples, n_features)
        y : array-like, shape (n_samples,)
        sample_weight : array-like, shape (n_samples,), optional
        classes : array-like, optional
            All classes; needed in the first call.

        Returns
        -------
        self
        """
        if self.class_weight == "balanced":
            msg = (
                "class_weight 'balanced' is not supported for partial_fit, which does "
                "not see all samples. Compute the weights with "
                "sklearn.utils.class_weight.compute_class_weight and hand in a dict."
            )
            raise ValueError(msg)
        if _check_partial_fit_first_call(self, classes):
            self._label_binarizer = LabelBinarizer()
            y = validated.host(y)
            multilabel = type_of_target(y).startswith("multilabel")
            self._label_binarizer.fit(y if multilabel else classes)
        return self._fit(X, y, sample_weight, incremental=True)

    # Use.

    @overload
    def predict_proba(self, X: NDArray[Any]) -> NDArray[Any]: ...  # noqa: N803
    @overload
    def predict_proba(self, X: ArrayT) -> ArrayT: ...  # noqa: N803
    @overload
    def predict_proba(self, X: Any) -> NDArray[Any]: ...  # noqa: N803
    def predict_proba(self, X: Any) -> Any:  # noqa: N803
        """Return the probability of each class.

        Parameters
        ----------
        X : array-like, shape (n_samples, n_features)

        Returns
        -------
        array, shape (n_samples, n_classes)
            Of X's kind; columns as in `classes_`.
        """
        return self._probabilities(X, "predict_proba")

    def _probabilities(self, X: Any, method: str) -> Any:  # noqa: N803
        p = self._predictions(X, method)
        if p.shape[1] > 1:
            return self._normalised(p)
        return backends.of(p).xp.concat([1 - p, p], axis=1)

    def _normalised(self, p: Any) -> Any:
        """Let exclusive classes that were fitted each for itself sum to 1."""
        multiclass = self._label_binarizer.y_type_ == "multiclass"
        if not multiclass or self.out_activation_ == "softmax":
            return p
        xp = backends.of(p).xp
        total = xp.sum(p, axis=1, keepdims=True)
        return xp.where(total > 0, p / xp.where(total > 0, total, 1.0), 1 / p.shape[1])

    @overload
    def predict_log_proba(self, X: NDArray[Any]) -> NDArray[Any]: ...  # noqa: N803
    @overload
    def predict_log_proba(self, X: ArrayT) -> ArrayT: ...  # noqa: N803
    @overload
    def predict_log_proba(self, X: Any) -> NDArray[Any]: ...  # noqa: N803
    def predict_log_proba(self, X: Any) -> Any:  # noqa: N803
        """Return the logarithm of `predict_proba`.

        Parameters
        ----------
        X : array-like, shape (n_samples, n_features)

        Returns
        -------
        array, shape (n_samples, n_classes)
        """
        p = self._probabilities(X, "predict_log_proba")
        return backends.of(p).xp.log(p)

    def predict(self, X: Any) -> Any:  # noqa: N803
        """Predict classes.

        Parameters
        ----------
        X : array-like, shape (n_samples, n_features)

        Returns
        -------
        array, shape (n_samples,) or (n_samples, n_classes)
            Of X's kind, unless the labels are strings, which are NumPy's.
        """
        p = self._predictions(X)
        origin = backends.of(p)
        p = origin.to_numpy(p)
        if p.shape[1] == 1:
            p = p[:, 0]
        elif self._two_outputs:
            p = p[:, 1]
        labels = self._label_binarizer.inverse_transform(p)
        if origin.name == "numpy" or labels.dtype.kind not in "fiub":
            return labels
        return validated.like(labels, origin)

    @overload
    def jacobian(self, X: NDArray[Any]) -> NDArray[Any]: ...  # noqa: N803
    @overload
    def jacobian(self, X: ArrayT) -> ArrayT: ...  # noqa: N803
    @overload
    def jacobian(self, X: Any) -> NDArray[Any]: ...  # noqa: N803
    def jacobian(self, X: Any) -> Any:  # noqa: N803
        """Return ∂predict_proba/∂X of each sample, exact.

        Parameters
        ----------
        X : array-like, shape (n_samples, n_features)

        Returns
        -------
        array, shape (n_samples, n_classes, n_features)
        """
        d = self._derivative(X)
        if d.shape[1] == 1:
            return backends.of(d).xp.concat([-d, d], axis=1)
        return d

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:  # noqa: N803
        """Return the accuracy of `predict`.

        Parameters
        ----------
        X : array-like, shape (n_samples, n_features)
        y : array-like, shape (n_samples,) or (n_samples, n_classes)
        sample_weight : array-like, shape (n_samples,), optional

        Returns
        -------
        float
        """
        from sklearn.metrics import accuracy_score

        z = validated.host(self.predict(X))
        weight = (
            None
            if sample_weight is None
            else validated.host(sample_weight, "sample_weight")
        )
        return float(accuracy_score(validated.host(y), z, sample_weight=weight))

    def __sklearn_tags__(self) -> Any:
        """Several labels at a time are taken."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
