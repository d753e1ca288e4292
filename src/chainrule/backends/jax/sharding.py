"""Several JAX devices: the parameters divided over them, and each batch's rows.

theta and the optimizer's slots lie divided, as in ZeRO (Rajbhandari et al. 2020,
arXiv:1910.02054, stage 2): a step gathers theta, goes through its own rows, and sums
the gradient so that each device gets the part that it updates. What follows the steps,
and all of inference, is written for whole arrays; XLA divides the work.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from chainrule.arrays.layout import Layout
from chainrule.arrays.share import WHOLE, Share
from chainrule.backends.base import Backend
from chainrule.backends.jax import devices
from chainrule.backends.jax.engine import JaxBackend
from chainrule.config import checks
from chainrule.errors import ArgumentError, ChainruleError, DeviceError, PeerError

__all__ = ["DeviceShare", "MeshJaxBackend"]

_EVERYWHERE = PartitionSpec()
# Facts that processes compare, at most.
_FACTS = 48


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
        g = lax.psum_scatter(g, self._within, scatter_dimension=g.ndim - 1, tiled=True)
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
    divided : tuple of int
        Which of the arrays of the samples that are trained on lie divided by rows; the
        others lie everywhere.

    Attributes
    ----------
    axes : tuple of str
        The mesh's.
    shares : int
        Of a batch: the devices.
    parts : int
        Of a vector of parameters: the devices of the last axis.
    processes : int
        Of `jax.distributed`, to which the devices belong.
    """

    device: Mesh

    def __init__(self, device: Mesh, divided: tuple[int, ...] = ()) -> None:
        super().__init__(_first(device))
        self._divided = divided
        self.device = device
        self.axes: tuple[str, ...] = device.axis_names
        self.shares, self.parts = device.size, device.devices.shape[-1]
        processes = {d.process_index for d in device.devices.flat}
        self.processes = len(processes)
        self.leads: bool = jax.process_index() == min(processes)

    @property
    def device_name(self) -> str:
        """The devices' names: "cpu:0,cpu:1"; with "/" between a mesh's rows."""
        rows = self.device.devices.reshape(-1, self.parts)
        return "/".join(",".join(devices.name(d) for d in row) for row in rows)

    def __repr__(self) -> str:
        return f"Backend('jax', device={self.device_name!r})"

    def __eq__(self, other: object) -> bool:
        theirs = getattr(other, "_divided", ())
        return super().__eq__(other) and self._divided == theirs

    def __hash__(self) -> int:
        return hash((super().__hash__(), self._divided))

    def training_on(self, data: Any) -> Backend:
        """Return the engine for samples that lie as these do: some divided by rows."""
        rows = NamedSharding(self.device, PartitionSpec(self.axes))
        divided = tuple(
            i
            for i, a in enumerate(data)
            if a is not None and a.sharding.is_equivalent_to(rows, a.ndim)
        )
        return MeshJaxBackend(self.device, divided) if divided else self

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
        sharding = NamedSharding(self.device, spec)
        if self.processes == 1:
            return jax.device_put(a, sharding)
        if isinstance(a, jax.Array) and not a.is_fully_addressable:
            return _resharded(sharding)(a)
        # device_put would have all processes compare what they put, number by number.
        host = np.asarray(a)
        host = host.astype(jax.dtypes.canonicalize_dtype(host.dtype))
        return jax.make_array_from_callback(
            host.shape, sharding, lambda index: host[index]
        )

    def to_numpy(self, a: Any) -> Any:
        """Return a NumPy copy; of what other processes have, too."""
        if isinstance(a, jax.Array) and not a.is_fully_addressable:
            if not a.is_fully_replicated:
                a = self._put(a, _EVERYWHERE)
            a = a.addressable_data(0)
        return np.array(a)

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

    # Processes.

    @contextlib.contextmanager
    def scope(self, dtype: str, precision: str = "highest") -> Iterator[None]:
        """As `JaxBackend.scope`; the end of another process is a `PeerError`."""
        try:
            with super().scope(dtype, precision):
                yield
        except Exception as error:
            if self.processes == 1 or not _is_of_a_peer(error):
                raise
            msg = (
                "a process of this run has ended, or cannot be reached. Start all of "
                "them again; with fit(..., resume=path) they go on from a checkpoint."
            )
            raise PeerError(msg) from error

    def _of_each(self, mine: Any) -> Any:
        """Return the int32 numbers of each process, one row for each of its devices."""
        mine = np.asarray(mine, dtype=np.int32)[None, :]
        sharding = NamedSharding(self.device, PartitionSpec(self.axes))
        shape = (self.shares, mine.shape[1])
        return self.to_numpy(
            jax.make_array_from_callback(shape, sharding, lambda _: mine)
        )

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """As `Backend.any`: an all-gather."""
        if self.processes == 1:
            return flags
        return tuple(map(bool, self._of_each(flags).any(axis=0)))

    def compare(self, facts: Mapping[str, Any]) -> None:
        """As `Backend.compare`: of each fact a digest is compared."""
        if self.processes == 1:
            return
        # Of as many facts as there are, the first of all: how many facts there are.
        texts = [str(len(facts)), *(repr(value) for value in facts.values())]
        texts += [""] * (_FACTS - len(texts))
        digests = [hashlib.sha256(text.encode()).digest()[:8] for text in texts]
        each = self._of_each(np.frombuffer(b"".join(digests), dtype=np.int32))
        differ = (each != each[:1]).any(axis=0).reshape(-1, 2).any(axis=1)
        names = [name for name, bad in zip(("", *facts), differ, strict=False) if bad]
        if names:
            mine = "; ".join(
                f"{name} {checks.show(facts[name])}" for name in names if name
            )
            msg = (
                f"the processes of this run were given different things, this one, "
                f"number {jax.process_index()}: {mine}. Each must make the same calls "
                f"with the same arguments."
            )
            raise ArgumentError(msg)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """As `Backend.together`."""
        try:
            yield
        except Exception as error:
            if not isinstance(error, PeerError):
                self.any(True)
            raise
        if self.any(False)[0]:
            msg = (
                "another process of this run has refused its part; its own error says "
                "why. This one's model is as it was."
            )
            raise PeerError(msg)

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
        axes, last = self.axes, self.axes[-1]

        def along(ndim: int, by: Any = axes) -> PartitionSpec:
            """Return the spec of an array whose last axis is divided."""
            return PartitionSpec(*[None] * (ndim - 1), by)

        by_members = self._by_members(carry[0].shape)
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
            order = jnp.pad(jnp.asarray(order), ((0, 0), (0, -size % self.shares)))
            for i in self._divided:
                samples[i] = PartitionSpec(axes)
        divided = () if by_members else self._divided

        def run(carry: Any, data: Any, xs: Any) -> Any:
            share = WHOLE if by_members else DeviceShare(self, size)

            def body(carry: Any, xs: Any) -> Any:
                index, wanted, row, key = xs
                batch = [
                    None
                    if a is None
                    else self._exchanged(a, wanted)
                    if i in divided
                    else jnp.take(a, index, axis=0)
                    for i, a in enumerate(data)
                ]
                return step(carry, batch, row, key, share)

            # XLA must not know how long the loop is: one of a single step would be
            # fused with what comes after it, and have other bits when an epoch is cut.
            count = lax.optimization_barrier(jnp.int32(steps))
            carry, (values, masses) = self.repeat(body, carry, xs, count)
            return carry, (share.total(values), masses)

        xs = order, order if divided else None, rows, keys
        return jax.shard_map(
            run,
            mesh=self.device,
            in_specs=(place, samples, (of_order, _EVERYWHERE, of_rows, _EVERYWHERE)),
            out_specs=(place, of_tally),
            check_vma=False,  # nothing is differentiated through it
        )(carry, list(data), xs)

    def _exchanged(self, a: Any, wanted: Any) -> Any:
        """Return this device's share of the samples `wanted`, which lie divided.

        Each gives what it has of all that are wanted, and zeros: a reduce-scatter
        brings them to whom trains them.
        """
        at = wanted - lax.axis_index(self.axes) * a.shape[0]
        mine = (at >= 0) & (at < a.shape[0])
        rows = jnp.take(a, jnp.where(mine, at, 0), axis=0)
        rows = jnp.where(mine.reshape(-1, *[1] * (a.ndim - 1)), rows, 0)
        return lax.psum_scatter(rows, self.axes, scatter_dimension=0, tiled=True)


def _first(mesh: Mesh) -> Any:
    """Return a device of the mesh that belongs to this process."""
    here = jax.process_index()
    for device in mesh.devices.flat:
        if device.process_index == here:
            return device
    msg = (
        f"device: none of these devices belongs to this process, number {here}. Give "
        f"each process the same list, with devices of its own in it: 'gpu:*', say."
    )
    raise DeviceError(msg)


@functools.lru_cache(maxsize=64)
def _resharded(sharding: NamedSharding) -> Any:
    return jax.jit(lambda a: a, out_shardings=sharding)


# How JAX, Gloo and NCCL tell that another process is gone.
_LOST = (
    "Gloo",
    "NCCL",
    "Connection reset by peer",
    "Connection closed by peer",
    "Connection refused",
    "coordination service",
    "heartbeat",
    "UNAVAILABLE",
)


def _is_of_a_peer(error: Exception) -> bool:
    """Whether an error of JAX says that another process is gone."""
    if isinstance(error, ChainruleError):
        return False
    return isinstance(error, (ValueError, RuntimeError)) and any(
        word in str(error) for word in _LOST
    )
