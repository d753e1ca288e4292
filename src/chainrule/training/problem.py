"""The loss over all samples as a function, for optimizers that iterate themselves.

All passes are those of inference, in chunks of rows, so that every quantity is a
function of theta alone and memory is bounded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from chainrule.arrays.means import add, divisor
from chainrule.arrays.share import Fraction
from chainrule.arrays.types import Array
from chainrule.data.samples import Data, map_arrays, take_rows
from chainrule.derivatives.cost import LIMIT
from chainrule.derivatives.parameters import (
    build_parameter_curve,
    build_parameter_jacobian,
)
from chainrule.errors import ArgumentError
from chainrule.network import Network
from chainrule.network.chunks import outputs
from chainrule.network.forward import build_output, run
from chainrule.training.objective import Objective

if TYPE_CHECKING:
    from chainrule.backends import Backend
    from chainrule.losses import Loss

__all__ = [
    "INITIAL_SPREAD",
    "Problem",
    "build_acceleration",
    "build_linearisation",
    "build_residuals",
    "build_value_and_gradient",
]


# Deviation of outputs at the start of a fit, as a share of their targets': outputs of
# the targets' own size end higher on some seeds, as they are mostly wrong.
INITIAL_SPREAD = 0.5


# Numbers of an intermediate array up to which rows are worked on together.
_SMALL = 1 << 18


class Problem:
    """A loss over all samples as a function of the parameters.

    Parameters
    ----------
    backend : Backend
        Entered by the caller through its `scope`.
    network : Network
    objective : Objective
    data : Data
        Of another floating dtype than the parameters, it is converted chunk by chunk.
    batch_size : int
        Rows that are worked on at a time, at least; bounds memory, changes no result.
        Where more rows are a few megabytes, or no more than the optimizer's own
        matrices, they are worked on together: many small products are slow.
    state : array, shape (S,)
        The network's state, which stays as it is.
    penalty : float
        Strength of the objective's penalty on weights: in the value and its gradient
        alone, not in the residuals of a least-squares problem.
    """

    backend: Backend
    network: Network
    objective: Objective
    data: Data
    batch_size: int
    state: Array
    penalty: float

    def __init__(
        self,
        backend: Backend,
        network: Network,
        objective: Objective,
        data: Data,
        batch_size: int,
        state: Array,
        penalty: float = 0.0,
    ) -> None:
        self.backend, self.network, self.objective = backend, network, objective
        self.data, self.batch_size, self.state = data, batch_size, state
        self.penalty = penalty

    def number(self, a: Any) -> float:
        """Return a scalar, of the host or the backend, as a float; this may wait."""
        if isinstance(a, (int, float)):
            return float(a)
        return float(self.backend.to_numpy(a))

    def rows(self, each: int, least: int = _SMALL) -> int:
        """Rows to work on at a time where each asks for so many numbers."""
        return max(self.batch_size, min(least, LIMIT) // max(1, each))

    def _jacobian_rows(self) -> int:
        # QR of fewer rows than columns would work mostly on what it has done before.
        each, size = self.network.size * self.network.output_size, self.network.size
        return self.rows(each, max(_SMALL, 2 * size * size))

    def _chunks(self, rows: int, dtype: Any) -> Iterator[Data]:
        """Yield the samples in parts of so many rows, floating arrays in this dtype."""
        samples, xp = self.data.x.shape[0], self.backend.xp

        def cast(a: Array) -> Any:
            if a.dtype == dtype or not xp.isdtype(a.dtype, "real floating"):
                return a
            return xp.astype(a, dtype)

        for low in range(0, samples, rows):
            part = take_rows(self.data, slice(low, min(low + rows, samples)))
            yield map_arrays(cast, part)

    def _mass(self, part: Data, dtype: Any) -> Any:
        loss = self.objective.loss
        mass = loss.mass(part.t, part.weight, dtype, xp=self.backend.xp)
        return part.x.shape[0] if mass is None else mass

    def mass(self, dtype: Any) -> Any:
        """Return what the loss's sum is divided by (1 where that would be 0)."""
        return divisor(self._mass(self.data, dtype), self.backend.xp)

    def spread_of_targets(self) -> float:
        """Return the loss of the best constant: the mean variance of the targets."""
        _, deviation = self._moments(self._columns(self.data.t), self.data.t.dtype)
        return self.number(self.backend.xp.mean(deviation**2))

    def at_scale_of_targets(self, theta: Array) -> Any:
        """Return theta (P,) with outputs that begin at the scale of the targets.

        Outputs that explain less than half of their targets' variance get the targets'
        mean and half their deviation, so that a fit does not depend on the units of y.
        The others, and all where the last layer has no parameters for it, stay as they
        are.
        """
        backend, network = self.backend, self.network
        xp, eps = backend.xp, float(backend.xp.finfo(theta.dtype).eps)
        weights = (theta, self.state)
        z = outputs(backend, weights, self.data.x, build_output, network)
        z, t = self._columns(z), self._columns(self.data.t)
        (z_mean, z_deviation), (t_mean, t_deviation) = (
            self._moments(a, theta.dtype) for a in (z, t)
        )
        error_mean, error = self._moments(z - t, theta.dtype)
        wrong = error_mean**2 + error**2 > 0.5 * t_deviation**2
        # What rounding leaves of a constant is none of its scale.
        varies = (z_deviation > 16.0 * eps * xp.abs(z_mean)) & (
            t_deviation > 16.0 * eps * xp.abs(t_mean)
        )
        one = xp.ones_like(z_deviation)
        gain = xp.where(
            wrong & varies,
            INITIAL_SPREAD * t_deviation / xp.where(varies, z_deviation, one),
            one,
        )
        shift = xp.where(wrong, t_mean - gain * z_mean, xp.zeros_like(one))
        params = network.unflatten(theta, xp)
        scaled = network.layer.rescaled(params, gain, shift, xp)
        return theta if scaled is None else network.flatten(scaled, xp)

    def _columns(self, a: Array) -> Any:
        """Return outputs (n, ..., m) as (n, k, m)."""
        *middle, last = self.network.output_shape or (1,)
        return self.backend.xp.reshape(a, (a.shape[0], math.prod(middle), last))

    def _moments(self, a: Array, dtype: Any) -> tuple[Any, Any]:
        """Return means and deviations (m,) of columns (n, k, m), by the weights."""
        xp, weight = self.backend.xp, self.data.weight
        w = xp.ones((1, 1, 1), dtype=dtype)
        if weight is not None:
            w = weight[:, None, None]
        mass = self.mass(dtype) * a.shape[1]
        mean = xp.sum(w * a, axis=(0, 1)) / mass
        d = a - mean
        return mean, xp.sqrt(xp.sum(w * (d * d), axis=(0, 1)) / mass)

    def value_and_gradient(self, theta: Array) -> tuple[Any, Any]:
        """Return the loss over all samples (...) and its gradient, shape of theta."""
        key = (self.network, self.objective, self.penalty > 0.0)
        call = self.backend.compile(build_value_and_gradient, *key)
        dtype, mass = theta.dtype, self.mass(theta.dtype)
        values, gradients = [], []
        for part in self._chunks(self.rows(self.network.widest), dtype):
            fraction = self._mass(part, dtype) / mass
            value, gradient = call(theta, self.state, part, fraction, self.penalty)
            values.append(value)
            gradients.append(gradient)
        return add(values), add(gradients)

    def value(self, theta: Array) -> Any:
        """Return the loss of a least-squares problem: the sum of squared residuals."""
        self._no_penalty()
        call = self.backend.compile(build_residuals, self.network, self.objective.loss)
        xp, scale = self.backend.xp, self._scale(theta)
        rows = self.rows(self.network.widest)
        chunks = self._chunks(rows, theta.dtype)
        parts = [call(theta, self.state, part, scale) for part in chunks]
        return add([xp.sum(r * r) for r in parts])

    def linearised(self, theta: Array) -> Iterator[tuple[Any, Any]]:
        """Yield residuals r (k,) and their Jacobian ∂r/∂theta (k, P), chunk by chunk.

        Raises
        ------
        ArgumentError
            If the loss is not a sum of squares.
        """
        self._no_penalty()
        call = self.backend.compile(
            build_linearisation, self.network, self.objective.loss
        )
        scale = self._scale(theta)
        for part in self._chunks(self._jacobian_rows(), theta.dtype):
            yield call(theta, self.state, part, scale)

    def acceleration(self, theta: Array, direction: Array) -> Any:
        """Return Jᵀ r'' (P,), r'' the second derivative of r along a direction (P,)."""
        call = self.backend.compile(
            build_acceleration, self.network, self.objective.loss
        )
        scale, rows = self._scale(theta), self.rows(4 * self.network.widest)
        parts = [
            call(theta, direction, self.state, part, scale)
            for part in self._chunks(rows, theta.dtype)
        ]
        return add(parts)

    def _no_penalty(self) -> None:
        if self.penalty:
            msg = (
                "penalty: a least-squares problem takes none on its weights; set it to "
                "0 (for an estimator: alpha=0), or choose another optimizer."
            )
            raise ArgumentError(msg)

    def _scale(self, theta: Array) -> Any:
        total = self.mass(theta.dtype)
        if isinstance(total, int):
            return total**-0.5
        return 1.0 / self.backend.xp.sqrt(total)


