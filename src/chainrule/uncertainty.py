"""Uncertainty of a least-squares fit: covariance of the parameters, and a band.

Around the optimum the network is taken for linear in its parameters (Laplace's
approximation with the Gauss-Newton matrix): with J = ∂Z/∂θ over all samples,
Cov(θ) = s² (Σ w JᵀJ)⁺, and the variance of an output is J(x) Cov(θ) J(x)ᵀ.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.derivatives import build_parameter_jacobian, chunk
from chainrule.errors import ArgumentError
from chainrule.network import Network
from chainrule.problem import Problem

__all__ = ["Uncertainty", "build_band", "covariance_factor"]


def covariance_factor(problem: Problem, theta: Any) -> Any:
    """Return C (P, rank), a float64 host array with C Cᵀ = Cov(θ).

    Notes
    -----
    s² = Σ w (z - t)² / (N - rank) over the N samples with weight times outputs. The
    pseudo-inverse leaves out directions in which the data say nothing: eigenvalues of
    JᵀJ below rounding of the largest one. Frozen parameters have no variance.
    Source: Seber, Wild 1989, "Nonlinear Regression", chapter 5.

    Raises
    ------
    ArgumentError
        If there are not more numbers to fit than
        directions that they determine.
    """
    backend, size = problem.backend, problem.network.size
    gram, squares = np.zeros((size, size)), 0.0
    for r, j in problem.linearised(theta):
        j, r = (backend.to_numpy(a).astype(np.float64) for a in (j, r))  # noqa: PLW2901
        gram += j.T @ j
        squares += float(r @ r)
    eigenvalues, vectors = np.linalg.eigh(gram)
    eps = float(np.finfo(str(backend.to_numpy(theta).dtype)).eps)
    there = eigenvalues > max(1, size) * eps * max(float(eigenvalues[-1]), 0.0)
    rank = int(there.sum())
    weight = problem.data.weight
    samples = problem.data.x.shape[0]
    if weight is not None:
        samples = int((backend.to_numpy(weight) > 0).sum())
    count = samples * math.prod(problem.network.output_shape)
    if count <= rank:
        msg = (
            f"method='laplace' needs more numbers to fit than directions of the "
            f"parameters that they determine; got {count} and {rank}. Give more "
            f"samples, a smaller network, or take an ensemble (members=8)."
        )
        raise ArgumentError(msg)
    # Both sums carry the same factor, Σw · outputs, which cancels.
    scale = math.sqrt(squares / (count - rank))
    return vectors[:, there] * (scale / np.sqrt(eigenvalues[there]))


def build_band(backend: Any, network: Network) -> Any:
    """Return ``f(theta, state, factor, x) -> std``, of Z's shape."""
    xp = backend.xp
    parameter_jacobian = build_parameter_jacobian(backend, network)

    def band(theta: Any, state: Any, factor: Any, x: Any) -> Any:
        spread = xp.matmul(parameter_jacobian(theta, state, x), factor)
        std = xp.sqrt(xp.sum(spread * spread, axis=-1))
        return xp.reshape(std, (x.shape[0], *network.output_shape))

    return band


class Uncertainty:
    """What `Model` offers of these."""

    if TYPE_CHECKING:
        backend: Any
        dtype: str
        loss: Any
        members: int | None
        _weights: Any
        _seen: Any
        _factor_of: Any

        def _need(self) -> Network: ...
        def _scope(self) -> Any: ...
        def _data(self, *args: Any, **options: Any) -> Any: ...
        def _apply(self, x: Any, build: Any, *key: Any, **options: Any) -> Any: ...

    def parameter_covariance(
        self, x: Any = None, y: Any = None, *, sample_weight: Any = None
    ) -> Any:
        """Return the covariance of the parameters, for a loss of squared_error.

        s² (Σ w JᵀJ)⁺ with J = ∂Z/∂θ at the model's parameters, and s² = Σ w (z - t)² /
        (N - rank): right where the fit has converged and the network fits the data.

        Parameters
        ----------
        x, y, sample_weight : arrays, optional
            As `fit` takes them; by default those of this model's last fit.

        Returns
        -------
        array, shape (P, P)
            On the model's backend, in its dtype. Frozen parameters have zeros.

        Raises
        ------
        ArgumentError
            If the loss is not squared_error, the model is an ensemble, there are no
            data (of a model that was loaded or moved, hand them in), or too few.
        """
        factor = self._covariance_factor(x, y, sample_weight)
        with self._scope():
            return self.backend.asarray(factor @ factor.T, self.dtype)

    def _covariance_factor(
        self, x: Any = None, y: Any = None, sample_weight: Any = None
    ) -> Any:
        """Return C (P, rank) on the host; remembered until the parameters change."""
        network = self._need()
        if self.members is not None:
            msg = (
                "method='laplace' is of a lone model; an ensemble has its own spread: "
                "leave method out, or ask model.member(k)."
            )
            raise ArgumentError(msg)
        self.loss.check_residuals("method='laplace'")
        given = x is not None
        if not given and self._factor_of is not None:
            weights, factor = self._factor_of
            if weights is self._weights:
                return factor
        if not given and self._seen is None:
            msg = (
                "method='laplace' needs the data of the fit, which this model does not "
                "have (it was loaded, moved or not fitted); hand them in once: "
                "parameter_covariance(x, y)."
            )
            raise ArgumentError(msg)
        backend = self.backend
        with self._scope():
            data = self._seen
            if given:
                data = self._data(network, backend, x, y, sample_weight, "")
            theta, state = self._weights
            whole = Problem(backend, network, self.loss, data, 256, state)
            factor = covariance_factor(whole, theta)
        self._factor_of = (self._weights, factor)
        return factor

    def _band(self, x: Any) -> Any:
        factor = self._covariance_factor()
        network = self._need()
        each = network.size * network.output_size
        with self._scope():
            weights = (*self._weights, self.backend.asarray(factor, self.dtype))
        rows = chunk(self.backend, max(1, each), 64)
        return self._apply(x, build_band, rows=rows, weights=weights)
