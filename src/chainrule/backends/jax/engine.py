"""The JAX engine: a whole epoch is one compiled `lax.scan`."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from chainrule.arrays.layout import Span
from chainrule.arrays.namespace import register
from chainrule.backends.base import Backend
from chainrule.backends.jax import devices
from chainrule.backends.jax.functions import FUNCTIONS
from chainrule.backends.threads import processors
from chainrule.config import checks
from chainrule.errors import ArgumentError, ArgumentTypeError

try:  # saves a twentieth of a small prediction's time
    from jax._src.core import trace_state_clean as _traces_nothing
except ImportError:

    def _traces_nothing() -> bool:
        return False


__all__ = ["SHAPES", "JaxBackend", "forget"]


# What a model calls the precisions, and what JAX does.
_PRECISIONS = {
    "highest": "highest",
    "bfloat16": "bfloat16",
    "tf32": "tensorfloat32",
}


# What a user may have set, and computing here needs otherwise: rules add arrays of
# several ranks, and what is not finite ends in a `DivergenceError`. Setting -> what it
# is if nobody set it, and a context.
_SETTINGS: dict[str, tuple[Any, Callable[[], Any]]] = {
    "jax_numpy_dtype_promotion": (
        "standard",
        lambda: jax.numpy_dtype_promotion("standard"),
    ),
    "jax_numpy_rank_promotion": ("allow", lambda: jax.numpy_rank_promotion("allow")),
    "jax_debug_nans": (False, lambda: jax.debug_nans(False)),
    "jax_debug_infs": (False, lambda: jax.debug_infs(False)),
    "jax_transfer_guard": (None, lambda: jax.transfer_guard("allow")),
    "jax_transfer_guard_host_to_device": (None, lambda: jax.transfer_guard("allow")),
    "jax_transfer_guard_device_to_host": (None, lambda: jax.transfer_guard("allow")),
}


# Whether this process came by os.fork out of one that had used JAX.
_forked = False


def _after_fork() -> None:
    global _forked  # noqa: PLW0603 - of the process, as the fork is
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _warn_of_fork() -> None:
    global _forked  # noqa: PLW0603
    _forked = False
    msg = (
        "this process was forked from one that had loaded JAX, whose threads did not "
        "come along: it may wait for them for ever. Start workers with the 'spawn' or "
        "'forkserver' method of multiprocessing, or use backend='numpy' in them."
    )
    checks.warn(msg)


@functools.cache
def _warn_alone(processes: int, platform: str) -> None:
    msg = (
        f"this is one of {processes} processes of jax.distributed, and trains alone, "
        f"on devices of its own. To train one model on all of them, give each process "
        f"the same data and device='{platform}:*'."
    )
    checks.warn(msg)


# Shapes of its arguments for which a function is kept compiled: some 7 MB each.
SHAPES = 32


class _Kept:
    """A compiled function, made anew once it has been compiled for many shapes.

    JAX keeps what it compiled for as long as the function lives.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make, self._run = make, make()
        self._cache_size = getattr(self._run, "_cache_size", int)

    def __call__(self, *arguments: Any) -> Any:
        if self._cache_size() > SHAPES:
            self.__init__(self._make)  # type: ignore[misc]
        return self._run(*arguments)


@functools.lru_cache(maxsize=128)
def _compiled(build: Any, backend: JaxBackend, key: Any, donate: int) -> _Kept:
    # Cached across models: another model of the same structure compiles nothing.
    given = tuple(range(donate))
    return _Kept(lambda: jax.jit(build(backend, *key), donate_argnums=given))


def forget() -> None:
    """Drop the compiled functions, and JAX's own of each operation and shape."""
    _compiled.cache_clear()
    jax.clear_caches()


register("jax.numpy", **FUNCTIONS)


