"""A fit, ready to run: its samples on the backend, and its validation set."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from sklearn.model_selection import train_test_split

from chainrule import backends
from chainrule.data import intake
from chainrule.data.samples import Data
from chainrule.errors import ArgumentError, ArgumentTypeError
from chainrule.sklearn import linked, validated

__all__ = ["Job", "Validation", "assemble", "place"]


class Job(NamedTuple):
    """A fit, ready to run: where, what, on which samples.

    weight is the samples' weights on the host, or None; `validation` what is looked at
    after each epoch, or None.
    """

    backend: Any
    dtype: str
    network: Any
    loss: Any
    link: Any
    data: Data
    weight: Any
    validation: Validation | None


class Validation:
    """A validation set, on the backend and on the host.

    Parameters
    ----------
    data : Data
        On the backend.
    X, y, weight : arrays
        On the host, y as the user has it: what a scorer is given.
    t : array
        On the host, as the network is trained on it.
    """

    def __init__(self, data: Data, X: Any, y: Any, weight: Any, t: Any) -> None:  # noqa: N803
        self.data, self.X, self.y, self.weight, self.t = data, X, y, weight, t

    def look(self, job: Job, theta: Any, state: Any) -> tuple[Any, Any]:
        """Return predictions and loss, on the backend: nothing waits for them."""
        run = job.backend.compile(
            linked.build_validation, job.network, job.loss, job.link
        )
        result: tuple[Any, Any] = run(theta, state, *self.data)
        return result


def assemble(
    estimator: Any,
    backend: Any,
    dtype: str,
    network: Any,
    X: Any,  # noqa: N803
    y: Any,
    t: Any,
    weight: Any,
    *,
    splits: bool,
) -> Job:
    """Return the `Job` of validated arrays, a part of them held back for validation.

    y are the targets as the user has them, t as the network is trained on them, weight
    those of the host; `splits` says whether early stopping may hold samples back.
    """
    check = None
    if estimator.validation_data is not None:
        X_, y_, t_, w_ = _given(estimator)  # noqa: N806
    elif estimator.early_stopping and splits:
        train, held = _split(estimator, X.shape[0], t)
        X_, y_, t_, w_ = (_rows(a, held) for a in (X, y, t, weight))  # noqa: N806
        X, t, weight = (_rows(a, train) for a in (X, t, weight))  # noqa: N806
    else:
        X_ = None  # noqa: N806
    loss = estimator._loss

    def placed(X: Any, t: Any, weight: Any) -> Data:  # noqa: N803
        t = loss.target(t, network.output_shape, xp=backends.of(t).xp)
        arrays = (
            X,
            t,
            None
            if weight is None
            else intake.scaled(weight, backends.of(weight), "float64"),
        )
        return Data._make(
            None if a is None else place(a, backend, dtype) for a in arrays
        )

    if X_ is not None:
        host = validated.host
        check = Validation(placed(X_, t_, w_), host(X_), host(y_), w_, host(t_))
    data = placed(X, t, weight)
    link = estimator._link()
    return Job(backend, dtype, network, loss, link, data, weight, check)


def _split(estimator: Any, samples: int, t: Any) -> Any:
    """Draw scikit-learn's split of the samples' numbers."""
    train, held = train_test_split(
        np.arange(samples),
        random_state=estimator._random_state,
        test_size=estimator.validation_fraction,
        stratify=estimator._strata(t),
    )
    if len(held) < 2:
        msg = (
            "The validation set is too small. Increase 'validation_fraction' or the "
            "size of your dataset."
        )
        raise ValueError(msg)
    return train, held


def _given(estimator: Any) -> Any:
    """Validate the user's own validation set: X, y, encoded y, weights."""
    given = estimator.validation_data
    if not 2 <= len(given) <= 3:
        msg = "validation_data must be (X, y) or (X, y, sample_weight)."
        raise ArgumentTypeError(msg)
    X, y, *rest = given  # noqa: N806
    X, _ = validated.receive(estimator, X, reset=False)  # noqa: N806
    y = estimator._known_targets(y)
    if y.shape[0] != X.shape[0]:
        msg = (
            f"validation_data must have as many targets as samples; got {y.shape[0]} "
            f"and {X.shape[0]}."
        )
        raise ArgumentError(msg)
    weight = estimator._weights_of(X, y, rest[0] if rest else None)
    return X, y, estimator._encode(y), weight


def place(a: Any, backend: Any, dtype: str) -> Any:
    """Put an array of any library on the backend."""
    origin = backends.of(a)
    if origin.name != "numpy" and origin != backend:
        a = origin.to_numpy(a)
    return backend.asarray(a, dtype)


def _rows(a: Any, numbers: Any) -> Any:
    if a is None:
        return None
    origin = backends.of(a)
    if origin.name == "numpy":
        return a[numbers]
    return origin.take(a, origin.indices(numbers.astype(np.int32)))
