"""One vector: a layer bound to a shape, and its passes in inference."""

from __future__ import annotations

from chainrule.arrays.layout import Entry
from chainrule.network.network import Network

__all__ = ["Entry", "Network"]
