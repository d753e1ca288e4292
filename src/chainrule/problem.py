"""A whole training problem, for optimizers that make iterations of their own.

All passes are those of inference, in chunks of rows, so that every quantity is a
function of theta alone and memory is bounded.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

from chainrule.derivatives import (
    build_parameter_curve,
    build_parameter_jacobian,
    run,
)
from chainrule.errors import ArgumentError
from chainrule.inference import Data
from chainrule.network import Network
from chainrule.optimizers import Iteration
from chainrule.training import Record, State, ask, build_objective, tree_map

__all__ = [
    "Problem",
    "build_acceleration",
    "build_linearisation",
    "build_residuals",
    "build_value_and_gradient",
    "epochs",
]


class Problem:
    """A loss over all samples as a function of the parameters.

    Parameters
    ----------
    backend : Backend
        Entered by the caller through its `scope`.
    network : Network
    loss : Loss
    data : Data
    batch_size : int
        Rows that are worked on at a time; bounds memory, changes no result.
    state : array, shape (S,)
        The network's state, which stays as it is.
    penalty : float
        Strength of the objective's penalty on weights: in the value and its gradient
        alone, not in the residuals of a least-squares problem.
    """

    def __init__(
        self,
        backend: Any,
        network: Network,
        loss: Any,
        data: Data,
        batch_size: int,
        state: Any,
        penalty: float = 0.0,
    ) -> None:
        self.backend, self.network, self.loss = backend, network, loss
        self.data, self.batch_size, self.state = data, batch_size, state
        self.penalty = penalty

    def number(self, a: Any) -> float:
        """Return a scalar, of the host or the backend, as a float; this may wait."""
        if isinstance(a, (int, float)):
            return float(a)
        return float(self.backend.to_numpy(a))

    def _chunks(self) -> Iterator[Data]:
        samples = self.data.x.shape[0]
        for low in range(0, samples, self.batch_size):
            some = slice(low, min(low + self.batch_size, samples))
            yield Data(*[None if a is None else a[some, ...] for a in self.data])

    def _mass(self, part: Data, dtype: Any) -> Any:
        mass = self.loss.mass(*part[1:], dtype, xp=self.backend.xp)
        return part.x.shape[0] if mass is None else mass

    def mass(self, dtype: Any) -> Any:
        """Return what the loss's sum is divided by (1 where that would be 0)."""
        xp = self.backend.xp
        total = self._mass(self.data, dtype)
        return total if isinstance(total, int) else xp.where(total > 0, total, 1.0)

    def value_and_gradient(self, theta: Any) -> tuple[Any, Any]:
        """Return the loss over all samples (...) and its gradient, shape of theta."""
        key = (self.network, self.loss, self.penalty > 0.0)
        call = self.backend.compile(build_value_and_gradient, *key)
        total = self.mass(theta.dtype)
        parts = [
            call(
                theta,
                self.state,
                part,
                self._mass(part, theta.dtype) / total,
                self.penalty,
            )
            for part in self._chunks()
        ]
        return tuple(sum(column[1:], column[0]) for column in zip(*parts, strict=True))  # type: ignore[return-value]

    def value(self, theta: Any) -> Any:
        """Return the loss of a least-squares problem: the sum of all squared residuals."""
        self._no_penalty()
        call = self.backend.compile(build_residuals, self.network, self.loss)
        xp, scale = self.backend.xp, self._scale(theta)
        parts = [call(theta, self.state, part, scale) for part in self._chunks()]
        squares = [xp.sum(r * r) for r in parts]
        return sum(squares[1:], squares[0])

    def linearised(self, theta: Any) -> Iterator[tuple[Any, Any]]:
        """Yield residuals r (k,) and their Jacobian ∂r/∂theta (k, P), chunk by chunk.

        Raises
        ------
        ArgumentError
            If the loss is not a sum of squares.
        """
        self._no_penalty()
        call = self.backend.compile(build_linearisation, self.network, self.loss)
        scale = self._scale(theta)
        for part in self._chunks():
            yield call(theta, self.state, part, scale)

    def acceleration(self, theta: Any, direction: Any) -> Any:
        """Return Jᵀ r'' (P,), r'' the second derivative of r along a direction (P,)."""
        call = self.backend.compile(build_acceleration, self.network, self.loss)
        scale = self._scale(theta)
        parts = [
            call(theta, direction, self.state, part, scale) for part in self._chunks()
        ]
        return sum(parts[1:], parts[0])

    def _no_penalty(self) -> None:
        if self.penalty:
            msg = (
                "penalty: a least-squares problem takes none on its weights; set it to "
                "0 (for an estimator: alpha=0), or choose another optimizer."
            )
            raise ArgumentError(msg)

    def _scale(self, theta: Any) -> Any:
        total = self.mass(theta.dtype)
        if isinstance(total, int):
            return total**-0.5
        return 1.0 / self.backend.xp.sqrt(total)


