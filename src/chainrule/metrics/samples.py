"""Targets, outputs and weights as metrics take them: checked, on the host, in float64.

Sums over samples are divided by the sum of weights; where nothing weighs they are 0.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.config import checks
from chainrule.errors import ArgumentError, ShapeError

__all__ = ["align", "average", "numeric", "weights"]


def numeric(name: str, argument: str, given: Any) -> Any:
    """Return an argument as a NumPy array of numbers."""
    array: Any = np.asarray(given)
    if array.dtype.kind not in "biuf":
        try:  # bfloat16, and what else turns into numbers by itself
            array = array.astype(np.float64, casting="safe")
        except (TypeError, ValueError):
            array = None
    if array is None:
        checks.refuse(f"{name}: {argument}", "an array of real numbers", given)
    return array


def align(name: str, y_true: Any, y_pred: Any, *, labels: bool = False) -> Any:
    """Return targets and outputs of shapes that belong together.

    A vector of targets is a column beside one output. With `labels`, targets may lack
    the outputs' last axis. Anything else is an error: nothing is broadcast.
    """
    t, z = numeric(name, "y_true", y_true), numeric(name, "y_pred", y_pred)
    if not z.ndim:
        msg = f"{name}: y_pred must have an axis of samples; got the number {z}."
        raise ShapeError(msg)
    if labels and t.ndim == z.ndim > 1 and t.shape == (*z.shape[:-1], 1) != z.shape:
        return t[..., 0], z
    if z.shape == (*t.shape, 1):
        return t[..., None], z
    if t.shape == (*z.shape, 1):
        z = z[..., None]
    if t.shape == z.shape:
        return (t, z) if z.ndim > 1 else (t[:, None], z[:, None])
    if labels and t.shape == z.shape[:-1]:
        return t, z
    more = f", or hold labels of shape {z.shape[:-1]}" if labels and z.ndim > 1 else ""
    msg = (
        f"{name}: y_true must have the shape of y_pred, {z.shape}{more}; got "
        f"{t.shape}. Hand in one target for each sample and output."
    )
    raise ShapeError(msg)


def weights(name: str, given: Any, samples: int) -> Any:
    """Return one weight of each sample, in float64: 1 without any.

    They are divided by a power of two near their largest, which rounds nothing, so that
    no product of sums overflows.
    """
    if given is None:
        return np.ones(samples)
    weight = np.asarray(numeric(name, "sample_weight", given), dtype=np.float64)
    if weight.shape != (samples,):
        msg = (
            f"{name}: sample_weight must have shape ({samples},), one for each sample; "
            f"got {weight.shape}."
        )
        raise ShapeError(msg)
    largest = float(weight.max(initial=0.0))
    if not math.isfinite(largest) or not (weight >= 0.0).all():
        msg = (
            f"{name}: sample_weight must be finite and not negative; got "
            f"{weight[~np.isfinite(weight) | (weight < 0.0)][0]}. Give weight 0 to "
            f"what is not to count."
        )
        raise ArgumentError(msg)
    return np.ldexp(weight, -math.frexp(largest)[1])


def average(values: Any, weight: Any) -> Any:
    """Return the weighted mean over the first axis; 0 where nothing weighs.

    values (samples, ...), weight (samples,); NaN of no samples at all.
    """
    if not len(values):
        return np.full(values.shape[1:], np.nan)[()]
    total = float(np.sum(weight))
    summed = np.tensordot(weight, values, axes=(0, 0))
    return summed / total if total > 0.0 else np.zeros_like(summed)[()]
