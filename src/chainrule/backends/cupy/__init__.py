"""The CuPy engine."""

from __future__ import annotations

from chainrule.backends.cupy.engine import CuPyBackend

__all__ = ["CuPyBackend"]
