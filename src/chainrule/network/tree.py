"""Walks over a layer and its parts: what learns, and where each array stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from chainrule.arrays.types import Pullback
from chainrule.layers import Layer, Variable
from chainrule.layers.base import children, mapped

__all__ = ["Forward", "follow", "learning", "numbered", "paths", "rewired", "walk"]

Forward = Callable[..., tuple[Any, Pullback]]


def walk(layer: Layer, name: str = "") -> Iterator[tuple[str, Layer]]:
    """Yield each layer with the name that its parameters carry: parts, then the whole.

    The outermost layer's name is empty.
    """
    for key, part in children(layer):
        yield from walk(part, _joined(name, key))
    yield name, layer


def _joined(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key


def learning(layer: Layer) -> Iterator[str]:
    """Yield the names of the parameters that training may change."""
    if not layer.trainable:
        return
    yield from (v.name for v in layer.own_parameters)
    for key, part in children(layer):
        yield from (_joined(key, name) for name in learning(part))


def rewired(
    layer: Layer, wrap: Callable[[str, Layer], Forward], name: str = ""
) -> Layer:
    """Return a bound layer that runs ``wrap(name, part)`` for each part's `forward`.

    It sees the part as it is named by `walk`, and may call the part's own forward, in
    which inner parts are wrapped already.
    """
    inner = mapped(layer, lambda key, part: rewired(part, wrap, _joined(name, key)))
    return inner.replace(forward=wrap(name, inner))


# The tree of parameters.


def numbered(tree: Any, numbers: Iterator[int]) -> Any:
    """Return a tree of variables as plain tuples, with numbers for leaves."""
    if isinstance(tree, Variable):
        return next(numbers)
    return tuple(numbered(branch, numbers) for branch in tree)


def paths(tree: Any) -> Iterator[tuple[int, ...]]:
    """Yield where each leaf of a numbered tree stands, in layout order."""
    if isinstance(tree, int):
        yield ()
        return
    for i, branch in enumerate(tree):
        yield from ((i, *path) for path in paths(branch))


def follow(tree: Any, path: tuple[int, ...]) -> Any:
    """Return what stands at the path's end; None where a branch is None."""
    for i in path:
        if tree is None:
            return None
        tree = tree[i]
    return tree
