"""Averages of the weights over the epochs, which the model gets at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.callbacks.base import Callback
from chainrule.config import checks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chainrule.config.choices import Int, Real

__all__ = ["ExponentialMovingAverage", "StochasticWeightAveraging", "WeightAverage"]


class WeightAverage(Callback):
    """A mean over epochs of the parameters and of what layers keep.

    Parameters
    ----------
    start_epoch : int

    Attributes
    ----------
    average : tuple of float64 arrays, or None
        The mean so far of what `Model.get_weights` returned, (theta, state); None
        before the first epoch that counts, and after a fit.
    counted : int or list of int
        How many epochs it is of; for an ensemble of each member.
    """

    average: tuple[NDArray[np.float64], NDArray[np.float64]] | None
    counted: Any
    start_epoch: int

    def __init__(self, start_epoch: Int) -> None:
        name = f"{type(self).__name__}: start_epoch"
        self.start_epoch = checks.integer(name, start_epoch, 0)
        self._restored = False
        self._reset()

    def _reset(self) -> None:
        self.average, self.counted = None, 0
        self._held: Any = None

    def _counts(self, epoch: int) -> bool:
        """Whether the weights after an epoch count."""
        return epoch >= self.start_epoch

    def _share(self, n: Any) -> Any:
        """Return what the n-th weights count for in the mean of n: 1 for the first."""
        raise NotImplementedError

    def on_train_begin(self, logs: dict[str, Any]) -> None:
        """Forget the last fit, unless a state was restored for this one."""
        if not self._restored:
            self._reset()
        self._restored = False

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any]) -> None:
        """Remember which members of an ensemble stand still in this epoch."""
        held = getattr(self.model, "stopped_members", None)
        self._held = None if held is None else np.array(held, dtype=bool)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Let the weights count, if they do: mean += share · (weights - mean)."""
        if not self._counts(epoch):
            return
        now = [np.asarray(a, dtype=np.float64) for a in self.model.get_weights()]
        going = np.ones(now[0].shape[:-1], dtype=bool)
        if self._held is not None:
            going &= ~self._held
        counted = np.asarray(self.counted) + going
        # Of a member that stood still before it counted, there is nothing to share.
        share = np.where(going, self._share(np.maximum(counted, 1)), 0.0)[..., None]
        means = self.average or [np.zeros_like(a) for a in now]
        # Exactly the weights where they are the first that count.
        theta, state = (
            np.where(share == 1.0, a, mean + share * (a - mean))
            for a, mean in zip(now, means, strict=True)
        )
        self.average, self.counted = (theta, state), counted.tolist()

    def on_train_end(self, logs: dict[str, Any]) -> None:
        """Give the model the mean, and keep it no longer."""
        if self.average is None:
            msg = (
                f"{type(self).__name__}: no epoch counted, and the model keeps its own "
                f"weights: the fit ended before the mean begins, with epoch "
                f"{self.start_epoch}. Lower start_epoch, or train longer."
            )
            checks.warn(msg)
            return
        means, self.average = self.average, None
        counted = np.asarray(self.counted)[..., None] > 0
        pairs = zip(means, self.model.get_weights(), strict=True)
        self.model.set_weights(
            tuple(np.where(counted, mean, now).astype(now.dtype) for mean, now in pairs)
        )

    def state(self) -> dict[str, Any]:
        """Return the mean, and how many epochs it is of."""
        return {"average": self.average, "counted": self.counted}

    def matches(self, state: dict[str, Any]) -> int:
        """As `Callback.matches`: in the order of the callbacks."""
        return 1 if {"average", "counted"} <= state.keys() else 0

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned; the next fit goes on from it."""
        average, counted = state["average"], state["counted"]
        lead: tuple[int, ...] = ()
        if average is not None:
            average = self._checked(average)
            lead = average[0].shape[:-1]
        counts = np.asarray(counted)
        if counts.shape != lead or counts.dtype.kind != "i":
            msg = f"counted must be an integer, or one for each member; got {counted!r}"
            raise ValueError(msg)
        if (counts < 0).any() or (average is None and counts.any()):
            msg = f"counted must be that of the mean; got {counted!r}"
            raise ValueError(msg)
        self.average, self.counted = average, counts.tolist()
        self._restored = True

    def _checked(self, average: Any) -> Any:
        """Return the mean of a state, or raise an error if it cannot be the model's."""
        if not isinstance(average, (tuple, list)) or len(average) != 2:
            msg = "average must be the pair (theta, state)"
            raise ValueError(msg)
        found = tuple(np.asarray(a, dtype=np.float64) for a in average)
        shapes = [a.shape for a in found]
        wanted = shapes
        if hasattr(self.model, "built"):
            wanted = [a.shape for a in self.model.get_weights()]
        if shapes != wanted:
            msg = f"average must be arrays of the shapes {wanted}; got {shapes}"
            raise ValueError(msg)
        return found


