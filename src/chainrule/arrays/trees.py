"""Trees of arrays: tuples, lists and dicts; of parameters, tuples alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["filled", "leaves", "tree_map"]


def tree_map(f: Callable[[Any], Any], tree: Any) -> Any:
    """Apply f to the arrays of a tree of tuples, lists and dicts; keep the rest."""
    if isinstance(tree, dict):
        return {k: tree_map(f, v) for k, v in tree.items()}
    if isinstance(tree, (tuple, list)):
        return type(tree)(tree_map(f, v) for v in tree)
    return f(tree) if hasattr(tree, "shape") else tree


# Trees of plain tuples: what is another type is a leaf, but None, which has no value.


def leaves(tree: Any) -> Iterator[Any]:
    """Yield the leaves of a tree of tuples, in order."""
    if type(tree) is tuple:
        for branch in tree:
            yield from leaves(branch)
    elif tree is not None:
        yield tree


def filled(tree: Any, new: Iterator[Any]) -> Any:
    """Return a tree of the same form with the next leaves from `new`."""
    if type(tree) is tuple:
        return tuple([filled(branch, new) for branch in tree])
    return None if tree is None else next(new)
