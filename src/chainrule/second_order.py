"""Optimizers that take the whole problem: one epoch is one iteration on all samples.

`LBFGS` is SciPy's on the flat vector; `LevenbergMarquardt` solves least squares by
Gauss-Newton steps. For both, batches only bound memory.
"""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from chainrule import _checks
from chainrule.errors import MissingLibraryError
from chainrule.optimizers import Iteration, ProblemOptimizer

__all__ = ["LBFGS", "LevenbergMarquardt"]

# Parameters up to which Levenberg-Marquardt solves by QR, beyond by Cholesky.
QR_SIZE = 512


class _Layout:
    """What of the flat vector learns, and where weights decay.

    Attributes
    ----------
    size : int
        How many entries learn.
    decay : array, shape (size,)
        1 where weights decay, else 0.
    """

    def __init__(self, network: Any, xp: Any, dtype: Any) -> None:
        self._xp, self._network = xp, network
        self._runs = [run for run in network.runs if run.trainable]
        self.size = sum(run.stop - run.start for run in self._runs)
        self.decay = xp.concat(
            [
                xp.full((e.stop - e.start,), float(e.decay), dtype=dtype)
                for run in self._runs
                for e in run.entries
            ]
        )

    def learning(self, a: Any) -> Any:
        """Return what learns of the last axis of a (..., P)."""
        if self.size == self._network.size:
            return a
        parts = [a[..., run.start : run.stop] for run in self._runs]
        return self._xp.concat(parts, axis=-1)

    def filled(self, a: Any, rest: Any) -> Any:
        """Undo `learning`: take what is frozen from `rest` (P,)."""
        if self.size == self._network.size:
            return a
        parts, low = [], 0
        for run in self._network.runs:
            high = low + run.stop - run.start
            if run.trainable:
                parts.append(a[low:high])
                low = high
            else:
                parts.append(rest[run.start : run.stop])
        return self._xp.concat(parts)


class _Factor(NamedTuple):
    """A damped system: R upper triangular with RᵀR = JᵀJ + mu I, and y = R⁻ᵀ Jᵀr."""

    r: Any
    y: Any


class _QR:
    """JᵀJ as RᵀR, joined chunk by chunk from J itself: its condition is not squared."""

    def __init__(self, xp: Any, size: int) -> None:
        self._xp, self._size = xp, size
        self._rows: Any = None  # [R | Qᵀr]

    def add(self, j: Any, r: Any) -> None:
        """Take in rows of J (k, P) and r (k,)."""
        rows = self._xp.concat([j, r[:, None]], axis=1)
        if self._rows is not None:
            rows = self._xp.concat([self._rows, rows], axis=0)
        self._rows = self._xp.linalg.qr(rows, mode="reduced")[1]

    @property
    def gradient(self) -> Any:
        """Jᵀr, shape (P,)."""
        return self._xp.matmul(self._rows[:, : self._size].mT, self._rows[:, -1])

    @property
    def largest(self) -> Any:
        """The largest entry of JᵀJ's diagonal."""
        r = self._rows[:, : self._size]
        return self._xp.max(self._xp.sum(r * r, axis=0))

    def damped(self, mu: float) -> _Factor:
        """Factor JᵀJ + mu I."""
        xp, n, dtype = self._xp, self._size, self._rows.dtype
        below = xp.concat(
            [math.sqrt(mu) * xp.eye(n, dtype=dtype), xp.zeros((n, 1), dtype=dtype)],
            axis=1,
        )
        rows = xp.concat([self._rows, below], axis=0)
        rows = xp.linalg.qr(rows, mode="reduced")[1]
        return _Factor(rows[:n, :n], rows[:n, n])


class _Cholesky:
    """JᵀJ itself, summed over chunks: for many parameters, where QR would be slow."""

    def __init__(self, xp: Any, size: int) -> None:
        self._xp = xp
        self._gram: Any = 0.0
        self.gradient: Any = 0.0

    def add(self, j: Any, r: Any) -> None:
        """Take in rows of J (k, P) and r (k,)."""
        self._gram = self._xp.matmul(j.mT, j) + self._gram
        self.gradient = self._xp.matmul(j.mT, r) + self.gradient

    @property
    def largest(self) -> Any:
        """The largest entry of JᵀJ's diagonal."""
        return self._xp.max(self._xp.linalg.diagonal(self._gram))

    def damped(self, mu: float) -> _Factor:
        """Factor JᵀJ + mu I."""
        xp = self._xp
        size, dtype = self._gram.shape[0], self._gram.dtype
        low = xp.linalg.cholesky(self._gram + mu * xp.eye(size, dtype=dtype))
        return _Factor(low.mT, xp.linalg.solve(low, self.gradient))


