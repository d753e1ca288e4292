"""The engines: the only place that names JAX, CuPy or PyTorch.

Every engine is an array namespace bound to a device, with a way to run a training step
over batches. They are loaded when they are asked for, and live beside one another.
"""

from __future__ import annotations

from chainrule.backends.base import Backend
from chainrule.backends.registry import Availability, available, clear_caches, get, of

__all__ = ["Availability", "Backend", "available", "clear_caches", "get", "of"]
