"""Where this was until 0.1; it is now in `chainrule.arrays.dual`."""

from chainrule.arrays.dual import DualArray, DualNamespace

__all__ = ["DualArray", "DualNamespace"]
