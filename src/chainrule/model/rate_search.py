"""A learning rate found by a short fit in which it rises from step to step."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from chainrule.callbacks.base import Callback
from chainrule.config import checks
from chainrule.data import intake
from chainrule.errors import ArgumentError, DivergenceError, ShapeError
from chainrule.schedules import ExponentialDecay
from chainrule.state.history import History

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LearningRateSearch", "search"]

# Steps over which the losses are smoothed: a standard deviation, to both sides.
_WIDTH = 2.0


class LearningRateSearch(NamedTuple):
    """What `Model.find_learning_rate` found.

    Attributes
    ----------
    rates : float64 array (steps,)
        The learning rates, up to the one at which the search ended.
    losses : float64 array (steps,)
        losses[k] is the loss of a batch before the step with rates[k]; of an ensemble
        the mean over members.
    smoothed : float64 array (steps,)
        The losses without what batches differ by: from each is taken what the same
        batch, with the same masks, costs the model as it was; then each is a mean of
        its neighbours, by a normal distribution.
    suggestion : float or None
        Where the smoothed loss falls steepest over the logarithm of the rate; None
        where it never falls by a hundredth.
    """

    rates: NDArray[np.float64]
    losses: NDArray[np.float64]
    smoothed: NDArray[np.float64]
    suggestion: float | None

    def plot(self, ax: Any = None) -> Any:
        """Draw the losses over the rates with matplotlib; return the axes.

        Parameters
        ----------
        ax : matplotlib axes, optional
            Where to draw. Without, there is a figure of its own.
        """
        from chainrule import plotting

        return plotting.learning_rates(self, ax)

    def __repr__(self) -> str:
        found = None if self.suggestion is None else float(f"{self.suggestion:.3g}")
        return (
            f"LearningRateSearch(suggestion={found}; {len(self.rates)} rates, "
            f"{self.rates[0]:.3g} to {self.rates[-1]:.3g})"
        )


class _Stop(Callback):
    """Ends the search where the loss has grown far beyond its lowest."""

    steers = False

    def __init__(self) -> None:
        self._mean, self._count = 0.0, 0
        self._first = self._lowest = np.inf

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Compare the running mean of the losses, of about the last five."""
        self._count += 1
        self._mean += (logs["loss"] - self._mean) / min(self._count, 5)
        if self._count == 1:
            self._first = self._mean
        self._lowest = min(self._lowest, self._mean)
        room = max(abs(self._lowest), self._first - self._lowest)
        if self._mean > self._lowest + 3.0 * room:
            self.session.stop()


def search(
    model: Any,
    x: Any,
    y: Any,
    *,
    low: Any,
    high: Any,
    steps: Any,
    batch_size: Any,
    sample_weight: Any,
) -> LearningRateSearch:
    """Search a learning rate, as `Model.find_learning_rate` says."""
    low = checks.real("low", low, 0.0, open_low=True)
    high = checks.real("high", high, 0.0, open_low=True)
    steps = checks.integer("steps", steps, 10, high=100_000)
    batch_size = checks.integer("batch_size", batch_size, 1)
    if low >= high:
        msg = (
            f"high must be above low, as the rate rises; got low={low:g} and "
            f"high={high:g}. Give them in their order."
        )
        raise ArgumentError(msg)
    if not hasattr(model.optimizer, "learning_rate"):
        msg = (
            f"find_learning_rate needs an optimizer with a learning rate, and "
            f"{type(model.optimizer).__name__} has none: train with Adam, say."
        )
        raise ArgumentError(msg)
    intake.check_columns("x", x, model._columns)
    batches = _batches(x, y, sample_weight, batch_size, model.seed)
    schedule = ExponentialDecay(low, steps - 1, high / low)
    losses = _losses(model, x, batches, schedule, steps, _Stop())
    # The model as it was has the same batches and masks: what these differ by cancels.
    before = _losses(model, x, batches, _still, len(losses))
    smoothed = _smoothed(losses - before) + before.mean()
    rates = np.array([schedule(k) for k in range(len(losses))])
    return LearningRateSearch(rates, losses, smoothed, _suggest(rates, smoothed))


def _still(step: int) -> float:
    """Return 0: a schedule that changes nothing."""
    return 0.0


def _losses(
    model: Any, x: Any, batches: Any, schedule: Any, steps: int, *callbacks: Any
) -> NDArray[np.float64]:
    """Return the losses of a copy's steps, each before its step."""
    twin = _twin(model, x)
    twin._change(optimizer=model.optimizer.replace(learning_rate=schedule), metrics=())
    twin.history = History()
    if twin.training is not None:
        twin.training = twin.training._replace(epoch=0)  # its epochs count the batches
    try:
        twin.fit(
            lambda epoch: [batches(epoch)],
            epochs=steps,
            callbacks=callbacks,
            progress=False,
        )
    except DivergenceError:
        if not twin.history.epochs:
            raise  # whatever the rate
    return np.asarray(twin.history["loss"], dtype=np.float64)


def _twin(model: Any, x: Any) -> Any:
    """Return a copy of a model that shares nothing that training changes."""
    if model.backend is not None:
        return model.to(model.backend)
    _, origin = intake.receive("x", x)
    return model.to(origin)


def _batches(x: Any, y: Any, weight: Any, size: int, seed: int) -> Any:
    """Return ``batch(k) -> (x, y[, weight])``, a function of k: whole batches alone."""
    given = {"x": x, "y": y}
    if weight is not None:
        given["sample_weight"] = weight
    arrays = [
        np.asarray(intake.to_host(*intake.receive(name, a)))
        for name, a in given.items()
    ]
    n = len(arrays[0])
    for name, a in zip(given, arrays, strict=True):
        if len(a) != n:
            msg = (
                f"{name} must have a row for each of the {n} samples of x; got "
                f"{len(a)}."
            )
            raise ShapeError(msg)
    if not n:
        msg = "x must have samples; got none."
        raise ShapeError(msg)
    size = min(size, n)
    per = n // size

    @functools.lru_cache(maxsize=2)
    def order(epoch: int) -> Any:
        return np.random.default_rng([seed, epoch]).permutation(n)

    def batch(k: int) -> tuple[Any, ...]:
        epoch, place = divmod(k, per)
        rows = order(epoch)[place * size : (place + 1) * size]
        return tuple(a[rows] for a in arrays)

    return batch


def _smoothed(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the means of neighbours, weighted by a normal distribution."""
    place = np.arange(len(losses))
    weight = np.exp(-0.5 * ((place[:, None] - place) / _WIDTH) ** 2)
    smoothed: NDArray[np.float64] = weight @ losses / weight.sum(axis=1)
    return smoothed


def _suggest(rates: NDArray[np.float64], smoothed: NDArray[np.float64]) -> float | None:
    """Return the rate of the steepest fall, between a tenth of it and the lowest."""
    lowest = int(np.argmin(smoothed))
    fall = smoothed[: lowest + 1]
    drop = fall[0] - fall[-1]
    if lowest < 1 or drop <= 0.01 * abs(fall[0]):
        return None
    begin = int(np.flatnonzero(fall >= fall[-1] + 0.9 * drop)[-1])
    slopes = np.gradient(smoothed, np.log(rates))
    return float(rates[begin + int(np.argmin(slopes[begin : lowest + 1]))])
