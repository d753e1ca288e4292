"""Learning rates that rise and fall: one cycle, and cosines that begin anew."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from chainrule.config import checks
from chainrule.errors import ArgumentError
from chainrule.schedules.base import Schedule, check_rate, check_steps

if TYPE_CHECKING:
    from chainrule.config.choices import Int, Real

__all__ = ["CosineRestarts", "OneCycle"]


class OneCycle(Schedule):
    """Half a cosine up to the highest rate, then half a cosine down to almost nothing.

    With a = max_learning_rate / div_factor, b = max_learning_rate, c = a /
    final_div_factor and half a cosine h(u, v, p) = v + (u - v) (1 + cos πp) / 2, step k
    has the rate h(a, b, k / m) while k ≤ m = warmup_fraction · steps - 1, then
    h(b, c, (k - m) / (steps - 1 - m)), and c after the last step.

    Parameters
    ----------
    max_learning_rate : float
    steps : int
        Of the whole cycle: the epochs times the steps of one.
    warmup_fraction : float in [0, 1]
        Share of the steps that rise.
    div_factor : float
        How many times the first rate is below the highest.
    final_div_factor : float
        How many times the last rate is below the first.

    Notes
    -----
    torch.optim.lr_scheduler.OneCycleLR with its cosines, of the learning rate alone
    (cycle_momentum=False): the momentum stays as it is. `Model.find_learning_rate`
    helps to choose the highest rate. Source: Smith, Topin 2017 (arXiv:1708.07120); the
    cosines are fastai's.
    """

    max_learning_rate: float
    steps: int
    warmup_fraction: float
    div_factor: float
    final_div_factor: float

    def __init__(
        self,
        max_learning_rate: Real,
        steps: Int,
        warmup_fraction: Real = 0.3,
        div_factor: Real = 25.0,
        final_div_factor: Real = 1e4,
    ) -> None:
        self._set(
            max_learning_rate=check_rate("max_learning_rate", max_learning_rate),
            steps=check_steps("steps", steps, 2),
            warmup_fraction=checks.real("warmup_fraction", warmup_fraction, 0.0, 1.0),
            div_factor=checks.real("div_factor", div_factor, 1.0),
            final_div_factor=checks.real("final_div_factor", final_div_factor, 1.0),
        )

    def __call__(self, step: int) -> float:
        """Return the learning rate of `step`."""
        highest = self.max_learning_rate
        first = highest / self.div_factor
        top, last = self.warmup_fraction * self.steps - 1.0, self.steps - 1
        if step <= top:
            return _half_cosine(first, highest, step / top if top else 1.0)
        final = first / self.final_div_factor
        if step >= last:
            return final
        return _half_cosine(highest, final, (step - top) / (last - top))


def _half_cosine(begin: float, end: float, part: float) -> float:
    return end + 0.5 * (begin - end) * (1.0 + math.cos(math.pi * part))


class CosineRestarts(Schedule):
    """Half a cosine from learning_rate to final, again and again.

    Period i = 0, 1, ... has T_i = first_steps · multiplier^i steps, and its step t the
    rate final + (learning_rate · factor^i - final) (1 + cos(πt / T_i)) / 2.

    Parameters
    ----------
    learning_rate : float
        The rate with which the first period begins.
    first_steps : int
        Steps of the first period.
    multiplier : int
        How many times each period is as long as the one before.
    factor : float in (0, 1]
        How high each period begins, as a share of the one before. A period never begins
        below `final`.
    final : float
        The lowest rate, at most learning_rate; it is approached, and never taken.

    Notes
    -----
    torch.optim.lr_scheduler.CosineAnnealingWarmRestarts, with steps in the place of
    epochs; `factor` is Keras's m_mul. Source: Loshchilov, Hutter 2016
    (arXiv:1608.03983), equation 5.
    """

    learning_rate: float
    first_steps: int
    multiplier: int
    factor: float
    final: float

    def __init__(
        self,
        learning_rate: Real,
        first_steps: Int,
        multiplier: Int = 1,
        factor: Real = 1.0,
        final: Real = 0.0,
    ) -> None:
        self._set(
            learning_rate=check_rate("learning_rate", learning_rate),
            first_steps=check_steps("first_steps", first_steps, 1),
            multiplier=check_steps("multiplier", multiplier, 1),
            factor=checks.real("factor", factor, 0.0, 1.0, open_low=True),
            final=checks.real("final", final, 0.0),
        )
        if self.final > self.learning_rate:
            msg = (
                f"final must be at most learning_rate, the highest rate; got {final} "
                f"and {learning_rate}."
            )
            raise ArgumentError(msg)

    def __call__(self, step: int) -> float:
        """Return the learning rate of `step`."""
        length, period = self.first_steps, 0
        if self.multiplier == 1:
            period, step = divmod(step, length)
        else:
            while step >= length:
                step, length, period = (
                    step - length,
                    length * self.multiplier,
                    period + 1,
                )
        highest = max(self.final, self.learning_rate * self.factor**period)
        return _half_cosine(highest, self.final, step / length)
