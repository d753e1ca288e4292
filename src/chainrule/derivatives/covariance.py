"""Uncertainty of a least-squares fit: covariance of the parameters, and a band.

Around the optimum the network is taken for linear in its parameters (Laplace's
approximation with the Gauss-Newton matrix): with J = ∂Z/∂θ over all samples,
Cov(θ) = s² (Σ w JᵀJ)⁺, and the variance of an output is J(x) Cov(θ) J(x)ᵀ.

All is computed in float64, whatever the model's dtype, where its device has float64.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from chainrule.arrays.normal_equations import QR, system
from chainrule.arrays.types import Array
from chainrule.derivatives.parameters import build_parameter_jacobian
from chainrule.errors import ArgumentError
from chainrule.network import Network

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chainrule.backends import Backend

    Floats = NDArray[np.float64]

__all__ = ["Covariance", "Spread", "build_band", "covariance"]


class Spread(NamedTuple):
    """A factor of Cov(θ) = D C Cᵀ D, host arrays of float64.

    C (P, rank) is free of the parameters' units, which are in D's diagonal, `unit`
    (P,): the reciprocal norms of J's columns, 0 where a column is zero.
    """

    unit: Floats
    c: Floats


class Covariance:
    """What of J and r the covariance of a fit needs: never the data themselves.

    Parameters
    ----------
    j : host array, shape (k, P), of float64
        With jᵀj = Σ w JᵀJ.
    squares : float
        Σ w (z - t)².
    count : int
        The number of samples with weight times outputs.
    cut : float
        Singular values below that share of the largest one are rounding.
    """

    def __init__(self, j: Floats, squares: float, count: int, cut: float) -> None:
        self._j, self._squares, self._count, self._cut = j, squares, count, cut

    @functools.cached_property
    def spread(self) -> Spread:
        """The factor of the covariance.

        Raises
        ------
        ArgumentError
            If there are not more numbers to fit than directions that they determine, or
            if J is not finite.
        """
        if not (np.isfinite(self._j).all() and math.isfinite(self._squares)):
            msg = (
                "method='laplace' needs finite derivatives by the parameters at these "
                "samples; some overflow. Scale x and y to numbers near 1."
            )
            raise ArgumentError(msg)
        largest = np.abs(self._j).max(axis=0, initial=0.0)
        largest = np.where(largest > 0.0, largest, 1.0)
        norms = largest * np.sqrt(np.sum((self._j / largest) ** 2, axis=0))
        unit = np.where(norms > 0.0, 1.0 / np.where(norms > 0.0, norms, 1.0), 0.0)
        # Columns of unit norm first: what counts as rounding must not depend on units.
        _, values, vectors = np.linalg.svd(self._j * unit, full_matrices=False)
        determined = values > self._cut * values.max(initial=0.0)
        rank = int(determined.sum())
        if self._count <= rank:
            msg = (
                f"method='laplace' needs more numbers to fit than directions of the "
                f"parameters that they determine; got {self._count} and {rank}. Give "
                f"more samples, a smaller network, or take an ensemble (members=8)."
            )
            raise ArgumentError(msg)
        deviation = math.sqrt(self._squares / (self._count - rank))
        del self._j  # the factor is cached in its place
        scale = deviation / values[determined]
        return Spread(unit, vectors[determined].T * scale)


def covariance(
    backend: Backend,
    network: Network,
    theta: Array,
    chunks: Iterable[tuple[Any, Any]],
    samples: int,
) -> Covariance:
    """Return what the data say about the parameters theta (P,).

    Parameters
    ----------
    backend : Backend
    network : Network
    theta : array, shape (P,)
    chunks : iterable of (r, J)
        Residuals (k,) and their Jacobian (k, P), scaled alike, sample after sample.
    samples : int
        How many samples weigh anything.

    Notes
    -----
    s² = Σ w (z - t)² / (N - rank) over the N samples with weight times outputs. The
    pseudo-inverse leaves out directions in which the data say nothing: those whose
    singular value is rounding, once each column of J has the norm 1, so that units
    count for nothing. Frozen parameters have no variance.
    Source: Seber, Wild 1989, "Nonlinear Regression", chapter 5.
    """
    xp, layout = backend.xp, network.layout
    gathered = system(xp, layout.learning_size)
    squares = 0.0
    for r, j in chunks:
        gathered.add(layout.learning(j, xp), r)
        squares += float(backend.to_numpy(r @ r))
    host = backend.to_numpy(theta)
    cut = 10.0 * layout.learning_size * float(np.finfo(host.dtype).eps)
    if isinstance(gathered, QR):
        j = backend.to_numpy(gathered.rows)[:, : layout.learning_size].astype(
            np.float64
        )
    else:
        j, cut = _root(backend.to_numpy(gathered.gram).astype(np.float64)), cut**0.5
    learns = backend.to_numpy(layout.learning(xp.arange(host.size), xp))
    rows = np.zeros((j.shape[0], host.size))
    rows[:, learns] = j
    return Covariance(rows, squares, samples * network.output_size, cut)


def _root(gram: Floats) -> Floats:
    """Return a (k, P) matrix with aᵀa = gram, to rounding of its columns' own units."""
    norms = np.sqrt(np.diag(gram))
    norms = np.where(norms > 0.0, norms, 1.0)
    values, vectors = np.linalg.eigh(gram / norms / norms[:, None])
    positive = values > 0.0
    root: Floats = np.sqrt(values[positive])[:, None] * vectors[:, positive].T * norms
    return root


def build_band(backend: Backend, network: Network, dtype: str) -> Callable[..., Any]:
    """Return ``f(theta, state, unit, c, x) -> std``, of Z's shape and this dtype.

    It computes in the dtype of theta.
    """
    xp = backend.xp
    parameter_jacobian = build_parameter_jacobian(backend, network)

    def band(theta: Array, state: Array, unit: Array, c: Array, x: Array) -> Any:
        if network.input_dtype is None:
            x = xp.astype(x, theta.dtype)
        j = parameter_jacobian(theta, state, x)
        moves = xp.matmul(j * unit, c)
        std = xp.sqrt(xp.sum(moves * moves, axis=-1))
        std = xp.reshape(std, (x.shape[0], *network.output_shape))
        return xp.astype(std, getattr(xp, dtype))

    return band
