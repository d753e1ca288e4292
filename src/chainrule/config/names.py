"""The lookup of objects by name: losses, optimizers, activations, metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from chainrule.config import checks

__all__ = ["lookup", "resolve", "resolve_with"]

_T = TypeVar("_T")

# Kind of object -> what turns a name into one. Filled by the packages above, and asked
# by those below that take an object or its name: a metric takes a loss.
_GETTERS: dict[str, Callable[[Any], Any]] = {}


def resolve_with(kind: str, get: Callable[[Any], Any]) -> None:
    """Let names of a kind be resolved by a package's own `get`."""
    _GETTERS[kind] = get


def resolve(kind: str, given: Any) -> Any:
    """Return an object of a kind, from its name or as it is."""
    return _GETTERS[kind](given)


def lookup(
    argument: str, given: Any, table: Mapping[str, _T], kind: str = "", wanted: str = ""
) -> _T:
    """Return what a table has under a name, which other libraries may spell otherwise.

    Parameters
    ----------
    argument : str
        The argument's name, for the error.
    given : str
    table : mapping from names
    kind : str
        Of the names, as in `chainrule.config.words`.
    wanted : str, optional
        What to hand in where `given` is no text; without it the error lists the names.
    """
    if wanted and not isinstance(given, str):
        checks.refuse(argument, wanted, given)
    return table[checks.choice(argument, given, table, kind)]
