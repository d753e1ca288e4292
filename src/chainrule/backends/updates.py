"""An optimizer's update on the flat vectors: joined, span by span, or block by block.

Each applies ``update(g, decay, *arrays) -> arrays``, elementwise, to the vectors (theta,
*slots), each (..., P), which the caller donates: the update may write into them. The
gradient comes in pieces, one for each entry of the layout, None where frozen.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from chainrule.arrays.layout import Entry, Run

if TYPE_CHECKING:
    from chainrule.backends.base import Backend

__all__ = ["by_blocks", "by_spans", "decay_mask", "joined", "remembered_mask", "write"]


def by_spans(
    backend: Backend,
    update: Callable[..., Any],
    arrays: tuple[Any, ...],
    pieces: list[Any],
    network: Any,
    decays: bool,
) -> tuple[Any, ...]:
    """Apply an update to each span that learns, and join the spans anew.

    Parameters
    ----------
    backend : Backend
    update : function
    arrays : tuple of arrays
    pieces : list of arrays or None
    network : Network
        Whose layout it is.
    decays : bool
        Whether the update has weight decay and wants its mask.
    """
    xp = backend.xp
    parts = []
    left = list(pieces)
    for run in network.runs:
        mine, left = left[: len(run.entries)], left[len(run.entries) :]
        views = arrays
        if len(network.runs) > 1:
            views = tuple(a[..., run.start : run.stop] for a in arrays)
        if run.trainable:
            g = backend.joined(mine, run.entries)
            decay = backend.decay_mask(run, g.dtype) if decays else None
            views = update(g, decay, *views)
        parts.append(views)
    if len(parts) == 1:
        return tuple(parts[0])
    columns = zip(*parts, strict=True)
    return tuple(xp.concat(column, axis=-1) for column in columns)


def by_blocks(
    backend: Backend,
    update: Callable[..., Any],
    arrays: tuple[Any, ...],
    pieces: list[Any],
    network: Any,
    decays: bool,
    block: int,
) -> tuple[Any, ...]:
    """As `by_spans`, in place, so many numbers at a time: what a cache can hold.

    The gradient is never joined, and no intermediate array is larger than a block.
    """
    for g, entry in zip(pieces, network.entries, strict=True):
        if g is None:
            continue
        size = entry.stop - entry.start
        flat = backend.xp.reshape(g, (*g.shape[: g.ndim - len(entry.shape)], size))
        decay = float(entry.decay) if decays else None
        for low in range(0, size, block):
            high = min(low + block, size)
            place = slice(entry.start + low, entry.start + high)
            views = [a[..., place] for a in arrays]
            write(backend, views, update(flat[..., low:high], decay, *views))
    return arrays


def write(backend: Backend, old: Sequence[Any], new: Sequence[Any]) -> None:
    """Write an update's answer into the old arrays where it was not made in place."""
    moved = [(a, b) for a, b in zip(old, new, strict=True) if a is not b]
    if len(moved) > 1:
        # An old array in another's place must be read before it is written.
        moved = [
            (a, backend.copy(b) if any(b is c for c in old) else b) for a, b in moved
        ]
    for a, b in moved:
        a[...] = b


def joined(backend: Backend, pieces: list[Any], entries: Sequence[Entry]) -> Any:
    """Join the gradients of neighbouring entries into one vector (..., size)."""
    flat = [
        backend.xp.reshape(g, (*g.shape[: g.ndim - len(e.shape)], e.stop - e.start))
        for g, e in zip(pieces, entries, strict=True)
    ]
    return flat[0] if len(flat) == 1 else backend.xp.concat(flat, axis=-1)


def decay_mask(backend: Backend, span: Run, dtype: Any) -> Any:
    """Return a vector over a span: 1 where weights decay, else 0."""
    xp = backend.xp
    return xp.concat(
        [
            xp.full((e.stop - e.start,), 1.0 if e.decay else 0.0, dtype=dtype)
            for e in span.entries
        ]
    )


# The same in every step, where it can be kept: not inside what an engine compiles.
remembered_mask = functools.lru_cache(maxsize=8)(decay_mask)


def forget() -> None:
    """Drop the masks."""
    remembered_mask.cache_clear()
