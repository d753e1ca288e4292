"""Signals that wait for a moment at which training can stop."""

from __future__ import annotations

import signal
import threading
from typing import Any, Self

__all__ = ["Interrupt"]


class Interrupt:
    """While entered, the first Ctrl-C only sets `asked`; the second interrupts at once.

    With `sigterm`, the same holds for SIGTERM, which sets `terminated` too; a second
    one does what it always does. Once `held` is set, a second Ctrl-C changes nothing:
    the fit is ending, and what it leaves is being put in order. Handlers are set in the
    main thread alone, and only where Python's own stood: a program that handles a
    signal itself keeps its handler.
    """

    asked: bool
    terminated: bool
    held: bool

    def __init__(self, *, sigterm: bool = False) -> None:
        self.asked = self.terminated = self.held = False
        self._sigterm = sigterm
        self._before: list[tuple[Any, Any]] = []

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._take(signal.SIGINT, signal.default_int_handler, self._interrupt)
            if self._sigterm:
                self._take(signal.SIGTERM, signal.SIG_DFL, self._terminate)
        return self

    def _take(self, number: int, usual: Any, handle: Any) -> None:
        """Handle a signal, where Python's own handler stands."""
        if signal.getsignal(number) is usual:
            self._before.append((number, usual))  # before: Ctrl-C may come between
            signal.signal(number, handle)

    def __exit__(self, *_: object) -> None:
        self.restore()

    def restore(self) -> None:
        """Give the signals back to Python's own handlers; once more does no harm."""
        for number, usual in self._before:
            signal.signal(number, usual)

    def _interrupt(self, number: int, frame: Any) -> None:
        if self.asked and not self.held:
            raise KeyboardInterrupt
        self.asked = True

    def _terminate(self, number: int, frame: Any) -> None:
        self.asked = self.terminated = True
        signal.signal(number, signal.SIG_DFL)
