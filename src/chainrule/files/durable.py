"""Files that are whole or not there: written beside their place, then moved into it.

A write goes to a temporary file ``.<name>.<12 hex digits>.tmp`` in the same folder,
which is flushed to the disk and then takes the name in one step; a kill, a full disk or
an error leaves what was there before. Whoever writes holds a lock on the temporary
file, and the lock dies with the process: a temporary file without one is stale, however
young it is. The digits follow from the name, so that the next write finds what is stale
without listing the folder. Reading removes nothing.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from chainrule.errors import (
    ArgumentError,
    ArgumentTypeError,
    FileError,
    MissingFileError,
)

try:
    import fcntl
except ImportError:  # Windows: there an open file cannot be removed, which is as good
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "check_path",
    "check_writable",
    "opened",
    "remove",
    "second_name",
    "sweep",
    "write",
]

# Temporary names of one path that a sweep knows: as many may write it at once.
_SLOTS = 16
# Bytes that are copied at once where a file system has no links.
_PIECE = 1 << 20
# What a file system answers that cannot flush; a failing disk says EIO.
_CANNOT_FLUSH = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)


def check_path(path: str | os.PathLike[str]) -> Path:
    """Return `path` as a `Path`, links followed, or raise an error of the family."""
    if not isinstance(path, (str, os.PathLike)):
        msg = (
            f"path must be a string or a pathlib.Path; got {path!r} "
            f"({type(path).__name__})."
        )
        raise ArgumentTypeError(msg)
    name = os.fsdecode(path)
    if not name or "\0" in name or not _encodable(name):
        msg = f"path must be the name of a file; got {name!r}."
        raise ArgumentError(msg)
    try:
        return Path(os.path.realpath(name))
    except FileNotFoundError as error:  # of a relative name: the current folder is gone
        msg = (
            f"{name} cannot be found: the current folder was deleted. Give an absolute "
            f"path, or change to a folder that is there."
        )
        raise MissingFileError(error.errno, msg, name) from error


def _encodable(name: str) -> bool:
    try:
        os.fsencode(name)
    except UnicodeError:
        return False
    return True


@contextlib.contextmanager
def _family(path: Path, doing: str) -> Iterator[None]:
    """Turn the operating system's errors into the family's, naming the file."""
    try:
        yield
    except FileError:
        raise
    except MemoryError:  # a file that is larger than what there is
        msg = f"{path} cannot be {doing}: {os.strerror(errno.ENOMEM)}."
        raise FileError(errno.ENOMEM, msg, str(path)) from None
    except OSError as error:
        kind = MissingFileError if isinstance(error, FileNotFoundError) else FileError
        why = error.strerror or str(error)
        msg = f"{path} cannot be {doing}: {why}."
        if doing == "written":
            msg += " What was there before is as it was."
            if kind is MissingFileError:
                msg += " Make the folder first."
        new = kind(error.errno, msg, str(path))
        raise new from error


def _refuse(path: Path, code: int, doing: str) -> None:
    with _family(path, doing):
        raise OSError(code, os.strerror(code), str(path))


def write(path: str | os.PathLike[str], chunks: Iterable[Any]) -> None:
    """Write a file durably: afterwards it has all the chunks, or it is as it was.

    Parameters
    ----------
    path : str or PathLike
        A link is followed: what it points to is replaced.
    chunks : iterable of bytes-like

    Raises
    ------
    FileError
        If the system refuses; also an `OSError`, with its `errno`.
    """
    path = check_path(path)
    sweep(path)
    with _family(path, "written"):
        mode = None
        with contextlib.suppress(FileNotFoundError):
            mode = path.stat().st_mode
        if mode is not None and not stat.S_ISREG(mode):
            _refuse(
                path, errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL, "written"
            )
        temporary, file = _claimed(path, 0o666 if mode is None else stat.S_IMODE(mode))
        try:
            with file:
                if mode is not None and hasattr(os, "fchmod"):
                    # Some mounts take files but no modes; what is new has at most the
                    # old one's.
                    with contextlib.suppress(OSError):
                        os.fchmod(file.fileno(), stat.S_IMODE(mode))
                for chunk in chunks:
                    file.write(chunk)
                file.flush()
                _flush(file.fileno())
                if fcntl is not None:  # still locked: nobody takes it for a stale one
                    os.replace(temporary, path)  # noqa: PTH105 - one name, one step
            if fcntl is None:
                os.replace(temporary, path)  # noqa: PTH105
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        _flush_folder(path.parent)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise a `FileError` if a file cannot be written there.

    The name is too long, the folder takes no files, or a folder has the name.
    """
    path = check_path(path)
    with _family(path, "written"):
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISDIR(path.lstat().st_mode):
                _refuse(path, errno.EISDIR, "written")
        temporary, file = _claimed(path, 0o666)
        file.close()
        temporary.unlink(missing_ok=True)


