"""What the tests of docs/math.md share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.testing import assert_allclose

BATCH, N, M = 5, 4, 3


def draw(*shape: int, seed: int = 0) -> Any:
    """Numbers from a normal distribution."""
    return np.random.default_rng((seed, *shape)).normal(size=shape)


def differences(f: Callable[[Any], Any], x: Any, h: float = 1e-5) -> Any:
    """Central differences: shape of f(x), then shape of x."""
    columns = []
    for i in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[i] += h
        down[i] -= h
        columns.append((np.asarray(f(up)) - np.asarray(f(down))) / (2.0 * h))
    stacked = np.stack(columns, axis=-1)
    return stacked.reshape(*stacked.shape[:-1], *x.shape)


def close(a: Any, b: Any) -> None:
    """Same shape, and the same numbers up to the error of central differences."""
    assert np.shape(a) == np.shape(b)
    assert_allclose(a, b, rtol=1e-8, atol=1e-8)


def error(z: Any) -> Any:
    """Stand in for E: a scalar of the output, not linear in it."""
    return np.sum(np.sin(z) + 0.3 * z)


def error_slope(z: Any) -> Any:
    """∂E/∂Z of `error`."""
    return np.cos(z) + 0.3
