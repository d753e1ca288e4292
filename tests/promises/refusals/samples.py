"""Samples, targets and weights that do not fit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tests.promises.refusals.arrays import ARRAYS
from tests.support.inputs import (
    BCE,
    CE,
    LABELS,
    POISSON,
    SQ,
    WEIGHT,
    Shape,
    Type,
    Value,
    X,
    Y,
    with_value,
)

TEXT = np.asarray(["cat", "dog"])[LABELS]


SAMPLES: dict[str, tuple[str, dict[str, Any], type[Exception], str]] = {
    **{f"x: {k}": (SQ, {"x": a}, e, f"^x .*{m}") for k, (a, e, m) in ARRAYS.items()},
    **{
        f"y: {k}": (SQ, {"y": a}, e, f"^y .*{m}")
        for k, (a, e, m) in ARRAYS.items()
        if k != "None"
    },
    "y: None": (SQ, {"y": None}, Type, r"^fit needs y\.$"),
    **{
        f"sample_weight: {k}": (SQ, {"sample_weight": a}, e, f"^sample_weight .*{m}")
        for k, (a, e, m) in ARRAYS.items()
        if k != "None"
    },
    **{
        f"validation x: {k}": (
            SQ,
            {"validation_data": (a, Y)},
            e,
            f"^validation x .*{m}",
        )
        for k, (a, e, m) in ARRAYS.items()
    },
    **{
        f"{name}: {value}": (
            SQ,
            {name: with_value(good, value)},
            Value,
            f"^{name} must be finite; got .*first {value}",
        )
        for name, good in (("x", X), ("y", Y), ("sample_weight", WEIGHT))
        for value in (math.nan, math.inf)
    },
    **{
        f"{name}: beyond float32": (
            SQ,
            {name: with_value(good, 1e300)},
            Value,
            f"^{name} has values too large for float32",
        )
        for name, good in (("x", X), ("y", Y), ("sample_weight", WEIGHT))
    },
    "labels of text": (CE, {"y": TEXT}, Type, r"^y .*U3.*numpy\.unique"),
    "several inputs": (SQ, {"x": [X, X]}, Shape, "^x is a list of 2 arrays of 24 rows"),
    "labels: nan": (
        CE,
        {"y": with_value(LABELS, math.nan)},
        Value,
        "^y must be finite",
    ),
    "x too wide": (
        SQ,
        {"x": np.ones((24, 4))},
        Shape,
        r"^x must have the shape \(batch, 3\).*got \(24, 4\)",
    ),
    "x 1-d": (SQ, {"x": X[:, 0]}, Shape, r"^x must .*got \(24,\)"),
    "x 3-d": (SQ, {"x": X[..., None]}, Shape, r"^x must .*got \(24, 3, 1\)"),
    "x longer": (SQ, {"y": Y[:-1]}, Shape, "^x and y must .* 24 and 23"),
    "none": (SQ, {"x": X[:0], "y": Y[:0]}, Shape, r"^x must .*got shape \(0, 3\)"),
    "empty list": (SQ, {"x": [], "y": []}, Shape, r"^x must have.*got \(0,\)"),
    "y 1-d": (SQ, {"y": Y[:, 0]}, Shape, r"^y must .*\(2,\).*\(24,\)"),
    "y too wide": (SQ, {"y": X}, Shape, r"^y must .*\(2,\).*\(24, 3\)"),
    "y one column": (SQ, {"y": Y[:, :1]}, Shape, r"^y must .*\(24, 1\)"),
    "label above": (CE, {"y": with_value(LABELS, 2)}, Value, "^y .*0 ... 1.*0 to 2"),
    "label below": (
        CE,
        {"y": with_value(LABELS, -1)},
        Value,
        "^y .*labels from -1 to 1",
    ),
    "half a label": (CE, {"y": with_value(LABELS, 0.5)}, Value, "^y .*fractional"),
    "no one-hot": (CE, {"y": np.ones((24, 2))}, Value, "^y's rows must be one-hot"),
    "negative row": (CE, {"y": np.array([[2.0, -1.0]] * 24)}, Value, "^y's rows"),
    "label width": (CE, {"y": X}, Shape, r"^y must hold labels.*\(24, 3\)"),
    "binary above": (BCE, {"y": with_value(Y, 2)}, Value, r"^y must lie in \[0, 1\]"),
    "negative count": (
        POISSON,
        {"y": with_value(Y, -1)},
        Value,
        "^y must not be negative",
    ),
    "negative weight": (
        SQ,
        {"sample_weight": with_value(WEIGHT, -1.0)},
        Value,
        "^sample_weight must not be negative",
    ),
    "weight column": (
        SQ,
        {"sample_weight": WEIGHT[:, None]},
        Shape,
        r"^sample_weight must .*\(24,\); got shape \(24, 1\)",
    ),
    "weights too few": (SQ, {"sample_weight": WEIGHT[:5]}, Shape, r"got shape \(5,\)"),
}
