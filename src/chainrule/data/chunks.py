"""The order of samples that do not fit into memory: epochs of chunks of blocks.

A block is rows that lie together; a chunk is blocks that are in memory together. Which
blocks a chunk has, and the order of samples within it, are functions of (seed, epoch).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from chainrule.arrays import random
from chainrule.errors import ArgumentError

__all__ = ["BLOCK", "ChunkOrder", "Piece", "cut"]

# Rows of a block, about: fewer mix better, more are read faster.
BLOCK = 1024


class Piece(NamedTuple):
    """A chunk of an epoch.

    Attributes
    ----------
    number : int
        Of the chunk in the epoch.
    step : int
        Steps of the epoch before it.
    blocks : list of (low, high)
        Which rows it has, as they lie.
    full : int32 array, shape (steps, batch_size)
        The order of its samples, by their numbers within the chunk.
    rest : int32 array, shape (1, remainder), or None
        The last step of the epoch, if it is smaller.
    """

    number: int
    step: int
    blocks: list[tuple[int, int]]
    full: Any
    rest: Any


class ChunkOrder(NamedTuple):
    """How samples are cut into chunks, and in which order they come.

    Attributes
    ----------
    samples, batch_size : int
    block : int
        Rows of a block, a multiple of batch_size; the last one of the samples may be
        smaller, and is in the last chunk.
    chunk : int
        Rows of a chunk, a multiple of the block.
    seed : int or None
        None keeps the samples' own order.
    """

    samples: int
    batch_size: int
    block: int
    chunk: int
    seed: int | None

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return -(-self.samples // self.batch_size)

    def pieces(self, epoch: int, done: int = 0) -> Iterator[Piece]:
        """Yield the chunks of an epoch, from the one that has step `done` on."""
        size, each = self.block, self.chunk // self.block
        whole = self.samples // size
        numbers = np.arange(whole)
        if self.seed is not None:
            random.generator(self.seed, random.ORDER, epoch).shuffle(numbers)
        starts = numbers * size
        if whole * size < self.samples:
            starts = np.append(starts, whole * size)
        for number, first in enumerate(range(0, len(starts), each)):
            step = number * (self.chunk // self.batch_size)
            chosen = np.sort(starts[first : first + each]).tolist()
            blocks = [(low, min(low + size, self.samples)) for low in chosen]
            rows = sum(high - low for low, high in blocks)
            if done < step + -(-rows // self.batch_size):
                yield Piece(number, step, blocks, *self._order(epoch, number, rows))

    def _order(self, epoch: int, number: int, rows: int) -> tuple[Any, Any]:
        order = np.arange(rows, dtype=np.int32)
        if self.seed is not None:
            key = self.seed, random.ORDER, epoch, number
            random.generator(*key).shuffle(order)
        end = rows - rows % self.batch_size
        full = order[:end].reshape(-1, self.batch_size)
        return full, (order[end:][None, :] if end < rows else None)


def cut(
    samples: int,
    batch_size: int,
    row_bytes: int,
    chunk_bytes: int,
    grain: int,
    seed: int | None,
) -> ChunkOrder | None:
    """Return how samples of `row_bytes` each are cut; None if one chunk holds them.

    Parameters
    ----------
    grain : int
        Rows that the source reads at once.

    Raises
    ------
    ArgumentError
        If a chunk holds less than a batch.
    """
    if samples * row_bytes <= chunk_bytes:
        return None
    rows = chunk_bytes // row_bytes
    if rows < batch_size:
        msg = (
            f"chunk_bytes {chunk_bytes} holds {rows} samples of {row_bytes} bytes, "
            f"fewer than a batch: at least {batch_size * row_bytes} are needed for "
            f"batch_size {batch_size}."
        )
        raise ArgumentError(msg)
    # Blocks of whole batches that are also whole grains, if a chunk holds four.
    unit = math.lcm(batch_size, grain)
    if 4 * unit > rows:
        unit = batch_size
    block = unit * max(1, min(round(BLOCK / unit), rows // (4 * unit)))
    return ChunkOrder(samples, batch_size, block, rows // block * block, seed)
