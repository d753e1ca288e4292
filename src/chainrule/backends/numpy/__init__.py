"""The NumPy engine."""

from __future__ import annotations

from chainrule.backends.numpy.engine import NumPyBackend

__all__ = ["NumPyBackend"]
