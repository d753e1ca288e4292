"""JAX's own versions of functions that rules use."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

try:  # saves a twentieth of a small prediction's time
    from jax._src.core import trace_state_clean as _traces_nothing
except ImportError:

    def _traces_nothing() -> bool:
        return False


__all__ = ["FUNCTIONS", "JOINED"]


def _matmul(a: Any, b: Any, /) -> Any:
    # The setting keys JAX's cache of compiled functions, so that it may decide here.
    if jax.config.jax_default_matmul_precision != "bfloat16":
        return jnp.matmul(a, b)
    # Said outright: a CPU takes no notice of the setting itself.
    half = jnp.bfloat16
    return jnp.matmul(a.astype(half), b.astype(half), preferred_element_type=a.dtype)


# Numbers beyond which arrays on a CPU are joined by writing one after the other. XLA
# divides a large join among threads, of which each walks over all of every array with
# loads that are masked where another's part is. Where no memory lies behind those, the
# processor traps: then a join takes ten times the rest of a training step.
JOINED = 1 << 14


def _concat(arrays: Any, /, *, axis: int = 0) -> Any:
    joined = functools.partial(jnp.concat, axis=axis)
    last = axis in (-1, arrays[0].ndim - 1)
    # Uncompiled, each write would be a call and a copy.
    traced = any(isinstance(a, jax.core.Tracer) for a in arrays)
    if not (last and traced and sum(a.size for a in arrays) > JOINED):
        return joined(arrays)

    def written(*arrays: Any) -> Any:
        *lead, _ = arrays[0].shape
        whole = (*lead, sum(a.shape[-1] for a in arrays))
        # The barrier keeps XLA from turning zeros written into back to padding.
        out = lax.optimization_barrier(jnp.zeros(whole, jnp.result_type(*arrays)))
        start = 0
        for a in arrays:
            same = a.astype(out.dtype)
            out = lax.dynamic_update_slice_in_dim(out, same, start, axis=-1)
            start += a.shape[-1]
        return out

    return lax.platform_dependent(
        *arrays, cpu=written, default=lambda *arrays: joined(arrays)
    )


# What namespaces of the library have as their own.
FUNCTIONS: dict[str, Any] = dict(  # noqa: C408 - names of functions
    any_ranks=lambda: jax.numpy_rank_promotion("allow"),
    concat=_concat,
    erf=jax.scipy.special.erf,
    matmul=_matmul,
)
