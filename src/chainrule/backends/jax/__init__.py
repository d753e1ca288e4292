"""The JAX engine."""

from __future__ import annotations

from chainrule.backends.jax.engine import JaxBackend
from chainrule.backends.jax.mesh import MeshJaxBackend

__all__ = ["JaxBackend", "MeshJaxBackend"]
