"""Training on samples that come chunk by chunk; the next one is read meanwhile."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

from chainrule.data.prefetch import ahead
from chainrule.data.samples import Data, map_arrays
from chainrule.data.stream import Chunk
from chainrule.errors import SourceError
from chainrule.training.minibatch import MinibatchTraining

if TYPE_CHECKING:
    from chainrule.state.epochs import EpochResult
    from chainrule.training.options import Listener

__all__ = ["StreamTraining"]


class StreamTraining(MinibatchTraining):
    """The epochs of an optimizer that goes by batches, on a `Stream`.

    Each chunk is a piece of the epoch, as between two cuts.
    """

    _reader: Generator[tuple[Data, Chunk]] | None = None
    _head: tuple[Data, Chunk] | None = None  # the first chunk
    _rate_scale: Any = 1.0
    _made: int = 0  # steps of the epoch that are made

    def prepare(self, ahead: int, rate_scale: Any) -> None:
        """Read the first chunk of the next epoch; nothing of the state is touched."""
        state, steps = self._state, self._plan.data.steps
        if steps is not None:  # a bad rate is found before the epoch begins
            self._plan.optimizer.rates(state.step, steps, rate_scale)
        self._made = 0 if self._part is None else self._part.done
        self._close()
        self._reader = self._read(state.epoch, self._made)
        self._head = next(self._reader, None)
        self._rate_scale = rate_scale

    def advance(self, listener: Listener) -> EpochResult | None:
        """As `MinibatchTraining.advance`."""
        try:
            found = self._in_pieces(self._chunks(), listener)
        finally:
            self._close()
        if found is None:
            return None
        state = self._state
        last = state.step + self._made - 1
        rate = self._plan.optimizer.rates(last, 1, self._rate_scale)[..., -1][()]
        return self._ended(found, self._made, rate)

    def _close(self) -> None:
        """Stop reading."""
        reader, self._reader, self._head = self._reader, None, None
        if reader is not None:
            reader.close()

    def _read(self, epoch: int, done: int) -> Generator[tuple[Data, Chunk]]:
        backend = self._backend

        def place(chunk: Chunk) -> tuple[Data, Chunk]:
            placed = map_arrays(backend.adopt, chunk.data)
            nothing = map_arrays(lambda _: None, chunk.data)
            return placed, chunk._replace(data=nothing)

        return ahead(self._plan.data.epoch(epoch, done), place)

    def _chunks(self) -> Iterator[tuple[Data, Any, int]]:
        """Yield the chunks of the epoch, with what their steps need.

        None is held here while the next one is placed: two at most are in memory.
        """
        state, planner, factor = self._state, self._planner, self._rate_scale
        assert self._reader is not None
        current = self._head
        self._head = None
        while current is not None:
            data, chunk = current
            rate, first = state.rate, state.step + chunk.step
            if chunk.step:
                rates = self._plan.optimizer.rates(first - 1, 1, factor)
                rate = rates[..., -1][()]
            parts, _ = planner.chunk((chunk.full, chunk.rest), first, rate, factor)
            self._made = chunk.step + sum(part[0].shape[0] for part in parts)
            yield data, parts, chunk.step
            del current, data
            current = self._next()

    def _next(self) -> tuple[Data, Chunk] | None:
        """Return the next chunk; all processes have one, or none has."""
        assert self._reader is not None
        with self._backend.together():
            found = next(self._reader, None)
        if all(self._backend.any(found is None, found is not None)):
            msg = (
                "the samples of one process end before those of another one. Give each "
                "process the same batches."
            )
            raise SourceError(msg)
        return found

    def _finish_chunk(self, tally: Any) -> None:
        """Wait for the device: it must not run behind what is read."""
        if tally is not None:
            self._backend.to_numpy(tally[0][-1:, ...])
