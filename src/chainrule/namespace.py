"""Where this was until 0.1; it is now in `chainrule.arrays.namespace`."""

from chainrule.arrays.namespace import Namespace, erf, namespace

__all__ = ["Namespace", "erf", "namespace"]
