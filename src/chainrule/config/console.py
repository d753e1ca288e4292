"""Commands on any console: letters that it lacks, readers that go away, full disks."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable

__all__ = ["command", "say_error"]

_Main = Callable[..., int]


def command(main: _Main) -> _Main:
    """Make a function from arguments to an exit status fit for every console.

    A letter that the console's encoding lacks is shown as a question mark. Where the
    output cannot be written, because its reader went away or the disk is full, the
    status is 1; the latter is said on the standard error. A stream may be None, as for
    programs without a console.
    """

    @functools.wraps(main)
    def run(arguments: list[str] | None = None) -> int:
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="replace")
        try:
            try:
                return main(arguments)
            finally:
                if sys.stdout is not None:
                    sys.stdout.flush()
        except OSError as error:
            if not isinstance(error, BrokenPipeError):
                say_error(error)
            _discard()
            return 1

    return run


def say_error(error: object) -> None:
    """Print an error on the standard error, where there is one."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            print(f"error: {error}", file=sys.stderr)  # noqa: T201


def _discard() -> None:
    """Send what cannot be written to nowhere: at its exit Python tries once more."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            with contextlib.suppress(OSError):  # not a file of the system's
                os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
