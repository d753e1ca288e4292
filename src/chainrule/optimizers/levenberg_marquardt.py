"""Levenberg-Marquardt: damped Gauss-Newton steps for least squares."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.arrays.layout import Layout
from chainrule.arrays.normal_equations import QR, Cholesky, system
from chainrule.config import checks
from chainrule.config.memory import readable
from chainrule.errors import ArgumentError
from chainrule.optimizers.whole import Iteration, ProblemOptimizer, Report

if TYPE_CHECKING:
    from chainrule.arrays.types import Array
    from chainrule.config.choices import Real
    from chainrule.losses import Loss
    from chainrule.network import Network
    from chainrule.training.problem import Problem

__all__ = ["LevenbergMarquardt"]


# Iterations after which a fit that explains hardly more than a constant is told so, and
# the share of the targets' variance that it has left over then.
_PATIENCE = 30


_FRUITLESS = 0.95


class LevenbergMarquardt(ProblemOptimizer):
    """Damped Gauss-Newton steps with geodesic acceleration, for least squares.

    (JᵀJ + mu D²) v = -Jᵀr
    (JᵀJ + mu D²) a = -Jᵀr''
    theta <- theta + v + a/2

    r are the residuals, whose squares sum to the loss, J = ∂r/∂theta, and r'' their
    second derivative along v, exact. D is diagonal: the largest norm that each column
    of J has had, so that units of parameters, and of x and y, count for nothing.

    Parameters
    ----------
    damping : float
        The first mu.
    acceleration : float
        The largest |D a| / |D v| that is trusted; a step with more is rejected. 0: no
        acceleration.
    weight_decay : float
        Adds weight_decay/2 times the sum of squared weights to what is minimised;
        biases, gains and shifts never decay.

    Notes
    -----
    One epoch is one iteration: a step that is tried, and taken if it lowers what is
    minimised. mu follows Nielsen, with the gain ratio g (actual over predicted):

    mu <- mu max(1/3, 1 - (2 g - 1)³) after each step that was taken
    mu <- mu nu, nu <- 2 nu after each that was not

    Up to 512 parameters are solved for by QR of J, more by Cholesky of JᵀJ; memory
    holds P² numbers and some rows of J (`batch_size` of them, or as many as are no more
    than that). The history has "residual_norm", the norm of the weighted z - t over all
    samples and outputs, and "damping", mu. Training ends early where rounding leaves no
    step that helps.

    Targets are scaled inside: before the first iteration, those outputs that explain
    less than half of their targets' variance are given the targets' mean and deviation,
    where the last layer has the parameters for it. A fit whose end explains nearly
    nothing warns. Dropout and BatchNorm, which do something else in training than in
    inference, are refused. A fit of up to 512 parameters ends with one more pass over
    the samples, in float64, and keeps the covariance for `Model.parameter_covariance`
    and ``predict(method="laplace")``.

    Sources: Marquardt 1963; Moré 1978, "The Levenberg-Marquardt algorithm:
    implementation and theory" (D); Nielsen 1999, "Damping parameter in Marquardt's
    method"; Transtrum, Sethna 2012 (arXiv:1201.5885).
    """

    damping: float
    acceleration: float
    weight_decay: float

    least_squares = True

    def __init__(
        self,
        damping: Real = 1e-3,
        acceleration: Real = 0.75,
        *,
        weight_decay: Real = 0.0,
    ) -> None:
        name = "LevenbergMarquardt"
        self._set(
            damping=checks.real(f"{name}: damping", damping, 0.0, open_low=True),
            acceleration=checks.real(f"{name}: acceleration", acceleration, 0.0),
            weight_decay=checks.real(f"{name}: weight_decay", weight_decay, 0.0),
        )

    def check(self, loss: Loss) -> None:
        """Refuse losses without residuals."""
        loss.check_residuals("LevenbergMarquardt")

    def check_memory(self, memory: Any, network: Network, dtype: str) -> None:
        """Raise an error for what is not (mu, nu, D...) of this network."""
        if memory is None:
            return
        size = 2 + network.layout.learning_size
        a = memory if isinstance(memory, np.ndarray) else np.zeros(0)
        if a.shape != (size,) or a.dtype != dtype:
            msg = (
                f"LevenbergMarquardt's memory must be an array of shape ({size},) and "
                f"dtype {dtype}: mu, nu and a scale for each parameter that learns; "
                f"got {type(memory).__name__} of shape {a.shape} and dtype {a.dtype}."
            )
            raise ArgumentError(msg)
        if not (
            np.isfinite(a).all() and a[0] > 0.0 and a[1] > 1.0 and (a >= 0.0).all()
        ):
            msg = (
                "LevenbergMarquardt's memory must be finite, with mu above 0, nu above "
                "1, and no negative scale."
            )
            raise ArgumentError(msg)

    def too_large(self, network: Network, itemsize: int) -> str:
        """See `ProblemOptimizer.too_large`: the matrix of P² numbers."""
        size = network.layout.learning_size
        return (
            f"{size:,} parameters learn, and LevenbergMarquardt holds several matrices "
            f"of {size:,} x {size:,} numbers, {readable(itemsize * size * size)} each. "
            f"Take LBFGS or Adam, or a smaller network"
        )

    def minimise(
        self, problem: Problem, theta: Array, memory: Any, report: Report
    ) -> None:
        """See `ProblemOptimizer.minimise`; memory is the array (mu, nu, D...)."""
        xp, number = problem.backend.xp, problem.number
        # What the mean over samples and outputs was divided by.
        count = number(problem.mass(theta.dtype)) * math.prod(
            problem.network.output_shape
        )
        if memory is None:
            theta = problem.at_scale_of_targets(theta)
        found = self._system(problem, theta)
        value = problem.value(theta)
        energy = number(value) + self._penalty(problem, theta)
        start = [self.damping, 2.0]
        norms = found.norms if memory is None else xp.maximum(memory[2:], found.norms)
        if memory is not None:
            start = [number(memory[0]), number(memory[1])]
        memory = xp.concat([xp.asarray(start, dtype=theta.dtype), norms])
        while True:
            # As they are in memory: a run that is resumed reads the same numbers.
            mu, nu, norms = number(memory[0]), number(memory[1]), memory[2:]
            # What a parameter that moves nothing is divided by makes no difference.
            scale = xp.where(norms > 0.0, norms, xp.ones_like(norms))
            moved, predicted = self._step(problem, theta, found, mu, scale)
            gain = 0.0
            if moved is not None:
                new = problem.value(moved)
                lower = number(new) + self._penalty(problem, moved)
                gain = (energy - lower) / predicted if lower < energy else 0.0
            if gain > 0.0:
                theta, value, energy = moved, new, lower
                found = self._system(problem, theta)
                norms = xp.maximum(norms, found.norms)
                mu, nu = mu * max(1.0 / 3.0, 1.0 - (2.0 * gain - 1.0) ** 3), 2.0
            else:
                mu, nu = mu * nu, 2.0 * nu
            memory = xp.concat([xp.asarray([mu, nu], dtype=theta.dtype), norms])
            logs = {"residual_norm": math.sqrt(number(value) * count), "damping": mu}
            if not report(Iteration(theta, value, memory, logs)):
                return
            if not mu < 1.0 / number(xp.finfo(theta.dtype).eps * xp.ones_like(value)):
                return  # the step is below rounding

    def conclude(
        self, problem: Problem, loss: float, made: int, *, ended: bool
    ) -> None:
        """Warn where a fit, given time, is no better than a constant."""
        if made < _PATIENCE and not ended:
            return
        constant = problem.spread_of_targets()
        if constant > 0.0 and loss > _FRUITLESS * constant:
            msg = (
                f"LevenbergMarquardt gained nothing: after {made} iterations the "
                f"network explains {max(0.0, 1.0 - loss / constant):.1%} of the "
                "targets' variance, hardly more than a constant. Scale each input to "
                "mean 0 and deviation 1 (large ones saturate the first layer), or try "
                "another seed."
            )
            checks.warn(msg)

    def _penalty(self, problem: Problem, theta: Array) -> float:
        if not self.weight_decay:
            return 0.0
        xp, layout, number = problem.backend.xp, problem.network.layout, problem.number
        weights = layout.learning(theta, xp) * layout.decay(xp, theta.dtype)
        return 0.5 * self.weight_decay * float(number(weights @ weights))

    def _system(self, problem: Problem, theta: Array) -> QR | Cholesky:
        """Gather JᵀJ and Jᵀr; the penalty counts as rows of its own."""
        xp, layout = problem.backend.xp, problem.network.layout
        size = layout.learning_size
        found = system(xp, size)
        for r, j in problem.linearised(theta):
            found.add(layout.learning(j, xp), r)
        if self.weight_decay:
            root = math.sqrt(0.5 * self.weight_decay)
            decay = layout.decay(xp, theta.dtype)
            rows = root * decay * xp.eye(size, dtype=theta.dtype)
            found.add(rows, root * decay * layout.learning(theta, xp))
        return found

    def _step(
        self,
        problem: Problem,
        theta: Array,
        found: QR | Cholesky,
        mu: float,
        scale: Any,
    ) -> tuple[Any, float]:
        """Return where a step leads and the fall that it promises; or None and 0.

        All is solved for D v and D a, in which every parameter has the same unit.
        """
        xp, number = problem.backend.xp, problem.number
        layout: Layout = problem.network.layout
        try:
            factor = found.damped(mu, scale)
            v = -xp.linalg.solve(factor.r, factor.y)
        except (ValueError, RuntimeError) as error:
            if problem.backend.is_out_of_memory(error):
                raise
            return None, 0.0  # singular in this precision
        predicted = number(mu * (v @ v) - found.gradient(scale) @ v)
        if not (math.isfinite(predicted) and predicted > 0.0):
            return None, 0.0
        step = v
        if self.acceleration:
            along = layout.filled(v / scale, xp.zeros_like(theta), xp)
            bend = layout.learning(problem.acceleration(theta, along), xp) / scale
            a = -xp.linalg.solve(factor.r, xp.linalg.solve(factor.r.mT, bend))
            if not number(a @ a) <= self.acceleration**2 * number(v @ v):
                return None, 0.0
            step = v + 0.5 * a
        moved = layout.learning(theta, xp) + step / scale
        return layout.filled(moved, theta, xp), predicted
