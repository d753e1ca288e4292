"""The types that the signatures use; shapes are told in the docstrings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import numpy as np

__all__ = [
    "Array",
    "ArrayNamespace",
    "ArrayT",
    "Int",
    "Params",
    "Pullback",
    "Real",
    "Rule",
    "RuleResult",
    "Shape",
]

# Numbers that an argument may be: Python's, or NumPy's scalars.
Int = int | np.integer[Any]
Real = float | np.floating[Any] | np.integer[Any]
Shape = tuple[int, ...]
Pullback = Callable[..., tuple[Any, ...]]
# A function of arrays and what carries gradients back through it.
Rule = Callable[..., tuple[Any, Pullback]]
# A tree of parameters: what a layer says it is (a tuple of arrays, or of trees).
Params = Any


class ArrayNamespace(Protocol):
    """The functions of an array library, or those on dual arrays: ``xp``."""

    def __getattr__(self, name: str, /) -> Any: ...


class Array(Protocol):  # noqa: PLW1641 - a hash would leave NumPy's arrays out
    """What every array of the array API standard can do, as far as we use it."""

    @property
    def shape(self) -> Shape: ...
    @property
    def ndim(self) -> int: ...
    @property
    def size(self) -> Any: ...
    @property
    def dtype(self) -> Any: ...
    @property
    def mT(self) -> Any: ...  # noqa: N802 - the standard's name

    def __getitem__(self, key: Any, /) -> Any: ...
    def __eq__(self, other: Any, /) -> Any: ...

    def __neg__(self) -> Any: ...
    def __abs__(self) -> Any: ...
    def __add__(self, other: Any, /) -> Any: ...
    def __radd__(self, other: Any, /) -> Any: ...
    def __sub__(self, other: Any, /) -> Any: ...
    def __rsub__(self, other: Any, /) -> Any: ...
    def __mul__(self, other: Any, /) -> Any: ...
    def __rmul__(self, other: Any, /) -> Any: ...
    def __truediv__(self, other: Any, /) -> Any: ...
    def __rtruediv__(self, other: Any, /) -> Any: ...
    def __pow__(self, other: Any, /) -> Any: ...
    def __lt__(self, other: Any, /) -> Any: ...
    def __le__(self, other: Any, /) -> Any: ...
    def __gt__(self, other: Any, /) -> Any: ...
    def __ge__(self, other: Any, /) -> Any: ...


# What comes back as it was given: an array of the same library.
ArrayT = TypeVar("ArrayT", bound=Array)
# What a rule returns: its value, and what carries gradients back.
RuleResult = tuple[ArrayT, Pullback]
