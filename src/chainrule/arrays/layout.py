"""Where each array lies in a flat vector, and what of it learns."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from chainrule.arrays.types import ArrayNamespace, Shape

__all__ = ["Described", "Entry", "Layout", "Span"]


class Described(Protocol):
    """What a layout has to know of an array: a layer's `Variable` says it."""

    @property
    def name(self) -> str:
        """By which it is found."""

    @property
    def shape(self) -> Shape:
        """Without the axes of members."""

    @property
    def decay(self) -> bool:
        """Whether weight decay applies."""

    @property
    def absorbed(self) -> bool:
        """Whether its gradient is zero in training."""


class Entry(NamedTuple):
    """Where one array lies in the flat vector."""

    name: str
    shape: Shape
    start: int
    stop: int
    decay: bool
    trainable: bool
    absorbed: bool = False  # the gradient is zero in training: `Layer.followed`

    @property
    def size(self) -> int:
        """How many numbers the array has."""
        return self.stop - self.start

    def flat(self, a: Any, xp: ArrayNamespace) -> Any:
        """Return the array (..., *shape) as a vector (..., size)."""
        lead = a.shape[: a.ndim - len(self.shape)]
        return xp.reshape(a, (*lead, self.stop - self.start))


class Span(NamedTuple):
    """Neighbouring entries that all learn, or are all frozen."""

    start: int
    stop: int
    trainable: bool
    entries: tuple[Entry, ...]

    def decay(self, xp: ArrayNamespace, dtype: Any) -> Any:
        """Return a vector over the span: 1 where weights decay, else 0."""
        return xp.concat(
            [xp.full((e.size,), float(e.decay), dtype=dtype) for e in self.entries]
        )


class Layout:
    """Where arrays lie in a flat vector (..., size): one behind the other, row-major.

    Parameters
    ----------
    variables : iterable
        What the arrays are, in their order: `Described`.
    frozen : collection of str
        The names of those that do not learn.

    Attributes
    ----------
    entries : tuple of Entry
    size : int
    spans : tuple of Span
        The entries, by whether they learn.
    learning_size : int
        How many numbers of the vector learn.
    """

    def __init__(
        self, variables: Iterable[Described], frozen: Collection[str] = ()
    ) -> None:
        entries, start = [], 0
        for v in variables:
            stop, learns = start + math.prod(v.shape), v.name not in frozen
            entries.append(
                Entry(v.name, v.shape, start, stop, v.decay, learns, v.absorbed)
            )
            start = stop
        self.entries: tuple[Entry, ...] = tuple(entries)
        self.size = start
        groups = itertools.groupby(entries, lambda e: e.trainable)
        self.spans: tuple[Span, ...] = tuple(
            Span(group[0].start, group[-1].stop, learns, group)
            for learns, group in ((learns, tuple(each)) for learns, each in groups)
        )
        self._learning = tuple(span for span in self.spans if span.trainable)
        self.learning_size: int = sum(s.stop - s.start for s in self._learning)

    def views(self, vector: Any, xp: ArrayNamespace) -> list[Any]:
        """Return the arrays of a vector (..., size): reshaped slices of it."""
        lead = vector.shape[:-1]
        return [
            xp.reshape(vector[..., e.start : e.stop], (*lead, *e.shape))
            for e in self.entries
        ]

    def join(self, pieces: Sequence[Any], xp: ArrayNamespace) -> Any:
        """Return the vector (..., size) of such arrays."""
        return xp.concat(
            [e.flat(a, xp) for a, e in zip(pieces, self.entries, strict=True)], axis=-1
        )

    def join_gradient(self, pieces: Sequence[Any], xp: ArrayNamespace) -> Any:
        """As `join`, where None counts as zeros; one piece at least is an array."""
        given = zip(pieces, self.entries, strict=True)
        a, entry = next((a, e) for a, e in given if a is not None)
        lead = a.shape[: a.ndim - len(entry.shape)]
        full = [
            xp.zeros((*lead, *e.shape), dtype=a.dtype) if piece is None else piece
            for piece, e in zip(pieces, self.entries, strict=True)
        ]
        return self.join(full, xp)

    # What learns, as a vector of its own.

    def learning(self, vector: Any, xp: ArrayNamespace) -> Any:
        """Return what learns of the last axis of a vector (..., size)."""
        if self.learning_size == self.size:
            return vector
        parts = [vector[..., span.start : span.stop] for span in self._learning]
        return xp.concat(parts, axis=-1)

    def filled(self, learning: Any, rest: Any, xp: ArrayNamespace) -> Any:
        """Undo `learning`: take what is frozen from `rest`, both of a single axis."""
        if self.learning_size == self.size:
            return learning
        parts, low = [], 0
        for span in self.spans:
            high = low + span.stop - span.start
            if span.trainable:
                parts.append(learning[low:high])
                low = high
            else:
                parts.append(rest[span.start : span.stop])
        return xp.concat(parts)

    def decay(self, xp: ArrayNamespace, dtype: Any) -> Any:
        """Return a vector over what learns: 1 where weights decay, else 0."""
        return xp.concat([span.decay(xp, dtype) for span in self._learning])
