"""The progress bar of a fit."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

__all__ = ["ProgressBar"]


class ProgressBar:
    """A tqdm bar over the steps of a fit: loss, val_loss, steps a second.

    It looks at the losses a few times a second at most: to read one, a device must be
    waited for.

    Parameters
    ----------
    progress : bool or None
        None: on a terminal or in a notebook.
    epochs, steps : int
        Epochs, and steps in each.
    """

    SECONDS = 0.2

    def __init__(self, progress: bool | None, epochs: int, steps: int) -> None:
        self._steps = steps
        self._bar: Any = None
        self._next = 0.0
        if progress is None:
            progress = _watched()
        if progress:
            from tqdm.auto import tqdm

            self._bar = tqdm(total=epochs * steps, unit="step", dynamic_ncols=True)

    @property
    def shown(self) -> bool:
        """Whether there is a bar to look at."""
        return self._bar is not None

    def show(
        self,
        read: Callable[[], dict[str, float]],
        *,
        epochs: int = 1,
        last: bool = False,
    ) -> None:
        """Count epochs; call `read` for the losses only if it is time to draw."""
        if self._bar is None:
            return
        now = time.monotonic()
        if last or now >= self._next:
            self._next = now + self.SECONDS
            logs = {k: f"{v:.3g}" for k, v in read().items() if isinstance(v, float)}
            self._bar.set_postfix(logs, refresh=False)
        self._bar.update(epochs * self._steps)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.close()


def _watched() -> bool:
    import sys

    if sys.stderr is not None and sys.stderr.isatty():
        return True
    return "ipykernel" in sys.modules
