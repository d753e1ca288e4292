"""``python -m chainrule``: the paper's two figures and a third, trained and drawn."""

from __future__ import annotations

import sys

from chainrule.demo.run import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
