"""A log of a fit as a table, one line an epoch."""

from __future__ import annotations

import contextlib
import csv
import errno
import hashlib
import io
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.callbacks.base import Callback
from chainrule.callbacks.monitor import number
from chainrule.config import checks
from chainrule.errors import (
    ArgumentError,
    ArgumentTypeError,
    FileError,
    MissingFileError,
)
from chainrule.files import durable

__all__ = ["CSVLogger"]

_BLOCK = 1 << 20  # bytes that are read at once


class CSVLogger(Callback):
    """Write one line per epoch: its number, then the logs in alphabetical order.

    Epochs are counted from the model's birth, which is 0. Only logs that are single
    numbers are written.

    Parameters
    ----------
    filename : str or path
        Its folder must be there.
    separator : str
        One character that is no part of a number.
    append : bool
        Go on with a file that is there, instead of writing it anew. It must have the
        same columns.

    Notes
    -----
    A fit that is resumed goes on with the log of the fit before: lines of epochs that
    come again are cut off. That a file is that log is known by its name and by the
    SHA-256 of what was written when the checkpoint was; no other file is ever cut.
    Lines are on the disk before the checkpoint that counts with them is.
    """

    filename: Path
    separator: str
    append: bool

    steers = False
    writes = True

    def __init__(
        self,
        filename: str | os.PathLike[str],
        separator: str = ",",
        append: bool = False,
    ) -> None:
        durable.check_path(filename)
        self.filename = Path(os.fsdecode(filename))
        self.separator = _separator(separator)
        self.append = checks.boolean("CSVLogger: append", append)
        self._columns: list[str] | None = None  # of the next fit, where it is known
        self._begun = False  # whether the file has its header
        self._before: dict[str, Any] | None = None  # what `restore` was given
        self._digest: Any = None  # of the file's contents, as far as they are ours
        self._synced = 0  # how much of it is known to be on the disk

    def __getstate__(self) -> dict[str, Any]:
        # A digest under way can neither be pickled nor copied: it is made anew.
        return {**self.__dict__, "_digest": None, "_synced": 0}

    def check_logs(self, names: Mapping[str, bool | None]) -> None:
        """Raise an error if the file cannot be written, or has other columns."""
        self._columns = ["epoch", *sorted(names)]
        path = durable.check_path(self.filename)
        with _reported(path):
            if not path.parent.is_dir():
                _refuse(MissingFileError, errno.ENOENT, path, "Make the folder first.")
            if path.is_dir():
                _refuse(FileError, errno.EISDIR, path)
            there = path.exists()
            # Whether it can be written, only the system knows: it is opened, and is
            # as it was.
            path.open("ab").close()
            if not there:
                path.unlink()
        if self.append:
            self._check_columns()

    def _check_columns(self) -> None:
        """Raise an error if the file has lines of other columns than are to come."""
        header = self._header()
        if header and self._columns is not None and header != self._columns:
            msg = (
                f"CSVLogger: {self.filename} has the columns "
                f"{self.separator.join(header)}, and this fit writes "
                f"{self.separator.join(self._columns)}. Append to another file, or "
                f"write this one anew with append=False."
            )
            raise ArgumentError(msg)

    def _header(self) -> list[str]:
        """Return the file's first line, [] where there is none."""
        if not self.filename.is_file():
            return []
        with _reported(self.filename), self.filename.open("rb") as file:
            line = file.readline(_BLOCK).decode("utf-8-sig", "replace")
        return next(csv.reader([line.rstrip("\r\n")], delimiter=self.separator), [])

    def on_train_begin(self, logs: dict[str, Any]) -> None:
        """Begin the file anew, unless lines are to be appended or a fit goes on.

        Where it goes on, lines of epochs that are lost are lost, too.
        """
        before, self._before, self._synced = self._before, None, 0
        going_on = self.append
        if before is not None and before["size"]:
            going_on = self._go_on(before) or going_on
        self._begun = bool(going_on and self._header())
        self._digest = hashlib.sha256()
        if self._begun:
            self._check_columns()
            self._end_last_line()
            with _reported(self.filename), self.filename.open("rb") as file:
                _read(file, self._digest, None)

    def _go_on(self, before: dict[str, Any]) -> bool:
        """Take the log of the fit before up; return whether to append to it."""
        size = before["size"]
        there = self.filename.stat().st_size if self.filename.is_file() else 0
        if self._is_of(before):
            if self._only_later_lines(size):
                with _reported(self.filename):
                    os.truncate(self.filename, size)
                return True
            why = "has something else than later epochs behind the checkpoint's"
        elif before.get("name") not in (None, self.filename.name):
            return False  # another log's
        elif there < size:
            why = (
                f"is shorter than when the checkpoint was written ({there} bytes, then "
                f"{size}): lines of epochs are missing"
            )
        else:
            why = "is not what it was when the checkpoint was written"
        msg = (
            f"CSVLogger: {self.filename} {why}. Nothing of it is cut off; the lines of "
            f"the epochs to come are appended."
        )
        checks.warn(msg)
        return True

    def matches(self, state: dict[str, Any]) -> int:
        """As `Callback.matches`: a file is known by what was written into it."""
        name = state.get("name")
        if name not in (None, self.filename.name):
            return 0
        size = number(state["size"], "size", int)
        return 2 if size and self._is_of({**state, "size": size}) else 1

    def _is_of(self, state: dict[str, Any]) -> bool:
        """Whether the file begins with what was written when a state was taken."""
        size, digest = state["size"], hashlib.sha256()
        if state.get("name") != self.filename.name or not self.filename.is_file():
            return False
        with _reported(self.filename), self.filename.open("rb") as file:
            if file.seek(0, os.SEEK_END) < size:
                return False
            file.seek(0)
            last = _read(file, digest, size)
        return last == b"\n" and digest.hexdigest() == state.get("sha256")

    def _only_later_lines(self, size: int) -> bool:
        """Whether behind `size` bytes there are but lines of epochs that come later."""
        with _reported(self.filename), self.filename.open("rb") as file:
            start = max(0, size - 4096)
            file.seek(start)
            known = file.read(size - start).splitlines()
            last = _epoch(known[-1], self.separator) if len(known) > 1 else None
            for line in file:
                epoch = _epoch(line, self.separator)
                if not line.endswith(b"\n"):
                    return True  # the last one, which a crash cut off
                if epoch is None or (last is not None and epoch <= last):
                    return False
                last = epoch
        return True

    def _end_last_line(self) -> None:
        """End a line that a crash cut off, so that none is glued to it."""
        with _reported(self.filename), self.filename.open("rb+") as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\r\n")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Write a line; the first one is preceded by the header."""
        names = sorted(name for name, value in logs.items() if np.ndim(value) == 0)
        text = io.StringIO(newline="")
        writer = csv.writer(text, delimiter=self.separator)
        if not self._begun:
            writer.writerow(["epoch", *names])
        writer.writerow([epoch, *(logs[name] for name in names)])
        data = text.getvalue().encode()
        with (
            _reported(self.filename),
            self.filename.open("ab" if self._begun else "wb") as file,
        ):
            file.write(data)
        if not self._begun:
            self._begun, self._digest = True, hashlib.sha256()
        if self._digest is not None:
            self._digest.update(data)

    def state(self) -> dict[str, Any]:
        """Return what the file is: its name, its length and its SHA-256.

        What it says is on the disk by then: a checkpoint is to count with it.
        """
        size, digest = 0, None
        if self._begun and self.filename.is_file():
            size = self.filename.stat().st_size
            if size != self._synced:
                with _reported(self.filename), self.filename.open("rb+") as file:
                    if self._digest is None:
                        self._digest = hashlib.sha256()
                        _read(file, self._digest, None)
                    os.fsync(file.fileno())
                self._synced = size
            digest = self._digest.hexdigest()
        return {"name": self.filename.name, "size": size, "sha256": digest}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned; the next fit appends to the file."""
        size = number(state["size"], "size", int)
        texts = [state.get(name) for name in ("name", "sha256")]
        if not isinstance(size, int) or not all(
            text is None or isinstance(text, str) for text in texts
        ):
            msg = f"a log has a size, a name and a digest; got {state!r}"
            raise TypeError(msg)
        if size and texts[0] in (None, self.filename.name):
            self._check_columns()
        self._before = {"size": size, "name": texts[0], "sha256": texts[1]}


def _separator(given: Any) -> str:
    if not isinstance(given, str):
        msg = f"CSVLogger: separator must be a character such as ','; got {given!r}."
        raise ArgumentTypeError(msg)
    if len(given) != 1 or given.isalnum() or given in '\r\n"._+-\0':
        msg = (
            f"CSVLogger: separator must be one character that is no part of a number "
            f"or a name, such as ',' or ';'; got {given!r}."
        )
        raise ArgumentError(msg)
    return given


def _refuse(kind: type[FileError], code: int, path: Path, what: str = "") -> None:
    msg = f"CSVLogger: {path} cannot be written: {os.strerror(code)}. {what}".rstrip()
    raise kind(code, msg, str(path))


@contextlib.contextmanager
def _reported(path: Path) -> Iterator[None]:
    """Turn the operating system's errors into the family's, naming the file."""
    try:
        yield
    except OSError as error:
        if isinstance(error, FileError):
            raise
        kind = MissingFileError if isinstance(error, FileNotFoundError) else FileError
        why = error.strerror or str(error)
        msg = f"CSVLogger: {path} cannot be read or written: {why}."
        raise kind(error.errno, msg, str(path)) from error


def _read(file: Any, digest: Any, size: int | None) -> bytes:
    """Digest so many bytes of a file, or all; return the last one of them."""
    last, left = b"", size
    while left is None or left > 0:
        block = file.read(_BLOCK if left is None else min(_BLOCK, left))
        if not block:
            break
        digest.update(block)
        last = block[-1:]
        left = None if left is None else left - len(block)
    return last


def _epoch(line: bytes, separator: str) -> int | None:
    """Return the number that a line begins with, None where it is no line of a log."""
    text = line.partition(separator.encode())[0]
    return int(text) if text.isdigit() and len(text) < 19 else None
