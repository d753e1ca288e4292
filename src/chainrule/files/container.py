"""One safetensors file, with its configuration as JSON in the header.

The header's metadata has one key, "chainrule", whose value is a JSON object: the
SHA-256 of the file, the number of the format, the library's version, and what the file
is about. The digest is that of all bytes of the file, with its own 64 digits as zeros.

Reading executes nothing, and its memory is bounded by the size of the file, whatever
sizes the file claims. That a file is whole or not there is `chainrule.files.durable`'
part.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

from chainrule.config.version import VERSION
from chainrule.errors import ChainruleError, FileError, SerializationError
from chainrule.files import durable, safetensors

__all__ = ["FORMAT", "Contents", "naming", "read_file", "write_file"]

FORMAT = 1
_KEY = "chainrule"
# A header is text that is parsed as a whole: this bounds the memory for it.
_MAX_HEADER = 8 * 2**20
_MAX_MESSAGE = 1000
# Brackets within brackets: the parser has no limit of its own in every Python.
_MAX_NESTED = 256

_ZEROS = b"0" * 64
# Inside a string of JSON a quote is escaped, so no name or value can look like this.
_MARK = b'"chainrule":"{\\"sha256\\":\\"'


class Contents(NamedTuple):
    """What a file has: its configuration (parsed JSON) and its arrays, by name."""

    config: dict[str, Any]
    tensors: dict[str, Any]


@contextlib.contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Let every error of the family that leaves the block name the file.

    What the contents are to blame for is a `SerializationError`.
    """
    try:
        yield
    except FileError:
        raise
    except ChainruleError as error:
        text = str(error)
        if len(text) > _MAX_MESSAGE:  # it may quote what a hostile file says
            text = f"{text[:_MAX_MESSAGE]} ..."
        msg = f"{durable.check_path(path)}: {text}"
        raise SerializationError(msg) from error


def write_file(
    path: str | os.PathLike[str], config: dict[str, Any], tensors: dict[str, Any]
) -> None:
    """Write configuration and arrays durably: the file is whole, or as it was.

    Parameters
    ----------
    path : str or PathLike
    config : dict
        What `json` can write, without NaN or infinity; see `encode`.
    tensors : dict from str to numpy.ndarray
        Of numbers or booleans, in any layout.

    Raises
    ------
    SerializationError
        If the contents cannot be saved.
    FileError
        If the file cannot be written: a full disk, a folder that is not there.
    """
    path = durable.check_path(path)
    with naming(path):
        header, parts = _packed(config, tensors)
    durable.write(path, (header, *parts))


def _packed(
    config: dict[str, Any], tensors: dict[str, Any]
) -> tuple[bytes, list[memoryview]]:
    import hashlib
    import json

    about = {"sha256": _ZEROS.decode(), "format": FORMAT, "version": VERSION}
    text = json.dumps({**about, **config}, allow_nan=False, separators=(",", ":"))
    header, parts = safetensors.pack(tensors, {_KEY: text})
    if len(header) > 8 + _MAX_HEADER:
        msg = (
            f"the configuration takes {len(header):,} bytes; a file's header has at "
            f"most {_MAX_HEADER:,}. Merge layers, or put long lists into arrays."
        )
        raise SerializationError(msg)
    digest = hashlib.sha256(header)
    for part in parts:
        digest.update(part)
    at = header.index(_MARK) + len(_MARK)
    header = header[:at] + digest.hexdigest().encode() + header[at + len(_ZEROS) :]
    return header, parts


def read_file(path: str | os.PathLike[str]) -> Contents:
    """Read and check a file that `write_file` wrote; it may be anything instead.

    Parameters
    ----------
    path : str or PathLike

    Returns
    -------
    Contents
        Arrays are read-only.

    Raises
    ------
    SerializationError
        If it is no such file, is damaged, or is of a newer format.
    FileError
        If it cannot be read.
    """
    path = durable.check_path(path)
    with durable.opened(path) as (file, size), naming(path):
        header = _header(file, size)
        about, entries, end = _parsed(header)
        if end != size - len(header):
            msg = (
                f"the file is damaged: its header speaks of {end:,} bytes of data, and "
                f"there are {size - len(header):,}."
            )
            raise SerializationError(msg)
        file.seek(0)
        raw = file.read(size)  # whole, in one copy
        if not raw.startswith(header):
            msg = "the file changed while it was read."
            raise SerializationError(msg)
        data = memoryview(raw)[len(header) :]
        _check_digest(header, data)
        return Contents(about, safetensors.unpack(entries, data))


