"""The mean of parts by their mass: that of all samples, made of batches' or chunks'.

A part's value is a mean by itself; its mass is what its sum was divided by.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["add", "divisor", "join_means"]


def divisor(mass: Any, xp: Any) -> Any:
    """Return what a sum by mass is divided by: the mass, 1 where nothing weighs."""
    return mass if isinstance(mass, int) else xp.where(mass > 0, mass, 1.0)


def join_means(sums: Sequence[Any], masses: Sequence[Any], xp: Any) -> Any:
    """Return the mean of all parts, 0 where nothing weighs.

    sums are the parts' values times their masses.
    """
    return add(sums) / divisor(add(masses), xp)


def add(parts: Sequence[Any]) -> Any:
    """Return the sum of parts, one by one; of arrays there is at least one."""
    return sum(parts[1:], parts[0])
