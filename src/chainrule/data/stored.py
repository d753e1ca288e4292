"""Rows that are stored, as samples that come chunk by chunk."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from chainrule.arrays.types import Shape
from chainrule.data.chunks import ChunkOrder
from chainrule.data.samples import Data
from chainrule.data.sources import Rows
from chainrule.data.stream import Chunk, Stream
from chainrule.errors import ChainruleError

__all__ = ["Gathered", "Receive", "Stored"]

# Bytes of which the address of memory is a multiple.
_ALIGNMENT = 64

# Checks x, y and weights as users have them: samples on the host, in the model's dtype.
Receive = Callable[[Any, Any, Any], Data]


class Stored(Stream):
    """Rows that are stored, in an order of chunks.

    Parameters
    ----------
    x, y : Rows
    weight : Rows or None
    order : ChunkOrder
    receive : function
        Checks a block: see `Receive`.
    """

    def __init__(
        self, x: Rows, y: Rows, weight: Rows | None, order: ChunkOrder, receive: Receive
    ) -> None:
        self._rows, self._order, self._receive = (x, y, weight), order, receive
        self.steps: int = order.steps
        self.first = self._block(0, min(order.samples, order.batch_size), "")

    def epoch(self, epoch: int, done: int = 0) -> Iterator[Chunk]:
        """As `Stream.epoch`."""
        for piece in self._order.pieces(epoch, done):
            where = f"chunk {piece.number + 1} of epoch {epoch + 1}"
            data = self._read(piece.blocks, where)
            yield Chunk(data, piece.step, piece.full, piece.rest)

    def parts(self) -> Iterator[Data]:
        """As `Stream.parts`: chunks of neighbouring blocks."""
        order = self._order._replace(seed=None)
        for piece in order.pieces(0):
            yield self._read(piece.blocks, f"chunk {piece.number + 1}")

    def described(self) -> tuple[tuple[Any, ...], str]:
        """As `Stream.described`: the rows themselves."""
        order = self._order
        return self._rows, f"{order.chunk} samples in blocks of {order.block}"

    def batch_size(self, wanted: int) -> int:
        """As `Stream.batch_size`."""
        return min(wanted, self._order.samples)

    def _read(self, blocks: list[tuple[int, int]], where: str) -> Data:
        """Return blocks of rows, checked and cast, in memory that is nobody else's."""
        gathered = Gathered(sum(high - low for low, high in blocks))
        for low, high in blocks:
            gathered.add(self._block(low, high, where))
        return gathered.take()

    def _block(self, low: int, high: int, where: str) -> Data:
        arrays: list[Any] = []
        try:
            for rows in self._rows:  # one by one: what was read tells which row is bad
                a = None if rows is None else rows.read(low, high)
                arrays.append(a)
            return self._receive(*arrays)
        except ChainruleError as error:
            first = self._rows[0].first
            text = f"{error} (In rows {first + low} to {first + high - 1}"
            text += f"{_row(first + low, *arrays)}"
            text += f", {where}.)" if where else ".)"
            raise type(error)(text) from error


class Gathered:
    """Samples put together, in memory that is nobody else's."""

    def __init__(self, rows: int) -> None:
        self._rows, self._at = rows, 0
        self._arrays: list[Any] = []

    def add(self, data: Data) -> None:
        """Put samples behind those that are there."""
        given: list[Any] = list(data)
        if not self._arrays:
            self._arrays = [
                None if a is None else _empty((self._rows, *a.shape[1:]), a.dtype)
                for a in given
            ]
        end = self._at + given[0].shape[0]
        for whole, a in zip(self._arrays, given, strict=True):
            if a is not None:
                whole[self._at : end] = a
        self._at = end

    def take(self) -> Data:
        """Return the samples, and keep none."""
        arrays, end = self._arrays, self._at
        self._arrays, self._at = [], 0
        return Data(*(None if a is None else a[:end] for a in arrays))  # type: ignore[arg-type]


def _empty(shape: Shape, dtype: Any) -> Any:
    """Return memory that begins where libraries can take it over without a copy."""
    size = math.prod(shape) * dtype.itemsize
    room = np.empty(size + _ALIGNMENT, np.uint8)
    start = -room.ctypes.data % _ALIGNMENT
    return room[start : start + size].view(dtype).reshape(shape)


def _row(low: int, *arrays: Any) -> str:
    """Return which row is the first that is not finite, as ", the first 17", or ""."""
    for a in arrays:
        if a is not None and a.dtype.kind == "f":
            bad = ~np.isfinite(a.reshape(a.shape[0], -1)).all(axis=1)
            if bad.any():
                return f", the first {low + int(np.argmax(bad))}"
    return ""
