"""Checks of plain arguments: numbers, yes or no, and names."""

from __future__ import annotations

import functools
import inspect
import math
import numbers
import sys
import warnings
from collections.abc import Callable, Iterable
from typing import Any, NoReturn, TypeVar, cast

import numpy as np

from chainrule.errors import ArgumentError, ArgumentTypeError, ChainruleWarning

__all__ = [
    "absent",
    "boolean",
    "choice",
    "integer",
    "methods_told",
    "real",
    "refuse",
    "show",
    "told",
    "warn",
]

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
    """Return `value` as a bool, NumPy's too, or raise an error; None if that is allowed.

    Nothing else is taken for its truth: "no" is true.
    """
    if value is None and none:
        return None
    if not isinstance(value, (bool, np.bool_)):
        refuse(name, "True, False or None" if none else "True or False", value)
    return bool(value)


def choice(name: str, value: Any, allowed: Iterable[str], kind: str = "") -> str:
    """Return `value` if it is one of the `allowed` names, or raise an error.

    With a `kind` of `chainrule.config.hints`, another spelling of a name ("LeakyReLU") and
    what other libraries call the same thing ("swish") are taken for the name.
    """
    from chainrule.config import hints

    names = sorted(allowed)
    if not isinstance(value, str):
        msg = (
            f"{name} must be one of {', '.join(names)}; "
            f"got {show(value)} ({type(value).__name__})."
        )
        raise ArgumentTypeError(msg)
    if value in names:
        return value

    found = hints.same(kind, value, names)
    if found is not None:
        return found
    hint = hints.advice(kind, value, names)
    msg = f"{name} must be one of {', '.join(names)}; got {show(value)}.{hint}"
    raise ArgumentError(msg)


def refuse(name: str, wanted: str, value: Any) -> NoReturn:
    """Raise the error for an object of the wrong kind, with what it is instead."""
    from chainrule.config import hints

    msg = (
        f"{name} must be {wanted}; got {show(value)} ({type(value).__name__})."
        f"{hints.about(value)}"
    )
    raise ArgumentTypeError(msg)


def _call(owner: str | type, function: Any, skip: int, args: Any, kwargs: Any) -> None:
    """Raise an error for arguments that a function does not have, or lacks."""
    from chainrule.config import hints

    code = function.__code__
    if code.co_flags & inspect.CO_VARKEYWORDS:
        return
    several = code.co_flags & inspect.CO_VARARGS
    names = code.co_varnames[skip : code.co_argcount + code.co_kwonlyargcount]
    count = code.co_argcount - skip
    lacking = names[: count - len(function.__defaults__ or ())][len(args) :]
    unknown = [word for word in kwargs if word not in names]
    lacking = [name for name in lacking if name not in kwargs]
    if not (unknown or lacking or (len(args) > count and not several)):
        return

    whose = [owner] if isinstance(owner, str) else [c.__name__ for c in owner.__mro__]
    if unknown:
        told = hints.keyword(whose, unknown[0], names)
        msg = f"{whose[0]} has no argument {unknown[0]!r}: {told}."
    elif lacking:
        msg = f"{whose[0]} needs {lacking[0]}.{hints.data(*args[:1])}"
    else:
        others = ", ".join(f"{name}=" for name in names[count:])
        takes = "1 argument" if count == 1 else f"{count} arguments"
        msg = f"{whose[0]} takes {takes} by position; got {len(args)}." + (
            f" Name the others: {others}." if others else ""
        )
    raise ArgumentTypeError(msg) from None


F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C", bound=type)


def told(skip: int) -> Callable[[F], F]:
    """Let a function say what to write for arguments that it does not have.

    `skip` is how many of its first arguments are not the caller's: 1 for a method. A
    constructor's error names the class.
    """

    def decorate(function: F) -> F:
        if not hasattr(function, "__code__"):
            return function
        name = function.__name__

        @functools.wraps(function)
        def checked(*args: Any, **kwargs: Any) -> Any:
            try:
                return function(*args, **kwargs)
            except ArgumentTypeError:
                raise
            except TypeError:  # only now: a call that is right pays nothing for it
                owner = type(args[0]) if name == "__init__" else name
                _call(owner, function, skip, args[skip:], kwargs)
                raise

        return cast("F", checked)

    return decorate


def methods_told(cls: C) -> C:
    """Let all public methods of a class be `told`."""
    for name, method in list(vars(cls).items()):
        public = inspect.isfunction(method) and not name.startswith("_")
        if public and not hasattr(method, "__wrapped__"):
            setattr(cls, name, told(1)(method))
    return cls


def absent(module: str, names: list[str]) -> Callable[[str], NoReturn]:
    """Return the `__getattr__` of a module: what to take for a name it does not have."""

    def missing(name: str) -> NoReturn:
        msg = f"module {module!r} has no attribute {name!r}"
        if not name.startswith("_"):
            from chainrule.config import hints

            msg = hints.missing(f"module {module!r}", name, names)
        raise AttributeError(msg)

    return missing


def warn(message: str) -> None:
    """Give a `ChainruleWarning` that points to the line of the user's own program."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and _is_ours(frame):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, ChainruleWarning, stacklevel=level)


def _is_ours(frame: Any) -> bool:
    name: str = frame.f_globals.get("__name__", "")
    return name.partition(".")[0] in ("chainrule", "contextlib", "scipy", "sklearn")
