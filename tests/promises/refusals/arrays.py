"""What is no array of numbers."""

from __future__ import annotations

import decimal
import math
from typing import Any

import numpy as np

from tests.support.inputs import (
    Shape,
    Type,
    Value,
    X,
)


class Sparse:
    """What a sparse matrix looks like from outside."""

    __module__ = "scipy.sparse._csr"
    shape = X.shape


class Stubborn:
    """Its conversion fails with whatever it likes."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        msg = "never"
        raise LookupError(msg)


ITSELF: list[Any] = []


ITSELF.append(ITSELF)


RAGGED = [[1.0, 2.0], [3.0]]


STRUCTURED = np.zeros(24, dtype=[("a", "f8"), ("b", "f8"), ("c", "f8")])


MASKED = np.ma.masked_equal(np.where(X > 2, -1.0, X), -1.0)


OBJECTS = X.astype(object)


ARRAYS: dict[str, tuple[Any, type[Exception], str]] = {
    "ragged": (RAGGED, Shape, "must be rectangular"),
    "a string": ("abc", Type, "must be an array of numbers.*got str"),
    "bytes": (b"abc", Type, "got bytes"),
    "strings": ([["1", "2", "3"]] * 24, Type, "must hold numbers.*got dtype <U1"),
    "complex": (X + 1j, Type, "got dtype complex128"),
    "objects": (OBJECTS, Type, "got dtype object"),
    "dates": (np.zeros(24, "M8[D]"), Type, r"got dtype datetime64\[D\]"),
    "structured": (STRUCTURED, Type, "must hold numbers.*got dtype"),
    "0-d": (np.float64(3.0), Shape, "axis of samples; got a single value"),
    "number": (3.0, Shape, "axis of samples; got a single value"),
    "None": (None, Type, "got NoneType"),
    "dict": ({"a": 1}, Type, "got dict"),
    "generator": ((row for row in X), Type, "got generator"),
    "function": (len, Type, "got builtin_function_or_method"),
    "class": (np.ndarray, Type, "got type"),
    "bytearray": (bytearray(b"abc"), Type, "got bytearray"),
    "frozenset": (frozenset({1}), Type, "got frozenset"),
    "void": (np.zeros((24, 3), "V8"), Type, r"got dtype \|V8"),
    "text": (np.full((24, 3), "1", "T"), Type, "got dtype StringDType"),
    "byte strings": (np.full((24, 3), b"1"), Type, r"got dtype \|S1"),
    "durations": (np.zeros((24, 3), "m8[s]"), Type, r"got dtype timedelta64\[s\]"),
    "long complex": (X.astype("G"), Type, "got dtype complex256|clongdouble"),
    "None inside": ([[1.0, None, 2.0]] * 24, Type, "got dtype object"),
    "decimals": ([[decimal.Decimal(1)] * 3] * 24, Type, "got dtype object"),
    "all masked": (np.ma.masked_array(X, True), Value, "masked entries"),
    "NaN masked": (np.ma.masked_invalid([[math.nan] * 3]), Value, "masked entries"),
    "its own error": (Stubborn(), Type, "got Stubborn.*become an array: never"),
    "itself inside": (ITSELF, Shape, "must be rectangular"),
    "sparse": (Sparse(), Type, r"sparse matrix; hand in .*\.toarray\(\)"),
    "masked": (MASKED, Value, "masked entries"),
    "huge integers": ([[10**400] * 3] * 24, Type, "got dtype object"),
}
