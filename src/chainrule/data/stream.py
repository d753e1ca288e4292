"""What comes chunk by chunk: how it is told from an array, and what it gives."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from chainrule.arrays.types import Shape
from chainrule.data.samples import Data

__all__ = ["Chunk", "Source", "Stream", "stored"]


class Source:
    """Where samples come from: `Rows`, or `Batches`.

    Attributes
    ----------
    shape : tuple of int
        As of an array; of batches that of the first.
    origin : Backend or None
        That of an array in memory.
    """

    shape: Shape
    origin: Any


def stored(a: Any) -> bool:
    """Whether `a` is rows on a disk, or elsewhere, rather than an array in memory."""
    if isinstance(a, np.ndarray):
        return isinstance(a, np.memmap)
    if isinstance(a, Source):
        return True
    if isinstance(a, (list, tuple)):
        return bool(a) and all(map(_is_shard, a))
    home = type(a).__module__.partition(".")[0]
    if home == "pyarrow":
        return type(a).__name__ in ("Table", "ParquetFile")
    # Of the class: a closed file's own attributes raise.
    return home in ("h5py", "zarr") and hasattr(type(a), "shape")


def _is_shard(a: Any) -> bool:
    return isinstance(a, (str, os.PathLike)) and str(a).endswith(".npy")


class Chunk(NamedTuple):
    """Samples on the host, and which of them each step has.

    Attributes
    ----------
    data : Data
    step : int
        Steps of the epoch before it.
    full : int32 array, shape (steps, batch_size)
    rest : int32 array, shape (1, remainder), or None
    """

    data: Data
    step: int
    full: Any
    rest: Any


class Stream:
    """Samples that come chunk by chunk, each time anew.

    Attributes
    ----------
    steps : int or None
        Of an epoch, if it is known.
    first : Data
        A few samples, for checks.
    """

    steps: int | None
    first: Data

    def epoch(self, epoch: int, done: int = 0) -> Iterator[Chunk]:
        """Yield the chunks of an epoch, from the one that has step `done` on."""
        raise NotImplementedError

    def parts(self) -> Iterator[Data]:
        """Yield the samples in their own order, for evaluation."""
        raise NotImplementedError

    def described(self) -> tuple[tuple[Any, ...], str]:
        """Return what a checkpoint compares: x, y, weights, and how they are cut."""
        raise NotImplementedError

    def batch_size(self, wanted: int) -> int:
        """Return the samples of a step."""
        raise NotImplementedError
