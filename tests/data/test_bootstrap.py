"""Bootstrap weights: one member's, several members', and those that are given."""

from __future__ import annotations

import numpy as np

from chainrule import backends
from chainrule.data.bootstrap import counts, resample
from chainrule.data.samples import Data

NUMPY = backends.get("numpy")
X, T = np.ones((6, 2)), np.ones((6, 1))
W = np.array([0.0, 1.0, 2.0, 0.5, 1.0, 1.0])


def test_counts_are_of_as_many_draws() -> None:
    found = counts(3, 1, 100)
    assert found.sum() == 100.0
    np.testing.assert_array_equal(found, counts(3, 1, 100))
    assert (found != counts(3, 2, 100)).any()
    assert (found != counts(4, 1, 100)).any()


def test_weights_are_multiplied() -> None:
    plain = resample(Data(X, T, None), 3, 1, NUMPY, "float64")
    np.testing.assert_array_equal(plain.weight, counts(3, 1, 6))
    both = resample(Data(X, T, W), 3, 1, NUMPY, "float64")
    np.testing.assert_array_equal(both.weight, W * counts(3, 1, 6))
    each = resample(Data(X, T, W), 3, range(2), NUMPY, "float64")
    assert each.weight is not None
    np.testing.assert_array_equal(each.weight[:, 1], both.weight)
    assert each.x is X
