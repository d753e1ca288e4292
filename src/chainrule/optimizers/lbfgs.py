"""SciPy's L-BFGS-B on the flat vector."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import numpy as np

from chainrule.arrays.layout import Layout
from chainrule.config import checks
from chainrule.errors import ArgumentError, MissingLibraryError
from chainrule.optimizers.whole import Iteration, ProblemOptimizer

__all__ = ["LBFGS"]


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
            history_size=checks.integer("LBFGS: history_size", history_size, 1),
            ftol=checks.real("LBFGS: ftol", ftol, 0.0),
            gtol=checks.real("LBFGS: gtol", gtol, 0.0),
            weight_decay=checks.real("LBFGS: weight_decay", weight_decay, 0.0),
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
        layout: Layout = problem.network.layout
        decay = layout.decay(xp, kind)

        def here(a: Any) -> Any:
            host = xp.astype(backend.asarray(a), kind)
            return layout.filled(host, theta, xp)

        def value_and_gradient(a: Any) -> tuple[float, Any]:
            at = here(a)
            value, gradient = problem.value_and_gradient(at)
            value, gradient = problem.number(value), layout.learning(gradient, xp)
            if self.weight_decay:
                weights = decay * layout.learning(at, xp)
                gradient = gradient + self.weight_decay * weights
                value += 0.5 * self.weight_decay * problem.number(weights @ weights)
            return value, backend.to_numpy(gradient).astype(np.float64)

        start = backend.to_numpy(layout.learning(theta, xp)).astype(np.float64)
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
