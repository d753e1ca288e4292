"""The steps of an epoch on several JAX devices, each working on its share.

theta and the optimizer's slots lie divided, as in ZeRO (Rajbhandari et al. 2020,
arXiv:1910.02054, stage 2): a step gathers theta, goes through its own rows, and sums
the gradient so that each device gets the part that it updates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec

from chainrule.arrays.layout import Layout
from chainrule.arrays.share import WHOLE, Share

if TYPE_CHECKING:
    from chainrule.backends.jax.mesh import MeshJaxBackend

__all__ = ["DeviceShare", "scan"]

_EVERYWHERE = PartitionSpec()


class DeviceShare(Share):
    """One device's rows of a batch, and its part of the flat vectors.

    Made inside a function that `jax.shard_map` maps over the mesh.

    Parameters
    ----------
    backend : MeshJaxBackend
    size : int
        Rows of the batch.
    """

    first: Any

    def __init__(self, backend: MeshJaxBackend, size: int) -> None:
        self._axes, self._within = backend.axes, backend.axes[-1]
        self._across = backend.axes[:-1]
        self._shares, self._parts = backend.shares, backend.parts
        self._size, self._local = size, -(-size // backend.shares)
        self.first = (lax.axis_index(self._axes) * self._local).astype(jnp.int32)
        self._real: Any = None  # which rows do not just fill up
        if self._local * self._shares != size:
            self._real = self.first + jnp.arange(self._local, dtype=jnp.int32) < size

    def rows(self, n: int) -> int:
        """As `Share.rows`; a sample may have several rows."""
        return n // self._local * self._size

    def only(self, a: Any) -> Any:
        """As `Share.only`."""
        if self._real is None:
            return a
        each = jnp.repeat(self._real, a.shape[-2] // self._local)
        return jnp.where(each[:, None], a, 0.0)

    def total(self, a: Any) -> Any:
        """As `Share.total`: an all-reduce."""
        return lax.psum(a, self._axes)

    def weight(self, weight: Any, z: Any) -> Any:
        """As `Share.weight`."""
        if self._real is None:
            return weight
        counts = self._real.astype(z.dtype)
        return counts if weight is None else weight * counts

    def fraction(self, mass: Any) -> tuple[Any, Any]:
        """As `Share.fraction`: an all-reduce, unless each sample counts as one."""
        if mass is None and self._real is None:
            return 1.0 / self._shares, None
        if mass is None:
            real = jnp.clip(self._size - self.first, 0, self._local)
            return real.astype(jnp.result_type(float)) / self._size, None
        total = self.total(mass)
        weighs = total > 0
        part = mass / jnp.where(weighs, total, 1.0)
        return jnp.where(weighs, part, 1.0 / self._shares), total

    def gathered(self, theta: Any) -> Any:
        """As `Share.gathered`: an all-gather, with what fills up at the end."""
        return lax.all_gather(theta, self._within, axis=theta.ndim - 1, tiled=True)

    def reduced(self, pieces: list[Any], layout: Layout) -> list[Any]:
        """As `Share.reduced`: a reduce-scatter."""
        g = layout.join_gradient(pieces, jnp)
        missing = -layout.size % self._parts
        g = jnp.pad(g, (*[(0, 0)] * (g.ndim - 1), (0, missing)))
        g = lax.psum_scatter(g, self._within, scatter_dimension=g.ndim - 1, tiled=True)
        return [lax.psum(g, self._across) if self._across else g]

    def norm(self, top: Any, root: Any) -> tuple[Any, Any]:
        """As `Share.norm`: one all-reduce of each part's two numbers."""
        mine = jnp.stack([top, root])
        where = jnp.arange(self._parts) == lax.axis_index(self._within)
        each = where.reshape(-1, *[1] * mine.ndim) * mine
        tops, roots = jnp.moveaxis(lax.psum(each, self._within), 0, 1)
        tops = jnp.where(roots > 0.0, tops, 0.0)  # of nothing there is no largest
        top = jnp.max(tops, axis=0)
        top = jnp.where(top == 0.0, 1.0, top)
        scaled = tops / top * roots
        return top, jnp.sqrt(jnp.sum(scaled * scaled, axis=0))

    def updated(
        self,
        backend: Any,
        update: Callable[..., Any],
        arrays: tuple[Any, ...],
        gradient: list[Any],
        layout: Layout,
        decays: bool,
    ) -> tuple[Any, ...]:
        """As `Share.updated`; what is frozen, and what fills up, stays as it is."""
        (g,) = gradient
        size = g.shape[-1]
        place = lax.axis_index(self._within) * size + jnp.arange(size)

        def within(intervals: list[tuple[int, int]]) -> Any:
            found = jnp.zeros((size,), dtype=bool)
            for low, high in intervals:
                found |= (place >= low) & (place < high)
            return found

        decay = None
        if decays:
            decay = within(_joined(layout, lambda e: e.decay)).astype(g.dtype)
        new = tuple(update(g, decay, *arrays))
        learning = _joined(layout, lambda e: e.trainable)
        if learning == [(0, size * self._parts)]:
            return new
        learns = within(learning)
        return tuple(jnp.where(learns, b, a) for a, b in zip(arrays, new, strict=True))


