"""Samples on a disk, in each form that can be read by rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

__all__ = ["STORES", "store"]


def _memmap(a: Any, folder: Path, name: str) -> Any:
    np.save(folder / f"{name}.npy", a)
    return np.load(folder / f"{name}.npy", mmap_mode="r")


def _shards(a: Any, folder: Path, name: str) -> Any:
    paths = []
    for k, part in enumerate(np.array_split(a, 3)):
        paths.append(folder / f"{name}-{k}.npy")
        np.save(paths[-1], part)
    return paths


def _hdf5(a: Any, folder: Path, name: str) -> Any:
    h5py = pytest.importorskip("h5py")
    chunks = (min(16, len(a)), *a.shape[1:])
    file = h5py.File(folder / f"{name}.h5", "w")
    return file.create_dataset("a", data=a, chunks=chunks)


def _zarr(a: Any, folder: Path, name: str) -> Any:
    zarr = pytest.importorskip("zarr")
    chunks = (min(32, len(a)), *a.shape[1:])
    array = zarr.create_array(
        str(folder / f"{name}.zarr"), shape=a.shape, dtype=a.dtype, chunks=chunks
    )
    array[:] = a
    return array


def _table(a: Any, folder: Path, name: str) -> Any:
    del folder, name
    pa = pytest.importorskip("pyarrow")
    columns = a.reshape(len(a), -1)
    return pa.table({f"c{k}": columns[:, k] for k in range(columns.shape[1])})


def _parquet(a: Any, folder: Path, name: str) -> Any:
    pq = pytest.importorskip("pyarrow.parquet")
    from chainrule.data.sources import parquet

    path = folder / f"{name}.parquet"
    pq.write_table(_table(a, folder, name), path, row_group_size=40)
    return parquet(path, "c0" if a.ndim == 1 else None)


STORES: dict[str, Callable[[Any, Path, str], Any]] = {
    "memmap": _memmap,
    "shards": _shards,
    "hdf5": _hdf5,
    "zarr": _zarr,
    "table": _table,
    "parquet": _parquet,
}


def store(kind: str, a: Any, folder: Path, name: str) -> Any:
    """Return the rows of an array, stored as `kind` says."""
    return STORES[kind](a, folder, name)
