"""Random targets, outputs and weights, with ties, weights of 0 and rare classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

__all__ = ["CASES", "each_case", "softmax", "weighted_case"]

CASES = range(24)
each_case = pytest.mark.parametrize("case", CASES)


def weighted_case(case: int) -> tuple[np.random.Generator, int, Any]:
    """Return a generator, a number of samples, and weights, integers, or None."""
    rng = np.random.default_rng(case)
    n = int(rng.integers(8, 60))
    kinds: list[Any] = [
        None,
        rng.uniform(0.1, 3.0, n),
        rng.integers(0, 3, n).astype(float),
    ]
    weight = kinds[case % 3]
    if weight is not None:
        weight[0] += 1.0
    return rng, n, weight


def softmax(z: Any) -> Any:
    """Return probabilities whose rows sum to 1."""
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)
