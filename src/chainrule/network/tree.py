"""Walks over a layer and its parts: what learns, and where each array stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from chainrule.layers import Layer, Variable

__all__ = []


def _leaves(tree: Any) -> Iterator[Variable]:
    if isinstance(tree, Variable):
        yield tree
        return
    for branch in tree:
        yield from _leaves(branch)


def _learning(layer: Layer, prefix: str = "") -> Iterator[str]:
    """Names of the parameters that training may change."""
    if not layer.trainable:
        return
    if not layer.children:
        yield from (prefix + v.name for v in _leaves(layer.parameters))
    for name, part in layer.children:
        yield from _learning(part, f"{prefix}{name}.")


def _numbered(tree: Any, numbers: Iterator[int]) -> Any:
    if isinstance(tree, Variable):
        return next(numbers)
    return tuple(_numbered(branch, numbers) for branch in tree)


def _grow(tree: Any, leaves: Sequence[Any]) -> Any:
    if isinstance(tree, int):
        return leaves[tree]
    return tuple(_grow(branch, leaves) for branch in tree)


def _paths(tree: Any) -> Iterator[tuple[int, ...]]:
    """Where each leaf stands in the tree, in layout order."""
    if isinstance(tree, int):
        yield ()
        return
    for i, branch in enumerate(tree):
        yield from ((i, *path) for path in _paths(branch))


def _follow(tree: Any, path: tuple[int, ...]) -> Any:
    """Return what stands at the path's end; None where a branch is None."""
    for i in path:
        if tree is None:
            return None
        tree = tree[i]
    return tree
