"""Where each array lies in the flat vector, and what of it learns."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from chainrule.arrays.types import Shape

__all__ = ["Entry", "Layout", "Run"]


class Entry(NamedTuple):
    """Where one array lies in the flat vector."""

    name: str
    shape: Shape
    start: int
    stop: int
    decay: bool
    trainable: bool
    absorbed: bool = False  # the gradient is zero in training: `Layer.followed`


class Run(NamedTuple):
    """A run of neighbouring entries that all learn, or are all frozen."""

    start: int
    stop: int
    trainable: bool
    entries: tuple[Entry, ...]


def _layout(variables: Any, frozen: Any) -> tuple[Entry, ...]:
    entries, start = [], 0
    for v in variables:
        stop = start + math.prod(v.shape)
        entries.append(
            Entry(
                v.name, v.shape, start, stop, v.decay, v.name not in frozen, v.absorbed
            )
        )
        start = stop
    return tuple(entries)


def _runs(entries: tuple[Entry, ...]) -> tuple[Run, ...]:
    runs: list[Run] = []
    for e in entries:
        if runs and runs[-1].trainable == e.trainable:
            last = runs.pop()
            runs.append(Run(last.start, e.stop, e.trainable, (*last.entries, e)))
        else:
            runs.append(Run(e.start, e.stop, e.trainable, (e,)))
    return tuple(runs)


def _views(vector: Any, entries: tuple[Entry, ...], xp: Any) -> list[Any]:
    lead = vector.shape[:-1]
    return [
        xp.reshape(vector[..., e.start : e.stop], (*lead, *e.shape)) for e in entries
    ]


def _join(pieces: list[Any], entries: tuple[Entry, ...], xp: Any) -> Any:
    flat = [
        xp.reshape(p, (*p.shape[: p.ndim - len(e.shape)], e.stop - e.start))
        for p, e in zip(pieces, entries, strict=True)
    ]
    return xp.concat(flat, axis=-1)


class Layout:
    """What of the flat vector learns, and where weights decay.

    Attributes
    ----------
    size : int
        How many entries learn.
    decay : array, shape (size,)
        1 where weights decay, else 0.
    """

    def __init__(self, network: Any, xp: Any, dtype: Any) -> None:
        self._xp, self._network = xp, network
        self._runs = [run for run in network.runs if run.trainable]
        self.size = sum(run.stop - run.start for run in self._runs)
        self.decay = xp.concat(
            [
                xp.full((e.stop - e.start,), float(e.decay), dtype=dtype)
                for run in self._runs
                for e in run.entries
            ]
        )

    def learning(self, a: Any) -> Any:
        """Return what learns of the last axis of a (..., P)."""
        if self.size == self._network.size:
            return a
        parts = [a[..., run.start : run.stop] for run in self._runs]
        return self._xp.concat(parts, axis=-1)

    def filled(self, a: Any, rest: Any) -> Any:
        """Undo `learning`: take what is frozen from `rest` (P,)."""
        if self.size == self._network.size:
            return a
        parts, low = [], 0
        for run in self._network.runs:
            high = low + run.stop - run.start
            if run.trainable:
                parts.append(a[low:high])
                low = high
            else:
                parts.append(rest[run.start : run.stop])
        return self._xp.concat(parts)
