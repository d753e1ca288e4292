"""What the tests of estimators share: data, and small estimators."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")
from sklearn import datasets

from chainrule.sklearn import MLPClassifier, MLPRegressor

from tests.support.libraries import here

BACKENDS = ["numpy", *[name for name in ("jax", "torch") if here(name)]]

everywhere = pytest.mark.parametrize("backend", BACKENDS)

rng = np.random.RandomState(0)

X, Y = datasets.make_regression(60, 4, random_state=0)

Y = Y / Y.std()

XC, YC = datasets.make_classification(
    60, 4, n_informative=4, n_redundant=0, n_classes=3, random_state=1
)

XB, YB = datasets.make_classification(60, 4, random_state=1)

SMALL: dict[str, Any] = {
    "hidden_layer_sizes": (6, 5),
    "max_iter": 15,
    "random_state": 0,
    "learning_rate_init": 0.02,
}


def regressor(**params: Any) -> MLPRegressor:
    return MLPRegressor(**{**SMALL, **params})


def classifier(**params: Any) -> MLPClassifier:
    return MLPClassifier(**{**SMALL, **params})


def differences(f: Any, x: Any) -> Any:
    columns = []
    for j in range(x.shape[1]):
        h = np.zeros(x.shape[1])
        h[j] = 1e-6
        columns.append((f(x + h) - f(x - h)) / 2e-6)
    return np.stack(columns, axis=-1)