class ExponentialMovingAverage(WeightAverage):
    """Give the model, at the end, a moving average of its weights over the epochs.

    After each epoch m <- d m + (1 - d) w; the model gets m / (1 - dⁿ) after n epochs,
    so that the zeros with which m begins count for nothing.

    Parameters
    ----------
    decay : float in [0, 1)
        d, for an epoch, not for a step: about the last 1 / (1 - d) epochs count.
    start_epoch : int
        The first epoch whose weights count; the first of the model's life is 0.

    Attributes
    ----------
    average : tuple of float64 arrays, or None
        (theta, state) of the mean so far; None before it begins, and after a fit.
    counted : int or list of int
        How many epochs it is of; for an ensemble of each member.

    Notes
    -----
    The mean is taken once an epoch, on the host, in float64, whatever the model's
    dtype: a fit without the callback pays nothing. Running statistics of `BatchNorm`
    are averaged as parameters are, and not computed anew. "val_loss" and the metrics of
    the logs are those of the weights in training; `evaluate` afterwards is of the mean.
    Where a fit goes on, it goes on from the mean. A callback that restores weights of
    its own, as `EarlyStopping` may, ought not to stand behind this one: the last one's
    stay. A member of an ensemble that stands still has no more epochs that count.

    Source: Polyak, Juditsky 1992; the division by 1 - dⁿ is Adam's (Kingma, Ba 2014).
    """

    decay: float

    def __init__(self, decay: Real = 0.9, start_epoch: Int = 0) -> None:
        self.decay = checks.real(
            "ExponentialMovingAverage: decay", decay, 0.0, 1.0, open_high=True
        )
        super().__init__(start_epoch)

    def _share(self, n: Any) -> Any:
        if self.decay == 0.0:
            return np.ones(np.shape(n))
        # (1 - d) / (1 - dⁿ), without cancellation where d is close to 1.
        share = np.expm1(np.log(self.decay)) / np.expm1(n * np.log(self.decay))
        return np.where(n == 1, 1.0, share)


class StochasticWeightAveraging(WeightAverage):
    """Give the model, at the end, the plain mean of its weights over the last epochs.

    Parameters
    ----------
    start_epoch : int
        The first epoch that belongs to the mean; the first of the model's life is 0.
        The paper takes the last quarter of a fit or so, at a learning rate that is
        high and constant, or goes in cycles.
    every : int
        Of so many epochs from start_epoch on, the weights after the last one count: the
        length of a cycle, where the learning rate has cycles
        (`schedules.CosineRestarts`).

    Attributes
    ----------
    average : tuple of float64 arrays, or None
        (theta, state) of the mean so far; None before it begins, and after a fit.
    counted : int or list of int
        How many epochs it is of; for an ensemble of each member.

    Notes
    -----
    The mean is taken on the host, in float64, whatever the model's dtype. Running
    statistics of `BatchNorm` are averaged as parameters are (PyTorch's AveragedModel
    with use_buffers=True); the paper computes them anew, with one more pass over the
    data. What else is said of `ExponentialMovingAverage` holds here, too.

    Source: Izmailov et al. 2018 (arXiv:1803.05407), algorithm 1.
    """

    every: int

    def __init__(self, start_epoch: Int, every: Int = 1) -> None:
        self.every = checks.integer("StochasticWeightAveraging: every", every, 1)
        super().__init__(start_epoch)

    def _counts(self, epoch: int) -> bool:
        return super()._counts(epoch) and (
            (epoch - self.start_epoch + 1) % self.every == 0
        )

    def _share(self, n: Any) -> Any:
        return 1.0 / n
