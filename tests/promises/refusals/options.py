"""What `fit` is told beside its data."""

from __future__ import annotations

import math
from typing import Any

import chainrule as cr

from tests.support.inputs import (
    SQ,
    WEIGHT,
    Shape,
    Type,
    Value,
    X,
    Y,
    with_value,
)

OPTIONS: dict[str, tuple[str, dict[str, Any], type[Exception], str]] = {
    "Keras's verbose": (SQ, {"verbose": 0}, Type, "^fit has no .*write progress=False"),
    **{
        f"batch_size {value!r}": (
            SQ,
            {"batch_size": value},
            error,
            f"^batch_size must be an integer of at least 1; got {value!r}",
        )
        for value, error in ((0, Value), ("32", Type), (True, Type), (2.5, Type))
    },
    **{
        f"epochs {value!r}": (SQ, {"epochs": value}, error, f"^epochs .*got {value!r}")
        for value, error in ((-1, Value), (1.0, Type), (None, Type), (True, Type))
    },
    "progress": (SQ, {"progress": "yes"}, Type, "^progress must be True.*'yes'"),
    "progress 1": (SQ, {"progress": 1}, Type, "^progress must be True.*got 1"),
    "resume": (SQ, {"resume": 3}, Type, "^resume must be the path.* got 3"),
    **{
        f"validation_data of {k}": (
            SQ,
            {"validation_data": value},
            Type,
            r"^validation_data must be \(x, y\) or",
        )
        for k, value in {
            "an array": X,
            "one": (X,),
            "four": (X, Y, WEIGHT, WEIGHT),
            "a string": "xy",
        }.items()
    },
    "validation x too narrow": (
        SQ,
        {"validation_data": (X[:, :2], Y)},
        Shape,
        r"^validation x must .*got \(24, 2\)",
    ),
    "validation y nan": (
        SQ,
        {"validation_data": (X, with_value(Y, math.nan))},
        Value,
        "^validation y must be finite",
    ),
    "validation empty": (
        SQ,
        {"validation_data": (X[:0], Y[:0])},
        Shape,
        "^validation x must have at least one",
    ),
    "validation weight": (
        SQ,
        {"validation_data": (X, Y, -WEIGHT)},
        Value,
        "^validation sample_weight must not be negative",
    ),
    "two validations": (
        SQ,
        {"validation_data": (X, Y), "validation_split": 0.5},
        Value,
        "validation_data or validation_split, not both",
    ),
    **{
        f"validation_split {value!r}": (
            SQ,
            {"validation_split": value},
            error,
            rf"^validation_split must be a number in \[0, 1\); got {value!r}",
        )
        for value, error in (
            (1.0, Value),
            (-0.1, Value),
            (math.nan, Value),
            ("x", Type),
            (True, Type),
        )
    },
    "all for validation": (
        SQ,
        {"validation_split": 0.99},
        Value,
        "^validation_split 0.99 of 24 samples leaves none",
    ),
    **{
        f"callbacks {value!r}": (SQ, {"callbacks": value}, Type, "^callbacks must be")
        for value in ("ab", 3, None, [None], cr.EarlyStopping, [cr.EarlyStopping])
    },
}
