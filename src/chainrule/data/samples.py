"""Samples on the backend: what a network is trained on, or evaluated."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from chainrule.arrays.types import Shape
from chainrule.errors import ArgumentError

__all__ = ["Data", "SlopeData", "sample_shape", "split"]


class Data(NamedTuple):
    """Samples on the backend: x (n, ...), targets t (n, ...), weights (n,) or None.

    In training, weights may also be (n, members).
    """

    x: Any
    t: Any
    weight: Any


class SlopeData(NamedTuple):
    """Samples on the backend, with slopes (n, *out, *in)."""

    x: Any
    t: Any
    weight: Any
    slopes: Any


def split(data: Any, share: float) -> tuple[Any, Any]:
    """Cut the last `share` of the samples off, for validation."""
    samples = data.x.shape[0]
    cut = samples - math.ceil(samples * share)
    if not 0 < cut < samples:
        msg = (
            f"validation_split {share} of {samples} samples leaves none for training "
            f"or none for validation."
        )
        raise ArgumentError(msg)
    first, last = (
        type(data)(*[None if a is None else a[some, ...] for a in data])
        for some in (slice(None, cut), slice(cut, None))
    )
    return first, last


def sample_shape(x: Any) -> Shape:
    """Shape of one sample of x (n, ...)."""
    return tuple(x.shape[1:])
