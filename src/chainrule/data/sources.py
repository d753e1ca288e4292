"""Rows that are read when they are asked for: files, memory maps, tables, shards."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.arrays.types import Shape
from chainrule.config import checks
from chainrule.data.stream import Source
from chainrule.errors import (
    ArgumentError,
    ArgumentTypeError,
    ChainruleError,
    MissingFileError,
    MissingLibraryError,
    ShapeError,
    SourceError,
)

__all__ = ["Rows", "attribute", "parquet", "receive"]


class Rows(Source):
    """An array (n, ...) whose rows are read when they are asked for.

    Parameters
    ----------
    name : str
        What messages call it: "x", say.
    shape : tuple of int
        (n, *sample_shape).
    dtype : NumPy dtype
    read : function
        ``read(low, high)`` returns the rows low ... high - 1 as something that
        `numpy.asarray` takes.
    grain : int
        Rows that the store reads and decodes at once; blocks are multiples of it.
    first : int
        The store's own number of row 0, for messages.
    columns : tuple of str, optional
        Names of a table's columns.
    """

    name: str
    shape: tuple[int, ...]
    dtype: Any
    grain: int
    first: int
    column_names: tuple[str, ...] | None

    def __init__(
        self,
        name: str,
        shape: Sequence[int],
        dtype: Any,
        read: Callable[[int, int], Any],
        grain: int = 1,
        first: int = 0,
        columns: tuple[str, ...] | None = None,
    ) -> None:
        self.name, self.shape = name, tuple(int(n) for n in shape)
        self.dtype, self.grain, self.first = np.dtype(dtype), max(1, int(grain)), first
        self._read, self.column_names = read, columns
        self.origin = None

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def read(self, low: int, high: int) -> Any:
        """Return rows low ... high - 1 as a NumPy array.

        Raises
        ------
        SourceError
            If the store fails, or gives rows of another shape or dtype than it said.
        """
        low, high = self.first + low, self.first + high
        where = f"{self.name}, rows {low} to {high - 1}"
        try:
            a = np.asarray(self._read(low, high))
        except ChainruleError as error:
            msg = f"{where}: {error}"
            raise type(error)(msg) from error
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            msg = f"{where} could not be read from its source: {text}"
            raise SourceError(msg) from error
        wanted = (high - low, *self.shape[1:])
        if a.shape != wanted or a.dtype != self.dtype:
            msg = (
                f"{where}: the source gave an array {a.shape} of {a.dtype}, and was "
                f"{wanted} of {self.dtype} when the call began; it must not change."
            )
            raise SourceError(msg)
        return a

    def __getitem__(self, index: Any) -> Any:
        """Return a range of rows: a[low:high], or a[low:high, ...]."""
        rows = index[0] if isinstance(index, tuple) else index
        low, high, _ = rows.indices(self.shape[0])
        return self.read(low, max(low, high))

    def part(self, low: int, high: int) -> Rows:
        """Return the rows low ... high - 1 as rows of their own."""
        shape = (high - low, *self.shape[1:])
        how = self.grain, self.first + low, self.column_names
        return Rows(self.name, shape, self.dtype, self._read, *how)

    def scaled(self, exponent: int) -> Rows:
        """Return rows times 2 ** exponent, in float64."""

        def read(low: int, high: int) -> Any:
            return np.ldexp(np.asarray(self._read(low, high), np.float64), exponent)

        how = self.grain, self.first, self.column_names
        return Rows(self.name, self.shape, np.float64, read, *how)


def attribute(name: str, a: Any, what: str) -> Any:
    """Return an attribute of what is stored, None if there is none.

    Raises
    ------
    SourceError
        If it cannot be had: of a closed file, say.
    """
    try:
        return getattr(a, what, None)
    except Exception as error:
        msg = f"{name} could not be opened: {type(error).__name__}: {error}"
        raise SourceError(msg) from error


def receive(name: str, a: Any) -> Rows:
    """Return what `stored` tells from an array in memory, or such an array, as rows.

    Raises
    ------
    SourceError, ArgumentTypeError, ShapeError
        If it cannot be opened, or does not hold numbers with an axis of samples.
    """
    if isinstance(a, Rows):
        how = a._read, a.grain, a.first, a.column_names
        rows = Rows(name, a.shape, a.dtype, *how)
    elif isinstance(a, (list, tuple)):
        rows = _shards(name, [os.fspath(path) for path in a])
    elif type(a).__module__.startswith("pyarrow"):
        rows = _arrow(name, a)
    else:
        rows = _sliced(name, a)
    if rows.dtype.kind not in "fiub":
        msg = (
            f"{name} must hold numbers (floating, integer or boolean); its source has "
            f"dtype {rows.dtype}."
        )
        raise ArgumentTypeError(msg)
    if not rows.shape:
        msg = f"{name} must have an axis of samples; got a single value (0-d)."
        raise ShapeError(msg)
    return rows


def _sliced(name: str, a: Any) -> Rows:
    """Return what is sliced by rows: memory maps, h5py.Dataset, zarr.Array, arrays."""
    shape, dtype = attribute(name, a, "shape"), attribute(name, a, "dtype")
    chunks = attribute(name, a, "chunks")
    grain = chunks[0] if isinstance(chunks, tuple) and chunks else 1
    return Rows(name, shape, dtype, lambda low, high: a[low:high], grain)


def _shards(name: str, paths: list[str]) -> Rows:
    """Return the rows of `.npy` files, one after the other."""
    load = functools.partial(np.load, mmap_mode="r", allow_pickle=False)
    maps = [_opened(load, path, "a .npy file", f"{name}: ") for path in paths]
    for path, a in zip(paths, maps, strict=True):
        if a.shape[1:] != maps[0].shape[1:] or a.dtype != maps[0].dtype or not a.ndim:
            msg = (
                f"{name}: the rows of {path} are {a.shape[1:]} of {a.dtype}, those of "
                f"{paths[0]} {maps[0].shape[1:]} of {maps[0].dtype}; they must agree."
            )
            raise ShapeError(msg)
    sizes = [len(a) for a in maps]
    shape = (sum(sizes), *maps[0].shape[1:])
    return Rows(name, shape, maps[0].dtype, _across(sizes, lambda k: maps[k]))


def _opened(load: Callable[[Any], Any], path: Any, kind: str, where: str = "") -> Any:
    """Return what `load` makes of a file."""
    try:
        return load(path)
    except FileNotFoundError as error:
        msg = f"{where}there is no file {path}."
        raise MissingFileError(msg) from error
    except (OSError, ValueError) as error:
        msg = f"{where}{path} cannot be read as {kind}: {error}"
        raise SourceError(msg) from error


def _across(
    sizes: Sequence[int], part: Callable[[int], Any]
) -> Callable[[int, int], Any]:
    """Return what reads rows of parts that lie one after the other.

    ``part(k)`` is the k-th, of sizes[k] rows.
    """
    ends = np.cumsum(sizes).tolist()

    def read(low: int, high: int) -> Any:
        k = min(int(np.searchsorted(ends, low, side="right")), len(sizes) - 1)
        start = ends[k] - sizes[k]
        parts = [part(k)[low - start : high - start]]
        while high > ends[k]:
            k += 1
            parts.append(part(k)[: high - (ends[k] - sizes[k])])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    return read


def parquet(
    path: str | os.PathLike[str], columns: str | Sequence[str] | None = None
) -> Rows:
    """Return columns of a Parquet file as rows for `Model.fit`, read as needed.

    Parameters
    ----------
    path : str or path
    columns : str, or sequence of str, optional
        One name gives rows of shape (n,), several (n, columns); all by default.

    Returns
    -------
    Rows
        Of the columns' common NumPy dtype. Row groups are decoded whole: files with
        groups of some 10⁴ rows read fastest.

    Raises
    ------
    MissingLibraryError
        Without pyarrow: the extra `parquet`.
    SourceError, MissingFileError, ArgumentError
        If the file cannot be read, or has no such column.
    """
    if not isinstance(path, (str, os.PathLike)):
        checks.refuse("path", "a path", path)
    single = isinstance(columns, str)
    if columns is not None and not single:
        names = list(columns) if isinstance(columns, (list, tuple)) else [None]
        if not names or not all(isinstance(n, str) for n in names):
            checks.refuse("columns", "a column's name, or a list of them", columns)
        if len(set(names)) < len(names):
            msg = f"columns names one twice: {checks.show(columns)}."
            raise ArgumentError(msg)
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        msg = "Parquet needs pyarrow: pip install pyarrow."
        raise MissingLibraryError(msg) from error
    return _parquet("x", _opened(pq.ParquetFile, path, "Parquet"), columns)


def _arrow(name: str, a: Any) -> Rows:
    if type(a).__name__ == "ParquetFile":
        return _parquet(name, a, None)
    dtype = _common(name, a.schema, a.column_names)
    shape = (a.num_rows, a.num_columns)

    def read(low: int, high: int) -> Any:
        return _matrix(a.slice(low, high - low), dtype)

    return Rows(name, shape, dtype, read, columns=tuple(a.column_names))


def _parquet(name: str, file: Any, columns: str | Sequence[str] | None) -> Rows:
    """Return columns of an open file; the last row group read is kept."""
    schema = file.schema_arrow
    single = isinstance(columns, str)
    names = [columns] if isinstance(columns, str) else list(columns or schema.names)
    lacking = [n for n in names if n not in schema.names]
    if lacking:
        msg = (
            f"columns: there is no column {lacking[0]!r} in the Parquet file; it has "
            f"{', '.join(map(repr, schema.names))}."
        )
        raise ArgumentError(msg)
    dtype = _common(name, schema, names)
    sizes = [
        file.metadata.row_group(k).num_rows for k in range(file.metadata.num_row_groups)
    ]
    kept: list[Any] = [None, None]

    def group(k: int) -> Any:
        if kept[0] != k:
            found = np.empty((0, len(names)), dtype)
            if sizes:  # a file without rows may have no group
                found = _matrix(file.read_row_group(k, columns=names), dtype)
            kept[:] = k, found[:, 0] if single else found
        return kept[1]

    shape: Shape = (sum(sizes),) if single else (sum(sizes), len(names))
    read, grain = _across(sizes or [0], group), max(sizes, default=1)
    return Rows(name, shape, dtype, read, grain, columns=tuple(names))


def _common(name: str, schema: Any, names: Sequence[str]) -> Any:
    """Return the NumPy dtype that holds all columns."""
    kinds = []
    for column in names:
        kind = schema.field(column).type
        try:
            dtype = np.dtype(kind.to_pandas_dtype())
        except (NotImplementedError, TypeError):
            dtype = np.dtype(object)
        if dtype.kind not in "fiub":
            msg = (
                f"{name} must hold numbers (floating, integer or boolean); column "
                f"{column!r} is of type {kind}."
            )
            raise ArgumentTypeError(msg)
        kinds.append(dtype)
    return np.result_type(*kinds)


def _matrix(table: Any, dtype: Any) -> Any:
    """Return a table's columns side by side."""
    found = np.empty((table.num_rows, table.num_columns), dtype)
    for k, (name, column) in enumerate(
        zip(table.column_names, table.columns, strict=True)
    ):
        if column.null_count:
            msg = f"column {name!r} has missing values; fill them or leave rows out."
            raise ArgumentError(msg)
        found[:, k] = column.to_numpy()
    return found
