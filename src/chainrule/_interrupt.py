"""Ctrl-C that waits for the end of an epoch."""

from __future__ import annotations

import signal
import threading
from typing import Any, Self

__all__ = ["Interrupt"]


class Interrupt:
    """While entered, the first Ctrl-C only sets `asked`; the second interrupts at once.

    It does so in the main thread alone, and only where Python's own handler stood: a
    program that handles the signal itself keeps its handler.
    """

    def __init__(self) -> None:
        self.asked = False
        self._mine = False

    def __enter__(self) -> Self:
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._handle)
            self._mine = True
        return self

    def __exit__(self, *_: object) -> None:
        if self._mine:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _handle(self, number: int, frame: Any) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
