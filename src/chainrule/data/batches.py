"""Samples that come as batches, from what a user iterates over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from chainrule import backends
from chainrule.data import intake
from chainrule.data.datasets import batched
from chainrule.data.samples import Data
from chainrule.data.stored import Gathered, Receive
from chainrule.data.stream import Chunk, Source, Stream
from chainrule.errors import (
    ArgumentTypeError,
    ChainruleError,
    ShapeError,
    SourceError,
)

__all__ = ["Batches", "length"]


def length(source: Any) -> int | None:
    """Return how many batches there are; None where they do not tell."""
    if isinstance(source, batched):
        return source.steps
    try:
        return len(source)
    except TypeError:  # of a loader whose data set has no length, too
        return None


class Batches(Source, Stream):
    """Batches that an iterable gives, several of them at a time.

    Parameters
    ----------
    source : iterable of (x, y) or (x, y, weight), or function of the epoch
        What gives an iterable for each epoch; an iterator has one pass.
    steps : int or None
        Batches of an epoch; None: until it ends.
    chunk_bytes : int
        Of the batches that are in memory together.
    name : str
        What messages call it.

    Attributes
    ----------
    head : (x, y, weight)
        The first batch, on the host.
    origin : Backend
        Where the first batch's x lies.
    """

    def __init__(
        self, source: Any, steps: int | None, chunk_bytes: int, name: str = "x"
    ) -> None:
        self._source, self._chunk_bytes, self._name = source, chunk_bytes, name
        self.steps, self._asked = steps, steps
        if steps is None:
            self.steps = length(source)
        self._receive: Receive | None = None
        # What was begun for the first batch goes on in the first epoch.
        begun = self._begin(0, "epoch 1")
        first = self._next(begun, 0, "epoch 1")
        self._begun: tuple[Any, Iterator[Any]] | None = (first, begun)
        self.origin = backends.of(self._parts(first, 0)[0])
        self.head = self._batch(first, 0)
        self.shape = tuple(self.head[0].shape)

    def bind(self, receive: Receive) -> Batches:
        """Return it, with what checks a batch."""
        self._receive = receive
        self.first = receive(*self.head)
        return self

    def epoch(self, epoch: int, done: int = 0) -> Iterator[Chunk]:
        """As `Stream.epoch`; what was done already is read again, and passed over."""
        return self._chunks(epoch, f"epoch {epoch + 1}", done)

    def parts(self) -> Iterator[Data]:
        """As `Stream.parts`."""
        for chunk in self._chunks(0, "the evaluation", 0):
            yield chunk.data

    def described(self) -> tuple[tuple[Any, ...], str]:
        """As `Stream.described`: batches cannot be compared."""
        return (), f"batches, {self._asked or 'all'} of them"

    def batch_size(self, wanted: int) -> int:
        """As `Stream.batch_size`: the first batch's."""
        return self.shape[0]

    def _begin(self, epoch: int, where: str) -> Iterator[Any]:
        try:
            given = self._source(epoch) if callable(self._source) else self._source
            return iter(given)
        except ChainruleError:
            raise
        except Exception as error:
            msg = (
                f"{self._name} failed to begin {where}: {type(error).__name__}: "
                f"{error}. A function takes the epoch, and returns an iterable."
            )
            raise SourceError(msg) from error

    def _next(self, given: Iterator[Any], number: int, where: str) -> Any:
        """Return the next batch; None, if an epoch may end here."""
        try:
            return next(given)
        except StopIteration:
            if number and (self._asked is None or number == self._asked):
                return None
            wanted = f", and steps_per_epoch is {self._asked}" if self._asked else ""
            msg = f"{self._name} ended after {number} batches of {where}{wanted}."
            raise SourceError(msg) from None
        except ChainruleError:
            raise
        except Exception as error:
            msg = (
                f"{self._name} failed to give batch {number + 1} of {where}: "
                f"{type(error).__name__}: {error}"
            )
            raise SourceError(msg) from error

    def _all(self, epoch: int, where: str) -> Iterator[Any]:
        """Yield the batches of an epoch."""
        begun, self._begun = self._begun, None
        if begun is None or (epoch and callable(self._source)):
            given = self._begin(epoch, where)
            batch = self._next(given, 0, where)
        else:
            batch, given = begun
        number = 0
        while batch is not None:
            yield batch
            number += 1
            if number == self._asked:
                return
            batch = self._next(given, number, where)

    def _chunks(self, epoch: int, where: str, done: int) -> Iterator[Chunk]:
        """Yield equal batches as one; the last of all may be smaller."""
        size, first = len(self.head[0]), list(self.first)
        nbytes = sum(a.nbytes for a in first if a is not None)  # type: ignore[attr-defined]
        each = max(1, self._chunk_bytes // max(1, nbytes))
        if self.steps is not None:
            each = min(each, self.steps)
        gathered, step, count = Gathered(each * size), done // each * each, 0
        for number, batch in enumerate(self._all(epoch, where)):
            if number < step:
                continue
            data = self._checked(batch, number, where, size)
            rows = data.x.shape[0]
            if count % size or (rows < size and number == 0):
                msg = self._sizes(size, number, where)
                raise ShapeError(msg)
            gathered.add(data)
            del data
            count += rows
            if count == each * size:
                yield _chunk(gathered.take(), step, size)
                step, count = step + each, 0
        if count:
            yield _chunk(gathered.take(), step, size)

    def _checked(self, batch: Any, number: int, where: str, size: int) -> Data:
        """Return a batch as samples on the host."""
        assert self._receive is not None
        try:
            data = self._receive(*self._batch(batch, number))
        except ChainruleError as error:
            msg = f"{error} (In batch {number + 1} of {where}.)"
            raise type(error)(msg) from error
        if data.x.shape[0] > size:
            raise ShapeError(self._sizes(size, number, where))
        if (data.weight is None) != (self.first.weight is None):
            msg = (
                f"{self._name} must give weights with each batch, or with none; batch "
                f"{number + 1} of {where} differs from the first."
            )
            raise ShapeError(msg)
        return data

    def _sizes(self, size: int, number: int, where: str) -> str:
        return (
            f"batches must be of one size, {size} samples as the first; only the last "
            f"of an epoch may be smaller. (In batch {number + 1} of {where}.)"
        )

    def _parts(self, given: Any, number: int) -> tuple[Any, Any, Any]:
        """Return x, y and weights (or None) of a batch."""
        if not isinstance(given, (tuple, list)) or not 2 <= len(given) <= 3:
            shown = type(given).__name__
            shown += f" of {len(given)}" if isinstance(given, (tuple, list)) else ""
            msg = (
                f"{self._name} must give batches (x, y) or (x, y, sample_weight); "
                f"batch {number + 1} is a {shown}."
            )
            raise ArgumentTypeError(msg)
        x, y, *weight = given
        return x, y, weight[0] if weight else None

    def _batch(self, given: Any, number: int) -> tuple[Any, Any, Any]:
        x, y, weight = self._parts(given, number)
        names = f"{self._name} of a batch", "y of a batch"
        (x, x_origin), (y, y_origin) = map(intake.receive, names, (x, y))
        return intake.to_host(x, x_origin), intake.to_host(y, y_origin), weight


def _chunk(data: Data, step: int, size: int) -> Chunk:
    numbers = np.arange(data.x.shape[0], dtype=np.int32)
    end = numbers.size - numbers.size % size
    rest = numbers[end:][None, :] if end < numbers.size else None
    return Chunk(data, step, numbers[:end].reshape(-1, size), rest)
