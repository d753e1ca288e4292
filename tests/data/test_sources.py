"""Rows that are stored are read as they are, and what fails is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.data import sources
from chainrule.data.sources import Rows
from chainrule.data.stream import stored

from tests.support.streams import STORES, store

A = np.random.default_rng(0).normal(size=(103, 4)).astype(np.float32)


@pytest.mark.parametrize("kind", STORES)
def test_rows_are_those_that_were_stored(kind: str, tmp_path: Path) -> None:
    given = store(kind, A, tmp_path, "x")
    assert stored(given)
    rows = sources.receive("x", given)
    assert (rows.shape, rows.dtype, rows.ndim) == (A.shape, A.dtype, 2)
    for low, high in [(0, 103), (0, 1), (30, 41), (34, 35), (33, 69), (102, 103)]:
        np.testing.assert_array_equal(rows.read(low, high), A[low:high])
    part = rows.part(20, 60)
    assert part.shape == (40, 4)
    np.testing.assert_array_equal(part[5:9, ...], A[25:29])
    np.testing.assert_array_equal(part.part(3, 8)[:], A[23:28])


def test_grain_is_what_a_store_reads_at_once(tmp_path: Path) -> None:
    grains = {k: sources.receive("x", store(k, A, tmp_path, "x")).grain for k in STORES}
    assert grains == {
        "memmap": 1,
        "shards": 1,
        "hdf5": 16,
        "zarr": 32,
        "table": 1,
        "parquet": 40,
    }


@pytest.mark.parametrize(
    "a", [A, [1.0, 2.0], A.tolist(), [], ["a.npz"], "x.npy", None, 3, (1,)]
)
def test_what_is_in_memory_is_not_stored(a: Any) -> None:
    assert not stored(a)


def test_columns_of_a_parquet_file(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "t.parquet"
    columns = {"a": [1, 2, 3], "b": [0.5, 1.5, 2.5], "name": ["x", "y", "z"]}
    columns["gap"] = [1, None, 3]  # type: ignore[list-item]
    pq.write_table(pa.table(columns), path)
    np.testing.assert_array_equal(sources.parquet(path, "a")[:], [1, 2, 3])
    both = sources.parquet(path, ["b", "a"])
    assert both.dtype == np.float64
    np.testing.assert_array_equal(both[1:3], [[1.5, 2], [2.5, 3]])
    with pytest.raises(cr.ArgumentError, match=r"no column 'c'.* it has 'a', 'b'"):
        sources.parquet(path, ["a", "c"])
    with pytest.raises(cr.ArgumentTypeError, match="column 'name' is of type string"):
        sources.parquet(path)
    with pytest.raises(cr.ArgumentError, match="'gap' has missing values"):
        sources.parquet(path, "gap").read(0, 3)
    with pytest.raises(cr.MissingFileError, match="no file"):
        sources.parquet(tmp_path / "none.parquet")
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(cr.SourceError, match="cannot be read as Parquet"):
        sources.parquet(path)


def test_what_has_no_rows(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": pa.array([], pa.float64())}), path)
    for columns, shape in (("a", (0,)), (["a"], (0, 1))):
        rows = sources.parquet(path, columns)
        assert rows.shape == rows.read(0, 0).shape == shape
    for kind in ("memmap", "shards"):
        rows = sources.receive("x", store(kind, A[:0], tmp_path, f"x-{kind}"))
        assert rows.shape == rows.read(0, 0).shape == (0, 4)
    apart = [tmp_path / name for name in ("a.npy", "b.npy", "c.npy", "d.npy")]
    for part, file in zip((A[:0], A[:2], A[2:2], A[2:5]), apart, strict=True):
        np.save(file, part)
    rows = sources.receive("x", apart)
    np.testing.assert_array_equal(rows[:], A[:5])
    np.testing.assert_array_equal(rows[1:3], A[1:3])


def test_shards_that_do_not_agree_are_named(tmp_path: Path) -> None:
    a, b = tmp_path / "a.npy", tmp_path / "b.npy"
    np.save(a, A)
    np.save(b, A[:, :3])
    with pytest.raises(cr.ShapeError, match=r"b\.npy are \(3,\).*a\.npy \(4,\)"):
        sources.receive("x", [a, b])
    with pytest.raises(cr.MissingFileError, match=r"c\.npy"):
        sources.receive("x", [a, tmp_path / "c.npy"])
    b.write_bytes(b"no array")
    with pytest.raises(cr.SourceError, match=r"b\.npy cannot be read"):
        sources.receive("x", [a, b])
    np.save(b, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(cr.SourceError, match=r"b\.npy cannot be read"):
        sources.receive("x", [b])


def test_a_closed_file_is_named(tmp_path: Path) -> None:
    given = store("hdf5", A, tmp_path, "x")
    rows = sources.receive("x", given)
    given.file.close()
    with pytest.raises(cr.SourceError, match="x, rows 3 to 4 could not be read"):
        rows.read(3, 5)
    with pytest.raises(cr.SourceError, match="x could not be opened"):
        sources.receive("x", given)


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        (lambda low, high: A[low : high - 1], r"\(1, 4\).* was \(2, 4\)"),
        (lambda low, high: A[low:high, :2], r"\(2, 2\)"),
        (lambda low, high: A[low:high].astype(np.float64), "of float64"),
    ],
)
def test_a_source_that_changes_is_named(changed: Any, match: str) -> None:
    rows = Rows("x", A.shape, A.dtype, changed)
    with pytest.raises(cr.SourceError, match=match):
        rows.read(3, 5)


def test_what_holds_no_numbers_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "t.npy", np.array(["a", "b"]))
    with pytest.raises(cr.ArgumentTypeError, match="its source has dtype <U1"):
        sources.receive("x", [tmp_path / "t.npy"])
