"""What the two estimators share: their parameters, and fitting."""

from __future__ import annotations

import copy
import types
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import _clone_parametrized
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.validation import _check_sample_weight

from chainrule import backends, losses
from chainrule.backends import Backend
from chainrule.config.memory import room
from chainrule.errors import ArgumentError
from chainrule.layers import Layer
from chainrule.losses import links
from chainrule.model.spec import check_devices, check_optimizer
from chainrule.network import Network, ensemble
from chainrule.optimizers import LBFGS, Optimizer, ProblemOptimizer
from chainrule.sklearn import lbfgs, samples, validated, weights
from chainrule.sklearn.decorators import fits
from chainrule.sklearn.fitted import FittedPerceptron
from chainrule.sklearn.network import ACTIVATIONS, bind, mlp
from chainrule.sklearn.samples import Validation
from chainrule.sklearn.stochastic import check_finite, run

__all__ = ["MultilayerPerceptron", "assign"]

_STOCHASTIC = ("sgd", "adam")


def assign(estimator: Any, values: dict[str, Any]) -> None:
    """Set parameters as attributes, untouched: what `clone` relies on."""
    for name, value in values.items():
        if name not in ("self", "__class__"):
            setattr(estimator, name, value)


class MultilayerPerceptron(FittedPerceptron):
    """Base of `MLPRegressor` and `MLPClassifier`."""

    coefs_: list[Any]
    intercepts_: list[Any]
    n_layers_: int
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "hidden_layer_sizes": [
            "array-like",
            Interval(Integral, 1, None, closed="left"),
        ],
        "activation": [
            StrOptions(set(ACTIVATIONS)),
            Layer,
            list,
            tuple,
            callable,
        ],
        "solver": [StrOptions({"lbfgs", *_STOCHASTIC})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [
            StrOptions({"auto"}),
            Interval(Integral, 1, None, closed="left"),
        ],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [
            Interval(Integral, 1, None, closed="left"),
            Options(Real, {np.inf}),
        ],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "backend": [str, Backend, types.ModuleType, None],
        "device": "no_validation",
        "dtype": "no_validation",
        "output_activation": [
            StrOptions(set(ACTIVATIONS)),
            Layer,
            callable,
            None,
        ],
        "dropout": [Interval(Real, 0, 1, closed="left"), list, tuple],
        "optimizer": [str, Optimizer, ProblemOptimizer, None],
        "validation_data": [tuple, list, None],
        "callbacks": "no_validation",
        "scoring": [str, callable, None],
        "progress": ["boolean", None],
        "network": [Layer, None],
        "members": [Interval(Integral, 1, None, closed="left"), None],
    }

    # What a subclass decides.

    _loss: Any = None  # what `_choose` returned

    def _validate_input(self, X: Any, y: Any, incremental: bool, reset: bool) -> Any:  # noqa: N803
        raise NotImplementedError

    def _encode(self, y: Any) -> Any:
        """Turn validated targets into the (n, m) that the network is trained on."""
        raise NotImplementedError

    def _outputs_for(self, t: Any) -> int:
        """How many outputs the network has for encoded targets."""
        return int(t.shape[1])

    def _choose(self) -> tuple[losses.Loss, str, Any]:
        """Return the loss, the name of the output activation, its layer or None."""
        raise NotImplementedError

    # A module, as backend, can neither be copied nor pickled.

    def __sklearn_clone__(self) -> Self:
        """Return an unfitted estimator with copies of the parameters."""
        if not isinstance(self.backend, types.ModuleType):
            return _clone_parametrized(self)  # type: ignore[no-any-return]
        bare = copy.copy(self)
        bare.backend = None
        return _clone_parametrized(bare).set_params(backend=self.backend)  # type: ignore[no-any-return]

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: in place of a module the backend made of it."""
        state: dict[str, Any] = dict(super().__getstate__())
        if isinstance(state["backend"], types.ModuleType):
            state["backend"] = backends.get(state["backend"], self.device)
        return state

    # Fitting.

    def _fit(
        self,
        X: Any,  # noqa: N803
        y: Any,
        sample_weight: Any = None,
        incremental: bool = False,
    ) -> Self:
        hidden = self._hidden_sizes()
        first = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        X, y, origin = self._validate_input(X, y, incremental, first)  # noqa: N806
        weight = self._weights_of(X, y, sample_weight)
        t = self._encode(y)
        if incremental and self.early_stopping:
            if self.validation_data is None:
                msg = (
                    "partial_fit does not support early_stopping=True without "
                    "validation_data: a batch has nothing to spare for validation."
                )
                raise ValueError(msg)
            if not first and getattr(self, "stopped_", False):
                return self
        self._check_members(first)
        self._loss, name, self._output_layer = self._choose()
        outputs = self._outputs_for(t)
        self._random_state = check_random_state(self.random_state)
        backend = origin
        if self.backend is not None:
            backend = backends.get(self.backend, self.device)
        elif self.device is not None:
            backend = backends.get(origin.name, self.device)
        dtype = validated.target_dtype(X, self.dtype)
        if not first:
            dtype = self._check_dtype(validated.target_dtype(self.coefs_[0], None))
        backend.check_dtype(dtype)
        if self.optimizer is not None or self.solver == "lbfgs":
            check_devices(self.optimizer or LBFGS(), backend)
        if not first:
            self._check_shapes(X.shape[1], hidden, outputs)
        self.n_outputs_ = outputs
        self._kind = None if self.backend is not None else origin
        advice = (
            "Use smaller hidden_layer_sizes, a smaller batch_size, or fewer samples "
            "(partial_fit takes them part by part)."
        )
        with room(backend, "in a fit", advice):
            if first:
                self._initialize(X.shape[1], hidden, name, dtype)
            with backend.scope(dtype):
                network = self._network()
                given = samples.Samples(X, y, t, weight)
                self._solve(network, backend, dtype, given, incremental)
        arrays = [*self.coefs_, *self.intercepts_]
        if not all(np.isfinite(validated.host(a)).all() for a in arrays):
            msg = (
                "Solver produced non-finite parameter weights. The input data may "
                "contain large values and need to be preprocessed."
            )
            raise ValueError(msg)
        check_finite(self)
        return self

    def _check_members(self, first: bool) -> None:
        """Refuse what does not train an ensemble, and a number that has changed."""
        if self.optimizer is not None:
            check_optimizer(self.optimizer, self.members)
        elif self.members is not None and self.solver not in _STOCHASTIC:
            msg = (
                f"solver={self.solver!r} trains one network at a time; with members "
                f"take 'adam' or 'sgd'."
            )
            raise ArgumentError(msg)
        if not first and self._lead != (
            () if self.members is None else (self.members,)
        ):
            was = self._lead[0] if self._lead else None
            msg = (
                f"members must be {was}, as in the fit that goes on; got "
                f"{self.members}. Fit anew, with warm_start=False."
            )
            raise ArgumentError(msg)

    def _check_dtype(self, was: str) -> str:
        """Return the dtype of the fit that goes on, or refuse another one."""
        if self.dtype is not None and validated.target_dtype(None, self.dtype) != was:
            msg = (
                f"dtype must be {was}, as in the fit that goes on; got {self.dtype!r}. "
                f"Fit anew, with warm_start=False."
            )
            raise ArgumentError(msg)
        return was

    def _check_shapes(self, features: int, hidden: list[int], outputs: int) -> None:
        """Refuse another network, or targets, than those of the fit that goes on."""
        layer = self.network
        if layer is None:
            layer = mlp(self, [features, *hidden, outputs])
        network = bind(layer, features, outputs)
        wanted = weights.unpack(network, np.zeros(network.size, dtype=np.int8))
        lead = len(self._lead)
        have = [[c.shape[lead:] for c in w] for w in (self.coefs_, self.intercepts_)]
        state = self._running(None).shape[lead:]
        if [[c.shape for c in group] for group in wanted] == have and state == (
            network.state_size,
        ):
            return
        was: Any
        came: Any
        widths = [shape[-1] for shape in have[0]]
        if self.network is not None or widths == [*hidden, outputs]:
            what, was = "network must have the parameters", [*have[0], *have[1]]
            came = [c.shape for group in wanted for c in group]
        elif widths[-1] != outputs:
            what, was, came = "y must have the outputs", widths[-1], outputs
        else:
            what, was, came = "hidden_layer_sizes must be", widths[:-1], hidden
        msg = (
            f"{what} {was}, as in the fit that goes on; got {came}. Fit anew, with "
            f"warm_start=False."
        )
        raise ArgumentError(msg)

    def _hidden_sizes(self) -> list[int]:
        sizes = self.hidden_layer_sizes
        sizes = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
        if np.any(np.array(sizes) <= 0):
            msg = f"hidden_layer_sizes must be > 0, got {sizes}."
            raise ValueError(msg)
        return sizes

    def _weights_of(self, X: Any, y: Any, sample_weight: Any) -> Any:  # noqa: N803
        """Return sample weights on the host, checked, or None."""
        if sample_weight is None:
            return None
        kind = "float32" if str(X.dtype).endswith("float32") else "float64"
        stand_in = np.empty((X.shape[0], 1), dtype=kind)
        weight = validated.host(sample_weight, "sample_weight")
        return _check_sample_weight(weight, stand_in)

    def _initialize(
        self, features: int, hidden: list[int], out_activation: str, dtype: str
    ) -> None:
        self.n_iter_ = 0
        self.t_ = 0
        self.out_activation_ = out_activation
        lead = () if self.members is None else (self.members,)
        self._state = np.zeros((*lead, 0), dtype=dtype)
        if self.network is None:
            units = [features, *hidden, self.n_outputs_]
            mlp(self, units)  # errors come before anything is drawn
            self.coefs_, self.intercepts_ = weights.draw(self, units, dtype)
        else:
            links.check(self._loss, self.network)
            network = bind(self.network, features, self.n_outputs_)
            seed = int(self._random_state.randint(np.iinfo(np.int32).max))
            if self.members is None:
                drawn = network.initial(seed)
            else:
                drawn = ensemble.initial(network, seed, self.members)
            theta, state = (a.astype(dtype) for a in drawn)
            self.coefs_, self.intercepts_ = weights.unpack(network, theta)
            self._state = state
        kind = self._kind or backends.get("numpy")
        self._state = validated.like(self._state, kind)
        self.n_layers_ = len(self.coefs_) + 1
        self.stopped_ = False
        self.validation_loss_curve_: list[float] = []
        if self.solver in _STOCHASTIC or self.optimizer is not None:
            self.loss_curve_: list[float] = []
            self._no_improvement_count = 0
            if self.early_stopping:
                self.validation_scores_: list[float] | None = []
                self.best_validation_score_: float | None = -np.inf
                self.best_loss_: float | None = None
                self._best_weights: Any = self._flat()
            else:
                self.best_loss_ = np.inf
                self.validation_scores_ = None
                self.best_validation_score_ = None

    def _solve(
        self,
        network: Network,
        backend: Backend,
        dtype: str,
        given: samples.Samples,
        incremental: bool,
    ) -> None:
        stochastic = self.optimizer is not None or self.solver in _STOCHASTIC
        # L-BFGS ends when a line search finds nothing: it wants all the digits.
        working = dtype if stochastic or self.dtype is not None else "float64"
        if working != dtype:
            backend.check_dtype(working)
        with backend.scope(working):
            splits = stochastic and not incremental
            job = samples.assemble(
                self, backend, working, network, given, splits=splits
            )
            theta, state = (a.astype(working, copy=False) for a in self._flat())
            if stochastic:
                run(self, job, theta, state, incremental)
            else:
                lbfgs.run(self, job, theta, state)
        if working != dtype:
            self.coefs_, self.intercepts_ = (
                [_cast(a, dtype) for a in group]
                for group in (self.coefs_, self.intercepts_)
            )
            self._state = _cast(self._state, dtype)

    def _known_targets(self, y: Any) -> Any:
        """Validate targets of a validation set, after the fit's own."""
        raise NotImplementedError

    def _strata(self, t: Any) -> Any:
        return None

    def _default_score(self, z: Any, check: Validation) -> float:
        raise NotImplementedError

    @fits
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:  # noqa: N803
        """Fit the network to X and y.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame, shape (n_samples, n_features)
            Sparse matrices become dense at once. Arrays of JAX, CuPy or PyTorch are
            worked on where they lie.
        y : array-like, shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like, shape (n_samples,), optional

        Returns
        -------
        self
        """
        return self._fit(X, y, sample_weight)

    def _check_solver(self) -> bool:
        if self.optimizer is None and self.solver not in _STOCHASTIC:
            msg = (
                f"partial_fit is only available for stochastic optimizers. "
                f"{self.solver} is not stochastic."
            )
            raise AttributeError(msg)
        return True


def _cast(a: Any, dtype: str) -> Any:
    origin = backends.of(a)
    return origin.asarray(a, dtype)
