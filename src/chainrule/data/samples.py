"""Samples on the backend: what a network is trained on, or evaluated."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from chainrule.arrays.types import Array, Shape
from chainrule.errors import ArgumentError

__all__ = [
    "Data",
    "SlopeData",
    "held_from",
    "map_arrays",
    "sample_shape",
    "split",
    "take_rows",
]


class Data(NamedTuple):
    """Samples on the backend: x (n, ...), targets t (n, ...), weights (n,) or None.

    In training, weights may also be (n, members).
    """

    x: Array
    t: Array
    weight: Array | None


class SlopeData(NamedTuple):
    """Samples on the backend, with slopes (n, *out, *in)."""

    x: Array
    t: Array
    weight: Array | None
    slopes: Array


_Samples = TypeVar("_Samples", Data, SlopeData)


def split(data: _Samples, share: float) -> tuple[_Samples, _Samples]:
    """Cut the last `share` of the samples off, for validation."""
    cut = held_from(data.x.shape[0], share)
    return take_rows(data, slice(None, cut)), take_rows(data, slice(cut, None))


def held_from(samples: int, share: float) -> int:
    """Return the first of the last samples, a share of all, that are held out.

    Raises
    ------
    ArgumentError
        If none is left on either side.
    """
    cut = samples - math.ceil(samples * share)
    if not 0 < cut < samples:
        msg = (
            f"validation_split {share} of {samples} samples leaves none for training "
            f"or none for validation."
        )
        raise ArgumentError(msg)
    return cut


def take_rows(data: _Samples, part: slice) -> _Samples:
    """Return a part of the samples."""
    return map_arrays(lambda a: a[part, ...], data)


def map_arrays(f: Callable[[Any], Any], data: _Samples) -> _Samples:
    """Return samples whose arrays are those of a function; there may be no weights."""
    arrays: list[Any] = [None if a is None else f(a) for a in data]
    return type(data)(*arrays)


def sample_shape(x: Any) -> Shape:
    """Shape of one sample of x (n, ...)."""
    return tuple(x.shape[1:])
