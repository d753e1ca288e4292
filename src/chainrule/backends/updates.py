"""An optimizer's update on the flat vectors: joined, span by span, or block by block.

Each applies ``update(g, decay, *arrays) -> arrays``, elementwise, to the vectors
(theta, *slots), each (..., P), which the caller donates: the update may write into
them. The gradient comes in pieces, one for each entry of the layout, None where frozen.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from chainrule.arrays.layout import Entry, Layout, Span

if TYPE_CHECKING:
    from chainrule.backends.base import Backend

__all__ = ["by_blocks", "by_spans", "decay_mask", "forget", "joined", "write"]


def by_spans(
    backend: Backend,
    update: Callable[..., Any],
    arrays: tuple[Any, ...],
    pieces: list[Any],
    layout: Layout,
    decays: bool,
) -> tuple[Any, ...]:
    """Apply an update to each span that learns, and join the spans anew.

    Parameters
    ----------
    backend : Backend
    update : function
    arrays : tuple of arrays
    pieces : list of arrays or None
    layout : Layout
        Where the pieces lie in the vectors.
    decays : bool
        Whether the update has weight decay and wants its mask.
    """
    xp = backend.xp
    parts = []
    left = list(pieces)
    for span in layout.spans:
        mine, left = left[: len(span.entries)], left[len(span.entries) :]
        views = arrays
        if len(layout.spans) > 1:
            views = tuple(a[..., span.start : span.stop] for a in arrays)
        if span.trainable:
            g = backend.joined(mine, span.entries)
            decay = backend.decay_mask(span, g.dtype) if decays else None
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
    layout: Layout,
    decays: bool,
    block: int,
) -> tuple[Any, ...]:
    """As `by_spans`, in place, so many numbers at a time: what a cache can hold.

    The gradient is never joined, and no intermediate array is larger than a block.
    """
    for g, entry in zip(pieces, layout.entries, strict=True):
        if not entry.trainable:
            continue
        size, flat = entry.size, entry.flat(g, backend.xp)
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
    flat = [e.flat(g, backend.xp) for g, e in zip(pieces, entries, strict=True)]
    return flat[0] if len(flat) == 1 else backend.xp.concat(flat, axis=-1)


@functools.lru_cache(maxsize=8)
def decay_mask(backend: Backend, span: Span, dtype: Any) -> Any:
    """Return `Span.decay`, the same array in every step."""
    return span.decay(backend.xp, dtype)


def forget() -> None:
    """Drop the masks."""
    decay_mask.cache_clear()
