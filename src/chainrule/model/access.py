"""Who may fit, change or copy a model at a moment."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from chainrule.errors import BusyError

__all__ = ["Access", "Claim"]


class Claim:
    """A fit's claim on a model, from its call to its return.

    Attributes
    ----------
    trains : bool
        Whether what is assigned to the model now would be lost at the epoch's end.
    over : bool
        Set when the fit returns. A plain assignment: no signal can come between.
    """

    trains: bool
    over: bool
    thread: int

    def __init__(self) -> None:
        self.trains = True
        self.over = False
        self.thread = threading.get_ident()


class Access:
    """A model's own guard. It belongs to one object: copies get another.

    Attributes
    ----------
    in_step : bool
        Whether an epoch is under way: the optimizer's slots are then overwritten in
        place, or given to the device. Weights can be read at any time.
    lock : RLock
        Held while the training state is replaced by one made from it.
    """

    in_step: bool
    lock: threading.RLock

    def __init__(self) -> None:
        self.in_step = False
        self._claim: Claim | None = None
        self.lock = threading.RLock()

    def take(self, claim: Claim) -> None:
        """Let a fit begin, or raise an error while there is another."""
        with self.lock:
            now = self._claim
            if now is None or now.over:
                self._claim, self.in_step = claim, False
                return
        where = "in another thread"
        if now.thread == claim.thread:
            where = "by the fit whose callback calls this"
        msg = (
            f"the model is being fitted already, {where}. Wait until that fit has "
            f"returned, or fit a copy: model.to(model.backend) before it begins."
        )
        raise BusyError(msg)

    def finish(self) -> None:
        """Say that training is over: callbacks may change the model."""
        if self._claim is not None:
            self._claim.trains = False

    def begin_step(self) -> None:
        """Say that the slots are in use, when nobody copies them any more."""
        with self.lock:
            self.in_step = True

    def check_change(self, what: str) -> None:
        """Raise an error if a change would be lost, as the model is being fitted."""
        now = self._claim
        if now is not None and not now.over and now.trains:
            msg = (
                f"{what} cannot be set while the model is being fitted: the next epoch "
                f"goes on from the last one, and the change would be lost. Do it in "
                f"on_train_end, or end the fit first (model.stop_training = True). A "
                f"callback may set model.learning_rate."
            )
            raise BusyError(msg)

    @contextlib.contextmanager
    def copying(self, what: str) -> Iterator[None]:
        """Hold the next epoch back while weights and slots are copied.

        Raises
        ------
        BusyError
            If an epoch is under way.
        """
        with self.lock:
            if self.in_step:
                msg = (
                    f"{what} copies the optimizer's slots, and an epoch that is under "
                    f"way is using them. Do it in a callback, between two epochs; "
                    f"predict, get_weights and save(path) work at any time."
                )
                raise BusyError(msg)
            yield