def _temporary(path: Path, digits: str) -> Path:
    """Return a temporary name of `path`; without its name where that is a long one."""
    name = f".{path.name}.{digits}.tmp"
    return path.parent / (name if len(os.fsencode(name)) <= 255 else f".{digits}.tmp")


def _slots(path: Path) -> list[Path]:
    """Return the temporary names that follow from a path."""
    name = os.fsencode(path.name)
    marks = (hashlib.sha256(b"%d %s" % (k, name)).hexdigest() for k in range(_SLOTS))
    return [_temporary(path, mark[:12]) for mark in marks]


def _claimed(path: Path, mode: int) -> tuple[Path, BinaryIO]:
    """Make a temporary file and lock it, under the first name that nobody writes."""
    for temporary in _slots(path):
        if (file := _made(temporary, mode)) is not None:
            return temporary, file
    while True:
        temporary = _temporary(path, os.urandom(6).hex())
        if (file := _made(temporary, mode)) is not None:
            return temporary, file


def _made(temporary: Path, mode: int) -> BinaryIO | None:
    """Make a file and lock it; return None if the name is, or was just now, taken."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
    flags |= getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        # Not mkstemp, whose files nobody but the owner may ever read.
        descriptor = os.open(temporary, flags, mode)
    except FileExistsError:
        return None
    file = os.fdopen(descriptor, "wb")
    if fcntl is None:
        return file
    with contextlib.suppress(OSError):  # a file system without locks: none is swept
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    # Between the two calls a sweep may have taken it for a stale one.
    with contextlib.suppress(FileNotFoundError):
        if temporary.stat().st_ino == os.fstat(descriptor).st_ino:
            return file
    file.close()
    return None


def _flush(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_FLUSH:
            raise


def _flush_folder(folder: Path) -> None:
    """Make a new name last: on most systems a folder is flushed like a file."""
    with contextlib.suppress(OSError):  # the file itself is whole and in its place
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sweep(path: str | os.PathLike[str]) -> None:
    """Remove temporary files of `path` that nobody writes any more."""
    for temporary in _slots(check_path(path)):
        with contextlib.suppress(OSError):
            _remove_if_free(temporary)


def _remove_if_free(temporary: Path) -> None:
    if not stat.S_ISREG(temporary.lstat().st_mode):
        return
    if fcntl is None:
        temporary.unlink()
        return
    descriptor = os.open(temporary, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Its writer may have moved it away, and the next one begun a new one.
        if temporary.stat().st_ino == os.fstat(descriptor).st_ino:
            temporary.unlink()
    finally:
        os.close(descriptor)


def second_name(path: Path, name: Path) -> None:
    """Let a file be at `name`, too: a link, or a copy where there are no links."""
    remove(name)
    with _family(name, "written"):
        try:
            os.link(path, name)
        except FileNotFoundError:
            return  # somebody took the file away: there is nothing to keep
        except OSError:
            with path.open("rb") as file:
                write(name, iter(lambda: file.read(_PIECE), b""))


def remove(path: Path) -> None:
    """Remove a file, if it is there."""
    with _family(path, "removed"):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[tuple[BinaryIO, int]]:
    """Open a file for reading; yield it with its size.

    Raises
    ------
    MissingFileError, FileError
        Also for folders and devices.
    """
    path = check_path(path)
    with _family(path, "read"):
        about = path.stat()  # before opening: to open a pipe may wait for ever
        if not stat.S_ISREG(about.st_mode):
            folder = stat.S_ISDIR(about.st_mode)
            _refuse(path, errno.EISDIR if folder else errno.EINVAL, "read")
        with path.open("rb") as file:
            yield file, os.fstat(file.fileno()).st_size
