"""Small questions about host arrays that the checks ask."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.testing.differences import EPS

__all__ = ["index_of", "members", "near", "same", "size_of"]

_MEMBERS = 3
# What two orders of the same sum may differ by, relative to the largest entry.
_ROUNDING = 1e-10


def size_of(a: Any) -> float:
    """Root mean square of an argument: the unit of its steps."""
    return max(float(np.sqrt(np.mean(a * a))), 1e-3)


def same(a: Any, b: Any) -> bool:
    """Whether two arrays have the same shape and the same bits."""
    a, b = np.asarray(a), np.asarray(b)
    return bool(a.shape == b.shape and a.tobytes() == b.tobytes())


def near(got: Any, wanted: Any, share: float = _ROUNDING) -> bool:
    """Whether two arrays differ by less than a share of the largest entry."""
    got, wanted = np.asarray(got), np.asarray(wanted)
    if got.shape != wanted.shape:
        return False
    if not wanted.size:
        return True
    bound = share * float(np.max(np.abs(wanted))) + 1e3 * EPS
    return bool(np.max(np.abs(got - wanted)) <= bound)


def index_of(a: Any, *, largest: bool = True) -> tuple[int, ...]:
    """Index of the largest (or smallest) entry."""
    where = np.argmax(a) if largest else np.argmin(a)
    return tuple(int(n) for n in np.unravel_index(where, a.shape))


def members(a: Any) -> Any:
    """Members of an ensemble: the same entries in other places, all valid."""
    if not a.ndim:
        return np.stack([a] * _MEMBERS)
    axis = next((i for i, n in enumerate(a.shape) if n > 1), 0)
    return np.stack([np.roll(a, i, axis=axis) for i in range(_MEMBERS)])
