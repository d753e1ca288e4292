"""The look of the gallery's figures, set before each example."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

STYLE = Path(__file__).parents[1] / "gallery" / "chainrule.mplstyle"


def apply(gallery_conf: dict[str, Any], name: str) -> None:
    """Use the style; sphinx-gallery calls it with the example's file name."""
    del gallery_conf, name
    plt.style.use(STYLE)
