"""What an engine does: run a step over batches, apply an update, move arrays.

`Backend` is also the generic engine, for any array API library: the plain loop,
without any library's tricks.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from typing import Any

import numpy as np

from chainrule.arrays.namespace import Namespace
from chainrule.backends.threads import blas_threads
from chainrule.errors import ArgumentError, DeviceError

__all__ = ["Backend", "build_decay_mask", "remembering"]

DTYPES = ("float32", "float64")
# Bytes of which libraries make the address of an array a multiple.
ALIGNED = 64


def build_decay_mask(backend: Backend, run: Any, dtype: Any) -> Any:
    """Return a vector over a run of entries: 1 where weights decay, else 0."""
    xp = backend.xp
    return xp.concat(
        [
            xp.full((e.stop - e.start,), 1.0 if e.decay else 0.0, dtype=dtype)
            for e in run.entries
        ]
    )


_decay_mask = functools.lru_cache(maxsize=8)(build_decay_mask)


def forget() -> None:
    """Drop the masks."""
    _decay_mask.cache_clear()


def remembering(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return f with a memory of its last argument and answer.

    For views of a vector that is updated in place: while the vector is the same object,
    its views are the same.
    """
    last: tuple[Any, Any] = (None, None)

    def remembered(vector: Any) -> Any:
        nonlocal last
        found = last  # another thread may replace it
        if found[0] is not vector:
            found = last = (vector, f(vector))
        return found[1]

    return remembered


