"""NumPy's own versions of functions that rules use, where NumPy's are slow."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

__all__ = ["FUNCTIONS"]


# Rows up to which a stack of matrices is worth being copied into one.
_FOLD = 64


# Numbers of a matrix, and those that are added up, up to which a sum is a product with
# ones. Beyond some 450,000 BLAS wakes its threads for it, and may wait for them for
# long.
_SUM, _LONG = 1 << 18, 1 << 14


# Entries of a row up to which the greatest of each row is found column by column.
_SHORT = 64


# Elements from which on a choice between two arrays is made bit by bit.
_CHOICE = 1 << 11


_add_reduce: Any = np.add.reduce


_maximum_reduce: Any = np.maximum.reduce


@functools.lru_cache(maxsize=64)
def _ones(n: int, dtype: Any) -> Any:
    ones = np.ones(n, dtype)
    ones.flags.writeable = False
    return ones


def _sum(x: Any, /, *, axis: Any = None, keepdims: bool = False) -> Any:
    # Over one axis of a matrix: BLAS makes the product with ones two to eight times as
    # fast as NumPy the sum.
    if (
        axis in (-1, -2)
        and x.ndim == 2
        and x.size <= _SUM
        and x.shape[axis] <= _LONG
        and x.dtype.char in "fd"
    ):
        ones = _ones(x.shape[axis], x.dtype)
        if axis == -2:
            total = np.dot(ones, x)
            return total[None, :] if keepdims else total
        total = np.dot(x, ones)
        return total[:, None] if keepdims else total
    # What np.sum does in the end, without the dispatch: half its cost on small arrays.
    return _add_reduce(x, axis=axis, keepdims=keepdims)


def _mean(x: Any, /, *, axis: Any = None, keepdims: bool = False) -> Any:
    total = _add_reduce(x, axis=axis, keepdims=keepdims)
    return total * (total.size / x.size if x.size else np.nan)


def _matmul(a: Any, b: Any, /) -> Any:
    if a.ndim == b.ndim == 2:
        # The same product of two matrices, for half a microsecond less.
        return np.dot(a, b)
    # A stack of matrices times one matrix: one product of all rows, where NumPy makes
    # one for each matrix, and those of a single row are slow.
    if a.ndim > 2 and b.ndim == 2 and a.shape[-2] < _FOLD and a.size:
        rows = np.matmul(a.reshape(-1, a.shape[-1]), b)
        return rows.reshape(*a.shape[:-1], b.shape[-1])
    return np.matmul(a, b)


def _max(x: Any, /, *, axis: Any = None, keepdims: bool = False) -> Any:
    if axis == -1 and x.ndim == 2 and x.shape[0] >= 32 and 0 < x.shape[1] <= _SHORT:
        # Of many short rows: NumPy begins anew for each one, but takes the greater of
        # whole columns at once. With the copy, two to twenty times as fast.
        most = _maximum_reduce(x.T.copy(), axis=0)
        return most[:, None] if keepdims else most
    return _maximum_reduce(x, axis=axis, keepdims=keepdims)


def _astype(x: Any, dtype: Any, /, *, copy: bool = True) -> Any:
    return x.astype(dtype, copy=copy)


def _minus_abs(x: Any, /) -> Any:
    return -np.abs(x)


def _one_where_positive(x: Any, e: Any, /) -> Any:
    return np.maximum(e, x > 0)


def _positive_part(x: Any, /) -> Any:
    return np.maximum(x, 0.0)


def _where(condition: Any, a: Any, b: Any, /) -> Any:
    # NumPy's own jumps for each element, and a processor that guesses wrong at every
    # other one takes six times as long as this choice of bits.
    if getattr(condition, "size", 0) < _CHOICE:
        return np.where(condition, a, b)
    dtype = getattr(a, "dtype", None) or getattr(b, "dtype", None)
    if dtype not in _WORDS or any(not _like(v, condition.shape, dtype) for v in (a, b)):
        return np.where(condition, a, b)
    word = _WORDS[dtype]
    u, v = (np.asarray(c, dtype).view(word) for c in (a, b))
    mask = condition.astype(word)
    np.negative(mask, out=mask)  # all bits where the condition holds
    np.bitwise_and(mask, u ^ v, out=mask)
    return np.bitwise_xor(mask, v, out=mask).view(dtype)


_WORDS = {np.dtype("float32"): np.int32, np.dtype("float64"): np.int64}


def _like(a: Any, shape: Any, dtype: Any) -> bool:
    """Whether `_where` may take an argument: such an array, or a Python number."""
    if isinstance(a, (int, float)):
        return True
    return isinstance(a, np.ndarray) and a.shape == shape and a.dtype == dtype


# What namespaces of the library have as their own.
FUNCTIONS: dict[str, Any] = dict(  # noqa: C408 - names of functions
    minus_abs=_minus_abs,
    one_where_positive=_one_where_positive,
    positive_part=_positive_part,
    where=_where,
    sum=_sum,
    mean=_mean,
    max=_max,
    matmul=_matmul,
    astype=_astype,
    isdtype=functools.lru_cache(np.isdtype),
    qr_triangle=functools.partial(np.linalg.qr, mode="r"),
)
