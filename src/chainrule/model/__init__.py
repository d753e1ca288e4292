"""The object that users hold."""

from __future__ import annotations

from chainrule.model.model import Model
from chainrule.model.spec import ModelSpec

__all__ = ["Model", "ModelSpec"]
