"""A bound network: the layout of all its parameters in one flat vector.

`theta` has shape (..., P): every parameter, in layer order, weight before bias, each
row-major. Axes before P are members of an ensemble. The state (running statistics) is a
second flat vector with its own layout.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from chainrule.arrays import random, trees
from chainrule.arrays.layout import Entry, Layout
from chainrule.arrays.types import Array, ArrayNamespace, Params, Pullback, Shape
from chainrule.config.record import Config
from chainrule.errors import ArgumentError
from chainrule.layers import Layer, Variable
from chainrule.layers.base import freeze_parts, output_shape, variables
from chainrule.layers.context import Context
from chainrule.network import tree

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
    input_dtype : str or None
        "int32" where samples are indices, which stay integers; None where they are
        numbers of the model's dtype.
    draws : int
        How many keys a training pass needs.
    widest : int
        Numbers of one sample in the widest array between the layers.
    """

    layer: Layer
    input_shape: Shape
    output_shape: Shape
    output_size: int
    input_dtype: str | None
    draws: int
    layout: Layout
    state_layout: Layout
    entries: tuple[Entry, ...]
    state_entries: tuple[Entry, ...]
    size: int
    state_size: int
    widest: int

    def __init__(self, layer: Layer, sample_shape: Shape) -> None:
        self.layer = freeze_parts(layer).bind(sample_shape)
        self.input_shape = sample_shape
        self.input_dtype = _input_dtype(self.layer)
        self.output_shape = output_shape(self.layer)
        self.output_size = math.prod(self.output_shape)
        self.draws = self.layer.draws
        self._variables = tuple(variables(self.layer.parameters))
        self._state_variables = tuple(self.layer.state)
        frozen = {v.name for v in self._variables} - set(tree.learning(self.layer))
        self.layout = Layout(self._variables, frozen)
        self.state_layout = Layout(self._state_variables)
        self.entries, self.size = self.layout.entries, self.layout.size
        self.state_entries = self.state_layout.entries
        self.state_size = self.state_layout.size
        self.widest = max(1, self.layer.widest)
        self._tree = tree.numbered(self.layer.parameters, itertools.count())
        self._paths = tuple(tree.paths(self._tree))
        self._gradient_paths = tuple(
            path if entry.trainable else None
            for path, entry in zip(self._paths, self.entries, strict=True)
        )

    def __eq__(self, other: object) -> bool:
        # By all that the layers hold, whatever equality a class of one's own has.
        return isinstance(other, Network) and Config.__eq__(self.layer, other.layer)

    def __hash__(self) -> int:
        return Config.__hash__(self.layer)

    def initial(self, seed: int, member: int = 0) -> tuple[Any, Any]:
        """Draw theta (P,) and the state (S,) on the host, in float64."""
        generator = random.generator(seed, random.WEIGHTS, member)
        return (
            _draw(self._variables, generator),
            _draw(self._state_variables, generator),
        )

    def unflatten(self, theta: Array | tuple[Array, ...], xp: ArrayNamespace) -> Params:
        """Return the tree of parameters: reshaped views of slices of theta.

        An engine may hand in the views themselves, in a tuple.
        """
        return self.tree(theta if isinstance(theta, tuple) else self.views(theta, xp))

    def tree(self, leaves: Sequence[Any]) -> Params:
        """Return the tree of parameters made of arrays in layout order."""
        return trees.filled(self._tree, iter(leaves))

    def views(self, theta: Array, xp: ArrayNamespace) -> list[Any]:
        """Return the parameters, as a list in layout order."""
        return self.layout.views(theta, xp)

    def unflatten_state(self, state: Array, xp: ArrayNamespace) -> list[Any]:
        """Return the pieces of the state, in layout order."""
        return self.state_layout.views(state, xp)

    def flatten_state(self, kept: list[Any], xp: ArrayNamespace) -> Any:
        """Join what one pass kept into one vector (..., S)."""
        return self.state_layout.join(kept, xp)

    def pieces(self, dparams: Params) -> list[Any]:
        """Return the gradients in layout order; None where an entry is frozen."""
        return [
            None if path is None else tree.follow(dparams, path)
            for path in self._gradient_paths
        ]

    def flatten(self, params: Params, xp: ArrayNamespace) -> Any:
        """Join a tree like `unflatten`'s into one vector (..., P); None counts as 0."""
        return self.join([tree.follow(params, path) for path in self._paths], xp)

    def gradient(self, dparams: Params, xp: ArrayNamespace) -> Any:
        """Join a pullback's gradients into one vector (..., P): 0 where frozen."""
        return self.join(self.pieces(dparams), xp)

    def join(self, pieces: list[Any], xp: ArrayNamespace) -> Any:
        """Join gradients in layout order into one vector (..., P); None counts as 0."""
        return self.layout.join_gradient(pieces, xp)

    def forward(
        self, params: Params, x: Array, context: Context
    ) -> tuple[Any, Pullback]:
        """Return ``(z, pullback)`` of the whole network."""
        return self.layer.forward(params, x, context)

    def refuse_state(self, params: Params, x: Any, context: Context) -> NoReturn:
        """Run a pass whose layers keep another number of arrays than they declare.

        Raises
        ------
        ArgumentError
            It names the layer.
        """

        def counting(name: str, part: Layer) -> tree.Forward:
            def forward(
                params: Params, x: Array, context: Context
            ) -> tuple[Any, Pullback]:
                before = len(context.kept)
                passed = part.forward(params, x, context)
                _check_kept(name, part, len(context.kept) - before)
                return passed

            return forward

        tree.rewired(self.layer, counting).forward(params, x, context)
        msg = (
            f"{type(self.layer).__name__}: forward kept other numbers of arrays of "
            f"state in two passes; it must keep the {len(self.state_entries)} that "
            "`state` declares in each."
        )
        raise ArgumentError(msg)


def _input_dtype(layer: Layer) -> str | None:
    dtype = layer.input_dtype
    if dtype not in (None, "int32"):
        msg = (
            f"{type(layer).__name__}.input_dtype must be None, for numbers of the "
            f"model's dtype, or 'int32', for indices; got {dtype!r}."
        )
        raise ArgumentError(msg)
    return dtype


def _check_kept(name: str, part: Layer, kept: int) -> None:
    declared = part.state
    if kept == len(declared):
        return
    what = f"{type(part).__name__} (part {name!r})" if name else type(part).__name__
    names = ", ".join(v.name for v in declared) or "none"
    msg = (
        f"{what}: forward kept {kept} array{'' if kept == 1 else 's'} of state, but "
        f"`state` declares {len(declared)}: {names}. Call context.keep with the new "
        f"value of each, in their order, in every pass; or declare a Variable for each "
        f"that is kept."
    )
    raise ArgumentError(msg)


def _draw(variables: Sequence[Variable], generator: np.random.Generator) -> Any:
    parts = [np.ravel(v.draw(generator)) for v in variables]
    return np.concatenate([np.zeros(0), *parts]).astype(np.float64)