def build_value_and_gradient(
    backend: Backend, network: Network, objective: Objective, penalised: bool = False
) -> Callable[..., Any]:
    """Return ``f(theta, state, data, fraction, penalty=0) -> (value, gradient)``.

    Both are multiplied with the fraction: what these data are of all, by mass.
    """
    xp = backend.xp
    call = objective.build(backend, network, train=False)

    def value_and_gradient(
        theta: Array, state: Array, data: Data, fraction: Any, penalty: Any = 0.0
    ) -> Any:
        params = network.unflatten(theta, xp)
        value, pieces, *_ = call(
            params,
            state,
            data,
            penalty=penalty if penalised else None,
            share=Fraction(fraction),
        )
        return value, network.join(pieces, xp)

    return value_and_gradient


def build_residuals(
    backend: Backend, network: Network, loss: Loss
) -> Callable[..., Any]:
    """Return ``f(theta, state, data, scale) -> r``, shape (k,)."""
    xp = backend.xp

    def residuals(theta: Array, state: Array, data: Data, scale: Any) -> Any:
        x, t, weight = data
        z, _ = run(network, theta, state, x, xp)
        r, _ = loss.residuals(z, t, weight, network.output_shape, xp=xp)
        return scale * xp.reshape(r, (r.shape[0] * r.shape[1],))

    return residuals