def _joined(layout: Layout, wanted: Callable[[Any], bool]) -> list[tuple[int, int]]:
    """Return where entries of a kind lie in the vector, neighbours joined."""
    found: list[tuple[int, int]] = []
    for entry in layout.entries:
        if not wanted(entry):
            continue
        if found and found[-1][1] == entry.start:
            found[-1] = found[-1][0], entry.stop
        else:
            found.append((entry.start, entry.stop))
    return found


def scan(
    backend: MeshJaxBackend,
    step: Callable[..., Any],
    carry: Any,
    data: Sequence[Any],
    order: Any,
    rows: Any,
    keys: Any,
) -> Any:
    """Run steps over batches, each device working on its share of them.

    That is its members of an ensemble, where their number is a multiple of the
    devices', or else its rows of each batch. The arguments are those of
    `backends.loop.scan`.
    """
    steps, size = order.shape
    axes, last = backend.axes, backend.axes[-1]

    def along(ndim: int, by: Any = axes) -> PartitionSpec:
        """Return the spec of an array whose last axis is divided."""
        return PartitionSpec(*[None] * (ndim - 1), by)

    by_members = backend.by_members(carry[0].shape)
    samples = [_EVERYWHERE for _ in data]
    if by_members:
        # Of arrays with an axis of members, the part of one's own.
        place: Any = PartitionSpec(axes)
        weighted = data[2] is not None and data[2].ndim == 2
        if weighted:
            samples[2] = along(2)
        of_order = _EVERYWHERE
        of_rows = PartitionSpec(None, None, axes) if rows.ndim == 4 else _EVERYWHERE
        of_tally: Any = along(2), along(2) if weighted else _EVERYWHERE
    else:
        vector = along(carry[0].ndim, last)
        place = vector, _EVERYWHERE, vector
        of_order, of_rows, of_tally = along(2), _EVERYWHERE, _EVERYWHERE
        order = jnp.pad(jnp.asarray(order), ((0, 0), (0, -size % backend.shares)))
        for i in backend.rows_divided:
            samples[i] = PartitionSpec(axes)
    divided = () if by_members else backend.rows_divided

    def run(carry: Any, data: Any, xs: Any) -> Any:
        share = WHOLE if by_members else DeviceShare(backend, size)

        def body(carry: Any, xs: Any) -> Any:
            index, wanted, row, key = xs
            batch = [
                None
                if a is None
                else _exchanged(backend, a, wanted)
                if i in divided
                else jnp.take(a, index, axis=0)
                for i, a in enumerate(data)
            ]
            return step(carry, batch, row, key, share)

        # XLA must not know how long the loop is: one of a single step would be
        # fused with what comes after it, and have other bits when an epoch is cut.
        count = lax.optimization_barrier(jnp.int32(steps))
        carry, (values, masses) = backend.repeat(body, carry, xs, count)
        return carry, (share.total(values), masses)

    xs = order, order if divided else None, rows, keys
    return jax.shard_map(
        run,
        mesh=backend.device,
        in_specs=(place, samples, (of_order, _EVERYWHERE, of_rows, _EVERYWHERE)),
        out_specs=(place, of_tally),
        check_vma=False,  # nothing is differentiated through it
    )(carry, list(data), xs)


def _exchanged(backend: MeshJaxBackend, a: Any, wanted: Any) -> Any:
    """Return this device's share of the samples `wanted`, which lie divided.

    Each gives what it has of all that are wanted, and zeros: a reduce-scatter
    brings them to whom trains them.
    """
    at = wanted - lax.axis_index(backend.axes) * a.shape[0]
    mine = (at >= 0) & (at < a.shape[0])
    rows = jnp.take(a, jnp.where(mine, at, 0), axis=0)
    rows = jnp.where(mine.reshape(-1, *[1] * (a.ndim - 1)), rows, 0)
    return lax.psum_scatter(rows, backend.axes, scatter_dimension=0, tiled=True)
