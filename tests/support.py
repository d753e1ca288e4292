"""What tests share: the backends, each at its strictest, and how to reach them."""

from __future__ import annotations

import importlib.util
import os
from typing import Any, NamedTuple

import array_api_strict
import numpy as np

from chainrule.namespace import Namespace

FLAGS = {
    "api_version": "2024.12",
    "boolean_indexing": False,
    "data_dependent_shapes": False,
}
STRICT_DEVICE = array_api_strict.Device("device1")
# A session says which backends it promises; those may not silently be missing.
PROMISED = set(filter(None, os.environ.get("CHAINRULE_PROMISED", "numpy").split(",")))


# Tests may be narrowed to some libraries, to be quick.
ONLY = set(filter(None, os.environ.get("CHAINRULE_ONLY", "").split(",")))


def here(name: str) -> bool:
    """Whether a library is tested here: it can be imported; a promised one must."""
    if ONLY and name not in ONLY:
        return False
    found = importlib.util.find_spec(name) is not None
    assert found or name not in PROMISED, f"{name} was promised, and is not installed"
    return found


class Library(NamedTuple):
    """An array library under test."""

    name: str
    xp: Any

    def array(self, a: Any) -> Any:
        """Host array -> array of this library, read-only where it can be."""
        if self.name == "numpy":
            a = np.array(a)
            a.flags.writeable = False
            return a
        if self.name == "torch":
            import torch

            return torch.from_numpy(np.array(a))
        return self.xp.asarray(a)

    @staticmethod
    def host(a: Any) -> Any:
        """Array of this library -> host array."""
        if isinstance(a, (np.ndarray, np.generic)):
            return np.asarray(a)
        if hasattr(a, "detach"):
            a = a.detach()
        return np.array(np.from_dlpack(a))


def library(name: str) -> Library:
    """Return one of the libraries of `LIBRARIES`."""
    if name == "numpy":
        return Library(name, Namespace(np))
    if name == "strict":
        return Library(name, Namespace(array_api_strict, STRICT_DEVICE))
    if name == "jax":
        import jax.numpy as jnp

        return Library(name, Namespace(jnp))
    import array_api_compat.torch as compat

    return Library(name, Namespace(compat))


LIBRARIES = [n for n in ("numpy", "strict") if not ONLY or n in ONLY]
LIBRARIES += [name for name in ("jax", "torch") if here(name)]


def backend(name: str) -> dict[str, Any]:
    """Keyword arguments of `Model` for a library."""
    if name == "strict":
        return {"backend": array_api_strict, "device": STRICT_DEVICE}
    return {"backend": name}
