"""A user's own code, for mypy and pyright in strict mode: what estimators give."""

from __future__ import annotations

from typing import Any, assert_type

import numpy as np
import numpy.typing as npt

import chainrule as cr
from chainrule.arrays.types import Array
from chainrule.sklearn import MLPClassifier, MLPRegressor

x: npt.NDArray[np.float64] = np.zeros((20, 3))
labels = np.zeros(20, dtype=int)

classifier = MLPClassifier(
    hidden_layer_sizes=(8,),
    backend="numpy",
    dropout=0.1,
    optimizer=cr.AdamW(1e-3),
    callbacks=[cr.EarlyStopping()],
    random_state=0,
)
assert_type(classifier.fit(x, labels), MLPClassifier)
assert_type(classifier.partial_fit(x, labels, classes=[0, 1]), MLPClassifier)
chances: npt.NDArray[Any] = classifier.predict_proba(x)
score: float = classifier.score(x, labels)
weights: list[npt.NDArray[Any]] = classifier.coefs_

regressor = MLPRegressor(members=3).fit(x, x[:, 0])
assert_type(regressor, MLPRegressor)
mean, deviation = regressor.predict(x, return_std=True)
slopes: npt.NDArray[Any] = regressor.jacobian(x)
assert_type(regressor.predict(x), npt.NDArray[Any])
assert_type(mean, npt.NDArray[Any])
assert_type(regressor.predict([[1.0, 2.0, 3.0]]), npt.NDArray[Any])
assert_type(regressor.predict_interval(x), npt.NDArray[Any])
assert_type(classifier.jacobian(x), npt.NDArray[Any])

MLPRegressor("huber", [8, 8], ["swish", cr.GELU()], solver="sgd", dropout=[0.1, 0.2])
MLPClassifier(8, "logistic", batch_size=32, learning_rate="adaptive", dtype=np.float32)


def elsewhere(a: Array) -> None:
    """What goes in as another library's array comes out as one."""
    assert_type(regressor.predict(a), Array)
    assert_type(regressor.predict(a, return_std=True), tuple[Array, Array])
    assert_type(classifier.predict_proba(a), Array)


# NumPy's scalars stand for numbers.
small, some = np.float32(0.25), np.int64(3)
MLPRegressor(
    hidden_layer_sizes=[some, 2],
    alpha=small,
    batch_size=some,
    learning_rate_init=small,
    max_iter=some,
    tol=small,
    momentum=small,
    validation_fraction=small,
    n_iter_no_change=some,
    dropout=small,
    quantiles=[small, 0.5],
    random_state=some,
)
MLPClassifier(hidden_layer_sizes=some, members=some, class_weight={"a": small})
