"""Errors for arguments and attributes that are not there: what to write instead.

The tables of other libraries' words are loaded only where something is not understood.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar, cast

from chainrule.errors import ArgumentTypeError

__all__ = ["explain_call", "explain_methods", "explain_missing", "refuse_call"]

_F = TypeVar("_F", bound=Callable[..., Any])
_C = TypeVar("_C", bound=type)


def explain_call(skip: int) -> Callable[[_F], _F]:
    """Decorate a function: a call with wrong arguments says which to write.

    `skip` is how many of its first arguments are not the caller's: 1 for a method. A
    constructor's error names the class.
    """

    def decorate(function: _F) -> _F:
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
                refuse_call(owner, function, args[skip:], kwargs, skip)
                raise

        return cast("_F", checked)

    return decorate


def explain_methods(cls: _C) -> _C:
    """Decorate all public methods of a class with `explain_call`."""
    for name, method in list(vars(cls).items()):
        public = inspect.isfunction(method) and not name.startswith("_")
        if public and not hasattr(method, "__wrapped__"):
            setattr(cls, name, explain_call(1)(method))
    return cls


def explain_missing(module: str, names: list[str]) -> Callable[[str], NoReturn]:
    """Return the `__getattr__` of a module: its error says which name to take."""

    def missing(name: str) -> NoReturn:
        msg = f"module {module!r} has no attribute {name!r}"
        if not name.startswith("_"):
            from chainrule.config import hints

            msg = hints.explain_attribute(f"module {module!r}", name, names)
        raise AttributeError(msg)

    return missing


def refuse_call(
    owner: str | type,
    function: Any,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    skip: int = 1,
) -> None:
    """Raise an error for arguments that a function does not have, or lacks.

    args and kwargs are the caller's; where they go with the function nothing happens.
    """
    from chainrule.config import hints

    code = function.__code__
    if code.co_flags & inspect.CO_VARKEYWORDS:
        return
    several = code.co_flags & inspect.CO_VARARGS
    names = code.co_varnames[skip : code.co_argcount + code.co_kwonlyargcount]
    count = code.co_argcount - skip
    lacking = names[: count - len(function.__defaults__ or ())][len(args) :]
    lacking = [name for name in lacking if name not in kwargs]
    unknown = [word for word in kwargs if word not in names]
    if not (unknown or lacking or (len(args) > count and not several)):
        return
    whose = [owner] if isinstance(owner, str) else [c.__name__ for c in owner.__mro__]
    if unknown:
        advice = hints.explain_keyword(whose, unknown[0], names)
        msg = f"{whose[0]} has no argument {unknown[0]!r}: {advice}."
    elif lacking:
        msg = f"{whose[0]} needs {lacking[0]}.{hints.explain_data(*args[:1])}"
    else:
        others = ", ".join(f"{name}=" for name in names[count:])
        takes = "1 argument" if count == 1 else f"{count} arguments"
        msg = f"{whose[0]} takes {takes} by position; got {len(args)}." + (
            f" Name the others: {others}." if others else ""
        )
    raise ArgumentTypeError(msg) from None
