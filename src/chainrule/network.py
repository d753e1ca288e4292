"""A bound network: the layout of all its parameters in one flat vector.

`theta` has shape (..., P): every parameter, in layer order, weight before bias, each
row-major. Axes before P are members of an ensemble. The state (running statistics) is a
second flat vector with its own layout.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule import random
from chainrule._record import Record
from chainrule._typing import Params, Shape
from chainrule.context import Context
from chainrule.errors import ArgumentError, ShapeError
from chainrule.layers.base import Layer, Variable, output_shape

__all__ = ["Entry", "Network", "Run"]


class Entry(NamedTuple):
    """Where one array lies in the flat vector."""

    name: str
    shape: Shape
    start: int
    stop: int
    decay: bool
    trainable: bool
    absorbed: bool = False  # the gradient is zero in training: `Layer.followed`


class Run(NamedTuple):
    """A run of neighbouring entries that all learn, or are all frozen."""

    start: int
    stop: int
    trainable: bool
    entries: tuple[Entry, ...]


class Network:
    """A layer bound to the shape of its samples.

    Parameters
    ----------
    layer : Layer
        Any layer; usually a `Sequential`.
    sample_shape : tuple of int
        The shape of one sample, without the batch.

    Attributes
    ----------
    entries, state_entries : tuple of Entry
    size, state_size : int
        Lengths of the two vectors.
    runs : tuple of Run
    draws : int
        How many keys a training pass needs.
    widest : int
        Numbers in a sample's widest layer, as far as the parameters tell.
    """

    def __init__(self, layer: Layer, sample_shape: Shape) -> None:
        self.layer = layer.bind(sample_shape)
        self.input_shape: Shape = sample_shape
        self.output_shape: Shape = output_shape(self.layer)
        self.output_size = math.prod(self.output_shape)
        self.draws = self.layer.draws
        self._variables = tuple(_leaves(self.layer.parameters))
        self._state_variables = self.layer.state
        frozen = {v.name for v in self._variables} - set(_learning(self.layer))
        self.entries = _layout(self._variables, frozen)
        self.state_entries = _layout(self._state_variables, frozenset())
        self.size = self.entries[-1].stop if self.entries else 0
        self.state_size = self.state_entries[-1].stop if self.state_entries else 0
        self.runs = _runs(self.entries)
        middle = math.prod(sample_shape[:-1])
        self.widest = max(
            1,
            math.prod(sample_shape),
            self.output_size,
            *(middle * e.shape[0] for e in self.entries),
        )
        self._tree = _numbered(self.layer.parameters, iter(range(len(self.entries))))
        self._paths = tuple(_paths(self._tree))

    def __eq__(self, other: object) -> bool:
        # By all that the layers hold, whatever equality a class of one's own has.
        return isinstance(other, Network) and Record.__eq__(self.layer, other.layer)

    def __hash__(self) -> int:
        return Record.__hash__(self.layer)

    def initial(self, seed: int, member: int = 0) -> tuple[Any, Any]:
        """Draw theta (P,) and the state (S,) on the host, in float64."""
        generator = random.generator(seed, random.WEIGHTS, member)
        return (
            _draw(self._variables, self.entries, generator),
            _draw(self._state_variables, self.state_entries, generator),
        )

    def unflatten(self, theta: Any, xp: Any) -> Params:
        """Return the tree of parameters: reshaped views of slices of theta.

        An engine may hand in the views themselves, in a tuple.
        """
        return self.tree(theta if isinstance(theta, tuple) else self.views(theta, xp))

    def tree(self, leaves: Sequence[Any]) -> Params:
        """Return the tree of parameters made of arrays in layout order."""
        return _grow(self._tree, leaves)

    def views(self, theta: Any, xp: Any) -> list[Any]:
        """Return the parameters, as a list in layout order."""
        return _views(theta, self.entries, xp)

    def unflatten_state(self, state: Any, xp: Any) -> list[Any]:
        """Return the pieces of the state, in layout order."""
        return _views(state, self.state_entries, xp)

    def flatten_state(self, kept: list[Any], xp: Any) -> Any:
        """Join what one pass kept into one vector (..., S)."""
        return _join(kept, self.state_entries, xp)

    def pieces(self, dparams: Params) -> list[Any]:
        """Return the gradients in layout order; None where an entry is frozen."""
        return [_follow(dparams, path) for path in self._paths]

    def flatten(self, dparams: Params, xp: Any) -> Any:
        """Join a tree like `unflatten`'s into one vector (..., P); None counts as 0."""
        return self.join(self.pieces(dparams), xp)

    def join(self, pieces: list[Any], xp: Any) -> Any:
        """Join gradients in layout order into one vector (..., P); None counts as 0."""
        some = next(
            (g, e) for g, e in zip(pieces, self.entries, strict=True) if g is not None
        )
        lead = some[0].shape[: some[0].ndim - len(some[1].shape)]
        filled = [
            xp.zeros((*lead, *e.shape), dtype=some[0].dtype) if g is None else g
            for g, e in zip(pieces, self.entries, strict=True)
        ]
        return _join(filled, self.entries, xp)

    def forward(self, params: Params, x: Any, context: Context) -> Any:
        """Return ``(z, pullback)`` of the whole network."""
        return self.layer.forward(params, x, context)


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


def _layout(variables: Any, frozen: Any) -> tuple[Entry, ...]:
    entries, start = [], 0
    for v in variables:
        stop = start + math.prod(v.shape)
        entries.append(
            Entry(
                v.name, v.shape, start, stop, v.decay, v.name not in frozen, v.absorbed
            )
        )
        start = stop
    return tuple(entries)


def _runs(entries: tuple[Entry, ...]) -> tuple[Run, ...]:
    runs: list[Run] = []
    for e in entries:
        if runs and runs[-1].trainable == e.trainable:
            last = runs.pop()
            runs.append(Run(last.start, e.stop, e.trainable, (*last.entries, e)))
        else:
            runs.append(Run(e.start, e.stop, e.trainable, (e,)))
    return tuple(runs)


def _draw(variables: Any, entries: tuple[Entry, ...], generator: Any) -> Any:
    parts = [np.ravel(_drawn(v, generator)) for v in variables]
    if not entries:
        return np.zeros(0)
    return np.concatenate(parts).astype(np.float64)


def _drawn(v: Variable, generator: Any) -> Any:
    """Return a variable's first values, which may come from a user's function."""
    a = np.asarray(v.initializer(v.shape, generator))
    if a.shape != tuple(v.shape):
        msg = (
            f"the initializer of {v.name} must return an array of shape {v.shape}, its "
            f"first argument; got {a.shape}."
        )
        raise ShapeError(msg)
    if a.dtype.kind not in "fiub" or not np.isfinite(a).all():
        what = "values that are not" if a.dtype.kind in "fiub" else f"dtype {a.dtype}"
        msg = f"the initializer of {v.name} must return finite numbers; got {what}."
        raise ArgumentError(msg)
    return a


def _views(vector: Any, entries: tuple[Entry, ...], xp: Any) -> list[Any]:
    lead = vector.shape[:-1]
    return [
        xp.reshape(vector[..., e.start : e.stop], (*lead, *e.shape)) for e in entries
    ]


def _join(pieces: list[Any], entries: tuple[Entry, ...], xp: Any) -> Any:
    flat = [
        xp.reshape(p, (*p.shape[: p.ndim - len(e.shape)], e.stop - e.start))
        for p, e in zip(pieces, entries, strict=True)
    ]
    return xp.concat(flat, axis=-1)


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
