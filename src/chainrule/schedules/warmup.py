"""Learning rates that rise first, and schedules one after the other."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from chainrule.config import checks
from chainrule.errors import ArgumentError
from chainrule.schedules.base import Schedule, check_rate, check_steps, get, kept, rate

if TYPE_CHECKING:
    from chainrule.config.choices import Int, Rate, Real

__all__ = ["Join", "LinearWarmup", "PolynomialWarmup"]


class PolynomialWarmup(Schedule):
    """A rate that rises to a schedule's first one, and then follows the schedule.

    With L the schedule, step k = 0, 1, ... has the rate
    start + (L(0) - start) · ((k + 1) / steps)^power while k < steps, then L(k - steps).

    Parameters
    ----------
    learning_rate : float or callable
        The rate that is reached, or the schedule that begins when it is.
    steps : int
        How many steps rise; the last of them has L(0).
    power : float
        Above 0; 1 is a straight line, 2 begins more slowly.
    start : float
        The rate from which it rises; step 0 is already above it, so that with 0, too,
        no step is lost.
    """

    learning_rate: float | Callable[[int], Any]
    steps: int
    power: float
    start: float

    def __init__(
        self, learning_rate: Rate, steps: Int, power: Real = 2.0, start: Real = 0.0
    ) -> None:
        self._set(
            learning_rate=kept("learning_rate", learning_rate),
            steps=check_steps("steps", steps, 1),
            power=check_rate("power", power),
            start=checks.real("start", start, 0.0),
        )

    def __call__(self, step: int) -> float:
        """Return the learning rate of `step`."""
        return _warm(self.learning_rate, self.steps, self.power, self.start, step)


class LinearWarmup(Schedule):
    """A rate that rises in equal steps to a schedule's first one, and then follows it.

    With L the schedule, step k = 0, 1, ... has the rate
    start + (L(0) - start) · (k + 1) / steps while k < steps, then L(k - steps).

    Parameters
    ----------
    learning_rate : float or callable
        The rate that is reached, or the schedule that begins when it is.
    steps : int
        How many steps rise; the last of them has L(0).
    start : float
        The rate from which it rises; step 0 is already above it, so that with 0, too,
        no step is lost.

    Notes
    -----
    The rates of step k are those of torch.optim.lr_scheduler.LinearLR after k + 1
    steps. Source: Goyal et al. 2017 (arXiv:1706.02677), section 2.2.
    """

    learning_rate: float | Callable[[int], Any]
    steps: int
    start: float

    def __init__(self, learning_rate: Rate, steps: Int, start: Real = 0.0) -> None:
        self._set(
            learning_rate=kept("learning_rate", learning_rate),
            steps=check_steps("steps", steps, 1),
            start=checks.real("start", start, 0.0),
        )

    def __call__(self, step: int) -> float:
        """Return the learning rate of `step`."""
        return _warm(self.learning_rate, self.steps, 1.0, self.start, step)


def _warm(given: Any, steps: int, power: float, start: float, step: int) -> float:
    """Return the rate of a step of a warm-up, or of the schedule behind it."""
    schedule = get(given)
    if step >= steps:
        return rate(schedule, step - steps)
    first, part = rate(schedule, 0), math.pow((step + 1) / steps, power)
    # Not as start + ..., which would miss the first rate by a rounding.
    return first * part + start * (1.0 - part)


class Join(Schedule):
    """Schedules one after the other, each of which counts its steps from 0.

    Parameters
    ----------
    schedules : sequence of float or callable
        A number is a constant rate.
    boundaries : sequence of int
        The step with which each schedule but the first begins: above 0, rising.

    Notes
    -----
    torch.optim.lr_scheduler.SequentialLR; optax.join_schedules.
    """

    schedules: tuple[float | Callable[[int], Any], ...]
    boundaries: tuple[int, ...]

    def __init__(self, schedules: Sequence[Rate], boundaries: Sequence[Int]) -> None:
        rates = [
            kept(f"Join: schedules[{i}]", each)
            for i, each in enumerate(_listed("schedules", schedules))
        ]
        places = [
            check_steps(f"Join: boundaries[{i}]", each, 1)
            for i, each in enumerate(_listed("boundaries", boundaries))
        ]
        if not rates or len(places) != len(rates) - 1:
            msg = (
                f"Join: boundaries must have one step for each schedule but the first; "
                f"got {len(places)} for {len(rates)} schedules. Name the steps with "
                f"which the others begin."
            )
            raise ArgumentError(msg)
        if any(a >= b for a, b in pairwise(places)):
            msg = (
                f"Join: boundaries must rise; got {checks.show(tuple(places))}. Give "
                f"the schedules in the order in which they begin."
            )
            raise ArgumentError(msg)
        self._set(schedules=tuple(rates), boundaries=tuple(places))

    def __call__(self, step: int) -> float:
        """Return the learning rate of `step`."""
        which = bisect_right(self.boundaries, step)
        begun = self.boundaries[which - 1] if which else 0
        return rate(get(self.schedules[which]), step - begun)


def _listed(name: str, given: Any) -> list[Any]:
    """Return the items of a sequence, or raise an error."""
    if hasattr(given, "tolist") and getattr(given, "ndim", 0) == 1:
        given = given.tolist()
    if not isinstance(given, (tuple, list)):
        checks.refuse(f"Join: {name}", "a sequence such as a tuple", given)
    return list(given)
