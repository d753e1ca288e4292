"""A bound network: the layout of all its parameters in one flat vector.

`theta` has shape (..., P): every parameter, in layer order, weight before bias, each
row-major. Axes before P are members of an ensemble. The state (running statistics) is a
second flat vector with its own layout.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.arrays import random
from chainrule.arrays.layout import Entry, Layout
from chainrule.arrays.types import Params, Shape
from chainrule.config.record import Config
from chainrule.errors import ArgumentError, ShapeError
from chainrule.layers import Layer, Variable
from chainrule.layers.base import output_shape
from chainrule.layers.context import Context
from chainrule.network.tree import _follow, _grow, _learning, _leaves, _numbered, _paths

__all__ = ["Network"]


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
    layout, state_layout : Layout
        Where each parameter lies in theta, each piece of state in the state.
    entries, state_entries : tuple of Entry
    size, state_size : int
        Lengths of the two vectors.
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
        self.layout = Layout(self._variables, frozen)
        self.state_layout = Layout(self._state_variables)
        self.entries, self.size = self.layout.entries, self.layout.size
        self.state_entries = self.state_layout.entries
        self.state_size = self.state_layout.size
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
        return isinstance(other, Network) and Config.__eq__(self.layer, other.layer)

    def __hash__(self) -> int:
        return Config.__hash__(self.layer)

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
        return self.layout.views(theta, xp)

    def unflatten_state(self, state: Any, xp: Any) -> list[Any]:
        """Return the pieces of the state, in layout order."""
        return self.state_layout.views(state, xp)

    def flatten_state(self, kept: list[Any], xp: Any) -> Any:
        """Join what one pass kept into one vector (..., S)."""
        return self.state_layout.join(kept, xp)

    def pieces(self, dparams: Params) -> list[Any]:
        """Return the gradients in layout order; None where an entry is frozen."""
        return [_follow(dparams, path) for path in self._paths]

    def flatten(self, dparams: Params, xp: Any) -> Any:
        """Join a tree like `unflatten`'s into one vector (..., P); None counts as 0."""
        return self.join(self.pieces(dparams), xp)

    def join(self, pieces: list[Any], xp: Any) -> Any:
        """Join gradients in layout order into one vector (..., P); None counts as 0."""
        return self.layout.join_gradient(pieces, xp)

    def forward(self, params: Params, x: Any, context: Context) -> Any:
        """Return ``(z, pullback)`` of the whole network."""
        return self.layer.forward(params, x, context)


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
