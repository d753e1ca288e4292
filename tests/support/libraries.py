"""What tests share: the matrix of backends, each at its strictest.

`MATRIX` has every member; `LIBRARIES` those on which numbers of float64 are computed
one operation after the other, which most tests run on.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import array_api_strict
import numpy as np
import pytest

from chainrule.arrays.namespace import Namespace

from tests.support import cupy_stand_in

FLAGS = {
    "api_version": "2024.12",
    "boolean_indexing": False,
    "data_dependent_shapes": False,
}
STRICT_DEVICE = array_api_strict.Device("device1")
# What would bring a value to the host. On a GPU that waits for it; under jit it fails.
SYNCS = ("__float__", "__int__", "__bool__", "__index__", "__complex__", "__array__")
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


def need(name: str) -> Any:
    """Return a module of a library that is tested here; skip where it is not."""
    if not here(name.partition(".")[0]):
        pytest.skip(f"needs {name}")
    return importlib.import_module(name)


def estimators() -> Any:
    """Return `chainrule.sklearn`; skip where scikit-learn is not installed."""
    need("sklearn")
    return importlib.import_module("chainrule.sklearn")


def _finds_gpu() -> bool:
    """Whether CuPy is here, with a GPU; a promised one must be."""
    found = here("cupy")
    if found:
        import cupy

        found = bool(cupy.cuda.is_available())
    assert found or "cupy" not in PROMISED, "cupy was promised, and finds no GPU"
    return found


class Library(NamedTuple):
    """An array library under test.

    Attributes
    ----------
    name : str
    xp : Namespace
    dtype : str
        The widest that it holds.
    jits : bool
        Whether `run` compiles.
    values : bool
        False where arrays have a shape, a dtype and a device, and nothing else.
    """

    name: str
    xp: Any
    dtype: str = "float64"
    jits: bool = False
    values: bool = True

    def array(self, a: Any) -> Any:
        """Host array -> array of this library, read-only where it can be."""
        a = np.array(a)
        if self.name in ("numpy", "writable"):
            a.flags.writeable = self.name == "writable"
            return a
        if self.name.startswith("torch"):
            import torch

            return torch.from_numpy(a).to(self.xp.device or "cpu")
        return self.xp.asarray(a)

    @staticmethod
    def host(a: Any) -> Any:
        """Array of this library -> host array."""
        if isinstance(a, (np.ndarray, np.generic)):
            return np.asarray(a)
        if hasattr(a, "detach"):
            a = a.detach()
        if hasattr(a, "get"):  # CuPy's arrays, and its stand-in's
            return a.get()
        return np.array(np.from_dlpack(a))

    def run(self, function: Callable[..., Any], *arrays: Any) -> Any:
        """Return ``function(*arrays)``; compiled, with JAX jitted."""
        if self.jits:
            import jax

            function = jax.jit(function)
        return function(*arrays)


def library(name: str) -> Library:
    """Return one of `MATRIX`; it has to be `entered`."""
    if name in ("numpy", "writable"):
        return Library(name, Namespace(np))
    if name == "strict":
        return Library(name, Namespace(array_api_strict, STRICT_DEVICE))
    if name.startswith("jax"):
        import jax.numpy as jnp

        dtype = "float32" if "x32" in name else "float64"
        return Library(name, Namespace(jnp), dtype, jits="jit" in name)
    if name.startswith("cupy"):
        import array_api_compat.cupy as compat

        return Library(name, Namespace(compat))
    import array_api_compat.torch as compat

    if name == "torch-meta":
        import torch

        return Library(name, Namespace(compat, torch.device("meta")), values=False)
    return Library(name, Namespace(compat))


@contextlib.contextmanager
def entered(name: str, *, syncs: bool = False) -> Iterator[Library]:
    """Set what a member of `MATRIX` needs, and give the library.

    Without `syncs`, strict arrays refuse to bring a value to the host.
    """
    with contextlib.ExitStack() as stack:
        if name == "strict" and not syncs:
            stack.enter_context(_no_syncs(array_api_strict.zeros(0).__class__))
        elif name.startswith("jax"):
            import jax

            stack.enter_context(jax.enable_x64("x32" not in name))
        elif name == "cupy-stand-in":
            stack.enter_context(cupy_stand_in.installed())
        yield library(name)


@contextlib.contextmanager
def _no_syncs(kind: Any) -> Iterator[None]:
    """Refuse what brings values of an array class to the host."""

    def refuse(self: Any, *_: Any, **__: Any) -> Any:
        msg = "a value was asked for on the host"
        raise AssertionError(msg)

    before = {name: getattr(kind, name) for name in SYNCS if hasattr(kind, name)}
    for name in before:
        setattr(kind, name, refuse)
    try:
        yield
    finally:
        for name, method in before.items():
            setattr(kind, name, method)


LIBRARIES = [n for n in ("numpy", "strict") if not ONLY or n in ONLY]
LIBRARIES += [name for name in ("jax", "torch") if here(name)]
# numpy: read-only arrays; jax: eager, in 64 bits; x32: JAX without x64.
_FORMS = {
    "numpy": ("numpy", "writable", "cupy-stand-in"),
    "strict": ("strict",),
    "jax": ("jax", "jax-x32", "jax-jit", "jax-jit-x32"),
    "torch": ("torch", "torch-meta"),
}
MATRIX = [form for name in LIBRARIES for form in _FORMS[name]]
# Where there is a GPU, CuPy itself; its stand-in never counts for it.
MATRIX += ["cupy"] if _finds_gpu() else []


def backend(name: str) -> dict[str, Any]:
    """Keyword arguments of `Model` for a library."""
    if name == "strict":
        return {"backend": array_api_strict, "device": STRICT_DEVICE}
    return {"backend": name}
