"""PyTorch's own versions of functions that rules use."""

from __future__ import annotations

import threading
from typing import Any

import array_api_compat.torch as compat
import torch

from chainrule.arrays import special

__all__ = ["FUNCTIONS", "THREAD"]


# half: whether this thread is inside the scope of a model of precision "bfloat16".
# graph: inside any scope, whether the caller's autograd was on; else None.
# warned: inside a fit whose steps are compiled, the causes warned of; else None.
THREAD = threading.local()


def _matmul(a: Any, b: Any, /) -> Any:
    if not getattr(THREAD, "half", False):
        return torch.matmul(a, b)
    # Sums are in float32; torch rounds the product to bfloat16 as well.
    return torch.matmul(a.bfloat16(), b.bfloat16()).to(a.dtype)


def _sum(x: Any, /, *, axis: Any = None, keepdims: bool = False) -> Any:
    # torch takes no axis, (), for all axes.
    if axis == () or x.dtype not in (torch.float32, torch.float64):
        return compat.sum(x, axis=axis, keepdims=keepdims)
    if axis is None:
        axis = tuple(range(x.ndim))
    return torch.sum(x, dim=axis, keepdim=keepdims) if x.ndim else x.clone()


def _isfinite(x: Any, /) -> Any:
    # torch's own makes an array of absolute values: three times as long.
    return (x < torch.inf) & (x > -torch.inf)


def _is_number(x: Any, y: Any) -> bool:
    """Whether x's type can hold y: of a number the wrapper makes a tensor."""
    return isinstance(y, float) and abs(y) < 6e4 and x.is_floating_point()


def _maximum(x: Any, y: Any, /) -> Any:
    return torch.clamp_min(x, y) if _is_number(x, y) else compat.maximum(x, y)


def _minimum(x: Any, y: Any, /) -> Any:
    return torch.clamp_max(x, y) if _is_number(x, y) else compat.minimum(x, y)


def _erfcx(x: Any, /) -> Any:
    if x.device.type == "mps":  # which has no float64
        return special.erfcx(x, xp=torch)
    # In float32, torch's own is off by 7 ulp.
    return torch.special.erfcx(x.double()).to(x.dtype)


# torch's own where they do what the standard says, without the wrappers' costs: a step
# of a small network is made of little else.
# What namespaces of the library have as their own.
FUNCTIONS: dict[str, Any] = dict(  # noqa: C408 - names of functions
    erf=torch.erf,
    erfcx=_erfcx,
    matmul=_matmul,
    sum=_sum,
    reshape=torch.reshape,
    isfinite=_isfinite,
    maximum=_maximum,
    minimum=_minimum,
    positive_part=torch.relu,
)
