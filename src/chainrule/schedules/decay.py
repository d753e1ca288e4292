"""Learning rates that fall."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from chainrule.config import checks
from chainrule.errors import ArgumentError
from chainrule.schedules.base import Schedule, check_rate, check_steps

if TYPE_CHECKING:
    from chainrule.config.choices import Int, Real

__all__ = [
    "CosineDecay",
    "ExponentialDecay",
    "InverseTimeDecay",
    "PolynomialDecay",
    "StepDecay",
]


def _scaled(rate: float, base: float, exponent: float) -> float:
    """Return rate · base^exponent, infinite where it is too large for a float."""
    try:
        return float(rate * base**exponent)
    except OverflowError:
        return math.inf


class ExponentialDecay(Schedule):
    """learning_rate · decay_rate^(step / decay_steps)."""

    learning_rate: float
    decay_steps: int
    decay_rate: float

    def __init__(self, learning_rate: Real, decay_steps: Int, decay_rate: Real) -> None:
        self._set(
            learning_rate=check_rate("learning_rate", learning_rate),
            decay_steps=check_steps("decay_steps", decay_steps, 1),
            decay_rate=check_rate("decay_rate", decay_rate),
        )

    def __call__(self, step: int) -> float:
        """Return the learning rate of `step`."""
        return _scaled(self.learning_rate, self.decay_rate, step / self.decay_steps)


class CosineDecay(Schedule):
    """Half a cosine from learning_rate to final, after a linear warm-up.

    Parameters
    ----------
    learning_rate : float
        The highest rate.
    decay_steps : int
        Steps from the start, warm-up included, until `final` is reached; it stays.
    warmup_steps : int
        The rate rises in this many equal steps; the last of them is learning_rate.
    final : float
        The lowest rate.

    Notes
    -----
    Source: Loshchilov, Hutter 2016 (arXiv:1608.03983), without restarts.
    """

    learning_rate: float
    decay_steps: int
    warmup_steps: int
    final: float

    def __init__(
        self,
        learning_rate: Real,
        decay_steps: Int,
        warmup_steps: Int = 0,
        final: Real = 0.0,
    ) -> None:
        self._set(
            learning_rate=check_rate("learning_rate", learning_rate),
            decay_steps=check_steps("decay_steps", decay_steps, 1),
            warmup_steps=check_steps("warmup_steps", warmup_steps, 0),
            final=checks.real("final", final, 0.0),
        )
        if self.warmup_steps >= self.decay_steps:
            msg = (
                f"warmup_steps must be below decay_steps, which includes them; got "
                f"{warmup_steps} and {decay_steps}."
            )
            raise ArgumentError(msg)

    def __call__(self, step: int) -> float:
        """Return the learning rate of `step`."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        span = self.decay_steps - self.warmup_steps
        part = min(1.0, (step - self.warmup_steps) / span)
        height = 0.5 * (1.0 + math.cos(math.pi * part))
        return self.final + (self.learning_rate - self.final) * height


class StepDecay(Schedule):
    """learning_rate · factor^(number of whole `every` steps that have passed)."""

    learning_rate: float
    every: int
    factor: float

    def __init__(self, learning_rate: Real, every: Int, factor: Real = 0.1) -> None:
        self._set(
            learning_rate=check_rate("learning_rate", learning_rate),
            every=check_steps("every", every, 1),
            factor=check_rate("factor", factor),
        )

    def __call__(self, step: int) -> float:
        """Return the learning rate of `step`."""
        return _scaled(self.learning_rate, self.factor, step // self.every)


class InverseTimeDecay(Schedule):
    """learning_rate / (1 + decay_rate · step / decay_steps): the 1/t schedule."""

    learning_rate: float
    decay_steps: int
    decay_rate: float

    def __init__(
        self, learning_rate: Real, decay_steps: Int, decay_rate: Real = 1.0
    ) -> None:
        self._set(
            learning_rate=check_rate("learning_rate", learning_rate),
            decay_steps=check_steps("decay_steps", decay_steps, 1),
            decay_rate=checks.real("decay_rate", decay_rate, 0.0),
        )

    def __call__(self, step: int) -> float:
        """Return the learning rate of `step`."""
        return self.learning_rate / (1.0 + self.decay_rate * step / self.decay_steps)


class PolynomialDecay(Schedule):
    """final + (learning_rate - final) · (1 - step / decay_steps)^power.

    Parameters
    ----------
    learning_rate : float
        The rate of step 0.
    decay_steps : int
        Steps until `final` is reached; it stays.
    power : float
        Above 0; 1 is a straight line.
    final : float
        The lowest rate.

    Notes
    -----
    torch.optim.lr_scheduler.PolynomialLR, where final is 0.
    """

    learning_rate: float
    decay_steps: int
    power: float
    final: float

    def __init__(
        self,
        learning_rate: Real,
        decay_steps: Int,
        power: Real = 1.0,
        final: Real = 0.0,
    ) -> None:
        self._set(
            learning_rate=check_rate("learning_rate", learning_rate),
            decay_steps=check_steps("decay_steps", decay_steps, 1),
            power=check_rate("power", power),
            final=checks.real("final", final, 0.0),
        )

    def __call__(self, step: int) -> float:
        """Return the learning rate of `step`."""
        left = max(0.0, 1.0 - step / self.decay_steps)
        return self.final + (self.learning_rate - self.final) * math.pow(
            left, self.power
        )
