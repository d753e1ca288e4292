"""What the losses of logits share: labels, exponentials, the ratios of weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from chainrule.arrays.types import Array, ArrayNamespace
from chainrule.errors import ShapeError

__all__ = ["exponentials", "labels", "ratios"]


def labels(z: Array, t: Array, name: str, xp: ArrayNamespace) -> Any:
    """Check the shape of labels, and make them numbers that can be compared with m."""
    if t.ndim == z.ndim and t.shape == z.shape:
        msg = (
            f"{name}: an integer t holds labels, of shape {z.shape[:-1]}; "
            f"got integers of z's own shape {t.shape}. Cast a one-hot target to "
            f"{z.dtype}."
        )
        raise ShapeError(msg)
    if t.ndim < 1 or t.shape[-1] != z.shape[-2]:
        msg = (
            f"{name}: the target must have one label for each row of the "
            f"output, {(z.shape[-2],)} in its last axis; got {t.shape}."
        )
        raise ShapeError(msg)
    if t.dtype in (xp.int32, xp.int64):
        return t
    # Eight bits do not count 300 classes, and PyTorch does not compare wide unsigned.
    return xp.astype(t, xp.int64 if t.dtype == xp.uint64 else xp.int32)


def exponentials(z: Array, xp: ArrayNamespace) -> tuple[Any, Any]:
    """Return h = (z - max z) / 2 and e = e^(2h), the greatest of which is 1.

    exp overflows float32 above 88: what is subtracted cancels. Half of the difference
    cannot overflow, and where its exponential is 0 in every dtype it stops falling.
    """
    h = 0.5 * z - 0.5 * xp.max(z, axis=-1, keepdims=True)
    return h, xp.exp(2.0 * xp.maximum(h, -450.0))


def ratios(class_weight: Sequence[float]) -> list[float]:
    """Return class weights of at most 1, for only their ratios matter.

    They are divided by a power of two, which rounds nothing.
    """
    weights = [float(c) for c in class_weight]
    power = math.frexp(max(weights, default=0.0))[1]
    return [math.ldexp(c, -power) for c in weights]
