"""The base of everything that is configuration: frozen, comparable, hashable."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NoReturn, Self

import numpy as np

from chainrule.config.explain import explain_call, refuse_call
from chainrule.errors import ArgumentTypeError

__all__ = ["Config"]

# What a configuration keeps about itself: that its constructor runs, and what it
# compares by.
_MAKING, _TOKEN = "_Config__making", "_Config__token"
_OWN = {_MAKING, _TOKEN}


class Config:
    """An immutable set of named values.

    A subclass has an ordinary ``__init__``, which assigns its attributes; afterwards
    they stay. Two are equal when their class and all their attributes are, private
    ones too: compiled functions are kept by that equality, so that it must see
    what a method can see. Numbers of two types differ, as do 0.0 and -0.0; NaN is equal
    to itself; lists, dicts and NumPy arrays count by what they hold now, functions and
    objects of other classes as themselves. What can be changed and is neither is
    refused. (A frozen dataclass would cost 0.6 ms of import time each.)
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__init__" in cls.__dict__:
            cls.__init__ = _constructor(cls.__init__)  # type: ignore[method-assign]

    @explain_call(1)
    def __init__(self) -> None:
        """Take nothing: a subclass that has values overrides it."""

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            _check(self, name, value)
        self.__dict__.update(values)
        self.__dict__.pop(_TOKEN, None)

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some values changed."""
        new = object.__new__(type(self))
        new.__dict__.update(self.__getstate__())
        new._set(**changes)
        return new

    def _values(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if not k.startswith("_")}

    def __setattr__(self, name: str, value: Any) -> None:
        if _MAKING not in self.__dict__:
            msg = f"{type(self).__name__} is immutable; use replace({name}=...)."
            raise AttributeError(msg)
        self._set(**{name: value})

    def __delattr__(self, name: str) -> NoReturn:
        msg = f"{type(self).__name__} is immutable."
        raise AttributeError(msg)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if type(self) is not type(other):
            return NotImplemented
        return _token_of(self) == _token_of(other)  # type: ignore[arg-type]

    def __hash__(self) -> int:
        return hash(_token_of(self))

    def __getstate__(self) -> dict[str, Any]:
        # A hash does not outlive its process.
        return {k: v for k, v in self.__dict__.items() if k not in _OWN}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def __repr__(self) -> str:
        inside = ", ".join(f"{k}={v!r}" for k, v in self._values().items())
        return f"{type(self).__name__}({inside})"


def _constructor(init: Callable[..., None]) -> Any:
    """Return a constructor that may assign attributes, until the outermost one ends.

    A call with wrong arguments says which to write, as `explain_call` does.
    """

    @functools.wraps(init)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        outermost = _MAKING not in self.__dict__
        self.__dict__[_MAKING] = True
        try:
            init(self, *args, **kwargs)
        except ArgumentTypeError:
            raise
        except TypeError:
            if hasattr(init, "__code__"):
                refuse_call(type(self), init, args, kwargs)
            raise
        finally:
            if outermost:
                del self.__dict__[_MAKING]

    return __init__


# What configurations compare by.


class _UnknownError(Exception):
    """A value that can be changed, and is not compared by what it holds."""


class _Token:
    """What a config is compared by, its hash, and whether both are for good."""

    __slots__ = ("fixed", "hash", "value")

    def __init__(self, value: Any, fixed: bool) -> None:
        self.value, self.hash, self.fixed = value, hash(value), fixed

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, _Token)
            and self.hash == other.hash
            and bool(self.value == other.value)
        )

    def __hash__(self) -> int:
        return self.hash


class _Same:
    """Stands for an object that is equal to nothing but itself."""

    __slots__ = ("it",)

    def __init__(self, it: Any) -> None:
        self.it = it

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.it is other.it

    def __hash__(self) -> int:
        return id(self.it)


def _check(config: Config, name: str, value: Any) -> None:
    try:
        _token(value, [])
    except _UnknownError as unknown:
        (kind,) = unknown.args
        msg = (
            f"{type(config).__name__}: the attribute {name!r} has a {kind} in it, "
            f"which can change and is not compared by what it holds. Keep numbers, "
            f"text, tuples, lists, dicts, NumPy arrays or functions."
        )
        raise ArgumentTypeError(msg) from None


def _token_of(config: Config) -> _Token:
    found: _Token | None = config.__dict__.get(_TOKEN)
    if found is None:
        changing: list[Any] = []
        state = config.__getstate__()
        values = tuple((name, _token(state[name], changing)) for name in sorted(state))
        found = _Token((type(config), values), not changing)
        if found.fixed and _MAKING not in config.__dict__:
            config.__dict__[_TOKEN] = found
    return found


# Types whose own equality sees all, once the type is known.
_PLAIN = (int, str, bytes, bool, type(None))


def _token(value: Any, changing: list[Any]) -> Any:
    """Return what is hashable and equal for values that no method can tell apart.

    What can be changed is put into `changing`.
    """
    kind = type(value)
    if kind in _PLAIN:
        return kind, value
    if kind is float:
        return kind, value.hex()  # has zero's sign; NaN is equal to NaN
    if kind is complex:
        return kind, value.real.hex(), value.imag.hex()
    if isinstance(value, Config):
        token = _token_of(value)
        if not token.fixed:
            changing.append(value)
        return token
    if isinstance(value, np.generic) and not value.dtype.hasobject:
        return kind, value.dtype.str, value.tobytes()
    if kind is np.ndarray:
        changing.append(value)
        return kind, str(value.dtype), value.shape, _contents(value, changing)
    if not isinstance(value, (tuple, frozenset)):
        changing.append(value)
    if isinstance(value, (tuple, list)):
        return kind, tuple(_token(v, changing) for v in value)
    if isinstance(value, (set, frozenset)):
        return kind, frozenset(_token(v, changing) for v in value)
    if isinstance(value, dict):  # in their order, which can be seen, too
        return kind, tuple((_token(k, []), _token(value[k], changing)) for k in value)
    if not isinstance(value, type) and (fields := getattr(kind, _FIELDS, None)):
        return kind, tuple(_token(getattr(value, name), changing) for name in fields)
    changing.pop()
    try:
        hash(value)
    except (TypeError, ValueError):
        raise _UnknownError(kind.__name__) from None
    return _Same(value)


_FIELDS = "__dataclass_fields__"


def _contents(array: Any, changing: list[Any]) -> Any:
    if array.dtype.hasobject:
        return _token(array.ravel().tolist(), changing)
    import hashlib  # costs as much as all else here, and few configurations have arrays

    return hashlib.sha256(array.tobytes()).digest()
