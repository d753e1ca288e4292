"""Uncertainty of a least-squares fit: covariance of the parameters, and a band.

Around the optimum the network is taken for linear in its parameters (Laplace's
approximation with the Gauss-Newton matrix): with J = ∂Z/∂θ over all samples,
Cov(θ) = s² (Σ w JᵀJ)⁺, and the variance of an output is J(x) Cov(θ) J(x)ᵀ.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.derivatives import build_parameter_jacobian
from chainrule.errors import ArgumentError
from chainrule.network import Network
from chainrule.problem import Problem

__all__ = ["build_band", "covariance_factor"]


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