class Backend:
    """An array library bound to a device.

    Parameters
    ----------
    module : module
        The library's array namespace.
    device : object, optional
        Where arrays are put; None is the library's default.
    name : str, optional
        How the backend is called; the module's name by default.

    Attributes
    ----------
    name : str
    device : object
    xp : Namespace
    precisions : tuple of str
        What ``precision=`` may be.
    jit_compiles : tuple
        What ``jit_compile=`` may be.
    pads : bool
        Whether every new number of rows costs a compilation, so that callers had better
        round it up.
    block : int
        Numbers of an intermediate array beyond which work on many rows had better be
        cut into pieces: what memory, or a cache, can hold.
    eager : bool
        Whether values are there as soon as an operation returns.
    stretch : int
        How many short epochs had better be one call: 1 where a call costs little. A
        backend with more has a `repeat`; see JAX's.
    direct : bool
        Whether operations are so cheap that a few rows need a short way through them.
    gather : int
        Bytes of samples that are gathered at once, for as many steps as they make; 0
        where each step gathers its own.
    """

    precisions: tuple[str, ...] = ("highest",)
    jit_compiles: tuple[bool | None, ...] = (None, False)
    pads = False
    block = 1 << 23
    eager = True
    stretch = 1
    direct = False
    gather = 0

    def __init__(
        self, module: Any, device: Any = None, name: str | None = None
    ) -> None:
        self.name = name or module.__name__
        self.device = device
        self.xp = Namespace(module, device)

    def _key(self) -> tuple[str, str]:
        return self.name, str(self.device)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Backend) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        where = "" if self.device is None else f", device={str(self.device)!r}"
        return f"Backend({self.name!r}{where})"

    def __reduce__(self) -> Any:
        from chainrule.backends import registry

        device = None if self.device is None else str(self.device)
        return registry.get, (self.name, device)

    @staticmethod
    def locate(device: Any) -> Any:
        """Return what a device, or a name of one, means now; hashable.

        None is the library's default, which may be another one at each call.

        Raises
        ------
        DeviceError
            If there is no such device.
        """
        return device

    # Arrays in and out.

    def holds(self, a: Any) -> bool:
        """Whether `a` is an array of this library, on whatever device."""
        return isinstance(a, type(self.xp.zeros((0,))))

    def owns(self, a: Any) -> bool:
        """Whether `a` is an array of this library, on this device."""
        return self.holds(a) and (
            self.device is None or getattr(a, "device", None) == self.device
        )

    def asarray(self, a: Any, dtype: str | None = None) -> Any:
        """Return host data (NumPy), or an array of this library, as an array here."""
        kind = None if dtype is None else getattr(self.xp, dtype)
        if isinstance(a, np.ndarray):
            a = np.asarray(
                a, dtype=dtype, order="C"
            )  # keeps 0-d, as ascontiguous does not
            return self.xp.asarray(a, dtype=kind)
        if not self.owns(a):
            return self.asarray(self.to_numpy(a), dtype)
        return a if kind is None else self.xp.astype(a, kind, copy=False)

    def to_numpy(self, a: Any) -> Any:
        """Return a NumPy copy of an array of this library, from whatever device."""
        try:
            return np.array(np.from_dlpack(a))
        except (BufferError, RuntimeError, TypeError, ValueError):
            return np.array(a)

    def copy(self, a: Any) -> Any:
        """Return a real copy: new memory, whoever owns the old."""
        return self.xp.asarray(a, copy=True)

    def usable(self, name: str, a: Any) -> Any:
        """Return an array of this library that arithmetic is defined for.

        `name` is the argument's name, for the error.
        """
        return a

    def is_finite(self, a: Any) -> bool:
        """Whether all numbers of an array of this library are finite."""
        return bool(self.to_numpy(self.xp.all(self.xp.isfinite(a))))

    # Running.

    def scope(self, dtype: str, precision: str = "highest") -> Any:
        """Return a context inside which this library computes as the model asks.

        It is a decorator, too, as those of contextlib are.
        """
        # Generic namespaces may be NumPy underneath: see the NumPy engine.
        return np.errstate(all="ignore")

    def products(self, dtype: str, precision: str) -> Any:
        """Return a context for a pure function that a program of others calls.

        Products are as precise as asked. Whatever the program does with the function's
        operations, to differentiate or to trace them, goes on.
        """
        return self.scope(dtype, precision)

    def fuse(self, kind: Any) -> Callable[..., Any]:
        """Return ``kind.update``, an optimizer's, in as few calls as the library can."""
        update: Callable[..., Any] = kind.update
        return update

    def compiling(self, wanted: bool | None) -> Any:
        """Return a context, that of a fit, inside which steps are compiled if wanted.

        By default all goes the library's own way.
        """
        return contextlib.nullcontext()

    def compile(self, build: Callable[..., Any], *key: Any, donate: int = 0) -> Any:
        """Return ``build(self, *key)``, a pure function, compiled if the library can.

        The key is hashable and says all that the function depends on. The first
        `donate` arguments of the function are given away by its callers.
        """
        return build(self, *key)

    def memoize(self, f: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return f, or a version that remembers its last argument and answer."""
        return f

    def rows(self, matrix: Any, dtype: str, *, own: bool = False) -> Any:
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
                else [self.asarray(each, dtype) for each in column]
            )
        return list(zip(*columns, strict=True))

    def indices(self, order: Any) -> Any:
        """Turn a host array of int32 (samples, keys) into what `scan` takes."""
        return self.asarray(order, "int32")

    def take(self, a: Any, index: Any) -> Any:
        """Gather samples: a[index] along the first axis."""
        return self.xp.take(a, index, axis=0)

    def batches(self, data: Sequence[Any], order: Any) -> Iterator[Any]:
        """Yield the batches of an order (steps, batch): some steps' are gathered at once.

        Of data that is None, None. Each batch begins where an array of its own might:
        a library's products may have other last bits elsewhere.
        """
        steps, size = order.shape
        some = 1
        if self.gather:
            sizes = [size * (a.nbytes // a.shape[0]) for a in data if a is not None]
            if all(n % ALIGNED == 0 for n in sizes):
                some = self.gather // max(1, sum(sizes))
        if some < 2:
            for i in range(steps):
                index = order[i, :]
                yield tuple(None if a is None else self.take(a, index) for a in data)
            return
        for first in range(0, steps, some):
            index = order[first : first + some, :]
            yield from zip(
                *(repeat(None) if a is None else self.take(a, index) for a in data),
                strict=False,
            )

    def scan(
        self,
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
        step : function
            ``step(carry, batch, row, key) -> (carry, (loss, mass))``
        carry : tree of arrays
            Owned by the caller of scan, who gives it away.
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
        for i, batch in enumerate(self.batches(data, order)):
            key = None if keys is None else keys[i, :, :]
            carry, (loss, mass) = step(carry, batch, rows[i], key)
            losses.append(loss)
            masses.append(mass)
        return carry, self._stacked(losses, masses)

    def _stacked(self, losses: list[Any], masses: list[Any]) -> Any:
        stack = self.xp.stack
        return stack(losses), (None if masses[0] is None else stack(masses))

    def elementwise(
        self,
        update: Callable[..., Any],
        arrays: tuple[Any, ...],
        pieces: list[Any],
        network: Any,
        decays: bool,
    ) -> tuple[Any, ...]:
        """Apply an optimizer's update to the vectors (theta, *slots), each (..., P).

        Parameters
        ----------
        update : function
            ``update(g, decay, *arrays) -> arrays``, elementwise; it may write into the
            arrays that it gets.
        arrays : tuple of arrays
            Given away by the caller.
        pieces : list
            The gradient, entry by entry, in layout order; None where frozen.
        network : Network
            Whose layout it is.
        decays : bool
            Whether the update wants to know where weights decay.
        """
        xp = self.xp
        parts = []
        left = list(pieces)
        for run in network.runs:
            mine, left = left[: len(run.entries)], left[len(run.entries) :]
            views = arrays
            if len(network.runs) > 1:
                views = tuple(a[..., run.start : run.stop] for a in arrays)
            if run.trainable:
                g = self._joined(mine, run.entries)
                decay = self._decay(run, g.dtype) if decays else None
                views = update(g, decay, *views)
            parts.append(views)
        if len(parts) == 1:
            return tuple(parts[0])
        columns = zip(*parts, strict=True)
        return tuple(xp.concat(column, axis=-1) for column in columns)

    def _blockwise(
        self,
        update: Callable[..., Any],
        arrays: tuple[Any, ...],
        pieces: list[Any],
        network: Any,
        decays: bool,
        block: int,
    ) -> tuple[Any, ...]:
        """As `elementwise`, in place, so many numbers at a time: what a cache can hold.

        The gradient is never joined, and no intermediate array is larger than a block.
        """
        for g, entry in zip(pieces, network.entries, strict=True):
            if g is None:
                continue
            size = entry.stop - entry.start
            flat = self.xp.reshape(g, (*g.shape[: g.ndim - len(entry.shape)], size))
            decay = float(entry.decay) if decays else None
            for low in range(0, size, block):
                high = min(low + block, size)
                some = slice(entry.start + low, entry.start + high)
                views = [a[..., some] for a in arrays]
                self._write(views, update(flat[..., low:high], decay, *views))
        return arrays

    def _write(self, old: Any, new: Any) -> None:
        """Make an update's answer stick where it was not made in place."""
        moved = [(a, b) for a, b in zip(old, new, strict=True) if a is not b]
        if len(moved) > 1:
            # An old array in another's place must be read before it is written.
            moved = [
                (a, self.copy(b) if any(b is c for c in old) else b) for a, b in moved
            ]
        for a, b in moved:
            a[...] = b

    def _joined(self, pieces: list[Any], entries: Any) -> Any:
        flat = [
            self.xp.reshape(g, (*g.shape[: g.ndim - len(e.shape)], e.stop - e.start))
            for g, e in zip(pieces, entries, strict=True)
        ]
        return flat[0] if len(flat) == 1 else self.xp.concat(flat, axis=-1)

    def _decay(self, run: Any, dtype: Any) -> Any:
        """1 where weights decay, else 0; remembered, since it is the same every step."""
        return _decay_mask(self, run, dtype)

    def flush(self, slots: tuple[Any, ...]) -> tuple[Any, ...]:
        """Zero subnormal numbers in an optimizer's slots, where they slow arithmetic."""
        return slots

    # Surroundings: what bits may depend on beside the computation itself.

    def versions(self) -> dict[str, str]:
        """Return the versions of Python, NumPy and this library."""
        import platform

        module = importlib.import_module(self._library)
        return {
            "python": platform.python_version(),
            "numpy": np.__version__,
            self._library: str(getattr(module, "__version__", "")),
        }

    @property
    def _library(self) -> str:
        return self.name

    def threads(self) -> int:
        """Return how many threads the library's arithmetic may use."""
        return blas_threads()

    # Errors.

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Whether an error says that memory did not suffice.

        NumPy has two more words for it, of arrays that no machine can address.
        """
        words = ("array is too big", "Maximum allowed dimension exceeded")
        return isinstance(error, MemoryError) or (
            isinstance(error, ValueError) and str(error).startswith(words)
        )

    def check_precision(self, precision: str, dtype: str = "float32") -> None:
        """Raise an error if the library cannot compute with this precision."""
        if precision not in self.precisions:
            where = "" if self.device is None else f" on {self.device}"
            msg = (
                f"precision must be one of {', '.join(self.precisions)} with the "
                f"{self.name} backend{where}; got {precision!r}."
            )
            raise ArgumentError(msg)
        if precision != "highest" and dtype != "float32":
            msg = (
                f"precision {precision!r} is one of float32 products; got dtype "
                f"{dtype!r}. Leave precision out, or use float32."
            )
            raise ArgumentError(msg)

    def check_jit_compile(self, jit_compile: bool | None) -> None:
        """Raise an error if the library has no choice but another one."""
        if jit_compile in self.jit_compiles:
            return
        does = "cannot compile" if jit_compile else "always compiles"
        other = "'torch' or 'jax'" if jit_compile else "'torch' or 'numpy'"
        msg = (
            f"jit_compile must be one of {', '.join(map(str, self.jit_compiles))} with "
            f"the {self.name} backend, which {does} its steps; got {jit_compile}. "
            f"Leave it out, or use backend {other}."
        )
        raise ArgumentError(msg)

    def check_dtype(self, dtype: str) -> None:
        """Raise an error if the device cannot hold this dtype."""
        with self.scope(dtype):
            try:
                self.xp.zeros((1,), dtype=getattr(self.xp, dtype))
            except (AttributeError, TypeError, ValueError, RuntimeError) as error:
                msg = (
                    f"dtype {dtype!r} is not to be had on {self!r} ({error}); "
                    f"use one of the others of {', '.join(DTYPES)}."
                )
                raise DeviceError(msg) from error
