"""Samples with middle axes as rows of a matrix, and back."""

from __future__ import annotations

import math
from typing import Any

from chainrule.arrays.types import ArrayNamespace, Shape

__all__ = ["fold", "lead", "unfold"]


def lead(a: Any, sample_shape: Shape) -> Shape:
    """Axes of `a` before the batch and the sample."""
    shape: Shape = a.shape
    return shape[: len(shape) - len(sample_shape) - 1]


def fold(a: Any, sample_shape: Shape, xp: ArrayNamespace) -> Any:
    """Fold middle axes of samples (..., batch, time, n) into rows (..., rows, n)."""
    if len(sample_shape) == 1:
        return a
    # Written out, not -1: with zero rows, -1 could not be inferred.
    rows = math.prod(a.shape[-len(sample_shape) - 1 : -1])
    return xp.reshape(a, (*lead(a, sample_shape), rows, a.shape[-1]))


def unfold(a: Any, batch: int, sample_shape: Shape, xp: ArrayNamespace) -> Any:
    """Undo `fold`: (..., rows, n) becomes (..., batch, *sample_shape)."""
    if len(sample_shape) == 1:
        return a
    return xp.reshape(a, (*a.shape[:-2], batch, *sample_shape))
