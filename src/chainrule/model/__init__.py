"""The object that users hold."""

from __future__ import annotations

from chainrule.model.model import Model

__all__ = ["Model"]
