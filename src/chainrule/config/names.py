"""The lookup of objects by name: losses, optimizers, activations, metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from chainrule.config import checks

__all__ = ["lookup"]

_T = TypeVar("_T")


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
