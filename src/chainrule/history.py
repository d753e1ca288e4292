"""Where this was until 0.1; it is now in `chainrule.state.history`."""

from chainrule.state.history import History

__all__ = ["History"]