def build_linearisation(
    backend: Backend, network: Network, loss: Loss
) -> Callable[..., Any]:
    """Return ``f(theta, state, data, scale) -> (r, J)``, shapes (k,) and (k, P)."""
    xp = backend.xp
    residuals = build_residuals(backend, network, loss)
    parameter_jacobian = build_parameter_jacobian(backend, network)

    def linearisation(theta: Array, state: Array, data: Data, scale: Any) -> Any:
        x, _, weight = data
        r = residuals(theta, state, data, scale)
        j = parameter_jacobian(theta, state, x)  # (batch, m, P)
        j = xp.reshape(j, (*r.shape, network.size))
        z = xp.zeros((x.shape[0], *network.output_shape), dtype=theta.dtype)
        _, slope = loss.residuals(z, z, weight, network.output_shape, xp=xp)
        return r, scale * xp.reshape(slope, r.shape)[:, None] * j

    return linearisation


def build_acceleration(
    backend: Backend, network: Network, loss: Loss
) -> Callable[..., Any]:
    """Return ``f(theta, direction, state, data, scale) -> Jᵀ r''``, shape (P,)."""
    xp = backend.xp
    curve = build_parameter_curve(backend, network)

    def acceleration(
        theta: Array, direction: Array, state: Array, data: Data, scale: Any
    ) -> Any:
        x, t, weight = data
        _, bend = curve(theta, state, x, direction)
        z, pullback = run(network, theta, state, x, xp)
        _, slope = loss.residuals(z, t, weight, network.output_shape, xp=xp)
        # r = slope (z - t): the slope once for r'', once for Jᵀ.
        dz = xp.reshape((scale * slope) ** 2, z.shape) * bend
        _, dparams = pullback(dz, dx=False)
        return network.gradient(dparams, xp)

    return acceleration
