"""The safetensors format: a header of JSON, then the arrays' bytes.

Eight bytes hold the header's length, little-endian. The header is an object of
``name: {"dtype", "shape", "data_offsets"}`` and of "__metadata__", strings by name,
filled up with spaces to a multiple of eight. Arrays lie behind it without gaps, the
widest dtype first, then by name. What is written here is what the library of that name
writes, byte by byte.

Source: huggingface.co/docs/safetensors, version 0.8 of the library.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn, TypeGuard

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import SerializationError

__all__ = ["pack", "unpack"]

# In the order in which their arrays are written.
_DTYPES = {
    "U64": "<u8",
    "I64": "<i8",
    "F64": "<f8",
    "F32": "<f4",
    "U32": "<u4",
    "I32": "<i4",
    "U16": "<u2",
    "I16": "<i2",
    "I8": "|i1",
    "U8": "|u1",
    "BOOL": "|b1",
}
_NAMES = {kind: name for name, kind in _DTYPES.items()}
_RANKS = {name: rank for rank, name in enumerate(_DTYPES)}
_MAX_AXES, _MAX_SIZE = 64, 2**63


def pack(
    arrays: Mapping[str, Any], metadata: Mapping[str, str]
) -> tuple[bytes, list[memoryview]]:
    """Return a file's header, its length before it, and the parts that follow it.

    Parameters
    ----------
    arrays : mapping from str to array
        Of numbers or booleans, in any layout. Those that lie in order are not copied.
    metadata : mapping from str to str

    Raises
    ------
    SerializationError
        If a file cannot have the dtype of an array.
    """
    plain = [(name, *_plain(name, a)) for name, a in arrays.items()]
    plain.sort(key=lambda each: (_RANKS[each[1]], each[0].encode()))
    entries: dict[str, Any] = {"__metadata__": dict(metadata)}
    parts, end = [], 0
    for name, dtype, a in plain:
        begin, end = end, end + a.nbytes
        offsets = [begin, end]
        entries[name] = {"dtype": dtype, "shape": a.shape, "data_offsets": offsets}
        if a.nbytes:
            parts.append(a.reshape(-1).view(np.uint8).data)
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, parts


def _plain(name: str, a: Any) -> tuple[str, NDArray[Any]]:
    """Return the dtype's name, and the array little-endian and in C order."""
    a = np.asarray(a)
    a = np.asarray(a, dtype=a.dtype.newbyteorder("<"), order="C")
    if a.dtype.str not in _NAMES:
        msg = f"{name} cannot be saved: no file has the dtype {a.dtype}."
        raise SerializationError(msg)
    return _NAMES[a.dtype.str], a


def unpack(entries: Mapping[str, Any], data: memoryview) -> dict[str, NDArray[Any]]:
    """Return the arrays of a header's entries: read-only views of the data.

    Parameters
    ----------
    entries : mapping from str to object
        Of the header, without "__metadata__"; they may be anything.
    data : memoryview of bytes
        What follows the header.

    Raises
    ------
    SerializationError
        If an entry is none, has a dtype that is not read, or the arrays do not fill
        the data without gap and overlap.
    """
    found, spans = {}, []
    for name, entry in entries.items():
        kind, shape, begin, end = _checked(name, entry, len(data))
        spans.append((begin, end))
        try:
            a = np.frombuffer(data[begin:end], kind).reshape(shape)
        except ValueError as error:
            msg = f"{name[:80]!r} has a shape that NumPy refuses ({error})."
            raise SerializationError(msg) from error
        a.flags.writeable = False
        found[name] = a
    reached = 0
    for begin, end in sorted(spans):
        if begin != reached:
            _refuse("its arrays have gaps between them, or overlap")
        reached = end
    if reached != len(data):
        _refuse("there is more data than arrays")
    return found


def _checked(
    name: str, entry: Any, most: int
) -> tuple[np.dtype[Any], list[int], int, int]:
    """Return an entry's dtype, shape, begin and end, if they go together."""
    shown = repr(name[:80])
    if not isinstance(entry, dict):
        _refuse(f"{shown} is no entry")
    dtype, shape, offsets = map(entry.get, ("dtype", "shape", "data_offsets"))
    if not (_are_sizes(shape) and _are_sizes(offsets) and len(offsets) == 2):
        _refuse(f"{shown} has no shape, or no offsets")
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        msg = f"{shown} has the dtype {str(dtype)[:40]}, which is not read."
        raise SerializationError(msg)
    kind, (begin, end) = np.dtype(_DTYPES[dtype]), offsets
    if end > most or end - begin != math.prod(shape) * kind.itemsize:
        _refuse(f"{shown} has another size than its shape says")
    return kind, shape, begin, end


def _are_sizes(value: Any) -> TypeGuard[list[int]]:
    # So few and so small that their product is quick.
    return (
        isinstance(value, list)
        and len(value) <= _MAX_AXES
        and all(type(n) is int and 0 <= n < _MAX_SIZE for n in value)
    )


def _refuse(why: str) -> NoReturn:
    msg = f"this is not a valid safetensors file: {why}."
    raise SerializationError(msg)
