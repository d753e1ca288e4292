"""The regressor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, overload

import numpy as np
from sklearn import neural_network
from sklearn.base import RegressorMixin
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import (
    _check_y,
    check_is_fitted,
    validate_data,
)

from chainrule import backends, losses
from chainrule.config.explain import explain_call
from chainrule.data import intake
from chainrule.errors import ArgumentError, ArgumentTypeError
from chainrule.network import ensemble
from chainrule.sklearn import network, validated
from chainrule.sklearn.base import MultilayerPerceptron, assign
from chainrule.sklearn.decorators import goes_on
from chainrule.sklearn.listener import r2
from chainrule.sklearn.losses import (
    HalfPoissonDeviance,
    HalfSquaredError,
    MultiQuantile,
)
from chainrule.sklearn.network import LOSSES, custom_loss
from chainrule.sklearn.quantiles import QuantilePredictor
from chainrule.sklearn.samples import Validation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from chainrule.arrays.types import ArrayT
    from chainrule.config.choices import DType, Int, RateSchedule, Real, SolverName
    from chainrule.layers import Layer
    from chainrule.sklearn import parameters

__all__ = ["MLPRegressor"]

_QUANTILES = (0.05, 0.5, 0.95)


class MLPRegressor(RegressorMixin, QuantilePredictor):  # type: ignore[misc]
    """Multi-layer perceptron regressor: scikit-learn's, on any backend.

    The parameters up to `max_fun` are those of `sklearn.neural_network.MLPRegressor`,
    with its defaults, its draws and its numbers; some take more than they do there.

    Parameters
    ----------
    loss : str, Loss or function
        "squared_error" and "poisson" are scikit-learn's (half the squared error, half
        the Poisson deviance of a log rate). "quantile" fits `quantiles`. Any other name
        or object of `chainrule.losses`, or a function ``(z, t, weight=None, *, xp) ->
        (value, pullback)`` as in `chainrule.rules`.
    hidden_layer_sizes : sequence of int
    activation : str, Layer, function, or a list of them
        Of the hidden layers: scikit-learn's names, any of `chainrule.layers`, a
        function ``(x, *, xp) -> (z, pullback)``; a list has one per hidden layer.
    solver : {"adam", "sgd", "lbfgs"}
    alpha : float
        L2 penalty; ``alpha W / Σw`` is added to the gradient of weights.
    batch_size, learning_rate, learning_rate_init, power_t, max_iter, shuffle, \
random_state, tol, verbose, warm_start, momentum, nesterovs_momentum, early_stopping, \
validation_fraction, beta_1, beta_2, epsilon, n_iter_no_change, max_fun
        As in scikit-learn.
    backend : str, Backend, module or None
        Where the work runs. None: NumPy, or where X lies if X is an array of JAX, CuPy
        or PyTorch.
    device : object, optional
        A device of the backend.
    dtype : {None, "float32", "float64"}
        None follows X: float32 stays, everything else is float64.
    output_activation : str, Layer, function or None
        Stands at the network's end.
    dropout : float in [0, 1) or list of float
        After each hidden layer.
    optimizer : str, Optimizer or ProblemOptimizer, optional
        One of `chainrule.optimizers`, with its own learning rate or schedule; solver
        and learning_rate then decide nothing. `alpha` still does.
    validation_data : (X, y) or (X, y, sample_weight), optional
        Gives `validation_loss_curve_`; early stopping looks at it, also in
        `partial_fit`.
    callbacks : sequence of Callback, optional
        See `chainrule.callbacks`; logs have loss, and val_loss and val_score where
        there is a validation set. A fit works on copies, `callbacks_`, and leaves these
        as they are. Calls of `partial_fit` are one training: its callbacks go on, their
        epochs are counted on, and once one has ended it, further calls do nothing.
    scoring : str, callable or None
        What early stopping looks at: None is R², "loss" the validation loss (less is
        better), else a scikit-learn scorer.
    progress : bool or None
        A progress bar; None shows it on a terminal.
    network : Layer, optional
        A network of your own, its output layer included, in place of
        hidden_layer_sizes, activation, dropout and output_activation.
    quantiles : sequence of float, optional
        For loss="quantile"; (0.05, 0.5, 0.95) by default.
    members : int, optional
        Train so many networks at once, an ensemble: they differ in their initial
        weights, and member 0 is the lone network. Predictions are the mean over
        members, ``predict(X, return_std=True)`` says how far they are apart; losses are
        means, too. The weights of `coefs_` and `intercepts_` have an axis of members
        first. Not with solver="lbfgs".

    Attributes
    ----------
    coefs_, intercepts_, loss_, best_loss_, loss_curve_, validation_scores_, \