def _header(file: Any, size: int) -> bytes:
    """Read the length and the header, if the file can have them."""
    start = file.read(8)
    length = int.from_bytes(start, "little")
    if len(start) < 8 or not 2 <= length <= size - 8:
        msg = "this is not a safetensors file, or only a part of one."
        raise SerializationError(msg)
    if length > _MAX_HEADER:
        msg = f"its header has {length:,} bytes; at most {_MAX_HEADER:,} are read."
        raise SerializationError(msg)
    return bytes(start + file.read(length))


def _check_nesting(text: str, what: str) -> None:
    import re

    # A string without an end reaches to the end: each character is looked at once.
    bare = re.sub(r'"(?:[^"\\]|\\.)*"?', "", text, flags=re.DOTALL)
    depth = deepest = 0
    for found in re.finditer(r"([\[{]+)|[\]}]+", bare):
        depth += len(found[0]) if found[1] else -len(found[0])
        deepest = max(deepest, depth)
    if deepest > _MAX_NESTED:
        msg = (
            f"{what} is not valid JSON of a file: it is nested over {_MAX_NESTED} deep."
        )
        raise SerializationError(msg)


def _json(text: Any, what: str) -> dict[str, Any]:
    import json

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            msg = f"{what} has a name twice."
            raise SerializationError(msg)
        return found

    def refuse(name: str) -> Any:
        msg = f"{what} has the number {name}, which is not JSON."
        raise SerializationError(msg)

    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8")  # json would try, and import, other encodings
        _check_nesting(text, what)
        found = json.loads(text, object_pairs_hook=unique, parse_constant=refuse)
    except SerializationError:
        raise
    except (ValueError, RecursionError) as error:  # also bad UTF-8, and huge integers
        msg = f"{what} is not valid JSON ({error})."
        raise SerializationError(msg) from error
    if not isinstance(found, dict):
        msg = f"{what} must be a JSON object; got {type(found).__name__}."
        raise SerializationError(msg)
    return found


def _parsed(header: bytes) -> tuple[dict[str, Any], dict[str, Any], int]:
    """Return the configuration, the entries, and how many bytes of data they claim."""
    entries = _json(header[8:], "the header")
    metadata = entries.pop("__metadata__", None)
    text = metadata.get(_KEY) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        msg = "this safetensors file was not written by chainrule: it has no such key."
        raise SerializationError(msg)
    about = _json(text, "the configuration")
    number = about.pop("format", None)
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        msg = "the configuration does not say its format."
        raise SerializationError(msg)
    if number > FORMAT:
        version = repr(about.get("version"))[:40]
        msg = (
            f"it has format {number}, written by chainrule {version}; this version "
            f"reads formats up to {FORMAT}. Install a newer chainrule."
        )
        raise SerializationError(msg)
    ends = [0]
    for entry in entries.values():
        offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
        if (
            not isinstance(offsets, list)
            or len(offsets) != 2
            or not isinstance(offsets[1], int)
        ):
            msg = "the header has an entry without offsets."
            raise SerializationError(msg)
        ends.append(offsets[1])
    return about, entries, max(ends)


def _check_digest(header: bytes, data: memoryview) -> None:
    import hashlib

    at = header.find(_MARK) + len(_MARK)
    if header.count(_MARK) != 1:
        msg = "the file has no checksum where chainrule writes one."
        raise SerializationError(msg)
    digest = hashlib.sha256(header[:at] + _ZEROS + header[at + len(_ZEROS) :])
    digest.update(data)
    if header[at : at + len(_ZEROS)] != digest.hexdigest().encode():
        msg = (
            "the file is damaged: its contents do not match its SHA-256 checksum. "
            "Take another copy of it."
        )
        raise SerializationError(msg)