def build_value_and_gradient(
    backend: Any, network: Network, loss: Any, penalised: bool = False
) -> Any:
    """Return ``f(theta, state, data, share, penalty=0) -> (share·value, its gradient)``."""
    xp = backend.xp
    objective = build_objective(backend, network, loss, train=False)

    def value_and_gradient(
        theta: Any, state: Any, data: Any, share: Any, penalty: Any = 0.0
    ) -> Any:
        params = network.unflatten(theta, xp)
        value, pieces, *_ = objective(
            params, state, data, dvalue=share, penalty=penalty if penalised else None
        )
        return value * share, network.join(pieces, xp)

    return value_and_gradient


def build_residuals(backend: Any, network: Network, loss: Any) -> Any:
    """Return ``f(theta, state, data, scale) -> r``, shape (k,)."""
    xp = backend.xp

    def residuals(theta: Any, state: Any, data: Any, scale: Any) -> Any:
        x, t, weight = data
        z, _ = run(network, theta, state, x, xp)
        r, _ = loss.residuals(z, t, weight, network.output_shape, xp=xp)
        return scale * xp.reshape(r, (r.shape[0] * r.shape[1],))

    return residuals


def build_linearisation(backend: Any, network: Network, loss: Any) -> Any:
    """Return ``f(theta, state, data, scale) -> (r, J)``, shapes (k,) and (k, P)."""
    xp = backend.xp
    residuals = build_residuals(backend, network, loss)
    parameter_jacobian = build_parameter_jacobian(backend, network)

    def linearisation(theta: Any, state: Any, data: Any, scale: Any) -> Any:
        x, _, weight = data
        r = residuals(theta, state, data, scale)
        j = parameter_jacobian(theta, state, x)  # (batch, m, P)
        j = xp.reshape(j, (*r.shape, network.size))
        z = xp.zeros((x.shape[0], *network.output_shape), dtype=theta.dtype)
        _, slope = loss.residuals(z, z, weight, network.output_shape, xp=xp)
        return r, scale * xp.reshape(slope, r.shape)[:, None] * j

    return linearisation


def build_acceleration(backend: Any, network: Network, loss: Any) -> Any:
    """Return ``f(theta, direction, state, data, scale) -> Jᵀ r''``, shape (P,)."""
    xp = backend.xp
    curve = build_parameter_curve(backend, network)

    def acceleration(
        theta: Any, direction: Any, state: Any, data: Any, scale: Any
    ) -> Any:
        x, t, weight = data
        _, bend = curve(theta, state, x, direction)
        z, pullback = run(network, theta, state, x, xp)
        _, slope = loss.residuals(z, t, weight, network.output_shape, xp=xp)
        # r = slope (z - t): the slope once for r'', once for Jᵀ.
        dz = xp.reshape((scale * slope) ** 2, z.shape) * bend
        _, dparams = pullback(dz, dx=False)
        return network.flatten(dparams, xp)

    return acceleration


def epochs(
    problem: Problem, optimizer: Any, state: State, *, epochs: int
) -> Generator[Record, None, None]:
    """Train by an optimizer's own iterations, yielding a `Record` after each.

    Raises
    ------
    DivergenceError
        When the loss or the parameters stop being finite.
    """
    backend = problem.backend
    xp = backend.xp
    memory = state.slots[0] if state.slots else None
    iterations = optimizer.minimise(problem, state.theta, memory)
    try:
        for number in range(1, epochs + 1):
            found = next(iterations, None)
            if found is None:
                return
            theta, value, memory, logs = Iteration(*found)
            finite = xp.all(xp.isfinite(theta)) & xp.all(xp.isfinite(value))
            ask(backend, number, finite)
            state = state._replace(
                theta=theta,
                # A copy: the optimizer may write into its own.
                slots=() if memory is None else (tree_map(backend.copy, memory),),
                step=state.step + 1,
                epoch=state.epoch + 1,
            )
            weights = (backend.copy(theta), state.state)
            yield Record(value, weights, state, logs)
    finally:
        iterations.close()
