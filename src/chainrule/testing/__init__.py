"""Proof for anyone: gradients against differences, backends against one another."""

from __future__ import annotations

__all__: list[str] = []
