"""Configuration as JSON and back, through a closed registry of classes and functions.

A record (a layer, a loss, an optimizer, a schedule, an initializer) is written as its
registered name and the arguments of its constructor. To read it back calls that
constructor, with all its checks. Nothing is ever imported, evaluated or unpickled: a
name that is not in the registry is an error.

A list stays a list and a dict of strings a dict; ``{"$tuple": [...]}`` is a tuple (in a
record, where all sequences are tuples, a bare list is), ``{"$float": "inf"}`` a float
that JSON lacks, ``{"$array": name}`` an array that is stored beside.
"""

from __future__ import annotations

import functools
import inspect
import math
from typing import Any, cast

import numpy as np

from chainrule.config.record import Config
from chainrule.errors import SerializationError
from chainrule.files.registry import check_place, known_as, name_of

__all__ = ["decode", "encode"]


# What a file may ask for. No network of ours comes near; a hostile file would.
_MAX_DEPTH = 100


_MAX_RECORDS = 10_000


_MAX_BITS = 256  # of an integer: seeds have 128


_MAX_WHERE = 500  # characters of an error that say where


def encode(value: Any, where: str, tensors: dict[str, Any] | None = None) -> Any:
    """Return `value` as what JSON can hold.

    Parameters
    ----------
    value : record, number, str, None, list, tuple, dict of str, registered function
        And, where `tensors` is given, host arrays.
    where : str
        What it is called in errors, and how its arrays' names begin.
    tensors : dict, optional
        Receives the arrays, by name.

    Raises
    ------
    SerializationError
        If something in it cannot be saved.
    """
    return _encode(value, where, tensors, 0, False)


def _encode(value: Any, where: str, tensors: Any, depth: int, inside: bool) -> Any:
    if depth > _MAX_DEPTH:
        msg = f"{where} cannot be saved: it is nested more than {_MAX_DEPTH} deep."
        raise SerializationError(msg)
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        if value.bit_length() > _MAX_BITS:
            msg = f"{where} cannot be saved: it is an integer of over {_MAX_BITS} bits."
            raise SerializationError(msg)
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"$float": repr(float(value))}
    go = functools.partial(_encode, tensors=tensors, depth=depth + 1)
    if isinstance(value, (list, tuple)):
        items = [go(v, f"{where}/{i}", inside=inside) for i, v in enumerate(value)]
        return items if inside or isinstance(value, list) else {"$tuple": items}
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str) or key.startswith("$"):
                msg = f"{where} cannot be saved: a dict has the key {key!r}."
                raise SerializationError(msg)
        return {k: go(v, f"{where}/{k}", inside=inside) for k, v in value.items()}
    if isinstance(value, Config) and (name := name_of(type(value))) is not None:
        fields = _fields(value, where)
        coded = {k: go(v, f"{where}/{k}", inside=True) for k, v in fields.items()}
        return {"$class": name, **coded}
    if isinstance(value, np.ndarray) and tensors is not None:
        tensors[where] = value
        return {"$array": where}
    name = name_of(value)
    if name is not None and not isinstance(value, type):
        return {"$function": name}
    raise SerializationError(_unknown(value, where))


def _unknown(value: Any, where: str) -> str:
    thing = type(value).__name__ if isinstance(value, Config) else repr(value)
    msg = f"{where} cannot be saved: no file knows {thing}."
    if isinstance(value, Config):
        return f"{msg} Call chainrule.serialization.register({thing}) first."
    if callable(value):
        return f'{msg} Call chainrule.serialization.register(it, name="...") first.'
    return msg


@functools.lru_cache(maxsize=256)
def _parameters(cls: Any) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(cls).parameters)


def _fields(record: Config, where: str) -> dict[str, Any]:
    """Return the arguments with which the constructor makes such a record."""
    fields = {}
    for name in _parameters(cast("Any", type(record))):
        try:
            fields[name] = getattr(record, name)
        except AttributeError:
            msg = (
                f"{where} cannot be saved: the constructor of {type(record).__name__} "
                f"has an argument {name!r}, which no attribute of that name keeps."
            )
            raise SerializationError(msg) from None
    return fields