class LevenbergMarquardt(ProblemOptimizer):
    """Damped Gauss-Newton steps with geodesic acceleration, for least squares.

    (JᵀJ + mu I) v = -Jᵀr;  (JᵀJ + mu I) a = -Jᵀr'';  theta <- theta + v + a/2

    r are the residuals, whose squares sum to the loss, J = ∂r/∂theta, and r'' their
    second derivative along v, exact.

    Parameters
    ----------
    damping : float
        The first mu, as a share of the largest entry of JᵀJ's diagonal.
    acceleration : float
        The largest |a| / |v| that is trusted; a step with more is rejected. 0: no
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
    memory holds P² numbers and `batch_size` rows of J. The history has
    "residual_norm", the norm of the weighted z - t over all samples and outputs, and
    "damping", mu. Training ends early where rounding leaves no step that helps.

    Sources: Marquardt 1963; Nielsen 1999, "Damping parameter in Marquardt's method";
    Transtrum, Sethna 2012 (arXiv:1201.5885).
    """

    damping: float
    acceleration: float
    weight_decay: float

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

    def minimise(self, problem: Any, theta: Any, memory: Any) -> Iterator[Iteration]:
        """See `ProblemOptimizer.minimise`; memory is the array (mu, nu)."""
        xp, number = problem.backend.xp, problem.number
        layout = _Layout(problem.network, xp, theta.dtype)
        # What the mean over samples and outputs was divided by.
        count = number(problem.mass(theta.dtype)) * math.prod(
            problem.network.output_shape
        )
        system = self._system(problem, layout, theta)
        value = problem.value(theta)
        energy = number(value) + self._penalty(layout, theta, number)
        if memory is None:
            mu, nu = self.damping * (number(system.largest) or 1.0), 2.0
            memory = xp.asarray([mu, nu], dtype=theta.dtype)
        while True:
            # As they are in memory: a run that is resumed reads the same numbers.
            mu, nu = number(memory[0]), number(memory[1])
            moved, predicted = self._step(problem, layout, theta, system, mu)
            gain = 0.0
            if moved is not None:
                new = problem.value(moved)
                lower = number(new) + self._penalty(layout, moved, number)
                gain = (energy - lower) / predicted if lower < energy else 0.0
            if gain > 0.0:
                theta, value, energy = moved, new, lower
                system = self._system(problem, layout, theta)
                mu, nu = mu * max(1.0 / 3.0, 1.0 - (2.0 * gain - 1.0) ** 3), 2.0
            else:
                mu, nu = mu * nu, 2.0 * nu
            memory = xp.asarray([mu, nu], dtype=theta.dtype)
            logs = {"residual_norm": math.sqrt(number(value) * count), "damping": mu}
            yield Iteration(theta, value, memory, logs)
            if not mu < number(system.largest) / number(
                xp.finfo(theta.dtype).eps * xp.ones_like(value)
            ):
                return  # the step is below rounding

    def _penalty(self, layout: _Layout, theta: Any, number: Any) -> float:
        if not self.weight_decay:
            return 0.0
        weights = layout.learning(theta) * layout.decay
        return 0.5 * self.weight_decay * float(number(weights @ weights))

    def _system(self, problem: Any, layout: _Layout, theta: Any) -> Any:
        """Gather JᵀJ and Jᵀr; the penalty counts as rows of its own."""
        xp = problem.backend.xp
        system = (_QR if layout.size <= QR_SIZE else _Cholesky)(xp, layout.size)
        for r, j in problem.linearised(theta):
            system.add(layout.learning(j), r)
        if self.weight_decay:
            root = math.sqrt(0.5 * self.weight_decay)
            rows = root * layout.decay * xp.eye(layout.size, dtype=theta.dtype)
            system.add(rows, root * layout.decay * layout.learning(theta))
        return system

    def _step(
        self, problem: Any, layout: _Layout, theta: Any, system: Any, mu: float
    ) -> tuple[Any, float]:
        """Return where a step leads and the fall that it promises; or None and 0."""
        xp, number = problem.backend.xp, problem.number
        try:
            factor = system.damped(mu)
            v = -xp.linalg.solve(factor.r, factor.y)
        except (ValueError, RuntimeError):  # singular in this precision
            return None, 0.0
        predicted = number(mu * (v @ v) - system.gradient @ v)
        if not (math.isfinite(predicted) and predicted > 0.0):
            return None, 0.0
        step = v
        if self.acceleration:
            along = layout.filled(v, xp.zeros_like(theta))
            bend = layout.learning(problem.acceleration(theta, along))
            a = -xp.linalg.solve(factor.r, xp.linalg.solve(factor.r.mT, bend))
            if not number(a @ a) <= self.acceleration**2 * number(v @ v):
                return None, 0.0
            step = v + 0.5 * a
        return layout.filled(layout.learning(theta) + step, theta), predicted


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

    def minimise(self, problem: Any, theta: Any, memory: Any) -> Iterator[Iteration]:
        """See `ProblemOptimizer.minimise`; there is no memory."""
        backend = problem.backend
        xp, kind = backend.xp, theta.dtype
        layout = _Layout(problem.network, xp, kind)

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