class JaxBackend(Backend):
    """JAX, compiled by XLA.

    Attributes
    ----------
    of_mesh : type
        The engine of several devices.
    """

    of_mesh: ClassVar[type[Backend]]
    jit_compiles: tuple[bool | None, ...] = (None, True)
    pads = True
    eager = False
    group = 16

    def __init__(self, device: Any = None) -> None:
        # The namespace stays unbound: inside a compiled function arrays lie nowhere,
        # and `scope` puts the others on the device.
        super().__init__(jnp, None, "jax")
        self.device: Any = devices.locate(device)
        self._default = self.device  # where what is made in its scope lies
        self.precisions: tuple[str, ...] = ("highest", "bfloat16")
        if self.device.platform in ("gpu", "cuda"):
            self.precisions = ("highest", "tf32", "bfloat16")

    @property
    def device_name(self) -> str:
        """Platform and number, "cpu:0" say."""
        return devices.name(self.device)

    @staticmethod
    def locate(device: Any) -> Any:
        """Return a `jax.Device`, or a `Mesh` of several; see `devices.locate`."""
        return devices.locate(device)

    @classmethod
    def at(cls, device: Any) -> Backend:
        """Return the engine of a device, or of several."""
        if isinstance(device, jax.sharding.Mesh):
            return cls.of_mesh(device)
        return cls(device)

    @staticmethod
    def home(a: Any) -> Any:
        """Return the device of an array, or the mesh; None if it lies nowhere."""
        return devices.home(a)

    def holds(self, a: Any) -> bool:
        """Whether `a` is a JAX array, a tracer of one, or NumPy's, which JAX takes."""
        return isinstance(a, (jax.Array, np.ndarray, np.generic))

    def owns(self, a: Any) -> bool:
        """Whether `a` is a JAX array on this device."""
        return isinstance(a, jax.Array) and a.devices() == {self.device}

    def asarray(self, a: Any, dtype: str | None = None) -> Any:
        """Return a JAX array; host data is copied, never aliased."""
        if isinstance(a, jax.Array):
            return jax.device_put(a if dtype is None else a.astype(dtype), self.device)
        # jnp.asarray and device_put alias aligned NumPy memory on a CPU.
        return jax.device_put(
            jnp.array(np.asarray(a), dtype=dtype, copy=True), self.device
        )

    def adopt(self, a: Any) -> Any:
        """Return a host array as one of JAX's: on a CPU, aligned memory is shared."""
        return jax.device_put(a, self.device)

    def usable(self, name: str, a: Any) -> Any:
        """Refuse an array whose memory was given away, and what stands for an array."""
        if isinstance(a, jax.core.Tracer):
            msg = (
                f"{name} is a tracer of jax.jit, grad or vmap and has no values. "
                f"Inside such a function call f = model.function(), which is pure: "
                f"f(theta, state, x)."
            )
            raise ArgumentTypeError(msg)
        if a.is_deleted():
            msg = f"{name} was deleted, or donated to a compiled function."
            raise ArgumentError(msg)
        return a

    def to_numpy(self, a: Any) -> Any:
        """Return a NumPy copy (a view would keep JAX from reusing donated memory)."""
        return np.array(a)

    def copy(self, a: Any) -> Any:
        """Return a real copy."""
        return jnp.array(a, copy=True)

    @contextlib.contextmanager
    def scope(self, dtype: str, precision: str = "highest") -> Iterator[None]:
        """64 bits only for float64, full float32 products, on this device."""
        if _forked:
            _warn_of_fork()
        with contextlib.ExitStack() as stack:
            stack.enter_context(jax.enable_x64(dtype == "float64"))
            stack.enter_context(jax.default_matmul_precision(_PRECISIONS[precision]))
            stack.enter_context(jax.default_device(self._default))
            for setting, (usual, context) in _SETTINGS.items():
                if getattr(jax.config, setting) != usual:
                    stack.enter_context(context())
            if not _traces_nothing():
                # What has values is computed at once, also while JAX traces a function.
                stack.enter_context(jax.ensure_compile_time_eval())
            yield

    @contextlib.contextmanager
    def products(self, dtype: str, precision: str) -> Iterator[None]:
        """Full float32 products, also in what is traced and differentiated here."""
        if dtype == "float64" and not jax.config.jax_enable_x64:
            msg = (
                "model.function() of a float64 model needs JAX's 64 bits where it is "
                "called: jax.config.update('jax_enable_x64', True), or inside "
                "jax.enable_x64(True)."
            )
            raise ArgumentError(msg)
        with (
            jax.default_matmul_precision(_PRECISIONS[precision]),
            jax.numpy_dtype_promotion("standard"),
            jax.numpy_rank_promotion("allow"),
        ):
            yield

    def warn_alone(self) -> None:
        """Warn once where `jax.distributed` has started several processes."""
        if self.processes == 1 and jax.process_count() > 1:
            _warn_alone(jax.process_count(), self._default.platform)

    def versions(self) -> dict[str, str]:
        """Return the versions of Python, NumPy, JAX and what it compiles with."""
        return {**super().versions(), "jaxlib": str(jax.lib.__version__)}

    def threads(self) -> int:
        """Return the threads of XLA on a CPU: one for each processor."""
        return processors()

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Whether an error is XLA's RESOURCE_EXHAUSTED."""
        return super().is_out_of_memory(error) or (
            isinstance(error, jax.errors.JaxRuntimeError)
            and ("RESOURCE_EXHAUSTED" in str(error) or "ut of memory" in str(error))
        )

    def compile(self, build: Callable[..., Any], *key: Any, donate: int = 0) -> Any:
        """Return the jitted function, the same one for an equal key."""
        return _compiled(build, self, key, donate)

    # Small host arrays go straight into the compiled call: its own transfer is the
    # fastest, and nobody writes into them afterwards.

    def rounded(self, rows: int) -> int:
        """Return the next power of two."""
        return 1 << (rows - 1).bit_length()

    def rows(self, matrix: Any, dtype: str, *, own: bool = False) -> Any:
        """Cast the scalars: they are scanned along."""
        return matrix.astype(dtype)

    def indices(self, order: Any) -> Any:
        """Keep the host array."""
        return order

    def decay_mask(self, span: Span, dtype: Any) -> Any:
        """1 where weights decay, else 0: made in the compiled function, never kept."""
        return span.decay(self.xp, dtype)

    def scan(
        self,
        step: Callable[..., Any],
        carry: Any,
        data: Sequence[Any],
        order: Any,
        rows: Any,
        keys: Any,
    ) -> Any:
        """One `lax.scan`, each step of which gathers its batch."""

        def body(carry: Any, xs: Any) -> Any:
            index, row, key = xs
            return step(
                carry,
                [None if a is None else jnp.take(a, index, axis=0) for a in data],
                row,
                key,
            )

        return lax.scan(body, carry, (order, rows, keys))

    def repeat(self, body: Callable[..., Any], carry: Any, xs: Any, count: Any) -> Any:
        """Run ``body(carry, x) -> (carry, y)`` over the first `count` of xs.

        As `lax.scan`, but a new count compiles nothing; the ys beyond are zeros.
        """

        def at(i: Any) -> Any:
            return jax.tree.map(lambda a: a[i], xs)

        def one(i: Any, both: Any) -> Any:
            carry, ys = both
            carry, y = body(carry, at(i))
            return carry, jax.tree.map(lambda whole, a: whole.at[i].set(a), ys, y)

        room = jax.tree.leaves(xs)[0].shape[0]
        shapes = jax.eval_shape(body, carry, at(0))[1]
        ys = jax.tree.map(lambda a: jnp.zeros((room, *a.shape), a.dtype), shapes)
        return lax.fori_loop(0, count, one, (carry, ys))
