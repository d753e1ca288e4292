"""A training step of PyTorch as one compiled function, kept for every later fit.

The step is traced with fake tensors (`make_fx`), which compute nothing, and the graph
is handed to TorchInductor. Against `torch.compile` around the step, which sees the same
operations, nothing is left that Dynamo would check before each call: what the function
depends on is its key here.
"""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Callable, Hashable
from itertools import repeat
from typing import Any

import torch

from chainrule.arrays import trees
from chainrule.backends.torch.products import PRODUCTS

__all__ = ["compiled", "forget"]

# An array that is used more than once is not computed anew from so many operations.
# By default it is 30: the random words of a dropout mask then compile for 15 s, not 2.
_OPTIONS = {"realize_opcount_threshold": 10}

# Tracing and compiling change settings of the process.
_LOCK = threading.Lock()


@functools.lru_cache(maxsize=256)
def _kept(key: Hashable) -> dict[Any, Any]:
    """Return where a step's functions are kept, by the forms of its arguments."""
    return {}


def forget() -> None:
    """Drop the compiled steps."""
    _kept.cache_clear()


def compiled(step: Callable[..., Any], key: Hashable, *arguments: Any) -> Any:
    """Return a step compiled for arguments like these, or in words why it cannot be.

    Parameters
    ----------
    step : function
        ``step(carry, batch, row, key) -> (carry, (loss, mass))``
    key : hashable
        All that the step depends on beside its arguments.
    carry, batch, row, key
        The arguments; of `row`, a vector (scalars,) or an array (scalars, members, 1).

    Returns
    -------
    function or str
        ``f(carry, batch, row, key) -> (loss, mass)``, which writes the new carry into
        the old; it is the same one for an equal key and arguments of equal sorts.
    """
    leaves = list(trees.leaves(arguments))
    sorts = tuple((tuple(a.shape), a.stride(), a.dtype, a.device) for a in leaves)
    # What compiled code has in it of the process's settings.
    settings = (
        torch.get_num_threads(),
        PRODUCTS.setting(),
        torch.are_deterministic_algorithms_enabled(),
    )
    try:
        found = _kept(key)
    except TypeError as error:  # a loss of one's own that cannot be hashed
        return _words(error)
    form = trees.filled(arguments, repeat(True))
    sort = (form, sorts, settings)
    with _LOCK:
        if sort not in found:
            try:
                found[sort] = _compile(step, arguments, leaves)
            except (torch.OutOfMemoryError, MemoryError) as error:
                return _words(error)  # another time memory may suffice
            except Exception as error:
                found[sort] = _words(error)
        return found[sort]


def _words(error: Exception) -> str:
    cause = f"{type(error).__name__}: {error}".strip()
    return cause.partition("\n")[0][:300]


def _compile(step: Callable[..., Any], arguments: Any, leaves: list[Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch, about PyTorch
        from torch._inductor import compile as inductor
        from torch.fx.experimental.proxy_tensor import make_fx

    def in_place(*leaves: Any) -> tuple[Any, ...]:
        carry, batch, row, key = trees.filled(arguments, iter(leaves))
        new, (loss, mass) = step(carry, batch, row.unbind(0), key)
        for a, b in zip(trees.leaves(carry), trees.leaves(new), strict=True):
            if a is not b:
                a.copy_(b)
        return (loss,) if mass is None else (loss, mass)

    graph = make_fx(in_place, tracing_mode="fake")(*leaves)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = inductor(graph, leaves, options=_OPTIONS)
    if leaves[0].device.type == "cuda":
        run = _recorded(run, leaves)

    def call(*arguments: Any) -> tuple[Any, Any]:
        loss, *mass = run(*trees.leaves(arguments))
        return loss, mass[0] if mass else None

    return call


def _recorded(run: Callable[..., Any], leaves: list[Any]) -> Callable[..., Any]:
    """Return `run`, which writes into its arguments, as the replay of a CUDA graph.

    A graph works at fixed places: arguments are copied there and, since any may have
    been written into, back.
    """
    places = [a.clone() for a in leaves]
    lock = threading.Lock()  # the places are everybody's
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.device(leaves[0].device):
        # Libraries set themselves up in a first call, which must not be recorded.
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            run(*places)
        torch.cuda.current_stream().wait_stream(aside)
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            outputs = run(*places)

    def replay(*leaves: Any) -> tuple[Any, ...]:
        with lock, torch.cuda.device(leaves[0].device):
            torch._foreach_copy_(places, leaves)
            graph.replay()
            torch._foreach_copy_(leaves, places)
            return tuple(a.clone() for a in outputs)

    return replay
