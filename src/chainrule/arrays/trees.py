"""Trees of arrays: tuples, lists and dicts."""

from __future__ import annotations

from typing import Any

__all__ = ["tree_map"]


def tree_map(f: Any, tree: Any) -> Any:
    """Apply f to the arrays of a tree of tuples, lists and dicts; keep the rest."""
    if isinstance(tree, dict):
        return {k: tree_map(f, v) for k, v in tree.items()}
    if isinstance(tree, (tuple, list)):
        return type(tree)(tree_map(f, v) for v in tree)
    return f(tree) if hasattr(tree, "shape") else tree
