"""Uncertainty of a least-squares fit: covariance of the parameters, and a band.

Around the optimum the network is taken for linear in its parameters (Laplace's
approximation with the Gauss-Newton matrix): with J = ∂Z/∂θ over all samples,
Cov(θ) = s² (Σ w JᵀJ)⁺, and the variance of an output is J(x) Cov(θ) J(x)ᵀ.

All is computed in float64, whatever the model's dtype, where its device has float64.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from chainrule import _checks
from chainrule._memory import room
from chainrule.derivatives import build_parameter_jacobian, chunk
from chainrule.errors import ArgumentError, DeviceError
from chainrule.network import Network
from chainrule.normal_equations import QR, QR_SIZE, Layout, system
from chainrule.problem import Problem, readable

__all__ = ["Covariance", "Spread", "Uncertainty", "build_band", "covariance"]


class Spread(NamedTuple):
    """A factor of Cov(θ) = D C Cᵀ D, host arrays of float64.

    C (P, rank) is free of the parameters' units, which are in D's diagonal, `unit`
    (P,): the reciprocal norms of J's columns, 0 where a column is zero.
    """

    unit: Any
    c: Any


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

    def __init__(self, j: Any, squares: float, count: int, cut: float) -> None:
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
        there = values > self._cut * values.max(initial=0.0)
        rank = int(there.sum())
        if self._count <= rank:
            msg = (
                f"method='laplace' needs more numbers to fit than directions of the "
                f"parameters that they determine; got {self._count} and {rank}. Give "
                f"more samples, a smaller network, or take an ensemble (members=8)."
            )
            raise ArgumentError(msg)
        deviation = math.sqrt(self._squares / (self._count - rank))
        self._j = None  # what is asked for is remembered
        return Spread(unit, vectors[there].T * (deviation / values[there]))


def covariance(problem: Problem, theta: Any) -> Covariance:
    """Return what the data say about the parameters theta (P,); one pass over them.

    Notes
    -----
    s² = Σ w (z - t)² / (N - rank) over the N samples with weight times outputs. The
    pseudo-inverse leaves out directions in which the data say nothing: those whose
    singular value is rounding, once each column of J has the norm 1, so that units
    count for nothing. Frozen parameters have no variance.
    Source: Seber, Wild 1989, "Nonlinear Regression", chapter 5.
    """
    backend = problem.backend
    layout = Layout(problem.network, backend.xp, theta.dtype)
    gathered = system(backend.xp, layout.size)
    squares = 0.0
    for r, j in problem.linearised(theta):
        gathered.add(layout.learning(j), r)
        squares += problem.number(r @ r)
    host = backend.to_numpy(theta)
    cut = 10.0 * layout.size * float(np.finfo(host.dtype).eps)
    if isinstance(gathered, QR):
        j = backend.to_numpy(gathered.rows)[:, : layout.size].astype(np.float64)
    else:
        j, cut = _root(backend.to_numpy(gathered.gram).astype(np.float64)), cut**0.5
    learns = backend.to_numpy(layout.learning(backend.xp.arange(host.size)))
    rows = np.zeros((j.shape[0], host.size))
    rows[:, learns] = j
    weight = problem.data.weight
    samples = problem.data.x.shape[0]
    if weight is not None:
        samples = int((backend.to_numpy(weight) > 0).sum())
    count = samples * math.prod(problem.network.output_shape)
    return Covariance(rows, squares, count, cut)


def _root(gram: Any) -> Any:
    """Return a (k, P) matrix with aᵀa = gram, to rounding of its columns' own units."""
    norms = np.sqrt(np.diag(gram))
    norms = np.where(norms > 0.0, norms, 1.0)
    values, vectors = np.linalg.eigh(gram / norms / norms[:, None])
    there = values > 0.0
    return np.sqrt(values[there])[:, None] * vectors[:, there].T * norms


def build_band(backend: Any, network: Network) -> Any:
    """Return ``f(theta, state, unit, c, x) -> std``, of Z's shape and x's dtype.

    It computes in the dtype of theta.
    """
    xp = backend.xp
    parameter_jacobian = build_parameter_jacobian(backend, network)

    def band(theta: Any, state: Any, unit: Any, c: Any, x: Any) -> Any:
        j = parameter_jacobian(theta, state, xp.astype(x, theta.dtype))
        moves = xp.matmul(j * unit, c)
        std = xp.sqrt(xp.sum(moves * moves, axis=-1))
        std = xp.reshape(std, (x.shape[0], *network.output_shape))
        return xp.astype(std, x.dtype)

    return band


@_checks.methods_told
class Uncertainty:
    """What `Model` offers of these."""

    if TYPE_CHECKING:
        backend: Any
        dtype: str
        precision: str
        loss: Any
        members: int | None
        _weights: Any
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
            return self.backend.asarray(covariance, self.dtype)

    def _spread(
        self, x: Any = None, y: Any = None, sample_weight: Any = None
    ) -> Spread:
        """Return the factor of the covariance of the parameters as they are."""
        network = self._need()
        if self.members is not None:
            msg = (
                "method='laplace' is of a lone model; an ensemble has its own spread: "
                "leave method out, or ask model.member(k)."
            )
            raise ArgumentError(msg)
        self.loss.check_residuals("method='laplace'")
        if x is not None:
            with self._scope():
                data = self._data(network, self.backend, x, y, sample_weight, "")
            found = self._covariance(data)
            spread = found.spread
            self._factor_of = (self._weights, found)
            return spread
        kept = self._factor_of
        if kept is None or kept[0] is not self._weights:
            self._factor_of = None
            msg = (
                "method='laplace' needs the covariance of the parameters as they are "
                "now, and this model has kept none: it keeps no data, and only a fit by "
                "LevenbergMarquardt (of up to 512 parameters) leaves it behind. Hand "
                "the data in once: parameter_covariance(x, y)."
            )
            raise ArgumentError(msg)
        return kept[1].spread  # type: ignore[no-any-return]

    def _covariance(self, data: Any) -> Covariance:
        """Make a pass over data on the backend, in float64 where it has that."""
        backend = self.backend
        wide = self._wide()
        with backend.scope(wide, "highest"):
            theta, state = (backend.asarray(a, wide) for a in self._weights)
            problem = Problem(
                backend, self._need(), self.loss, data, 1, state, dtype=theta.dtype
            )
            return covariance(problem, theta)

    def _keep_covariance(self, data: Any) -> None:
        """Keep what a fit by least squares says about its parameters, where it is small.

        It costs a pass over the data, about an iteration; what goes wrong in it is no
        fault of the fit, and is said when the covariance is asked for.
        """
        learning = sum(r.stop - r.start for r in self._need().runs if r.trainable)
        if learning > QR_SIZE:
            return
        try:
            self._factor_of = (self._weights, self._covariance(data))
        except Exception as error:
            if not self.backend.is_out_of_memory(error):
                raise

    def _wide(self) -> str:
        try:
            self.backend.check_dtype("float64")
        except DeviceError:
            return self.dtype
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
            weights = tuple(backend.asarray(a, wide) for a in (*self._weights, *spread))
        rows = chunk(backend, max(1, each), 64)
        return self._apply(x, build_band, rows=rows, weights=weights, scope=wide)
