"""Processes of `jax.distributed` that work together: what they tell each other."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from chainrule.config import checks
from chainrule.errors import ArgumentError, ChainruleError

if TYPE_CHECKING:
    from chainrule.backends.jax.mesh import MeshJaxBackend

__all__ = ["compare", "is_of_a_peer", "of_each"]

# Facts that are compared, at most.
_FACTS = 48

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


def is_of_a_peer(error: Exception) -> bool:
    """Whether an error of JAX says that another process is gone."""
    if isinstance(error, ChainruleError) or not isinstance(
        error, (ValueError, RuntimeError)
    ):
        return False
    text = str(error)  # XLA's begin with a code: "UNKNOWN: Gloo AllGather failed"
    return bool(re.match(r"[A-Z_]+: ", text)) and any(word in text for word in _LOST)


def of_each(backend: MeshJaxBackend, mine: Any) -> Any:
    """Return int32 numbers of each process, one row for each of its devices."""
    mine = np.asarray(mine, dtype=np.int32)[None, :]
    sharding = NamedSharding(backend.device, PartitionSpec(backend.axes))
    shape = (backend.shares, mine.shape[1])
    return backend.to_numpy(
        jax.make_array_from_callback(shape, sharding, lambda _: mine)
    )


def compare(backend: MeshJaxBackend, facts: Mapping[str, Any]) -> None:
    """Raise an error unless the digests of facts are the same in all processes."""
    # The number of facts is the first of them.
    texts = [str(len(facts)), *(repr(value) for value in facts.values())]
    texts += [""] * (_FACTS - len(texts))
    digests = [hashlib.sha256(text.encode()).digest()[:8] for text in texts]
    each = of_each(backend, np.frombuffer(b"".join(digests), dtype=np.int32))
    differ = (each != each[:1]).any(axis=0).reshape(-1, 2).any(axis=1)
    if not differ.any():
        return
    names = [name for name, bad in zip(facts, differ[1:], strict=False) if bad]
    mine = "; ".join(f"{name} {checks.show(facts[name])[:80]}" for name in names)
    mine = mine or f"only {', '.join(facts)}"
    msg = (
        f"the processes of this run were given different things; this one, number "
        f"{jax.process_index()}: {mine}. Each must make the same calls with the same "
        f"arguments."
    )
    raise ArgumentError(msg)
