"""Samples that come chunk by chunk: from rows that are stored, or from batches."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from chainrule.arrays.types import Shape
from chainrule.data import intake
from chainrule.data.chunks import ChunkOrder
from chainrule.data.samples import Data
from chainrule.data.sources import Rows
from chainrule.errors import (
    ArgumentError,
    ArgumentTypeError,
    ChainruleError,
    ShapeError,
    SourceError,
)

__all__ = ["Batches", "Chunk", "Receive", "Stored", "Stream"]

# Bytes of which the address of memory is a multiple.
_ALIGNMENT = 64

# Checks x, y and weights as users have them: samples on the host, in the model's dtype.
Receive = Callable[[Any, Any, Any], Data]


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
        self.samples = order.samples
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

    def _read(self, blocks: list[tuple[int, int]], where: str) -> Data:
        """Return blocks of rows, checked and cast, in memory that is nobody else's."""
        total = sum(high - low for low, high in blocks)
        whole: list[Any] = []
        at = 0
        for low, high in blocks:
            data = self._block(low, high, where)
            if not whole:
                whole = [
                    None if a is None else _empty((total, *a.shape[1:]), a.dtype)
                    for a in data
                ]
            for all_rows, a in zip(whole, data, strict=True):
                if a is not None:
                    all_rows[at : at + high - low] = a
            at += high - low
        return Data(*whole)

    def _block(self, low: int, high: int, where: str) -> Data:
        x, y, weight = (None if a is None else a.read(low, high) for a in self._rows)
        try:
            return self._receive(x, y, weight)
        except ChainruleError as error:
            rows = self._rows[0].first
            text = f"{error} (In rows {rows + low} to {rows + high - 1}"
            text += f"{_row(rows + low, x, y, weight)}"
            text += f", {where}.)" if where else ".)"
            raise type(error)(text) from error


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


class Batches(Stream):
    """Batches that an iterable gives, several of them at a time.

    Parameters
    ----------
    source : iterable of (x, y) or (x, y, weight), or function of the epoch
        What gives an iterable for each epoch; an iterator has one pass.
    steps : int or None
        Batches of an epoch; None: until it ends.
    chunk_bytes : int
        Of the batches that are in memory together.
    """

    def __init__(self, source: Any, steps: int | None, chunk_bytes: int) -> None:
        self._source, self._chunk_bytes = source, chunk_bytes
        self.once = not callable(source) and iter(source) is source
        self.steps = steps
        if steps is None and hasattr(source, "__len__"):
            self.steps = len(source)
        self._bounded = steps is not None
        self._receive: Receive | None = None
        begun = self._begin(0)
        head = next(begun, None)
        if head is None:
            msg = "x gives no batches; at least one is needed."
            raise ArgumentError(msg)
        self.head = _batch(head, 0)
        if self.once:
            self._source = itertools.chain([head], begun)

    @property
    def shape(self) -> Shape:
        """Shape of the first batch's x."""
        return tuple(np.shape(self.head[0]))

    def bind(self, receive: Receive) -> Batches:
        """Return it, with what checks a batch."""
        self._receive = receive
        self.first = receive(*self.head)
        return self

    def epoch(self, epoch: int, done: int = 0) -> Iterator[Chunk]:
        """As `Stream.epoch`; what was done already is read again, and passed over."""
        yield from self._chunks(self._begin(epoch), f"epoch {epoch + 1}", done)

    def parts(self) -> Iterator[Data]:
        """As `Stream.parts`."""
        for chunk in self._chunks(self._begin(0), "the evaluation", 0):
            yield chunk.data

    def described(self) -> tuple[tuple[Any, ...], str]:
        """As `Stream.described`: batches cannot be compared."""
        return (), "batches"

    def _begin(self, epoch: int) -> Iterator[Any]:
        source = self._source(epoch) if callable(self._source) else self._source
        return iter(source)

    def _chunks(self, given: Iterator[Any], where: str, done: int) -> Iterator[Chunk]:
        """Yield equal batches as one; the last of all may be smaller."""
        assert self._receive is not None
        size = len(self.head[0])
        first: Any = self.first
        nbytes = sum(a.nbytes for a in first if a is not None)
        each = max(1, self._chunk_bytes // max(1, nbytes))
        held: list[Data] = []
        step, rest = 0, False
        for number, batch in enumerate(self._limited(given, where)):
            if number < done // each * each:
                step = number + 1
                continue
            place = f" (In batch {number + 1} of {where}.)"
            try:
                data = self._receive(*_batch(batch, number))
            except ChainruleError as error:
                msg = f"{error}{place}"
                raise type(error)(msg) from error
            rows = data.x.shape[0]
            if rest or rows > size:
                msg = (
                    f"batches must be of one size, {size} samples as the first; only "
                    f"the last of an epoch may be smaller.{place}"
                )
                raise ShapeError(msg)
            held.append(data)
            rest = rows < size
            if len(held) == each and not rest:
                yield _joined(held, step, size)
                step += len(held)
                held.clear()
        if held:
            yield _joined(held, step, size)

    def _limited(self, given: Iterator[Any], where: str) -> Iterator[Any]:
        """Yield the batches of an epoch; it is an error if there are too few."""
        steps = self.steps if self._bounded else None
        number = 0
        while steps is None or number < steps:
            try:
                batch = next(given)
            except StopIteration:
                if steps is None and number:
                    return
                wanted = f", and steps_per_epoch is {steps}" if steps else ""
                msg = f"x ended after {number} batches of {where}{wanted}."
                raise SourceError(msg) from None
            except ChainruleError:
                raise
            except Exception as error:
                msg = (
                    f"x failed to give batch {number + 1} of {where}: "
                    f"{type(error).__name__}: {error}"
                )
                raise SourceError(msg) from error
            yield batch
            number += 1


def _batch(given: Any, number: int) -> tuple[Any, Any, Any]:
    """Return x, y and weights (or None) of a batch, on the host."""
    if not isinstance(given, (tuple, list)) or not 2 <= len(given) <= 3:
        shown = type(given).__name__
        shown += f" of {len(given)}" if isinstance(given, (tuple, list)) else ""
        msg = (
            f"x must give batches (x, y) or (x, y, sample_weight); batch {number + 1} "
            f"is a {shown}."
        )
        raise ArgumentTypeError(msg)
    x, y, *weight = given
    return intake.to_host(x), intake.to_host(y), weight[0] if weight else None


def _joined(held: list[Data], step: int, size: int) -> Chunk:
    columns = zip(*held, strict=True)
    joined: list[Any] = [None if c[0] is None else np.concatenate(c) for c in columns]
    data = Data(*joined)
    numbers = np.arange(data.x.shape[0], dtype=np.int32)
    end = numbers.size - numbers.size % size
    rest = numbers[end:][None, :] if end < numbers.size else None
    return Chunk(data, step, numbers[:end].reshape(-1, size), rest)
