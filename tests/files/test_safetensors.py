"""The safetensors format, against the library of that name."""

from __future__ import annotations

import contextlib
import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from safetensors import SafetensorError, deserialize
from safetensors.numpy import load, save

import chainrule as cr
from chainrule.files import safetensors

LIBRARY: Any = deserialize  # which has no types
KINDS = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8"]
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
ARRAYS = st.dictionaries(
    NAMES.filter(lambda name: name != "__metadata__"),
    arrays_of.arrays(
        st.sampled_from([*KINDS, ">f4", ">i8"]),
        arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    ),
    max_size=6,
)


def _written(arrays: dict[str, Any], metadata: dict[str, str]) -> bytes:
    header, parts = safetensors.pack(arrays, metadata)
    return header + b"".join(parts)


def _read(raw: bytes) -> dict[str, Any]:
    end = 8 + int.from_bytes(raw[:8], "little")
    entries = json.loads(raw[8:end])
    entries.pop("__metadata__", None)
    return safetensors.unpack(entries, memoryview(raw)[end:])


@given(ARRAYS, NAMES, NAMES)
def test_the_bytes_are_the_librarys(
    arrays: dict[str, Any], key: str, value: str
) -> None:
    ours = _written(arrays, {key: value})
    native = {
        name: np.ascontiguousarray(a, a.dtype.newbyteorder("=")).reshape(a.shape)
        for name, a in arrays.items()
    }
    assert ours == save(native, metadata={key: value})


@given(ARRAYS)
def test_each_reads_what_the_other_writes(arrays: dict[str, Any]) -> None:
    raw = _written(arrays, {"a": "b"})
    for found in (_read(raw), load(raw)):
        assert found.keys() == arrays.keys()
        for name, a in arrays.items():
            assert found[name].dtype == a.dtype.newbyteorder("=")
            assert found[name].shape == a.shape
            assert found[name].tobytes() == a.astype(found[name].dtype).tobytes()


def test_what_is_read_is_a_view_that_nobody_writes_into() -> None:
    raw = _written({"a": np.arange(4.0)}, {})
    a = _read(raw)["a"]
    assert not a.flags.writeable
    assert a.base is not None


def test_arrays_in_any_layout() -> None:
    a = np.arange(12.0).reshape(3, 4)
    for layout in (a.T, a[:, ::2], np.asfortranarray(a), a[::-1]):
        np.testing.assert_array_equal(_read(_written({"a": layout}, {}))["a"], layout)


@pytest.mark.parametrize("a", [np.zeros(2, "f2"), np.zeros(2, "c8"), np.array(["x"])])
def test_other_dtypes_are_refused(a: Any) -> None:
    with pytest.raises(cr.SerializationError, match=r"a cannot be saved: .* dtype"):
        safetensors.pack({"a": a}, {})


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 40),
    st.sampled_from([2**31, 2**62, 2**63, 2**64, 2**200]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["F32", "F64", "I8", "BOOL", "F16", "f32", ""]),
)
ENTRIES = st.dictionaries(
    st.sampled_from(["a", "b", "c"]),
    st.one_of(
        VALUES,
        st.fixed_dictionaries(
            {},
            optional={
                "dtype": VALUES | st.sampled_from(["F32", "F64", "I8", "U16"]),
                "shape": VALUES | st.lists(st.integers(0, 4), max_size=3),
                "data_offsets": VALUES
                | st.lists(st.integers(0, 40) | VALUES, min_size=1, max_size=3)
                | st.sampled_from([[0, 8], [8, 16], [0, 16], [16, 24]]),
            },
        ),
    ),
    max_size=3,
)


@settings(max_examples=400)
@given(ENTRIES, st.sampled_from([0, 8, 16, 24]))
def test_what_is_no_file_to_the_library_is_none_here(
    entries: dict[str, Any], size: int
) -> None:
    """Both accept the same, but for dtypes that are not read here."""
    text = json.dumps(entries).encode()
    raw = struct.pack("<Q", len(text)) + text + bytes(size)
    theirs: Any = None
    with contextlib.suppress(SafetensorError):
        theirs = {name: entry["shape"] for name, entry in LIBRARY(raw)}
    kinds = {entry["dtype"] for entry in entries.values()} if theirs else set()
    if kinds - {"F32", "F64", "I8", "U16", "BOOL"}:
        theirs = None  # the library reads more
    ours: Any = None
    with contextlib.suppress(cr.SerializationError):
        ours = {name: list(a.shape) for name, a in _read(raw).items()}
    assert theirs == ours


def test_sizes_whose_product_would_take_for_ever() -> None:
    many = {"dtype": "F32", "shape": [2**62] * 100_000, "data_offsets": [0, 4]}
    huge = {"dtype": "F32", "shape": [10**4000] * 500, "data_offsets": [0, 4]}
    for entry in (many, huge):
        with pytest.raises(cr.SerializationError, match="has no shape"):
            safetensors.unpack({"a": entry}, memoryview(bytes(4)))
