"""The JAX engine."""

from __future__ import annotations

from chainrule.backends.jax.engine import JaxBackend

__all__ = ["JaxBackend"]
