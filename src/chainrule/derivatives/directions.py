"""Passes on dual arrays: a network along directions of its inputs."""

from __future__ import annotations

import math
from typing import Any

from chainrule.arrays.dual import DualNamespace
from chainrule.arrays.types import Array, ArrayNamespace, Shape
from chainrule.network import Network
from chainrule.network.forward import run

__all__ = ["basis", "run_dual", "tangent"]


def run_dual(
    network: Network, theta: Array, state: Array, x: Array, u: Array, xp: DualNamespace
) -> Any:
    """Return ``(z, pullback)`` on dual arrays, x moving along u."""
    return run(network, xp.dual(theta), xp.dual(state), xp.dual(x, u), xp)


def basis(shape: Shape, dtype: Any, xp: ArrayNamespace) -> Any:
    """Return the directions of a sample's entries: (size, 1, *shape)."""
    size = math.prod(shape)
    return xp.reshape(xp.eye(size, dtype=dtype), (size, 1, *shape))


def tangent(a: Array, lead: Shape, xp: DualNamespace) -> Any:
    """Return a's tangent behind `lead`, also where it is zero."""
    return xp.base.broadcast_to(xp.parts(a)[1], (*lead, *a.shape))
