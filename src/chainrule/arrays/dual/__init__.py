"""Dual arrays: a value beside its derivative along directions."""

from __future__ import annotations

from chainrule.arrays.dual.array import DualArray
from chainrule.arrays.dual.namespace import DualNamespace

__all__ = ["DualArray", "DualNamespace"]
