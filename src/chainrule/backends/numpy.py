"""The NumPy engine: a Python loop whose updates are made in place, block by block."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule import _checks
from chainrule.backends.base import Backend, remembering
from chainrule.errors import DeviceError
from chainrule.namespace import register

__all__ = ["NumPyBackend"]

# Elements of a block: theta, a gradient and two slots of it stay in the L2 cache.
BLOCK = 1 << 15
# Rows up to which a stack of matrices is worth being copied into one.
FOLD = 64
# Bytes of samples that are gathered at once.
GATHER = 1 << 23
# Numbers of a matrix, and those that are added up, up to which a sum is a product with
# ones. Beyond some 450,000 BLAS wakes its threads for it, and may wait for them for long.
SUM, LONG = 1 << 18, 1 << 14
# Entries of a row up to which the greatest of each row is found column by column.
SHORT = 64
# Elements from which on a choice between two arrays is made bit by bit.
CHOICE = 1 << 11


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
        and x.size <= SUM
        and x.shape[axis] <= LONG
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
    if a.ndim > 2 and b.ndim == 2 and a.shape[-2] < FOLD and a.size:
        rows = np.matmul(a.reshape(-1, a.shape[-1]), b)
        return rows.reshape(*a.shape[:-1], b.shape[-1])
    return np.matmul(a, b)


def _max(x: Any, /, *, axis: Any = None, keepdims: bool = False) -> Any:
    if axis == -1 and x.ndim == 2 and x.shape[0] >= 32 and 0 < x.shape[1] <= SHORT:
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
    if getattr(condition, "size", 0) < CHOICE:
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


register(
    "numpy",
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


class NumPyBackend(Backend):
    """NumPy on the CPU."""

    # 256 kB in float64: stays in the cache, and on the heap, whose pages are there.
    block = 1 << 15
    direct = True
    gather = GATHER

    def __init__(self, device: Any = None) -> None:
        super().__init__(np, self.locate(device), "numpy")

    @staticmethod
    def locate(device: Any) -> None:
        """Refuse any device but 'cpu', which needs no saying."""
        if device is not None and not (isinstance(device, str) and device == "cpu"):
            shown = _checks.show(device)
            msg = f"device must be None or 'cpu' on the numpy backend; got {shown}."
            raise DeviceError(msg)

    def holds(self, a: Any) -> bool:
        """Whether `a` is a NumPy array."""
        return isinstance(a, np.ndarray)

    owns = holds

    def asarray(self, a: Any, dtype: str | None = None) -> Any:
        """Return a NumPy array; the same one where nothing has to change."""
        return np.asarray(a, dtype=dtype)

    def to_numpy(self, a: Any) -> Any:
        """Return the array itself."""
        return np.asarray(a)

    def copy(self, a: Any) -> Any:
        """Return a real copy."""
        return np.array(a)

    def is_finite(self, a: Any) -> bool:
        """Whether all numbers are finite: mostly one product with itself tells."""
        return math.isfinite(np.vdot(a, a)) or bool(np.isfinite(a).all())

    def indices(self, order: Any) -> Any:
        """Keep the host array as it is."""
        return order

    def scope(self, dtype: str, precision: str = "highest") -> Any:
        """No warnings: what overflows in training ends in a `DivergenceError`."""
        return np.errstate(all="ignore")

    def memoize(self, f: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Remember the last answer: views of a vector that is updated in place."""
        return remembering(f)

    def _stacked(self, losses: list[Any], masses: list[Any]) -> Any:
        return np.array(losses), (None if masses[0] is None else np.array(masses))

    def elementwise(
        self,
        update: Callable[..., Any],
        arrays: tuple[Any, ...],
        pieces: list[Any],
        network: Any,
        decays: bool,
    ) -> tuple[Any, ...]:
        """Update in place: all at once when small, else piece by piece, in blocks."""
        if network.size <= BLOCK and len(network.runs) == 1:
            g = self._joined(pieces, network.entries)
            decay = self._decay(network.runs[0], g.dtype) if decays else None
            self._write(arrays, update(g, decay, *arrays))
            return arrays
        return self._blockwise(update, arrays, pieces, network, decays, BLOCK)

    def _joined(self, pieces: list[Any], entries: Any) -> Any:
        if pieces[0].ndim == len(entries[0].shape):  # no members: one call joins all
            return np.concatenate(pieces, axis=None)
        return super()._joined(pieces, entries)

    def flush(self, slots: tuple[Any, ...]) -> tuple[Any, ...]:
        """Zero subnormals, in place: moments of dead units decay into them and stay."""
        for a in slots:
            tiny = np.finfo(a.dtype).tiny
            for low in range(0, a.shape[-1], BLOCK):
                some = a[..., low : low + BLOCK]
                some[np.abs(some) < tiny] = 0.0
        return slots
