"""Several JAX devices: the parameters divided over them, and each batch's rows.

theta and the optimizer's slots lie divided, as in ZeRO (Rajbhandari et al. 2020,
arXiv:1910.02054, stage 2): a step gathers theta, goes through its own rows, and sums
the gradient so that each device gets the part that it updates. What follows the steps,
and all of inference, is written for whole arrays; XLA divides the work.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from chainrule.arrays.layout import Layout
from chainrule.arrays.share import WHOLE, Share
from chainrule.backends.jax import devices
from chainrule.backends.jax.engine import JaxBackend
from chainrule.errors import DeviceError

__all__ = ["DeviceShare", "MeshJaxBackend"]

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
        """As `Share.gathered`: an all-gather. What fills up the vector stays at its end."""
        return lax.all_gather(theta, self._within, axis=theta.ndim - 1, tiled=True)

    def reduced(self, pieces: list[Any], layout: Layout) -> list[Any]:
        """As `Share.reduced`: a reduce-scatter."""
        g = layout.join_gradient(pieces, jnp)
        missing = -layout.size % self._parts
        g = jnp.pad(g, (*[(0, 0)] * (g.ndim - 1), (0, missing)))
        g = lax.psum_scatter(
            g, self._within, scatter_dimension=g.ndim - 1, tiled=True
        )
        return [lax.psum(g, self._across) if self._across else g]

    def norm(self, top: Any, root: Any) -> tuple[Any, Any]:
        """As `Share.norm`: one all-reduce of each part's two numbers."""
        mine = jnp.stack([top, root])
        where = jnp.arange(self._parts) == lax.axis_index(self._within)
        each = where.reshape(-1, *[1] * mine.ndim) * mine
        tops, roots = jnp.moveaxis(lax.psum(each, self._within), 0, 1)
        top = jnp.max(tops, axis=0)
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


