"""A fitted network: its weights as scikit-learn keeps them, and what it gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from chainrule import backends
from chainrule.config.memory import FEWER_ROWS, room
from chainrule.data import intake
from chainrule.errors import ArgumentTypeError
from chainrule.network import chunks, ensemble
from chainrule.sklearn import convert, linked, validated
from chainrule.sklearn.network import LINKS, bind, mlp
from chainrule.sklearn.weights import pack, unpack

if TYPE_CHECKING:
    from chainrule.arrays.types import Array
    from chainrule.backends import Backend
    from chainrule.network import Network

__all__ = ["FittedPerceptron"]


class FittedPerceptron(BaseEstimator):  # type: ignore[misc]
    """What `MultilayerPerceptron` can do once it is fitted."""

    coefs_: list[Any]
    intercepts_: list[Any]
    n_layers_: int

    _theirs: ClassVar[type]  # scikit-learn's class of this kind
    _kind: Any = None  # whose arrays the fitted ones are; None stands for NumPy
    _output_layer: Any = None  # an activation at the network's end, beside the link

    # The weights: lists outside, one vector within.

    @property
    def _lead(self) -> tuple[int, ...]:
        """The fitted weights' leading axes: (members,) of an ensemble, else ()."""
        return tuple(self.coefs_[0].shape[:-2])

    def _network(self) -> Any:
        """Return the bound network of the fitted weights."""
        layer = self.network
        if layer is None:
            units = [self.coefs_[0].shape[-2], *(c.shape[-1] for c in self.coefs_)]
            layer = mlp(self, units)
        return bind(layer, self.n_features_in_, self.n_outputs_)

    def _flat(self) -> tuple[Any, Any]:
        """Return the weights as host vectors, parameters and state."""
        numpy = backends.get("numpy")
        coefs, intercepts = (
            [validated.host(a) for a in group]
            for group in (self.coefs_, self.intercepts_)
        )
        theta = pack(self._network(), coefs, intercepts, numpy)
        return theta, validated.host(self._running(theta.dtype))

    def _running(self, dtype: Any) -> Any:
        """Return the network's state; a perceptron's own is empty."""
        return getattr(self, "_state", np.zeros(0, dtype=dtype))

    def _publish(
        self, network: Network, theta: Array, state: Array, backend: Backend
    ) -> None:
        """Take weights over as `coefs_` and `intercepts_`."""
        theta, state = (intake.to_host(a, backend) for a in (theta, state))
        kind = self._kind or backends.get("numpy")
        self.coefs_, self.intercepts_ = (
            [validated.like(a, kind) for a in group] for group in unpack(network, theta)
        )
        self._state = validated.like(state, kind)

    def _link(self) -> Any:
        if self._output_layer is not None:
            return None
        return LINKS.get(self.out_activation_)

    # What a fitted network gives.

    def _apply(
        self,
        method: str,
        X: Any,  # noqa: N803
        build: Any,
        *key: Any,
        joint: Any = ensemble.build_mean,
    ) -> Any:
        """Apply what ``build(backend, network, *key)`` makes to X; X's kind comes back.

        `method` is the public one that asks, for errors. `joint` makes one output of
        those of an ensemble's members.
        """
        validated.check_same_place(self, X, method)
        X, origin = validated.receive(self, X, reset=False)  # noqa: N806
        backend = origin
        if self.backend is not None:
            backend = backends.get(self.backend, self.device)
        elif self.device is not None:
            backend = backends.get(origin.name, self.device)
        network = self._network()
        dtype = validated.target_dtype(self.coefs_[0], None)
        with room(backend, f"in {method}", FEWER_ROWS), backend.scope(dtype):
            theta = pack(network, *self._lists(backend), backend)
            weights = tuple(
                intake.move(a, backend, dtype) for a in (theta, self._running(dtype))
            )
            if not (backend.pads and origin.name == "numpy"):
                X = intake.move(X, backend, dtype)  # noqa: N806
            else:
                X = np.asarray(X, dtype=dtype)  # noqa: N806
            if self._lead:
                build, key = joint, (build, *key)
            z = chunks.outputs(backend, weights, X, build, network, *key)
            if backend == origin:
                return z
        return validated.like(intake.to_host(z, backend), origin, dtype)

    def _lists(self, backend: Backend) -> tuple[list[Any], list[Any]]:
        """Return both lists of weights, on the host unless all lie on the backend."""
        arrays = [*self.coefs_, *self.intercepts_]
        if all(backend.owns(a) for a in arrays):
            return self.coefs_, self.intercepts_
        coefs, intercepts = (
            [validated.host(a) for a in group]
            for group in (self.coefs_, self.intercepts_)
        )
        return coefs, intercepts

    def _predictions(
        self,
        X: Any,  # noqa: N803
        method: str = "predict",
        joint: Any = ensemble.build_mean,
    ) -> Any:
        check_is_fitted(self)
        link = self._link()
        return self._apply(method, X, linked.build_linked, link, joint=joint)

    def hidden_activations(self, X: Any) -> list[Any]:  # noqa: N803
        """Return what the hidden layers give for X, in inference.

        Parameters
        ----------
        X : array-like, shape (n_samples, n_features)

        Returns
        -------
        list of arrays, shape (n_samples, units of the layer)
            One per hidden layer, after its activation; (n_samples, members, units of
            the layer) of an ensemble.
        """
        check_is_fitted(self)
        widths = linked.hidden_widths(self._network())
        joined = self._apply(
            "hidden_activations",
            X,
            linked.build_hidden,
            joint=ensemble.build_members,
        )
        stops = [int(v) for v in np.cumsum(widths)]
        starts = [0, *stops[:-1]]
        return [joined[..., a:b] for a, b in zip(starts, stops, strict=True)]

    def _derivative(self, X: Any) -> Any:  # noqa: N803
        check_is_fitted(self)
        return self._apply(
            "jacobian",
            X,
            linked.build_derivative,
            self._link(),
            joint=linked.build_mean_of_each,
        )

    def to_sklearn(self) -> Any:
        """Return a fitted estimator of scikit-learn's own class, with these weights.

        Returns
        -------
        sklearn.neural_network.MLPRegressor or MLPClassifier
            Its predictions are equal to rounding.

        Raises
        ------
        ArgumentError
            If the network is one that scikit-learn does not have.
        """
        return convert.to_sklearn(self)

    @classmethod
    def from_sklearn(cls, estimator: Any, **params: Any) -> Self:
        """Take over a fitted perceptron; see `chainrule.sklearn.from_sklearn`.

        Parameters
        ----------
        estimator : sklearn.neural_network.MLPRegressor or MLPClassifier
        **params : object
            Parameters to set beside its own.
        """
        if not isinstance(estimator, cls._theirs):
            msg = f"{cls.__name__} cannot take over a {type(estimator).__name__}."
            raise ArgumentTypeError(msg)
        new: Self = convert.from_sklearn(estimator, cls, **params)
        return new

    def __sklearn_tags__(self) -> Any:
        """Sparse X is taken, and arrays of other libraries."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.array_api_support = True
        return tags
