"""The end of a fit that no longer gets better, for each member of an ensemble."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.callbacks.monitor import Monitor, number
from chainrule.config import checks

if TYPE_CHECKING:
    from chainrule.config.choices import Direction, Int, Real, ThresholdMode
    from chainrule.model import Model

__all__ = ["EarlyStopping"]


class EarlyStopping(Monitor):
    """Stop when a value has not improved for `patience` epochs.

    Parameters
    ----------
    monitor : str, optional
        A name in the logs; by default val_loss where there is validation, else loss.
    patience : int
    min_delta : float
        Improvements of at most this count as none.
    mode : {"auto", "min", "max"}
        Whether the value is to fall or to rise. auto: losses are to fall, an
        estimator's val_score is to rise, and metrics say it themselves (see
        `chainrule.metrics`); if one does not, the fit is refused.
    restore_best_weights : bool
        Give the model the parameters and state of its best epoch at the end, also where
        a later epoch diverged.
    threshold_mode : {"abs", "rel"}
        What min_delta is: a difference, or a share of the best value's size.

    Attributes
    ----------
    best : float or None
        The best value, as it is in the logs.
    best_epoch : int or None
        Number of the best epoch, counted from the model's birth, which is 0.
    stopped_epoch : int or None
        The epoch that ended the fit, if this callback did.

    Notes
    -----
    Each member of an ensemble has its own loss and val_loss, patience and best epoch,
    and the attributes are lists. A member whose patience is over stands still; the fit
    ends with the last one. In the end each member is what it would be if it had been
    trained alone. Metrics are those of the mean prediction: all members stop with them.
    """

    best: Any
    best_epoch: Any
    wait: Any
    stopped_epoch: Any
    restore_best_weights: bool

    def __init__(
        self,
        monitor: str | None = None,
        patience: Int = 10,
        min_delta: Real = 0.0,
        mode: Direction = "auto",
        restore_best_weights: bool = True,
        *,
        threshold_mode: ThresholdMode = "abs",
    ) -> None:
        super().__init__(monitor, patience, min_delta, mode, threshold_mode)
        self.restore_best_weights = checks.boolean(
            "EarlyStopping: restore_best_weights", restore_best_weights
        )

    def _reset(self) -> None:
        super()._reset()
        self.best_epoch = None
        self.stopped_epoch = None
        self._weights: Any = None

    def on_train_begin(self, logs: dict[str, Any]) -> None:
        """Forget the last fit; one that is resumed and had stopped has stopped."""
        super().on_train_begin(logs)
        members = getattr(self.model, "members", None)
        shape: tuple[int, ...] = ()
        if members is not None and self.monitor in (None, "loss", "val_loss"):
            shape = (members,)
        stopped = self._marks(shape)[3]
        if self._hold(~np.isnan(stopped)).all():
            self.model.stop_training = True

    def _values(self, logs: dict[str, Any], name: str) -> Any:
        """Return what is monitored, as an array: () or, for an ensemble, (members,)."""
        value = logs[name]
        if name in ("loss", "val_loss"):
            value = logs.get(name.replace("loss", "member_loss"), value)
        return np.asarray(value, dtype=np.float64)

    def _marks(self, shape: tuple[int, ...]) -> list[Any]:
        """Return best, best_epoch, wait and stopped_epoch as arrays; NaN for None."""
        marks = (self.best, self.best_epoch, self.wait, self.stopped_epoch)
        return [np.broadcast_to(np.asarray(a, dtype=np.float64), shape) for a in marks]

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Compare, and stop if the patience is over."""
        name = self._name(logs)
        value = self._values(logs, name)
        best, best_epoch, wait, stopped = self._marks(value.shape)
        going = np.isnan(stopped)
        better = going & self._improved(value, best, name)
        wait = np.where(better, 0, wait + going)
        over = going & ~better & (wait >= max(1, self.patience))
        stopped = np.where(over, epoch, stopped)
        self.best = _plain(np.where(better, value, best), float)
        self.best_epoch = _plain(np.where(better, epoch, best_epoch), int)
        self.wait, self.stopped_epoch = _plain(wait, int), _plain(stopped, int)
        # A lone model that stops keeps the weights that it stops with by itself.
        if self.restore_best_weights or value.ndim:
            self._keep(better if self.restore_best_weights else over)
        if self._hold(~np.isnan(stopped)).all():
            self.model.stop_training = True

    def _hold(self, over: Any) -> Any:
        """Hold the members whose patience is over; return who stands still."""
        if over.ndim:
            others = self.model.stopped_members  # of another callback
            over = over if others is None else over | others
            self.model.stopped_members = over
        return over

    def _keep(self, which: Any) -> None:
        """Remember the weights of the model, or of which members."""
        if not which.any():
            return
        now = self.model.get_weights()
        if which.ndim and self._weights is not None:
            pairs = zip(now, self._weights, strict=True)
            now = tuple(np.where(which[:, None], new, old) for new, old in pairs)
        self._weights = now

    def on_train_end(self, logs: dict[str, Any]) -> None:
        """Give the best weights back, and keep them no longer."""
        if self._weights is None:
            return
        kept, self._weights = self._weights, None
        done = self.best_epoch if self.restore_best_weights else self.stopped_epoch
        if isinstance(done, list):
            rows = np.array([epoch is not None for epoch in done])[:, None]
            now = self.model.get_weights()
            pairs = zip(kept, now, strict=True)
            kept = tuple(np.where(rows, old, new) for old, new in pairs)
        self.model.set_weights(kept)

    def state(self) -> dict[str, Any]:
        """Return the best value, epoch and weights, and the epochs since."""
        return {
            **super().state(),
            "best_epoch": self.best_epoch,
            "stopped_epoch": self.stopped_epoch,
            "weights": self._weights,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned."""
        best_epoch, stopped = (
            number(state[name], name, int) for name in ("best_epoch", "stopped_epoch")
        )
        marks = (state["best"], best_epoch, state["wait"], stopped)
        lengths = {len(mark) if isinstance(mark, list) else None for mark in marks}
        known = {None, getattr(self.model, "members", None)}
        if len(lengths) > 1 or not (self.model is None or lengths <= known):
            msg = "best, wait and epochs must be one for each member"
            raise ValueError(msg)
        weights = _pair(state["weights"], self.model)
        super().restore(state)
        self.best_epoch, self.stopped_epoch = best_epoch, stopped
        self._weights = weights


def _pair(weights: Any, model: Model) -> Any:
    """Return the weights of a state, or raise an error if the model has no such."""
    if weights is None or not hasattr(model, "built"):
        return weights
    shapes = [a.shape for a in model.get_weights()]
    if not isinstance(weights, (tuple, list)) or [
        getattr(a, "shape", None) for a in weights
    ] != [*shapes]:
        msg = f"weights must be arrays of the shapes {shapes}"
        raise ValueError(msg)
    return tuple(np.asarray(a, dtype=a.dtype) for a in weights)


def _plain(a: Any, kind: type) -> Any:
    """Turn an array into a number or a list of numbers, NaN into None."""
    if a.ndim:
        return [_plain(each, kind) for each in a]
    return None if np.isnan(a) else kind(a)
