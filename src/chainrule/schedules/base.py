"""What a schedule is, and the learning rate of a step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from chainrule.config import checks
from chainrule.config.record import Config
from chainrule.errors import ArgumentTypeError

if TYPE_CHECKING:
    from chainrule.config.choices import Rate, Real

__all__ = ["Constant", "Schedule", "check_rate", "check_steps", "get", "kept", "rate"]


def check_steps(name: str, value: Any, low: int) -> int:
    """Return a number of steps, or raise an error."""
    return checks.integer(name, value, low, high=2**53)  # they divide as floats


def check_rate(name: str, value: Any) -> float:
    """Return a number above 0, or raise an error."""
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
        self._set(learning_rate=check_rate("learning_rate", learning_rate))

    def __call__(self, step: int) -> float:
        """Return the learning rate."""
        return self.learning_rate


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
    return Constant(check_rate(name, learning_rate))


def kept(name: str, learning_rate: Rate) -> float | Callable[[int], Any]:
    """Return a rate as a record keeps it: a float, or the schedule; or an error."""
    get(learning_rate, name)
    return learning_rate if callable(learning_rate) else float(learning_rate)
