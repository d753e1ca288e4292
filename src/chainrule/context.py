"""Where this was until 0.1; it is now in `chainrule.layers.context`."""

from chainrule.layers.context import Context

__all__ = ["Context"]
