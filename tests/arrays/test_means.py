"""Means of parts by their mass."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.arrays.means import add, divisor, join_means


def test_parts_are_joined_by_their_mass(lib: Any) -> None:
    xp = lib.xp
    values, masses = [[1.0, 4.0], [2.0, 8.0]], [[3.0, 0.0], [1.0, 0.0]]
    sums = [
        lib.array(np.asarray(v) * np.asarray(m))
        for v, m in zip(values, masses, strict=True)
    ]
    mean = join_means(sums, [lib.array(np.asarray(m)) for m in masses], xp)
    # Where nothing weighs the mean is 0.
    np.testing.assert_array_equal(lib.host(mean), [1.25, 0.0])


def test_counts_are_divided_as_they_are() -> None:
    assert join_means([6.0, 4.0], [3, 2], np) == 2.0
    assert divisor(5, np) == 5
    assert divisor(np.float32(0.0), np) == 1.0
    assert add([1, 2, 3]) == 6
