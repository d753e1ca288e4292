"""Where memory does not suffice: an error that says for what, and what to do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from chainrule.errors import OutOfMemoryError

if TYPE_CHECKING:
    from chainrule.backends import Backend

__all__ = ["FEWER_ROWS", "exhausted", "readable", "room"]

# What to do in inference.
FEWER_ROWS = "Hand in fewer rows at a time, or use a smaller network."


def exhausted(backend: Backend, what: str, advice: str, error: Exception) -> Exception:
    """Return the error to raise for a library's own; `error` itself if not that."""
    if isinstance(error, OutOfMemoryError) or not backend.is_out_of_memory(error):
        return error
    said = str(error).partition("\n")[0].rstrip(". ")
    said = f": {said[:300]}" if said else ""
    return OutOfMemoryError(f"out of memory on {backend!r} {what}{said}. {advice}")


@contextlib.contextmanager
def room(backend: Backend, what: str, advice: str) -> Iterator[None]:
    """Say what is too large, and what to do, where memory does not suffice.

    Parameters
    ----------
    backend : Backend
        Whose errors are looked at, and the host's.
    what : str
        What the memory was for: "in predict".
    advice : str
        A sentence.

    Raises
    ------
    OutOfMemoryError
        In place of the library's own error. Others go on as they are.
    """
    try:
        yield
    except Exception as error:
        told = exhausted(backend, what, advice, error)
        if told is error:
            raise
        raise told from error


def readable(size: int) -> str:
    """Return so many bytes in words: "9.7 GiB"."""
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.3g} {unit}"
        size /= 1024  # type: ignore[assignment]
    return f"{size:,.1f} GiB"
