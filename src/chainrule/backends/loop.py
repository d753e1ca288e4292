"""The loop over the steps of an epoch: batches of an order, and the scan over them.

`Backend` has these functions as its methods; an engine with a faster way overrides
them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chainrule.backends.base import Backend

__all__ = ["batches", "indices", "rows", "scan", "stacked", "take"]

# Bytes of which libraries make the address of an array a multiple.
_ALIGNMENT = 64


def rows(backend: Backend, matrix: Any, dtype: str, *, own: bool = False) -> Any:
    """Turn a host matrix of scalars into what `scan` takes: a row for each step.

    The matrix is (steps, k), or (steps, k, members, 1) where a scalar differs from
    member to member. By default a row is a list of Python floats, which take on the
    dtype of the arrays that they meet; what differs is an array (members, 1). With
    `own`, only code of the library's own sees them, which treats any scalars alike.
    """
    if matrix.ndim == 2:
        return matrix.tolist()
    columns = []
    for column in matrix.swapaxes(0, 1):
        same = (column == column[:, :1]).all()
        columns.append(
            column[:, 0, 0].tolist()
            if same
            else [backend.asarray(each, dtype) for each in column]
        )
    return list(zip(*columns, strict=True))


def indices(backend: Backend, order: Any) -> Any:
    """Turn a host array of int32 (samples, keys) into what `scan` takes."""
    return backend.asarray(order, "int32")


def take(backend: Backend, a: Any, index: Any) -> Any:
    """Gather samples: a[index] along the first axis."""
    return backend.xp.take(a, index, axis=0)


def batches(backend: Backend, data: Sequence[Any], order: Any) -> Iterator[Any]:
    """Yield the batches of an order (steps, batch), gathered for several steps at once.

    Of data that is None, None. Each batch begins where an array of its own might: a
    library's products may have other last bits at another alignment.
    """
    steps, size = order.shape
    group = 1
    if backend.gather:
        sizes = [size * (a.nbytes // a.shape[0]) for a in data if a is not None]
        if all(n % _ALIGNMENT == 0 for n in sizes):
            group = backend.gather // max(1, sum(sizes))
    if group < 2:
        for i in range(steps):
            index = order[i, :]
            yield tuple(None if a is None else backend.take(a, index) for a in data)
        return
    for first in range(0, steps, group):
        index = order[first : first + group, :]
        yield from zip(
            *(repeat(None) if a is None else backend.take(a, index) for a in data),
            strict=False,
        )


def scan(
    backend: Backend,
    step: Callable[..., Any],
    carry: Any,
    data: Sequence[Any],
    order: Any,
    rows: Any,
    keys: Any,
) -> Any:
    """Run `step` over batches; an epoch, or its remainder.

    Parameters
    ----------
    backend : Backend
    step : function
        ``step(carry, batch, row, key) -> (carry, (loss, mass))``
    carry : tree of arrays
        Donated by the caller.
    data : tuple of arrays or None
        Samples along the first axis.
    order : int32 array, shape (steps, batch)
        Which samples each batch has.
    rows : what `rows` returned
    keys : int32 array, shape (steps, draws, 2), or None

    Returns
    -------
    carry, (losses, masses)
        Stacked along a first axis of steps; masses may be None.
    """
    losses, masses = [], []
    for i, batch in enumerate(backend.batches(data, order)):
        key = None if keys is None else keys[i, :, :]
        carry, (loss, mass) = step(carry, batch, rows[i], key)
        losses.append(loss)
        masses.append(mass)
    return carry, backend.stacked(losses, masses)


def stacked(backend: Backend, losses: list[Any], masses: list[Any]) -> Any:
    """Stack the steps' losses, and their masses unless they are None."""
    stack = backend.xp.stack
    return stack(losses), (None if masses[0] is None else stack(masses))
