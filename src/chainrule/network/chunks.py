"""Inference: outputs and losses of a trained network, in chunks of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.arrays.types import Array
from chainrule.network.forward import Build
from chainrule.network.network import Network

if TYPE_CHECKING:
    from chainrule.backends import Backend

__all__ = ["CHUNK", "outputs", "padded"]


# Rows of one forward pass in inference: bounds memory, and JAX's compiled shapes.
CHUNK = 8192


# Rows of one forward pass from which on products are as fast as they get.
_ENOUGH = 512


def padded(
    backend: Backend, a: Array, low: int, size: int, *, fill: bool = True
) -> tuple[Any, int]:
    """Rows low ... low + size of a, and how many they are.

    Where every new number of rows costs a compilation they are padded to a power of
    two: with the first row, or with zeros. Host arrays are padded on the host.
    """
    part = a[low : min(low + size, a.shape[0]), ...]
    rows = part.shape[0]
    if not backend.pads or rows == 0:
        return part, rows
    missing = backend.rounded(rows) - rows
    if missing:
        xp = np if isinstance(a, np.ndarray) else backend.xp
        more = part[:1, ...] if fill else xp.zeros_like(part[:1, ...])
        more = xp.broadcast_to(more, (missing, *part.shape[1:]))
        part = xp.concat([part, more], axis=0)
    return part, rows


def _rows(backend: Backend, network: Network) -> int:
    """Rows to work on at a time, so that what is between the layers fits a cache."""
    rows: int = min(CHUNK, max(_ENOUGH, backend.block // network.widest))
    # A power of two, or what it is rounded to: only the last chunk is padded.
    return backend.rounded(1 << (rows.bit_length() - 1))


def outputs(
    backend: Backend,
    weights: tuple[Array, Array],
    x: Array,
    build: Build,
    *key: Any,
    also: tuple[Any, ...] = (),
    rows: int | None = None,
) -> Any:
    """Apply the function that ``build(backend, *key)`` makes to x in chunks; join them.

    x may be a host array where the backend `pads`; the result is then one, too. `also`
    are further arrays of the same samples, for the function's next arguments; `rows` is
    how many are worked on at a time. The key begins with the network.
    """
    run, rows = backend.compile(build, *key), rows or _rows(backend, key[0])
    host = backend.pads and isinstance(x, np.ndarray)
    samples, parts, whole = x.shape[0], [], None
    for low in range(0, max(1, samples), rows):
        some = [backend.divided(padded(backend, a, low, rows)[0]) for a in (x, *also)]
        count = min(rows, samples - low)
        z = run(*weights, *some)
        if not key[0].size:  # without parameters it may be x itself
            z = backend.copy(z)
        if host:
            z = backend.to_numpy(z)
        z = z if z.shape[0] == count else z[:count, ...]
        if count == samples:
            return z
        if isinstance(z, np.ndarray):
            # Put down at once: joining all at the end would take twice the memory.
            if whole is None:
                whole = np.empty((samples, *z.shape[1:]), dtype=z.dtype)
            whole[low : low + count] = z
        else:
            parts.append(z)
    return backend.xp.concat(parts, axis=0) if whole is None else whole