best_validation_score_, t_, n_iter_, n_layers_, n_outputs_, out_activation_, \
n_features_in_, feature_names_in_
        As in scikit-learn.
    validation_loss_curve_ : list of float
        One value per epoch, without the penalty; empty without a validation set.
    callbacks_ : list of Callback
        The copies of `callbacks` that the last fit worked on:
        ``callbacks_[0].best_epoch``.
    stopped_ : bool
        Whether a rule or a callback ended the last fit.
    """

    _theirs = neural_network.MLPRegressor

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **MultilayerPerceptron._parameter_constraints,
        "loss": [StrOptions(set(LOSSES)), losses.Loss, callable],
        "quantiles": ["array-like", None],
    }

    def _validate_params(self) -> None:
        """Say what the first position is: `MLPClassifier`'s is hidden_layer_sizes."""
        if isinstance(self.loss, (int, tuple, list)):
            msg = (
                f"loss must be a name, a Loss or a function; got {self.loss!r}. It is "
                f"MLPRegressor's first argument, as in scikit-learn: write "
                f"hidden_layer_sizes={self.loss!r}."
            )
            raise ArgumentTypeError(msg)
        super()._validate_params()

    @explain_call(1)
    def __init__(
        self,
        loss: parameters.RegressorLoss = "squared_error",
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
        quantiles: Sequence[Real] | None = None,
        members: Int | None = None,
    ) -> None:
        assign(self, locals())

    # Fitting.

    def _validate_input(self, X: Any, y: Any, incremental: bool, reset: bool) -> Any:  # noqa: N803
        intake.check_filled("X", X)
        origin = backends.of(X)
        if origin.name != "numpy":
            X = validated.receive_device(self, X, origin, reset=reset)  # noqa: N806
            return X, validated.device_targets(X, y), origin
        X, y = validate_data(  # noqa: N806
            self,
            X,
            validated.host(y),
            accept_sparse=validated.SPARSE,
            multi_output=True,
            y_numeric=True,
            dtype=(np.float64, np.float32),
            reset=reset,
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return validated.dense(X), y, origin

    def _known_targets(self, y: Any) -> Any:
        return _check_y(validated.host(y), multi_output=True, y_numeric=True)

    def _encode(self, y: Any) -> Any:
        return y.reshape((-1, 1)) if y.ndim == 1 else y

    def _outputs_for(self, t: Any) -> int:
        levels = self._loss.quantiles if isinstance(self._loss, MultiQuantile) else (0,)
        return int(t.shape[1]) * len(levels)

    def _choose(self) -> tuple[losses.Loss, str, Any]:
        if self.quantiles is not None and self.loss != "quantile":
            msg = f"quantiles needs loss='quantile'; the loss is {self.loss!r}."
            raise ArgumentError(msg)
        link = "identity"
        loss: losses.Loss
        if self.loss == "squared_error":
            loss = HalfSquaredError()
        elif self.loss == "poisson":
            loss, link = HalfPoissonDeviance(), "exp"
        elif self.loss == "quantile":
            levels = _QUANTILES if self.quantiles is None else self.quantiles
            loss = MultiQuantile(tuple(levels))
        else:
            loss = custom_loss(self.loss)
            link = "exp" if isinstance(loss, losses.Poisson) else link
        return loss, *network.output_activation(self, link)

    def _default_score(self, z: Any, check: Validation) -> float:
        return r2(self._central(z), check)

    @goes_on
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:  # noqa: N803
        """Go through the data once more.

        With early_stopping and validation_data, a call after the rule has applied
        leaves the best weights as they are; see `stopped_`.

        Parameters
        ----------
        X : array-like, shape (n_samples, n_features)
        y : array-like, shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like, shape (n_samples,), optional

        Returns
        -------
        self
        """
        return self._fit(X, y, sample_weight, incremental=True)

    # Use.

    @overload
    def predict(
        self,
        X: NDArray[Any],  # noqa: N803
        return_std: Literal[False] = False,
    ) -> NDArray[Any]: ...
    @overload
    def predict(
        self,
        X: NDArray[Any],  # noqa: N803
        return_std: Literal[True],
    ) -> tuple[NDArray[Any], NDArray[Any]]: ...
    @overload
    def predict(self, X: ArrayT, return_std: Literal[False] = False) -> ArrayT: ...  # noqa: N803
    @overload
    def predict(
        self,
        X: ArrayT,  # noqa: N803
        return_std: Literal[True],
    ) -> tuple[ArrayT, ArrayT]: ...
    @overload
    def predict(self, X: Any, return_std: Literal[False] = False) -> NDArray[Any]: ...  # noqa: N803
    @overload
    def predict(
        self,
        X: Any,  # noqa: N803
        return_std: Literal[True],
    ) -> tuple[NDArray[Any], NDArray[Any]]: ...
    @overload
    def predict(self, X: Any, return_std: bool) -> Any: ...  # noqa: N803
    def predict(self, X: Any, return_std: bool = False) -> Any:  # noqa: N803
        """Predict: the output, or the median where the loss is "quantile".

        Parameters
        ----------
        X : array-like, shape (n_samples, n_features)
        return_std : bool
            Whether to return the standard deviation over `members`, too.

        Returns
        -------
        mean : array, shape (n_samples,) or (n_samples, n_outputs)
            Of X's kind, on X's device.
        std : array, of the same shape
            If `return_std`: sqrt(Σ (zₖ - mean)² / members).

        Raises
        ------
        ArgumentError
            If `return_std` is asked of a single network.
        """
        if not return_std:
            return self._column(self._predictions(X))
        check_is_fitted(self)
        if not self._lead:
            msg = (
                "return_std needs an ensemble: fit one with members=8, say; or take "
                "loss='quantile' and predict_interval(X)."
            )
            raise ArgumentError(msg)
        both = self._predictions(X, joint=ensemble.build_mean_and_std)
        return self._column(both[:, 0, :]), self._column(both[:, 1, :])

    def _column(self, z: Any) -> Any:
        z = self._central(z)
        return z[:, 0] if z.shape[1] == 1 else z

    @overload
    def jacobian(self, X: NDArray[Any]) -> NDArray[Any]: ...  # noqa: N803
    @overload
    def jacobian(self, X: ArrayT) -> ArrayT: ...  # noqa: N803
    @overload
    def jacobian(self, X: Any) -> NDArray[Any]: ...  # noqa: N803
    def jacobian(self, X: Any) -> Any:  # noqa: N803
        """Return ∂predict/∂X of each sample, exact.

        Parameters
        ----------
        X : array-like, shape (n_samples, n_features)

        Returns
        -------
        array, shape (n_samples, n_outputs, n_features)
            n_outputs is 1 for a single target.
        """
        return self._central(self._derivative(X))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:  # noqa: N803
        """Return R² of `predict`.

        Parameters
        ----------
        X : array-like, shape (n_samples, n_features)
        y : array-like, shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like, shape (n_samples,), optional

        Returns
        -------
        float
        """
        from sklearn.metrics import r2_score

        z = validated.host(self.predict(X))
        weight = (
            None
            if sample_weight is None
            else validated.host(sample_weight, "sample_weight")
        )
        return float(r2_score(validated.host(y), z, sample_weight=weight))
