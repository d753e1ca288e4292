"""SciPy's L-BFGS-B on the flat vector."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.config import checks
from chainrule.errors import ArgumentError, MissingLibraryError
from chainrule.optimizers.whole import Iteration, ProblemOptimizer, Report

if TYPE_CHECKING:
    from chainrule.arrays.types import Array
    from chainrule.config.choices import Int, Real
    from chainrule.losses import Loss
    from chainrule.network import Network
    from chainrule.training.problem import Problem

__all__ = ["LBFGS", "minimise"]


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
        history_size: Int = 10,
        ftol: Real = 0.0,
        gtol: Real = 0.0,
        *,
        weight_decay: Real = 0.0,
    ) -> None:
        self._set(
            history_size=checks.integer("LBFGS: history_size", history_size, 1),
            ftol=checks.real("LBFGS: ftol", ftol, 0.0),
            gtol=checks.real("LBFGS: gtol", gtol, 0.0),
            weight_decay=checks.real("LBFGS: weight_decay", weight_decay, 0.0),
        )

    def check(self, loss: Loss) -> None:
        """Say so, before training, where SciPy is missing or the loss has no slope."""
        if not loss.has_slope:
            msg = (
                f"LBFGS needs a loss whose gradient is the slope of its value; this "
                f"model's is {loss!r}, which is weighed by constants. Set beta=0, or "
                f"take Adam."
            )
            raise ArgumentError(msg)
        _scipy()

    def check_memory(self, memory: Any, network: Network, dtype: str) -> None:
        """Raise an error if there is any: it is SciPy's."""
        if memory is not None:
            msg = "LBFGS keeps no memory between fits; the file has one."
            raise ArgumentError(msg)

    def minimise(
        self, problem: Problem, theta: Array, memory: Any, report: Report
    ) -> None:
        """See `ProblemOptimizer.minimise`; there is no memory."""
        backend = problem.backend
        xp, dtype = backend.xp, theta.dtype
        layout = problem.network.layout
        decay = layout.decay(xp, dtype)

        def placed(a: Any) -> Any:
            host = xp.astype(backend.asarray(a), dtype)
            return layout.filled(host, theta, xp)

        def value_and_gradient(a: Any) -> tuple[float, Any]:
            at = placed(a)
            value, gradient = problem.value_and_gradient(at)
            value, gradient = problem.number(value), layout.learning(gradient, xp)
            if self.weight_decay:
                weights = decay * layout.learning(at, xp)
                gradient = gradient + self.weight_decay * weights
                value += 0.5 * self.weight_decay * problem.number(weights @ weights)
            return value, backend.to_numpy(gradient).astype(np.float64)

        reached = 0

        def on_iteration(a: Any, _: float) -> bool:
            nonlocal reached
            reached += 1
            at = placed(a)
            # The loss alone, without the penalty.
            value, _ = problem.value_and_gradient(at)
            return report(Iteration(at, value))

        start = backend.to_numpy(layout.learning(theta, xp)).astype(np.float64)
        options = {"maxcor": self.history_size, "ftol": self.ftol, "gtol": self.gtol}
        options |= {"maxiter": 10**9, "maxfun": 10**9}
        minimise(value_and_gradient, start, options, on_iteration)
        if not reached:
            # No lower point was found, or nothing is finite: the start is the result.
            on_iteration(start, 0.0)


def minimise(
    value_and_gradient: Callable[[Any], tuple[float, Any]],
    start: Any,
    options: dict[str, Any],
    on_iteration: Callable[[Any, float], bool] | None,
) -> Any:
    """Run SciPy's L-BFGS-B on the host.

    Parameters
    ----------
    value_and_gradient : function
        ``f(a) -> (value, gradient)``, a and gradient float64 arrays (n,).
    start : float64 array (n,)
    options : dict
        SciPy's.
    on_iteration : function, optional
        ``on_iteration(a, value) -> bool`` after each iteration; False ends it.

    Returns
    -------
    scipy.optimize.OptimizeResult
    """

    def callback(intermediate_result: Any) -> None:
        assert on_iteration is not None
        a, value = intermediate_result.x, float(intermediate_result.fun)
        if not on_iteration(np.array(a), value):
            raise StopIteration

    return _scipy().minimize(
        value_and_gradient,
        start,
        jac=True,
        method="L-BFGS-B",
        callback=None if on_iteration is None else callback,
        options=options,
    )


def _scipy() -> Any:
    try:
        from scipy import optimize
    except ImportError as error:
        msg = (
            "LBFGS needs SciPy, which is not installed. "
            "Install it with: pip install scipy"
        )
        raise MissingLibraryError(msg) from error
    return optimize
