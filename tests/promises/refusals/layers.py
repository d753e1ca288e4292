"""Arguments of layers."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import chainrule as cr

from tests.support.inputs import (
    Shape,
    Type,
    Value,
)
from tests.support.own_layers import Counting, Embedding, Given


def _model(*layers: cr.Layer) -> cr.Model:
    return cr.Model(cr.Sequential(*layers, cr.Dense(1)), backend="numpy")


def _fit(*layers: cr.Layer) -> Any:
    return _model(*layers).fit(np.ones((4, 3)), np.ones((4, 1)), progress=False)


LAYERS: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    **{
        f"Dense({units!r})": (
            partial(cr.Dense, units),  # type: ignore[arg-type]
            error,
            f"^Dense: units must be an integer of at least 1; got {units!r}",
        )
        for units, error in ((0, Value), (-1, Value), (2.5, Type), (True, Type))
    },
    **{
        f"Dropout({rate!r})": (
            partial(cr.Dropout, rate),  # type: ignore[arg-type]
            error,
            rf"^Dropout: rate must be a number in \[0, 1\); got {rate!r}",
        )
        for rate, error in (
            (1.0, Value),
            (-0.1, Value),
            (math.nan, Value),
            ("x", Type),
            (False, Type),
        )
    },
    "Keras's activation": (
        lambda: cr.Dense(8, activation="relu"),  # type: ignore[call-arg]
        Type,
        "^Dense has no argument 'activation': put the layer behind it",
    ),
    "initializer's shape": (
        lambda: cr.Model(cr.Dense(2, kernel_initializer=lambda s, g: s)).build(3),
        Shape,
        r"^the initializer of weight must return .*\(2, 3\).*got \(2,\)",
    ),
    "activation": (
        lambda: cr.MLP((2,), activation="rellu"),  # type: ignore[arg-type]
        Value,
        "^activation .*'rellu'. Did you mean 'relu'",
    ),
    "activation 3": (lambda: cr.MLP((2,), activation=3), Type, "^activation .*got 3"),  # type: ignore[arg-type]
    "initializer": (
        lambda: cr.Dense(2, kernel_initializer="he_norml"),  # type: ignore[arg-type]
        Value,
        "^Dense: kernel_initializer .*Did you mean 'he_normal'",
    ),
    "bias initializer": (
        lambda: cr.Dense(2, bias_initializer="zero"),  # type: ignore[arg-type]
        Value,
        "^Dense: bias_initializer .*Did you mean 'zeros'",
    ),
    "Dense.replace(own=bytearray())": (
        lambda: cr.Dense(2).replace(own=bytearray(b"12")),
        Type,
        "^Dense: the attribute 'own' has a bytearray in it.* Keep numbers, text",
    ),
    "bias": (lambda: cr.Dense(2, bias=1), Type, "^Dense: bias must be True or False"),  # type: ignore[arg-type]
    "layer class": (lambda: cr.Sequential(cr.Tanh), Type, r"write Tanh\(\)"),  # type: ignore[arg-type]
    "no layer": (lambda: cr.Sequential(3), Type, "^Sequential: every part .*got 3"),  # type: ignore[arg-type]
    "no layers": (cr.Sequential, Value, "^Sequential: at least one layer"),
    "no units": (lambda: cr.MLP(()), Value, "^MLP: units must name"),
    "units 3": (lambda: cr.MLP(3), Type, "^MLP: units must be a sequence .*got 3"),  # type: ignore[arg-type]
    "Residual": (
        lambda: cr.Model(cr.Residual(cr.Dense(4))).build(3),
        Shape,
        r"^Residual: .*\(3,\).*\(4,\)|^Residual: .*\(4,\).*\(3,\)",
    ),
    "children that are no layers": (
        lambda: _model(Given((("left", 3),))).build(3),
        Type,
        r"^Given\.children: 'left' must be a layer .*got 3",
    ),
    "children without names": (
        lambda: _model(Given((cr.Tanh(),))).build(3),
        Type,
        r"^Given\.children must be pairs of a name and a layer",
    ),
    "children of one name": (
        lambda: _model(Given((("a", cr.Tanh()), ("a", cr.ReLU())))).build(3),
        Value,
        r"^Given\.children: each child needs a name of its own; got a, a",
    ),
    "fewer states": (
        lambda: _fit(Counting(1)),
        Value,
        r"^Counting \(part '0'\): forward kept 1 array of state, .*declares 2",
    ),
    "more states": (
        lambda: _fit(Counting(3)),
        Value,
        r"^Counting \(part '0'\): forward kept 3 arrays of state, .*declares 2",
    ),
    "floats for indices": (
        lambda: _fit(Embedding(5, 2)),
        Type,
        r"^x must hold indices, of an integer dtype.*got dtype float64.*convert them",
    ),
    "indices beyond int32": (
        lambda: _model(Embedding(5, 2)).build(3).predict(np.full((1, 3), 2**31)),
        Value,
        r"^x must hold indices within int32; got 2147483648",
    ),
    "derivatives by indices": (
        lambda: _model(Embedding(5, 2)).build(3).jacobian(np.ones((1, 3), int)),
        Value,
        r"^there are no derivatives by x: .*takes indices",
    ),
}
