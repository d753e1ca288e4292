"""What `Model` offers of uncertainty."""

from __future__ import annotations

from typing import Any

from chainrule.arrays.normal_equations import QR_SIZE
from chainrule.config.explain import explain_methods
from chainrule.config.memory import readable, room
from chainrule.data.samples import Data
from chainrule.derivatives.cost import chunk
from chainrule.derivatives.covariance import Covariance, Spread, build_band, covariance
from chainrule.errors import ArgumentError, DeviceError
from chainrule.model.predictor import Predictor
from chainrule.training.objective import LossObjective
from chainrule.training.problem import Problem

__all__ = ["Uncertainty"]


@explain_methods
class Uncertainty(Predictor):
    """What `Model` offers of these."""

    def parameter_covariance(
        self, x: Any = None, y: Any = None, *, sample_weight: Any = None
    ) -> Any:
        """Return the covariance of the parameters, for a loss of squared_error.

        s² (Σ w JᵀJ)⁺ with J = ∂Z/∂θ at the model's parameters, and s² = Σ w (z - t)² /
        (N - rank): right where the fit has converged and the network fits the data. It
        does not depend on the units of x and y, but for the parameters' own.

        Parameters
        ----------
        x, y, sample_weight : arrays, optional
            As `fit` takes them. Without them the covariance is the one that is kept:
            of the last call with data, or of a fit by `LevenbergMarquardt` with up to
            512 parameters that learn. A model keeps no data, and what it keeps counts
            only while its parameters stay as they are; files, pickles, and `to` leave
            it out.

        Returns
        -------
        array, shape (P, P)
            On the model's backend, in its dtype. Frozen parameters have zeros.

        Raises
        ------
        ArgumentError
            If the loss is not squared_error, the model is an ensemble, nothing is kept
            of its parameters and no data are given, or there are too few.
        OutOfMemoryError
            If a matrix of P × P numbers does not fit into the memory.
        """
        self._need()
        with self._room():
            unit, c = self._spread(x, y, sample_weight)
            factor = unit[:, None] * c
            covariance = factor @ factor.T
        with self._scope():
            return self.backend.asarray(covariance, self.spec.dtype)

    def _spread(
        self, x: Any = None, y: Any = None, sample_weight: Any = None
    ) -> Spread:
        """Return the factor of the covariance of the parameters as they are."""
        network = self._need()
        if self.spec.members is not None:
            msg = (
                "method='laplace' is of a lone model; an ensemble has its own spread: "
                "leave method out, or ask model.member(k)."
            )
            raise ArgumentError(msg)
        self.spec.loss.check_residuals("method='laplace'")
        if x is not None:
            with self._scope():
                data = self._data(network, self.backend, (x, y, sample_weight))
            found = self._covariance(data)
            spread = found.spread
            self._covariance_of = (self._state().theta, found)
            return spread
        kept = self._covariance_of
        if kept is None or kept[0] is not self._state().theta:
            self._covariance_of = None
            msg = (
                "method='laplace' needs the covariance of the parameters as they are "
                "now, and this model has kept none: it keeps no data, and only a fit "
                "by LevenbergMarquardt (of up to 512 parameters) leaves it behind. "
                "Hand the data in once: parameter_covariance(x, y)."
            )
            raise ArgumentError(msg)
        return kept[1].spread

    def _covariance(self, data: Data) -> Covariance:
        """Make a pass over data on the backend, in float64 where it has that."""
        backend = self.backend
        wide = self._wide()
        with backend.scope(wide, "highest"):
            theta, state = (backend.asarray(a, wide) for a in self._weights())
            network, objective = self._need(), LossObjective(self.spec.loss)
            problem = Problem(backend, network, objective, data, 1, state)
            samples = data.x.shape[0]
            if data.weight is not None:
                samples = int((backend.to_numpy(data.weight) > 0).sum())
            chunks = problem.linearised(theta)
            return covariance(backend, network, theta, chunks, samples)

    def _keep_covariance(self, data: Data) -> None:
        """Keep what a least-squares fit says about its parameters, where it is small.

        It costs a pass over the data, about an iteration; what goes wrong in it is no
        fault of the fit, and is said when the covariance is asked for.
        """
        if self._need().layout.learning_size > QR_SIZE:
            return
        try:
            theta = self._state().theta
            self._covariance_of = (theta, self._covariance(data))
        except Exception as error:
            if not self.backend.is_out_of_memory(error):
                raise

    def _wide(self) -> str:
        try:
            self.backend.check_dtype("float64")
        except DeviceError:
            return self.spec.dtype
        return "float64"

    def _room(self) -> Any:
        """Say what is too large where memory does not suffice."""
        size = self._need().size
        advice = (
            f"The covariance of {size:,} parameters is a matrix of {size:,} x {size:,} "
            f"numbers, {readable(8 * size * size)} in float64. For so many parameters "
            f"take an ensemble (members=8)."
        )
        return room(self.backend, "for a covariance", advice)

    def _band(self, x: Any) -> Any:
        network, wide = self._need(), self._wide()
        with self._room():
            spread = self._spread()
        each = network.size * network.output_size
        backend = self.backend
        with backend.scope(wide, "highest"):
            arrays = (*self._weights(), *spread)
            weights = tuple(backend.asarray(a, wide) for a in arrays)
        rows = chunk(backend, max(1, each), 64)
        key = (build_band, self.spec.dtype)
        return self._apply(x, *key, rows=rows, weights=weights, wide=wide)
