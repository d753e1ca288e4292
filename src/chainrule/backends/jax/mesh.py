"""JAX on several devices: what lies where, and which processes they belong to.

What follows the steps of an epoch, and all of inference, is written for whole arrays;
XLA divides the work.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from chainrule.backends.base import Backend
from chainrule.backends.jax import devices, processes, sharding
from chainrule.backends.jax.engine import JaxBackend
from chainrule.errors import DeviceError, PeerError

__all__ = ["MeshJaxBackend"]

_EVERYWHERE = PartitionSpec()


class MeshJaxBackend(JaxBackend):
    """JAX on several devices.

    Parameters
    ----------
    device : jax.sharding.Mesh
        Of one axis, over which rows and parameters are divided; or of two: rows over
        both, parameters over the last one alone, each group of its devices having all.
    rows_divided : tuple of int
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
    rows_divided : tuple of int
        As given.
    """

    device: Mesh
    axes: tuple[str, ...]
    shares: int
    parts: int
    processes: int
    leads: bool
    rows_divided: tuple[int, ...]

    def __init__(self, device: Mesh, rows_divided: tuple[int, ...] = ()) -> None:
        super().__init__(_first(device))
        self.rows_divided = rows_divided
        self.device = device
        self.axes = device.axis_names
        self.shares, self.parts = device.size, device.devices.shape[-1]
        numbers = {d.process_index for d in device.devices.flat}
        self.processes = len(numbers)
        self.leads = jax.process_index() == min(numbers)

    @property
    def device_name(self) -> str:
        """The devices' names: "cpu:0,cpu:1"; with "/" between a mesh's rows."""
        rows = self.device.devices.reshape(-1, self.parts)
        return "/".join(",".join(devices.name(d) for d in row) for row in rows)

    def __repr__(self) -> str:
        return f"Backend('jax', device={self.device_name!r})"

    def __eq__(self, other: object) -> bool:
        theirs = getattr(other, "rows_divided", ())
        return super().__eq__(other) and self.rows_divided == theirs

    def __hash__(self) -> int:
        return hash((super().__hash__(), self.rows_divided))

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
        where = NamedSharding(self.device, spec)
        if self.processes == 1:
            return jax.device_put(a, where)
        if isinstance(a, jax.Array) and not a.is_fully_addressable:
            return _resharded(where)(a)
        # device_put would have all processes compare what they put, number by number.
        host = np.asarray(a)
        host = host.astype(jax.dtypes.canonicalize_dtype(host.dtype))
        return jax.make_array_from_callback(
            host.shape, where, lambda index: host[index]
        )

    def to_numpy(self, a: Any) -> Any:
        """Return a NumPy copy; of what other processes have, too."""
        if isinstance(a, jax.Array) and not a.is_fully_addressable:
            if not a.is_fully_replicated:
                a = self._put(a, _EVERYWHERE)
            a = a.addressable_data(0)
        return np.array(a)

    def by_members(self, shape: Sequence[int]) -> bool:
        """Whether arrays of this shape, (members, P), lie divided by members."""
        return len(shape) == 2 and shape[0] % self.shares == 0

    def vector(self, a: Any, dtype: str | None = None) -> Any:
        """Return theta or a slot as training carries it: divided, by members or along.

        Where their number does not divide it, zeros fill it up at the end.
        """
        a = self._copied(a, dtype)
        if self.by_members(a.shape):
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
        """Return the layers' state as training carries it: by members, or whole."""
        a = self._copied(a, dtype)
        members = self.by_members(a.shape) and a.shape[-1]
        # As JAX itself writes what comes out of a program, or the next one is compiled.
        axes = self.axes if len(self.axes) > 1 else self.axes[0]
        return self._put(a, PartitionSpec(axes) if members else _EVERYWHERE)

    def _copied(self, a: Any, dtype: str | None) -> Any:
        if isinstance(a, jax.Array):
            return jnp.array(a, dtype=dtype, copy=True)
        return np.array(a, dtype=dtype)

    def whole(self, a: Any, size: int) -> Any:
        """Return a vector of training as inference takes it: all of it everywhere."""
        if self.by_members(a.shape):
            return a
        return _gathered(NamedSharding(self.device, _EVERYWHERE), size)(a)

    def rounded(self, rows: int) -> int:
        """As many rows for each device, of a number that is compiled already."""
        return self.shares * super().rounded(-(-rows // self.shares))

    def replicated(self, a: Any) -> Any:
        """As `Backend.replicated`."""
        where = NamedSharding(self.device, _EVERYWHERE)
        return jax.lax.with_sharding_constraint(a, where)

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
            if self.processes == 1 or not processes.is_of_a_peer(error):
                raise
            msg = (
                "a process of this run has ended, or cannot be reached. Start all of "
                "them again; with fit(..., resume=path) they go on from a checkpoint."
            )
            raise PeerError(msg) from error

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """As `Backend.any`: an all-gather."""
        if self.processes == 1:
            return flags
        return tuple(map(bool, processes.of_each(self, flags).any(axis=0)))

    def compare(self, facts: Mapping[str, Any]) -> None:
        """As `Backend.compare`: of each fact a digest is compared."""
        if self.processes > 1:
            processes.compare(self, facts)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """As `Backend.together`."""
        try:
            yield
        except Exception:
            with contextlib.suppress(Exception):  # the peers may be gone
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
        """As `sharding.scan`."""
        return sharding.scan(self, step, carry, data, order, rows, keys)


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


JaxBackend.of_mesh = MeshJaxBackend


@functools.lru_cache(maxsize=64)
def _resharded(where: NamedSharding) -> Any:
    return jax.jit(lambda a: a, out_shardings=where)


@functools.lru_cache(maxsize=64)
def _gathered(where: NamedSharding, size: int) -> Any:
    return jax.jit(lambda a: a[..., :size], out_shardings=where)
