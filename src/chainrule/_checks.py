"""Checks of plain arguments: numbers and names."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable
from typing import Any

from chainrule.errors import ArgumentError, ArgumentTypeError

__all__ = ["choice", "integer", "real"]


def integer(name: str, value: Any, low: int, what: str = "") -> int:
    """Return `value` as an int of at least `low`, or raise an error naming it."""
    wanted = what or f"an integer of at least {low}"
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        msg = f"{name} must be {wanted}; got {value!r} ({type(value).__name__})."
        raise ArgumentTypeError(msg)
    if value < low:
        msg = f"{name} must be {wanted}; got {value!r}."
        raise ArgumentError(msg)
    return int(value)


def real(
    name: str,
    value: Any,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    open_low: bool = False,
    open_high: bool = False,
) -> float:
    """Return `value` as a finite float between the bounds, or raise an error."""
    left, right = "(" if open_low else "[", ")" if open_high else "]"
    if math.isinf(low) and math.isinf(high):
        wanted = "a finite number"
    elif math.isinf(high):
        wanted = f"a finite number {'above' if open_low else 'of at least'} {low:g}"
    else:
        wanted = f"a number in {left}{low:g}, {high:g}{right}"
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        msg = f"{name} must be {wanted}; got {value!r} ({type(value).__name__})."
        raise ArgumentTypeError(msg)
    number = float(value)
    above = number > low if open_low else number >= low
    below = number < high if open_high else number <= high
    if not (math.isfinite(number) and above and below):
        msg = f"{name} must be {wanted}; got {value!r}."
        raise ArgumentError(msg)
    return number


def choice(name: str, value: Any, allowed: Iterable[str]) -> str:
    """Return `value` if it is one of the `allowed` names, or raise an error."""
    names = sorted(allowed)
    if not isinstance(value, str):
        msg = (
            f"{name} must be one of {', '.join(names)}; "
            f"got {value!r} ({type(value).__name__})."
        )
        raise ArgumentTypeError(msg)
    if value not in names:
        import difflib

        close = difflib.get_close_matches(value, names, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        msg = f"{name} must be one of {', '.join(names)}; got {value!r}.{hint}"
        raise ArgumentError(msg)
    return value
