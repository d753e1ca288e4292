"""Central differences with an estimate of their own error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

__all__ = ["EPS", "Slope", "slope"]

EPS = float(np.finfo(np.float64).eps)
# Steps, in units of the argument's size: from where a smooth function is soon resolved
# down to where even a kink nearby is left behind.
_STEPS = tuple(2.0 ** -(5 + 2 * k) for k in range(9))
_RATIO = 16.0  # what one step's error term h² shrinks by


class Slope(NamedTuple):
    """A derivative along one direction, and how far off it may be."""

    value: float
    error: float


def slope(
    f: Callable[[float], Any],
    dz: Any,
    *,
    wobble: float,
    enough: Callable[[Slope], bool],
) -> Slope:
    """Differentiate h -> Σ dz f(h) at 0.

    Parameters
    ----------
    f : function
        From a float to a host array of the shape of dz.
    dz : array
    wobble : float
        Rounding of the arguments, as a change of the sum in units of EPS.
    enough : function
        Whether an estimate is good enough to stop at.

    Returns
    -------
    Slope
        That of the smallest error; the error is infinite where nothing was finite.

    Notes
    -----
    Ridders' scheme (1982): the quotients at h, h/4, ... are extrapolated to h = 0, and
    an entry of the tableau is trusted as far as it agrees with its two parents. Two
    things are added to that: the rounding of the quotient, EPS Σ|dz f| / h; and what
    the two one-sided slopes still differ by once their own linear term is extrapolated
    away, which is 0 for a smooth function and the jump of the derivative at a kink,
    where central differences would settle on the mean of the two sides.
    """
    centre = f(0.0)
    noise = 4.0 * EPS * (float(np.sum(np.abs(dz * centre))) + wobble)
    best = Slope(np.nan, np.inf)
    above: list[float] = []
    bend_above = np.nan
    for h in _STEPS:
        up, down = f(h), f(-h)
        if not (np.isfinite(up).all() and np.isfinite(down).all()):
            above, bend_above = [], np.nan
            continue
        row = [float(np.sum(dz * (up - down))) / (2.0 * h)]
        bend = float(np.sum(dz * ((up - centre) - (centre - down)))) / h
        jump = abs(4.0 * bend - bend_above) / 3.0
        factor = _RATIO
        for m, before in enumerate(above[:4]):
            row.append((factor * row[m] - before) / (factor - 1.0))
            error = max(abs(row[-1] - row[m]), abs(row[-1] - before))
            error += jump + 2.0 * noise / h
            if error < best.error:
                best = Slope(row[-1], error)
            factor *= _RATIO
        above, bend_above = row, bend
        if enough(best):
            break
    return best