def decode(value: Any, where: str, tensors: dict[str, Any] | None = None) -> Any:
    """Return what `encode` was given, from parsed JSON that may be hostile.

    The arrays that it names are taken out of `tensors`.

    Raises
    ------
    SerializationError
        For whatever is not as `encode` writes it, or is refused by a constructor.
    """
    return _Decoder(tensors).value(value, where, 0, False)


def _at(where: str, key: Any) -> str:
    """Return where an entry stands; hostile names may be long, and are many."""
    return f"{where[-_MAX_WHERE:]}/{str(key)[:80]}"


class _Decoder:
    """Counts what is made."""

    def __init__(self, tensors: dict[str, Any] | None) -> None:
        self.tensors = {} if tensors is None else tensors
        self.records = 0

    def value(self, value: Any, where: str, depth: int, inside: bool) -> Any:
        if depth > _MAX_DEPTH:
            msg = f"{where} is nested more than {_MAX_DEPTH} deep."
            raise SerializationError(msg)
        if isinstance(value, int) and value.bit_length() > _MAX_BITS:
            msg = f"{where} is an integer of more than {_MAX_BITS} bits."
            raise SerializationError(msg)
        if isinstance(value, list):
            items = [
                self.value(v, _at(where, i), depth + 1, inside)
                for i, v in enumerate(value)
            ]
            return tuple(items) if inside else items
        if not isinstance(value, dict):
            return value
        tags = [key for key in value if key.startswith("$")]
        if not tags:
            return {
                k: self.value(v, _at(where, k), depth + 1, inside)
                for k, v in value.items()
            }
        tag = tags[0]
        if tag == "$class":
            check_place(value[tag], where)
            return self.record(value, where, depth)
        if len(value) == 1:
            if tag == "$tuple" and isinstance(value[tag], list):
                return tuple(self.value(value[tag], where, depth + 1, inside))
            if tag == "$float" and value[tag] in ("inf", "-inf", "nan"):
                return float(value[tag])
            if tag == "$array" and isinstance(name := value[tag], str):
                return self.array(name, where)
            if tag == "$function" and not isinstance(
                function := known_as(value[tag], where), type
            ):
                check_place(value[tag], where)
                return function
        msg = f"{where} is not written as a value of chainrule's is."
        raise SerializationError(msg)

    def array(self, name: str, where: str) -> Any:
        if name not in self.tensors:
            msg = f"{where} names an array {name[:80]!r}, which the file does not have."
            raise SerializationError(msg)
        return self.tensors.pop(name)

    def record(self, data: dict[str, Any], where: str, depth: int) -> Any:
        self.records += 1
        if self.records > _MAX_RECORDS:
            msg = f"{where}: there are more than {_MAX_RECORDS} records."
            raise SerializationError(msg)
        name = data["$class"]
        cls = known_as(name, where)
        if not isinstance(cls, type):
            msg = f"{where}: {name!r} is not a class."
            raise SerializationError(msg)
        given = {
            k: self.value(v, _at(where, k), depth + 1, True)
            for k, v in data.items()
            if k != "$class"
        }
        parameters = _parameters(cls)
        unknown = [k for k in given if k not in parameters]
        if unknown:
            msg = f"{where}: {name} has no argument {unknown[0][:80]!r}."
            raise SerializationError(msg)
        positional: tuple[Any, ...] = ()
        for k, parameter in parameters.items():
            if parameter.kind is parameter.VAR_POSITIONAL:
                positional = given.pop(k, ())
                if not isinstance(positional, tuple):
                    msg = (
                        f"{where}/{k} must be a list; got {type(positional).__name__}."
                    )
                    raise SerializationError(msg)
        try:
            return cls(*positional, **given)
        except Exception as error:
            # Whatever a constructor, perhaps a user's, says to values it never
            # expected.
            msg = f"{where}: {name} refuses its arguments: {error}"
            raise SerializationError(msg) from error
