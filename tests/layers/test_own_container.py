"""Containers of one's own: they have `children`, `bind` and `forward`, and all works."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest

import chainrule as cr
from chainrule import serialization
from chainrule.arrays.types import Shape
from chainrule.errors import ArgumentError, ArgumentTypeError
from chainrule.layers.context import Context
from chainrule.network import Network
from chainrule.network.tree import walk
from chainrule.testing import check_gradients, compare_backends

from tests.support.layers import through
from tests.support.libraries import LIBRARIES, MATRIX, Library, here

RNG = np.random.default_rng(7)
X = RNG.normal(size=(40, 3))
Y = np.sin(X[:, :1]) * X[:, 1:2]


class Parallel(cr.Layer):
    """z = left(x) + right(x)."""

    left: cr.Layer
    right: cr.Layer

    def __init__(
        self, left: cr.Layer, right: cr.Layer, *, trainable: bool = True
    ) -> None:
        self._configure(trainable, left=left, right=right)

    @property
    def children(self) -> tuple[tuple[str, cr.Layer], ...]:
        return ("left", self.left), ("right", self.right)

    def bind(self, sample_shape: Shape) -> Self:
        left, right = self.left.bind(sample_shape), self.right.bind(sample_shape)
        return self.replace(
            left=left,
            right=right,
            input_shape=sample_shape,
            output_shape=left.output_shape,
        )

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        a, pull_a = self.left.forward(params[0], x, context)
        b, pull_b = self.right.forward(params[1], x, context)

        def pullback(dz: Any, dx: bool = True, dp: bool = True) -> tuple[Any, Any]:
            da, left = pull_a(dz, dx, dp)
            db, right = pull_b(dz, dx, dp)
            return (da + db if dx else None), (left, right)

        return a + b, pullback


class Holding(cr.Layer):
    """Parts under private names, in a list and a dict."""

    def __init__(self, *parts: cr.Layer, trainable: bool = True) -> None:
        self._configure(trainable, _first=[parts[0]], _rest={"b": parts[1]})

    @property
    def children(self) -> tuple[tuple[str, cr.Layer], ...]:
        values: Any = self.__dict__
        return ("a", values["_first"][0]), ("b", values["_rest"]["b"])

    def bind(self, sample_shape: Shape) -> Self:
        (_, a), (_, b) = self.children
        a = a.bind(sample_shape)
        assert a.output_shape is not None
        b = b.bind(a.output_shape)
        return self.replace(
            _first=[a],
            _rest={"b": b},
            input_shape=sample_shape,
            output_shape=b.output_shape,
        )

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        (_, a), (_, b) = self.children
        h, pull_a = a.forward(params[0], x, context)
        z, pull_b = b.forward(params[1], h, context)

        def pullback(dz: Any, dx: bool = True, dp: bool = True) -> tuple[Any, Any]:
            dh, second = pull_b(dz, True, dp)
            dx, first = pull_a(dh, dx, dp)
            return dx, (first, second)

        return z, pullback


def layered(frozen: bool = False) -> cr.Sequential:
    """A container of one's own within Sequential, with all sorts of parts inside."""
    return cr.Sequential(
        cr.Dense(6),
        Parallel(
            cr.Sequential(cr.BatchNorm(), cr.Tanh(), cr.Dropout(0.2), cr.Dense(5)),
            trainable=not frozen,
        ),
        cr.Dense(1),
    )


NAMES = {
    "0.weight": True,
    "0.bias": True,
    "1.left.0.gain": True,
    "1.left.0.shift": True,
    "1.left.3.weight": True,
    "1.left.3.bias": True,
    "1.right.0.layer.weight": True,
    "1.right.0.layer.bias": True,
    "1.right.1.weight": False,
    "1.right.1.bias": False,
    "2.weight": True,
    "2.bias": True,
}
