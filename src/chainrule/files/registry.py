"""The closed list of names that a file may use."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any, TypeVar, overload

from chainrule import layers, losses, optimizers, schedules
from chainrule.config.record import Config
from chainrule.errors import ArgumentError, ArgumentTypeError, SerializationError

__all__ = ["check_place", "known_as", "name_of", "register"]


_T = TypeVar("_T")


# Family -> the modules whose public names it has. Files speak of families, so that a
# class may move to another module.
_FAMILIES = {
    "layers": ("layers",),
    "losses": ("losses",),
    "optimizers": ("optimizers", "second_order"),
    "schedules": ("schedules",),
    "initializers": ("initializers",),
    "metrics": ("metrics",),
}


_BASES = (
    layers.Layer,
    layers.Activation,
    losses.Loss,
    optimizers.BaseOptimizer,
    optimizers.Optimizer,
    optimizers.ProblemOptimizer,
    schedules.Schedule,
)


# Where the families of functions may stand: by the name of the argument, or the entry.
_PLACES = {
    "schedules": ("learning_rate",),
    "initializers": ("kernel_initializer", "bias_initializer"),
    "metrics": ("metrics",),
}


_registered: dict[str, Any] = {}


@functools.cache
def _builtin() -> dict[str, Any]:
    """Name -> class or function, for everything public: "layers.Dense"."""
    found: dict[str, Any] = {}
    modules = ((family, stem) for family, stems in _FAMILIES.items() for stem in stems)
    for family, stem in modules:
        module = importlib.import_module(f"chainrule.{stem}")
        for name in module.__all__:
            thing = getattr(module, name)
            record = isinstance(thing, type) and issubclass(thing, Config)
            metric = family == "metrics" and name != "get" and callable(thing)
            if (record and thing not in _BASES) or metric:
                found[f"{family}.{name}"] = thing
    return found


@overload
def register(thing: _T, *, name: str | None = None) -> _T: ...


@overload
def register(thing: None = None, *, name: str | None = None) -> Callable[[_T], _T]: ...


def register(thing: Any = None, *, name: str | None = None) -> Any:
    """Make a class or function of one's own known to files, before saving and loading.

    Parameters
    ----------
    thing : class or callable
        A subclass of `Layer`, `Loss`, `Optimizer` or `ProblemOptimizer` whose
        constructor keeps each argument as an attribute of the same name; or a function
        that such a class or a model holds: a metric, a schedule, an initializer.
    name : str, optional
        Under which files know it; its own name by default.

    Returns
    -------
    class or callable
        `thing`, so that ``@register`` and ``@register(name="...")`` decorate.

    Raises
    ------
    ArgumentError
        If the name is taken by something else.
    """
    if thing is None:
        return functools.partial(register, name=name)
    if isinstance(thing, type) and not issubclass(thing, Config):
        msg = (
            f"register: a class must be a subclass of chainrule's Layer, Loss, "
            f"Optimizer or ProblemOptimizer; got {thing!r}. An object of it can be "
            f"registered as a function."
        )
        raise ArgumentTypeError(msg)
    if not callable(thing):
        msg = (
            f"register: thing must be a class or a function; got {thing!r} "
            f"({type(thing).__name__})."
        )
        raise ArgumentTypeError(msg)
    if name is None:
        name = getattr(thing, "__name__", "")
    if not isinstance(name, str) or not name.strip("<>") or "<" in name:
        msg = f"register: give name=, what files shall call {thing!r}; got {name!r}."
        raise ArgumentError(msg)
    taken = _builtin().get(name, _registered.get(name))
    if taken is not None and not _same(taken, thing):
        msg = f"register: the name {name!r} is taken by {taken!r}; give another name=."
        raise ArgumentError(msg)
    _registered[name] = thing
    return thing


def _same(old: Any, new: Any) -> bool:
    """Whether new is old, or its definition run anew, as in a notebook."""
    where = [
        (getattr(f, "__module__", f), getattr(f, "__qualname__", f)) for f in (old, new)
    ]
    return old is new or where[0] == where[1]


def name_of(thing: Any) -> str | None:
    """Return under which name files know a class or function, None under none."""
    for names in (_builtin(), _registered):
        for name, known in names.items():
            if known is thing:
                return name
    return None


def check_place(name: Any, where: str) -> None:
    """Refuse a schedule, an initializer or a metric of ours where another belongs.

    All are callable, so that a constructor takes the one for the other; in an argument
    of a class of one's own any may stand.
    """
    known = isinstance(name, str) and name in _builtin()
    family = name.partition(".")[0] if known else None
    # Items of lists stand where their list does.
    place = where.rstrip("0123456789/").rpartition("/")[2]
    theirs = next((f for f, places in _PLACES.items() if place in places), None)
    if None not in (family, theirs) and family != theirs:
        msg = f"{where} must be one of chainrule's {theirs}, or yours; got {name!r}."
        raise SerializationError(msg)


def known_as(name: Any, where: str) -> Any:
    """Return what files know under a name, or raise an error saying where it stands."""
    known = None
    if isinstance(name, str):
        known = _builtin().get(name, _registered.get(name))
    if known is None:
        shown = repr(name)[:80]
        msg = (
            f"{where}: {shown} is not known. If it is yours, call "
            f"chainrule.serialization.register with it before loading; if it is "
            f"chainrule's, the file is from a newer version."
        )
        raise SerializationError(msg)
    return known
