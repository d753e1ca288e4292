"""The progress bar of a fit."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["ProgressBar"]


class ProgressBar:
    """A tqdm bar over the steps of a fit: epoch, loss, val_loss, steps a second.

    It looks at the losses a few times a second at most: to read one, a device must be
    waited for. A bar that cannot be drawn (no stderr, a closed one, a full disk behind
    it) is given up: a fit never ends because of it.

    Parameters
    ----------
    progress : bool or None
        None: on a terminal or in a notebook.
    epochs, steps : int
        Epochs, and steps in each.
    """

    SECONDS = 0.2

    def __init__(self, progress: bool | None, epochs: int, steps: int) -> None:
        self._epochs, self._steps = epochs, steps
        self._done = 0
        self._bar: Any = None
        self._next = 0.0
        if progress is None:
            progress = _watched()
        if progress and sys.stderr is not None:
            with contextlib.suppress(Exception):  # as in `_draw`
                self._bar = _tqdm()(
                    total=epochs * steps, unit="step", dynamic_ncols=True
                )

    @property
    def shown(self) -> bool:
        """Whether there is a bar to look at."""
        return self._bar is not None

    def show(
        self,
        read: Callable[[], Mapping[str, Any]],
        *,
        epochs: int = 1,
        last: bool = False,
    ) -> None:
        """Count epochs; call `read` for the losses only if it is time to draw."""
        if self._bar is None:
            return
        self._done += epochs
        now = time.monotonic()
        if last or now >= self._next:
            self._next = now + self.SECONDS
            self._tell(read())
        self._draw(lambda bar: bar.update(epochs * self._steps))

    def close(
        self,
        epochs: int | None = None,
        logs: Mapping[str, Any] | None = None,
        note: str = "",
    ) -> None:
        """Leave the bar as it stands, with the last epoch's numbers.

        Parameters
        ----------
        epochs : int, optional
            How many epochs count, if not all that were shown.
        logs : mapping, optional
            The last epoch's losses.
        note : str
            How the fit ended, if not as it was meant to.
        """
        if self._bar is None:
            return
        if epochs is not None:
            self._done = epochs
            self._bar.n = epochs * self._steps
        self._tell(logs or {}, note)
        self._draw(lambda bar: bar.close())
        self._bar = None

    def _tell(self, logs: Mapping[str, Any], note: str = "") -> None:
        """Put the epoch and its losses beside the bar; it is drawn later."""
        numbers = {k: f"{v:.3g}" for k, v in logs.items() if isinstance(v, float)}
        if note:
            numbers[note] = ""
        where = f"epoch {self._done}/{self._epochs}"

        def write(bar: Any) -> None:
            bar.set_description(where, refresh=False)
            if numbers:
                said = ", ".join(f"{k}={v}" if v else k for k, v in numbers.items())
                bar.set_postfix_str(said, refresh=False)

        self._draw(write)

    def _draw(self, write: Callable[[Any], Any]) -> None:
        """Let `write` have the bar, if there is one, until its first error."""
        bar = self._bar
        try:
            if bar is not None:
                write(bar)
        except Exception:  # whatever a stream of the user's raises
            self._bar = None
            bar.disable = True  # or it would write again when it is collected


def _watched() -> bool:
    """Whether somebody can see what is written to stderr, as far as one can tell."""
    try:
        if sys.stderr.isatty():
            return True
    except (AttributeError, ValueError):  # there is none, or it is closed
        return False
    return "ipykernel" in sys.modules


def _tqdm() -> Any:
    """Return tqdm's class for where this runs."""
    notebook = "ipykernel.zmqshell" in sys.modules
    if notebook and importlib.util.find_spec("ipywidgets") is None:
        from tqdm.std import tqdm  # tqdm.auto would warn first, then take it, too
    else:
        from tqdm.auto import tqdm
    return tqdm
