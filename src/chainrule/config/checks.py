"""Checks of plain arguments: numbers, yes or no, and names."""

from __future__ import annotations

import math
import numbers
import sys
import warnings
from collections.abc import Iterable
from typing import Any, NoReturn, TypeVar, cast

import numpy as np

from chainrule.errors import ArgumentError, ArgumentTypeError, ChainruleWarning

__all__ = ["boolean", "choice", "integer", "real", "refuse", "show", "warn"]

_Name = TypeVar("_Name", bound=str)

_LONGEST = 300  # characters of a value that a message shows


def show(value: Any) -> str:
    """Return repr(value), cut where it is long, for a message.

    Whatever repr does: Python refuses integers of more than 4,300 digits, and an object
    of a user's own may raise anything.
    """
    try:
        text = repr(value)
    except Exception:
        kind = type(value).__name__
        return f"an {kind} of many digits" if kind == "int" else f"a {kind}"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def integer(
    name: str, value: Any, low: int, what: str = "", *, high: int | None = None
) -> int:
    """Return `value` as an int between the bounds, or raise an error naming it."""
    wanted = what or f"an integer of at least {low}"
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        msg = f"{name} must be {wanted}; got {show(value)} ({type(value).__name__})."
        raise ArgumentTypeError(msg)
    number = int(value)
    above = high is not None and number > high
    if number < low or above:
        if above:
            assert high is not None
            power = (
                high & (high + 1) == 0
            )  # a limit of many digits is one below a power
            most = f"below 2**{high.bit_length()}" if power else f"of at most {high}"
            wanted = f"an integer {most}"
        msg = f"{name} must be {wanted}; got {show(value)}."
        raise ArgumentError(msg)
    return number


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
        msg = f"{name} must be {wanted}; got {show(value)} ({type(value).__name__})."
        raise ArgumentTypeError(msg)
    try:
        number = float(value)
    except OverflowError:  # an integer or a fraction beyond every float
        number = math.nan
    above = number > low if open_low else number >= low
    below = number < high if open_high else number <= high
    if not (math.isfinite(number) and above and below):
        msg = f"{name} must be {wanted}; got {show(value)}."
        raise ArgumentError(msg)
    return number


def boolean(name: str, value: Any, *, none: bool = False) -> Any:
    """Return `value` as a bool, or None where allowed; anything else is an error.

    Nothing else is taken for its truth: "no" is true.
    """
    if value is None and none:
        return None
    if not isinstance(value, (bool, np.bool_)):
        refuse(name, "True, False or None" if none else "True or False", value)
    return bool(value)


def choice(name: str, value: Any, allowed: Iterable[_Name], kind: str = "") -> _Name:
    """Return `value` if it is one of the `allowed` names, or raise an error.

    With a `kind` of `chainrule.config.hints`, another spelling of a name ("LeakyReLU")
    and what other libraries call the same thing ("swish") are taken for the name.
    """
    from chainrule.config import hints

    names = sorted(allowed)
    if not isinstance(value, str):
        msg = (
            f"{name} must be one of {', '.join(names)}; "
            f"got {show(value)} ({type(value).__name__})."
        )
        raise ArgumentTypeError(msg)
    found = value if value in names else hints.canonical(kind, value, names)
    if found is not None:
        return cast("_Name", found)
    hint = hints.explain_name(kind, value, names)
    msg = f"{name} must be one of {', '.join(names)}; got {show(value)}.{hint}"
    raise ArgumentError(msg)


def refuse(name: str, wanted: str, value: Any) -> NoReturn:
    """Raise the error for an object of the wrong kind, with what it is instead."""
    from chainrule.config import hints

    msg = (
        f"{name} must be {wanted}; got {show(value)} ({type(value).__name__})."
        f"{hints.explain_object(value)}"
    )
    raise ArgumentTypeError(msg)


def warn(message: str, category: type[Warning] = ChainruleWarning) -> None:
    """Give a warning that points to the line of the user's own program."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and _is_ours(frame):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def _is_ours(frame: Any) -> bool:
    name: str = frame.f_globals.get("__name__", "")
    return name.partition(".")[0] in ("chainrule", "contextlib", "scipy", "sklearn")
