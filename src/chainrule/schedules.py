"""Learning rates as functions of the step, computed on the host in float64.

A schedule is any callable from the step's number (0, 1, 2, ...) to a learning rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from chainrule.config import checks
from chainrule.config.explain import explain_missing
from chainrule.config.record import Config
from chainrule.errors import ArgumentError, ArgumentTypeError

if TYPE_CHECKING:
    from chainrule.config.choices import Int, Real

__all__ = [
    "Constant",
    "CosineDecay",
    "ExponentialDecay",
    "InverseTimeDecay",
    "Schedule",
    "StepDecay",
    "get",
    "rate",
]


def _steps(name: str, value: Any, low: int) -> int:
    return checks.integer(name, value, low, high=2**53)  # they divide as floats


def _scaled(rate: float, base: float, exponent: float) -> float:
    """Return rate · base^exponent, infinite where it is too large for a float."""
    try:
        return float(rate * base**exponent)
    except OverflowError:
        return math.inf


def _rate(name: str, value: Any) -> float:
    return checks.real(name, value, 0.0, open_low=True)


class Schedule(Config):
    """Base of the schedules; any other callable serves as well."""

    def __call__(self, step: int) -> float:
        """Return the learning rate of `step`."""
        raise NotImplementedError


class Constant(Schedule):
    """The same learning rate at every step."""

    learning_rate: float

    def __init__(self, learning_rate: Real) -> None:
        self._set(learning_rate=_rate("learning_rate", learning_rate))

    def __call__(self, step: int) -> float:
        """Return the learning rate."""
        return self.learning_rate


class ExponentialDecay(Schedule):
    """learning_rate · decay_rate^(step / decay_steps)."""

    learning_rate: float
    decay_steps: int
    decay_rate: float

    def __init__(self, learning_rate: Real, decay_steps: Int, decay_rate: Real) -> None:
        self._set(
            learning_rate=_rate("learning_rate", learning_rate),
            decay_steps=_steps("decay_steps", decay_steps, 1),
            decay_rate=_rate("decay_rate", decay_rate),
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
            learning_rate=_rate("learning_rate", learning_rate),
            decay_steps=_steps("decay_steps", decay_steps, 1),
            warmup_steps=_steps("warmup_steps", warmup_steps, 0),
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
            learning_rate=_rate("learning_rate", learning_rate),
            every=_steps("every", every, 1),
            factor=_rate("factor", factor),
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
            learning_rate=_rate("learning_rate", learning_rate),
            decay_steps=_steps("decay_steps", decay_steps, 1),
            decay_rate=checks.real("decay_rate", decay_rate, 0.0),
        )

    def __call__(self, step: int) -> float:
        """Return the learning rate of `step`."""
        return self.learning_rate / (1.0 + self.decay_rate * step / self.decay_steps)


def rate(schedule: Callable[[int], Real], step: int) -> float:
    """Return a schedule's rate of `step` as a float.

    Raises
    ------
    ArgumentTypeError
        If it returns anything but a real number, or an array of none.
    """
    value: Any = schedule(step)
    if type(value) is float:
        return value
    try:
        kind = getattr(value, "dtype", None)
        plain = not isinstance(value, (bool, str, bytes, bytearray))
        if plain and not getattr(value, "ndim", 0) and "complex" not in str(kind):
            return float(value)
    except OverflowError:
        return math.inf
    except (TypeError, ValueError):
        pass
    msg = (
        f"learning_rate: the schedule {checks.show(schedule)} must return a number; "
        f"got {checks.show(value)} ({type(value).__name__}) of step {step}."
    )
    raise ArgumentTypeError(msg)


def get(learning_rate: Any, name: str = "learning_rate") -> Callable[[int], float]:
    """Return a schedule from a number, or as it is if it is callable."""
    if callable(learning_rate) and not isinstance(learning_rate, type):
        return learning_rate  # type: ignore[no-any-return]
    if isinstance(learning_rate, str):
        msg = (
            f"{name} must be a number above 0 or a schedule; "
            f"got {learning_rate!r} (str)."
        )
        raise ArgumentTypeError(msg)
    return Constant(_rate(name, learning_rate))


if not TYPE_CHECKING:
    __getattr__ = explain_missing(__name__, __all__)
