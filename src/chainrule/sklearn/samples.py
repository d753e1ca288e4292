"""A fit, ready to run: its samples on the backend, and its validation set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn.model_selection import train_test_split

from chainrule import backends
from chainrule.data import intake
from chainrule.data.samples import Data
from chainrule.errors import ArgumentError, ArgumentTypeError
from chainrule.sklearn import linked, validated

if TYPE_CHECKING:
    from chainrule.backends import Backend
    from chainrule.losses import Loss
    from chainrule.network import Network

__all__ = ["Job", "Samples", "Validation", "assemble"]


class Job(NamedTuple):
    """A fit, ready to run: where, what, on which samples.

    weight is the samples' weights on the host, or None; `validation` what is looked at
    after each epoch, or None.
    """

    backend: Backend
    dtype: str
    network: Network
    loss: Loss
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

    data: Data
    X: Any
    y: Any
    weight: Any
    t: Any

    def __init__(self, data: Data, X: Any, y: Any, weight: Any, t: Any) -> None:  # noqa: N803
        self.data, self.X, self.y, self.weight, self.t = data, X, y, weight, t

    def look(self, job: Job, theta: Any, state: Any) -> tuple[Any, Any]:
        """Return predictions and loss, on the backend: nothing waits for them."""
        run = job.backend.compile(
            linked.build_validation, job.network, job.loss, job.link
        )
        theta = job.backend.whole(theta, job.network.size)
        result: tuple[Any, Any] = run(theta, state, *self.data)
        return result


class Samples(NamedTuple):
    """Validated samples.

    y are the targets as the user has them, t as the network is trained on them, weight
    is on the host, or None.
    """

    X: Any
    y: Any
    t: Any
    weight: Any

    def rows(self, numbers: Any) -> Samples:
        """Return those with these numbers."""
        return Samples._make(_rows(a, numbers) for a in self)


def assemble(
    estimator: Any,
    backend: Backend,
    dtype: str,
    network: Network,
    samples: Samples,
    *,
    splits: bool,
) -> Job:
    """Return the `Job` of samples, a part of them held back for validation.

    `splits` says whether early stopping may hold samples back.
    """
    held = None
    if estimator.validation_data is not None:
        held = _given(estimator)
    elif estimator.early_stopping and splits:
        train, rest = _split(estimator, samples.X.shape[0], samples.t)
        samples, held = samples.rows(train), samples.rows(rest)
    loss = estimator._loss

    def placed(samples: Samples) -> Data:
        t, weight = samples.t, samples.weight
        t = loss.target(t, network.output_shape, xp=backends.of(t).xp)
        if weight is not None:
            weight = intake.scaled(weight, backends.of(weight), "float64")
        return Data._make(
            None if a is None else intake.move(a, backend, dtype)
            for a in (samples.X, t, weight)
        )

    check = None
    if held is not None:
        X, y, t = (validated.host(a) for a in held[:3])  # noqa: N806
        check = Validation(placed(held), X, y, held.weight, t)
    data, link = placed(samples), estimator._link()
    return Job(backend, dtype, network, loss, link, data, samples.weight, check)


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


def _given(estimator: Any) -> Samples:
    """Validate the user's own validation set."""
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
    return Samples(X, y, estimator._encode(y), weight)


def _rows(a: Any, numbers: Any) -> Any:
    if a is None:
        return None
    origin = backends.of(a)
    if origin.name == "numpy":
        return a[numbers]
    return origin.take(a, origin.indices(numbers.astype(np.int32)))
