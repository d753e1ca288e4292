"""Optimizers that take the whole problem: one epoch is one iteration on all samples.

`LBFGS` is SciPy's on the flat vector; `LevenbergMarquardt` solves least squares by
Gauss-Newton steps. For both, batches only bound memory.
"""

from __future__ import annotations

import math
import queue
import threading
import warnings
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import numpy as np

from chainrule import _checks
from chainrule.errors import ArgumentError, ChainruleWarning, MissingLibraryError
from chainrule.normal_equations import QR, Cholesky, Layout, system
from chainrule.optimizers import Iteration, ProblemOptimizer
from chainrule.problem import readable

__all__ = ["LBFGS", "LevenbergMarquardt"]

# Iterations after which a fit that explains hardly more than a constant is told so, and
# the share of the targets' variance that it has left over then.
PATIENCE = 30
FRUITLESS = 0.95


class LevenbergMarquardt(ProblemOptimizer):
    """Damped Gauss-Newton steps with geodesic acceleration, for least squares.

    (JᵀJ + mu D²) v = -Jᵀr;  (JᵀJ + mu D²) a = -Jᵀr'';  theta <- theta + v + a/2

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
    minimised. mu follows Nielsen: with the gain ratio g (actual over predicted), mu <-
    mu max(1/3, 1 - (2 g - 1)³) after a step that was taken, else mu <- mu nu and nu <-
    2 nu. Up to 512 parameters are solved for by QR of J, more by Cholesky of JᵀJ;
    memory holds P² numbers and some rows of J (`batch_size` of them, or as many as are
    no more than that). The history has "residual_norm", the norm of the weighted z - t
    over all samples and outputs, and "damping", mu. Training ends early where rounding
    leaves no step that helps.

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
        damping: float = 1e-3,
        acceleration: float = 0.75,
        *,
        weight_decay: float = 0.0,
    ) -> None:
        name = "LevenbergMarquardt"
        self._set(
            damping=_checks.real(f"{name}: damping", damping, 0.0, open_low=True),
            acceleration=_checks.real(f"{name}: acceleration", acceleration, 0.0),
            weight_decay=_checks.real(f"{name}: weight_decay", weight_decay, 0.0),
        )

    def check(self, loss: Any) -> None:
        """Refuse losses without residuals."""
        loss.check_residuals("LevenbergMarquardt")

    def check_memory(self, memory: Any, network: Any, dtype: str) -> None:
        """Raise an error for what is not (mu, nu, D...) of this network."""
        if memory is None:
            return
        size = 2 + sum(run.stop - run.start for run in network.runs if run.trainable)
        a = memory if isinstance(memory, np.ndarray) else np.zeros(0)
        if a.shape != (size,) or a.dtype != dtype:
            msg = (
                f"LevenbergMarquardt's memory must be an array of shape ({size},) and "
                f"dtype {dtype}: mu, nu and a scale for each parameter that learns; got "
                f"{type(memory).__name__} of shape {a.shape} and dtype {a.dtype}."
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

    def too_large(self, network: Any, itemsize: int) -> str:
        """See `ProblemOptimizer.too_large`: the matrix of P² numbers."""
        size = sum(run.stop - run.start for run in network.runs if run.trainable)
        return (
            f"{size:,} parameters learn, and LevenbergMarquardt holds several matrices "
            f"of {size:,} x {size:,} numbers, {readable(itemsize * size * size)} each. "
            f"Take LBFGS or Adam, or a smaller network"
        )

    def minimise(self, problem: Any, theta: Any, memory: Any) -> Iterator[Iteration]:
        """See `ProblemOptimizer.minimise`; memory is the array (mu, nu, D...)."""
        xp, number = problem.backend.xp, problem.number
        layout = Layout(problem.network, xp, theta.dtype)
        # What the mean over samples and outputs was divided by.
        count = number(problem.mass(theta.dtype)) * math.prod(
            problem.network.output_shape
        )
        if memory is None:
            theta = problem.at_scale_of_targets(theta)
        found = self._system(problem, layout, theta)
        value = problem.value(theta)
        energy = number(value) + self._penalty(layout, theta, number)
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
            moved, predicted = self._step(problem, layout, theta, found, mu, scale)
            gain = 0.0
            if moved is not None:
                new = problem.value(moved)
                lower = number(new) + self._penalty(layout, moved, number)
                gain = (energy - lower) / predicted if lower < energy else 0.0
            if gain > 0.0:
                theta, value, energy = moved, new, lower
                found = self._system(problem, layout, theta)
                norms = xp.maximum(norms, found.norms)
                mu, nu = mu * max(1.0 / 3.0, 1.0 - (2.0 * gain - 1.0) ** 3), 2.0
            else:
                mu, nu = mu * nu, 2.0 * nu
            memory = xp.concat([xp.asarray([mu, nu], dtype=theta.dtype), norms])
            logs = {"residual_norm": math.sqrt(number(value) * count), "damping": mu}
            yield Iteration(theta, value, memory, logs)
            if not mu < 1.0 / number(xp.finfo(theta.dtype).eps * xp.ones_like(value)):
                return  # the step is below rounding

    def conclude(self, problem: Any, loss: float, made: int, *, ended: bool) -> None:
        """Warn where a fit, given time, is no better than a constant."""
        if made < PATIENCE and not ended:
            return
        constant = problem.spread_of_targets()
        if constant > 0.0 and loss > FRUITLESS * constant:
            msg = (
                f"LevenbergMarquardt gained nothing: after {made} iterations the "
                f"network explains {max(0.0, 1.0 - loss / constant):.1%} of the targets' "
                f"variance, hardly more than a constant. Scale each input to mean 0 and "
                f"deviation 1 (large ones saturate the first layer), or try another seed."
            )
            warnings.warn(msg, ChainruleWarning, stacklevel=2)

    def _penalty(self, layout: Layout, theta: Any, number: Any) -> float:
        if not self.weight_decay:
            return 0.0
        weights = layout.learning(theta) * layout.decay
        return 0.5 * self.weight_decay * float(number(weights @ weights))

    def _system(self, problem: Any, layout: Layout, theta: Any) -> QR | Cholesky:
        """Gather JᵀJ and Jᵀr; the penalty counts as rows of its own."""
        xp = problem.backend.xp
        found = system(xp, layout.size)
        for r, j in problem.linearised(theta):
            found.add(layout.learning(j), r)
        if self.weight_decay:
            root = math.sqrt(0.5 * self.weight_decay)
            rows = root * layout.decay * xp.eye(layout.size, dtype=theta.dtype)
            found.add(rows, root * layout.decay * layout.learning(theta))
        return found

    def _step(
        self,
        problem: Any,
        layout: Layout,
        theta: Any,
        found: QR | Cholesky,
        mu: float,
        scale: Any,
    ) -> tuple[Any, float]:
        """Return where a step leads and the fall that it promises; or None and 0.

        All is solved for D v and D a, in which every parameter has the same unit.
        """
        xp, number = problem.backend.xp, problem.number
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
            along = layout.filled(v / scale, xp.zeros_like(theta))
            bend = layout.learning(problem.acceleration(theta, along)) / scale
            a = -xp.linalg.solve(factor.r, xp.linalg.solve(factor.r.mT, bend))
            if not number(a @ a) <= self.acceleration**2 * number(v @ v):
                return None, 0.0
            step = v + 0.5 * a
        return layout.filled(layout.learning(theta) + step / scale, theta), predicted


class LBFGS(ProblemOptimizer):
    """SciPy's L-BFGS-B on the flat vector, with value and gradient from any backend.

    Parameters
    ----------
    history_size : int
        Pairs of steps and gradients that stand for the curvature (SciPy's `maxcor`).
    ftol, gtol : float
        SciPy's stopping rules: relative fall of the loss, largest entry of the
        gradient. 0, the default, leaves the end to `epochs` (SciPy's own defaults stop
        a fit of x² at 5e-3).
    weight_decay : float
        Adds weight_decay/2 times the sum of squared weights to what is minimised;
        biases, gains and shifts never decay.

    Notes
    -----
    One epoch is one iteration, with its line search. SciPy computes in float64 whatever
    the model's dtype, and keeps its curvature pairs to itself: another fit, and a run
    resumed from a file, begins with none. Training ends early where SciPy's line search
    finds no lower point.

    Sources: Liu, Nocedal 1989; Zhu, Byrd, Lu, Nocedal 1997 (TOMS 778).
    """

    history_size: int
    ftol: float
    gtol: float
    weight_decay: float

    def __init__(
        self,
        history_size: int = 10,
        ftol: float = 0.0,
        gtol: float = 0.0,
        *,
        weight_decay: float = 0.0,
    ) -> None:
        self._set(
            history_size=_checks.integer("LBFGS: history_size", history_size, 1),
            ftol=_checks.real("LBFGS: ftol", ftol, 0.0),
            gtol=_checks.real("LBFGS: gtol", gtol, 0.0),
            weight_decay=_checks.real("LBFGS: weight_decay", weight_decay, 0.0),
        )

    def check(self, loss: Any) -> None:
        """Say so, before training, where SciPy is missing."""
        _scipy()

    def check_memory(self, memory: Any, network: Any, dtype: str) -> None:
        """Raise an error if there is any: it is SciPy's."""
        if memory is not None:
            msg = "LBFGS keeps no memory between fits; the file has one."
            raise ArgumentError(msg)

    def minimise(self, problem: Any, theta: Any, memory: Any) -> Iterator[Iteration]:
        """See `ProblemOptimizer.minimise`; there is no memory."""
        backend = problem.backend
        xp, kind = backend.xp, theta.dtype
        layout = Layout(problem.network, xp, kind)

        def here(a: Any) -> Any:
            host = xp.astype(backend.asarray(a), kind)
            return layout.filled(host, theta)

        def value_and_gradient(a: Any) -> tuple[float, Any]:
            at = here(a)
            value, gradient = problem.value_and_gradient(at)
            value, gradient = problem.number(value), layout.learning(gradient)
            if self.weight_decay:
                weights = layout.decay * layout.learning(at)
                gradient = gradient + self.weight_decay * weights
                value += 0.5 * self.weight_decay * problem.number(weights @ weights)
            return value, backend.to_numpy(gradient).astype(np.float64)

        start = backend.to_numpy(layout.learning(theta)).astype(np.float64)
        options = {"maxcor": self.history_size, "ftol": self.ftol, "gtol": self.gtol}
        points = _iterations(value_and_gradient, start, options)
        # Where no lower point is found, or nothing is finite, the start is the result.
        for a in chain([next(points, start)], points):
            at = here(a)
            # A copy: the loss alone, without the penalty.
            value, _ = problem.value_and_gradient(at)
            yield Iteration(at, value)


def _scipy() -> Any:
    try:
        from scipy import optimize
    except ImportError as error:
        msg = (
            "LBFGS needs SciPy, which is not installed. "
            "Install it with: pip install 'chainrule[scipy]'"
        )
        raise MissingLibraryError(msg) from error
    return optimize


def _iterations(
    function: Callable[[Any], tuple[float, Any]], start: Any, options: dict[str, Any]
) -> Iterator[Any]:
    """Yield the points that SciPy's L-BFGS-B reaches, one an iteration.

    SciPy calls back and cannot be asked for the next point, so it runs in a thread of
    its own; but each evaluation is made here, in the thread that asks: the backends'
    settings (64 bits, no autograd) are the thread's.
    """
    optimize = _scipy()
    asked: queue.Queue[tuple[str, Any]] = queue.Queue()
    answers: queue.Queue[Any] = queue.Queue()

    class Stopped(Exception):  # noqa: N818 - not an error: nobody asks any more
        pass

    def answer(kind: str, a: Any) -> Any:
        asked.put((kind, np.array(a)))
        reply = answers.get()
        if reply is Stopped:
            raise Stopped
        return reply

    def work() -> None:
        try:
            optimize.minimize(
                lambda a: answer("evaluate", a),
                start,
                jac=True,
                method="L-BFGS-B",
                callback=lambda a: answer("reached", a),
                options={**options, "maxiter": 10**9, "maxfun": 10**9},
            )
        except Stopped:
            return
        except Exception as error:
            asked.put(("failed", error))
        else:
            asked.put(("done", None))

    thread = threading.Thread(target=work, name="chainrule-lbfgs", daemon=True)
    thread.start()
    try:
        while True:
            kind, a = asked.get()
            if kind == "evaluate":
                answers.put(function(a))
            elif kind == "reached":
                yield a
                answers.put(None)
            elif kind == "failed":
                raise a
            else:
                return
    finally:
        answers.put(Stopped)
        thread.join()