class MeshJaxBackend(JaxBackend):
    """JAX on several devices.

    Parameters
    ----------
    device : jax.sharding.Mesh
        Of one axis, over which rows and parameters are divided; or of two: rows over
        both, parameters over the last one alone, each group of its devices having all.

    Attributes
    ----------
    axes : tuple of str
        The mesh's.
    shares : int
        Of a batch: the devices.
    parts : int
        Of a vector of parameters: the devices of the last axis.
    """

    device: Mesh

    def __init__(self, device: Mesh) -> None:
        super().__init__(_first(device))
        self.device = device
        self.axes: tuple[str, ...] = device.axis_names
        self.shares, self.parts = device.size, device.devices.shape[-1]

    @property
    def device_name(self) -> str:
        """The devices' names: "cpu:0,cpu:1"; with "/" between a mesh's rows."""
        rows = self.device.devices.reshape(-1, self.parts)
        return "/".join(",".join(devices.name(d) for d in row) for row in rows)

    def __repr__(self) -> str:
        return f"Backend('jax', device={self.device_name!r})"

    def versions(self) -> dict[str, str]:
        """Return the versions, and over how many devices sums are made."""
        shape = "x".join(map(str, self.device.devices.shape))
        return {**super().versions(), "devices": shape}

    # Arrays in and out.

    def owns(self, a: Any) -> bool:
        """Whether `a` is a JAX array on these devices."""
        return isinstance(a, jax.Array) and a.devices() == {*self.device.devices.flat}

    def asarray(self, a: Any, dtype: str | None = None) -> Any:
        """Return an array that every device has; one divided over them stays so."""
        if isinstance(a, jax.Array):
            a = a if dtype is None else a.astype(dtype)
            return a if self.owns(a) else self._put(a, _EVERYWHERE)
        return self._put(np.array(a, dtype=dtype), _EVERYWHERE)

    def adopt(self, a: Any) -> Any:
        """Return a host array as one that every device has."""
        return self._put(a, _EVERYWHERE)

    def _put(self, a: Any, spec: PartitionSpec) -> Any:
        return jax.device_put(a, NamedSharding(self.device, spec))

    def _by_members(self, shape: Sequence[int]) -> bool:
        """Whether arrays of this shape, (members, P), lie divided by members."""
        return len(shape) == 2 and shape[0] % self.shares == 0

    def vector(self, a: Any, dtype: str | None = None) -> Any:
        """Return theta or a slot as training carries it: divided, by members or along.

        Where their number does not divide it, zeros fill it up at the end.
        """
        a = self._copied(a, dtype)
        if self._by_members(a.shape):
            return self.state(a)
        size = a.shape[-1]
        if size < self.parts:
            msg = (
                f"device: {self.parts} devices share the parameters, of which this "
                f"network has {size}. Use at most {size} devices."
            )
            raise DeviceError(msg)
        xp: Any = np if isinstance(a, np.ndarray) else jnp
        a = xp.pad(a, (*[(0, 0)] * (a.ndim - 1), (0, -size % self.parts)))
        return self._put(a, PartitionSpec(*[None] * (a.ndim - 1), self.axes[-1]))

    def state(self, a: Any, dtype: str | None = None) -> Any:
        """Return the layers' state as training carries it: by members, or everywhere."""
        a = self._copied(a, dtype)
        by_members = self._by_members(a.shape)
        return self._put(a, PartitionSpec(self.axes) if by_members else _EVERYWHERE)

    def _copied(self, a: Any, dtype: str | None) -> Any:
        if isinstance(a, jax.Array):
            return jnp.array(a, dtype=dtype, copy=True)
        return np.array(a, dtype=dtype)

    def whole(self, a: Any, size: int) -> Any:
        """Return a vector of training as inference takes it: all of it everywhere."""
        return a if self._by_members(a.shape) else self._gather(size)(a)

    @functools.cached_property
    def _gather(self) -> Callable[[int], Callable[[Any], Any]]:
        everywhere = NamedSharding(self.device, _EVERYWHERE)

        @functools.cache
        def gather(size: int) -> Any:
            return jax.jit(lambda a: a[..., :size], out_shardings=everywhere)

        return gather

    def rounded(self, rows: int) -> int:
        """As many rows for each device, of a number that is compiled already."""
        return self.shares * super().rounded(-(-rows // self.shares))

    def divided(self, a: Any) -> Any:
        """Return the rows of inference, divided over the devices if that is even."""
        even = a.shape[0] and a.shape[0] % self.shares == 0
        return self._put(a, PartitionSpec(self.axes) if even else _EVERYWHERE)

    # The loop over steps.

    def scan(
        self,
        step: Callable[..., Any],
        carry: Any,
        data: Sequence[Any],
        order: Any,
        rows: Any,
        keys: Any,
    ) -> Any:
        """As `JaxBackend.scan`, each device working on its share of the steps.

        That is its members of an ensemble, where their number is a multiple of the
        devices', or else its rows of each batch.
        """
        steps, size = order.shape
        by_members = self._by_members(carry[0].shape)
        axes = PartitionSpec(self.axes)
        on_last = lambda n: PartitionSpec(*[None] * (n - 1), self.axes)  # noqa: E731
        if by_members:
            # Of arrays with an axis of members, the part of one's own.
            place: Any = axes, axes, axes
            samples = [
                None if a is None else on_last(2) if i == 2 and a.ndim == 2 else _EVERYWHERE
                for i, a in enumerate(data)
            ]
            scalars = PartitionSpec(None, None, self.axes) if rows.ndim == 4 else None
            of_order, of_rows = _EVERYWHERE, scalars or _EVERYWHERE
            each = data[2] is not None and data[2].ndim == 2
            of_tally: Any = on_last(2), on_last(2) if each else _EVERYWHERE
        else:
            along = PartitionSpec(*[None] * (carry[0].ndim - 1), self.axes[-1])
            place = along, _EVERYWHERE, along
            samples = [None if a is None else _EVERYWHERE for a in data]
            of_order, of_rows = on_last(2), _EVERYWHERE
            of_tally = _EVERYWHERE
            missing = -size % self.shares
            order = jnp.pad(jnp.asarray(order), ((0, 0), (0, missing)))

        def run(carry: Any, data: Any, order: Any, rows: Any, keys: Any) -> Any:
            share = WHOLE if by_members else DeviceShare(self, size)

            def body(carry: Any, xs: Any) -> Any:
                index, row, key = xs
                batch = [None if a is None else jnp.take(a, index, axis=0) for a in data]
                return step(carry, batch, row, key, share)

            # XLA must not know how long the loop is: one of a single step would be
            # fused with what comes after it, and have other bits when an epoch is cut.
            count = lax.optimization_barrier(jnp.int32(steps))
            carry, (values, masses) = self.repeat(body, carry, (order, rows, keys), count)
            return carry, (share.total(values), masses)

        return jax.shard_map(
            run,
            mesh=self.device,
            in_specs=(place, samples, of_order, of_rows, _EVERYWHERE),
            out_specs=(place, of_tally),
            check_vma=False,  # nothing is differentiated through it
        )(carry, list(data), order, rows, keys)


def _first(mesh: Mesh) -> Any:
    """Return a device of the mesh that belongs to this process."""
    here = jax.process_index()
    return next(d for d in mesh.devices.flat if d.process_index == here)
