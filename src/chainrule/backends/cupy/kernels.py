"""CuPy's kernels: an optimizer's update as one, a join as one."""

from __future__ import annotations

import functools
from collections import namedtuple
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import cupy

from chainrule.arrays.layout import Entry
from chainrule.arrays.namespace import Namespace, register

if TYPE_CHECKING:
    from chainrule.optimizers import Optimizer

__all__ = ["JOIN", "UNTRACEABLE", "fused", "join", "joined"]


# Arrays that one kernel joins. Its arguments may have 4 kB; an array is 24 bytes of
# them, and 16 more for each of its axes.
JOIN = 32


# CuPy's own carries nan along since 14; the wrapper puts it there by a mask, which
# costs launches and cannot be fused.
register("array_api_compat.cupy", sign=cupy.sign)


def _positive_part(x: Any, /) -> Any:
    return cupy.maximum(x, 0.0)  # one launch; CuPy differentiates nothing


register("array_api_compat.cupy", positive_part=_positive_part)


@functools.lru_cache(maxsize=64)
def fused(optimizer: Optimizer, xp: Namespace, names: tuple[str, ...]) -> Any:
    """Return an optimizer's `apply` as one kernel: ``f(g, decay, *arrays, *scalars)``.

    The scalars are the kernel's arguments, by type: new values compile nothing. It
    writes into the arrays, (theta, *slots), and returns None.
    """
    count = 1 + len(optimizer.slots)
    Scalars = namedtuple("Scalars", names)  # type: ignore[misc]  # noqa: PYI024

    def apply(g: Any, decay: Any, *rest: Any) -> None:
        arrays, scalars = rest[:count], rest[count:]
        new = optimizer.apply(xp, Scalars(*scalars), g, decay, *arrays)
        moved = [(a, b) for a, b in zip(arrays, new, strict=True) if a is not b]
        if len(moved) > 1 and any(b is c for _, b in moved for c in arrays):
            msg = "an old array in another's place cannot be written in one kernel"
            raise NotImplementedError(msg)
        for a, b in moved:
            a[...] = b

    return cupy.fuse(kernel_name=f"chainrule_{type(optimizer).__name__}")(apply)


# What tracing raises at an update that has more than elementwise functions, or looks at
# a scalar's value: somebody's own. Nothing is computed by then.
UNTRACEABLE = (AttributeError, NotImplementedError, TypeError, ValueError)


@functools.lru_cache(maxsize=JOIN)
def join(count: int) -> Any:
    """Return a kernel that joins arrays: ``f(*arrays, *stops, width, out)``.

    `cupy.concatenate` launches a copy for each of up to eight arrays, and sends a table
    of more than eight to the GPU. All have the leading axes of `out`; what follows them
    in the k-th array fills the columns from stops[k - 1] to stops[k] of `width`
    columns.
    """

    def choose(low: int, high: int) -> str:
        if high - low == 1:
            before = f"s{low - 1}" if low else "0"
            return f"p{low}[row * (s{low} - {before}) + column - {before}]"
        middle = (low + high) // 2
        first, second = choose(low, middle), choose(middle, high)
        return f"(column < s{middle - 1} ? {first} : {second})"

    arrays = [f"raw T p{k}" for k in range(count)]
    numbers = [f"int64 s{k}" for k in range(count)]
    return cupy.ElementwiseKernel(
        ", ".join([*arrays, *numbers, "int64 width"]),
        "T y",
        f"""
        const ptrdiff_t row = i / width;
        const ptrdiff_t column = i - row * width;
        y = {choose(0, count)};
        """,
        "chainrule_join",
    )


def joined(pieces: list[Any], entries: Sequence[Entry]) -> Any:
    """Join 2 ... JOIN gradients of neighbouring entries into one vector (..., size)."""
    first, entry = pieces[0], entries[0]
    lead = first.shape[: first.ndim - len(entry.shape)]
    stops = [e.stop - entry.start for e in entries]
    out = cupy.empty((*lead, stops[-1]), dtype=first.dtype)
    join(len(pieces))(*pieces, *stops, stops[-1], out)
    return out
