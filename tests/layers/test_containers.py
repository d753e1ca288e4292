"""Containers: names, freezing, what is not computed, gradients of whole networks."""

from __future__ import annotations

import pickle
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.arrays import random
from chainrule.arrays.namespace import Namespace
from chainrule.layers.context import Context
from chainrule.network import Network

from tests.support.layers import check_gradients, through
from tests.support.libraries import Library

pytestmark = pytest.mark.no_sync

RNG = np.random.default_rng(0)
KEYS = random.step_keys(3, 0, 1, 2)[0]


def _everything() -> cr.Sequential:
    inner = cr.Sequential(cr.Dense(3), cr.BatchNorm(), cr.Tanh(), cr.Dropout(0.3))
    return cr.Sequential(
        cr.Dense(3),
        cr.LayerNorm(),
        cr.Residual(inner),
        cr.BatchNorm(trainable=False),
        cr.Flatten(),
        cr.GELU(),
        cr.Dropout(0.2),
        cr.Residual(cr.MLP((4, 6), "silu", trainable=False)),
        cr.BatchNorm(0.3),
        cr.Dense(2),
    )


STATE = Network(_everything(), (2, 4)).initial(0)[1]
STATE = STATE + RNG.uniform(0.1, 0.9, STATE.size)


def test_names_and_layout_order() -> None:
    network = Network(_everything(), (2, 4))
    assert [e.name for e in network.entries] == [
        *("0.weight", "0.bias", "1.gain", "1.shift"),
        *("2.layer.0.weight", "2.layer.0.bias", "2.layer.1.gain", "2.layer.1.shift"),
        *("3.gain", "3.shift"),
        *("7.layer.0.weight", "7.layer.0.bias", "7.layer.2.weight", "7.layer.2.bias"),
        *("8.gain", "8.shift", "9.weight", "9.bias"),
    ]
    assert [e.name for e in network.state_entries] == [
        f"{part}.{name}" for part in ("2.layer.1", "3", "8") for name in ("mean", "var")
    ]
    assert network.entries[0].start == network.state_entries[0].start == 0
    for entries in (network.entries, network.state_entries):
        for one, two in pairwise(entries):
            assert one.stop == two.start
        assert all(e.stop - e.start == np.prod(e.shape) for e in entries)
    frozen = {e.name for e in network.entries if not e.trainable}
    assert frozen == {e.name for e in network.entries if e.name[0] in "37"}
    assert [span.trainable for span in network.layout.spans] == [True, False, True]
    assert network.draws == 2
    theta = np.arange(float(network.size))
    views = network.views(theta, np)
    np.testing.assert_array_equal(np.concatenate([v.ravel() for v in views]), theta)
    tree = network.unflatten(theta, np)
    np.testing.assert_array_equal(network.flatten(tree, Namespace(np)), theta)


def test_short_names() -> None:
    names = [e.name for e in Network(cr.MLP((3, 2)), (4,)).entries]
    assert names == ["0.weight", "0.bias", "2.weight", "2.bias"]
    stack = cr.Sequential(cr.Dense(4), cr.Residual(cr.Dense(4)))
    names = [e.name for e in Network(stack, (4,)).entries]
    assert names[2:] == ["1.layer.weight", "1.layer.bias"]


@pytest.mark.parametrize("train", [True, False])
def test_gradients_of_everything(train: bool) -> None:
    check_gradients(_everything(), (2, 4), train=train, state=STATE, key=KEYS)


@pytest.mark.parametrize("train", [True, False])
def test_an_ensemble_is_a_loop(lib: Library, train: bool) -> None:
    network = Network(_everything(), (2, 4))
    theta = RNG.normal(size=(3, network.size))
    state = STATE * RNG.uniform(0.5, 1.5, (3, 1))
    x, dz = RNG.normal(size=(5, 2, 4)), RNG.normal(size=(3, 5, 2))
    given: dict[str, Any] = {"train": train, "key": KEYS, "lib": lib}
    got = through(network, theta, x, dz, state=state, **given)
    each = [
        through(network, t, x, d, state=s, **given)
        for t, d, s in zip(theta, dz, state, strict=True)
    ]
    for a, b in zip(got, map(np.stack, zip(*each, strict=True)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("train", [True, False])
def test_libraries_agree(lib: Library, train: bool) -> None:
    network = Network(_everything(), (2, 4))
    theta, x = RNG.normal(size=network.size), RNG.normal(size=(5, 2, 4))
    given: dict[str, Any] = {"train": train, "key": KEYS, "state": STATE}
    got = through(network, theta, x, **given, lib=lib)
    want = through(network, theta, x, **given)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-11)


def test_residual_adds(lib: Library) -> None:
    theta, x, dz = RNG.normal(size=20), *RNG.normal(size=(2, 5, 4))
    got = through(Network(cr.Residual(cr.Dense(4)), (4,)), theta, x, dz, lib=lib)
    inner = through(Network(cr.Dense(4), (4,)), theta, x, dz, lib=lib)
    np.testing.assert_array_equal(got.z, x + inner.z)
    np.testing.assert_array_equal(got.dx, dz + inner.dx)
    np.testing.assert_array_equal(got.dtheta, inner.dtheta)


# Freezing.

FROZEN = cr.Sequential(
    cr.Dense(6, trainable=False),
    cr.Tanh(),
    cr.Dense(5, bias=False),
    cr.BatchNorm(),
    cr.Sequential(cr.Dense(4), cr.Sequential(cr.LayerNorm()), trainable=False),
    cr.Residual(cr.Sequential(cr.Dense(4), cr.Tanh(), cr.Dense(4, trainable=False))),
    cr.Residual(cr.MLP((4, 4)), trainable=False),
    cr.Dense(2),
)
NEVER = ("0.", "4.", "5.layer.2.", "6.")


@pytest.mark.parametrize(
    "optimizer",
    [cr.AdamW(0.05, weight_decay=0.1), cr.SGD(0.05, 0.9, clip_norm=0.5)],
    ids=["AdamW", "SGD"],
)
def test_frozen_entries_stay_to_the_bit(where: Any, optimizer: Any) -> None:
    model = cr.Model(FROZEN, optimizer=optimizer, **where).build(4)
    before = model.get_weights()[0]
    x = RNG.normal(size=(30, 4))
    model.fit(x, x[:, :2], epochs=3, batch_size=8)
    after = model.get_weights()[0]
    for e in Network(FROZEN, (4,)).entries:
        assert e.trainable != e.name.startswith(NEVER)
        one, two = before[e.start : e.stop], after[e.start : e.stop]
        if e.trainable:
            assert (one != two).any(), e.name
        else:
            np.testing.assert_array_equal(one.view(np.int32), two.view(np.int32))


def test_frozen_batch_norm_keeps_its_statistics(where: Any) -> None:
    model = cr.Model(
        cr.Sequential(cr.BatchNorm(trainable=False), cr.Dense(1)), **where
    ).build(4)
    x = RNG.normal(size=(30, 4))
    model.fit(x, x[:, :1], epochs=2)
    np.testing.assert_array_equal(model.get_weights()[1], np.repeat([0.0, 1.0], 4))


def test_all_frozen_is_an_error() -> None:
    model = cr.Model(cr.MLP((3, 1), trainable=False), backend="numpy")
    with pytest.raises(cr.ArgumentError, match="frozen"):
        model.fit(np.zeros((4, 2)), np.zeros(4))
    assert not model.built


ASKED: list[tuple[str, bool, bool]] = []


class Spy(cr.Residual):
    """Writes down what its pullback is asked for."""

    def forward(self, params: Any, x: Any, context: Context) -> Any:
        z, pull = self.layer.forward(params, x, context)

        def pullback(dz: Any, dx: bool = True, dp: bool = True) -> Any:
            ASKED.append((type(self.layer).__name__, dx, dp))
            return pull(dz, dx, dp)

        return z, pullback


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(
    ("dx", "dp", "want"),
    [
        (False, True, [("Tanh", True, True), ("Dense", False, True)]),
        (False, False, []),
        (True, False, [(n, True, False) for n in ("Tanh", "Dense", "ReLU", "Dense")]),
    ],
)
def test_only_what_is_asked_is_computed(
    nested: bool, dx: bool, dp: bool, want: Any
) -> None:
    head: list[cr.Layer] = [Spy(cr.Dense(4), trainable=False), Spy(cr.ReLU())]
    tail: list[cr.Layer] = [Spy(cr.Dense(4)), Spy(cr.Tanh())]
    if nested:
        head, tail = [cr.Sequential(*head)], [cr.Sequential(*tail)]
    network = Network(cr.Sequential(*head, *tail), (4,))
    theta = network.initial(0)[0]
    xp = Namespace(np)
    _, pullback = network.forward(
        network.unflatten(theta, xp), np.ones((3, 4)), Context(xp, train=True)
    )
    ASKED.clear()
    grad, dparams = pullback(np.ones((3, 4)), dx, dp)
    assert want == ASKED
    assert (grad is not None) == dx
    pieces = network.pieces(dparams)
    assert [g is not None for g in pieces] == [False, False, dp, dp]


# Records.

LAYERS = [
    _everything(),
    FROZEN,
    cr.MLP((3, 2), cr.LeakyReLU(0.2), trainable=False),
    cr.Dense(3, False, "he_normal", trainable=False),
    cr.Dense(3, kernel_initializer=cr.initializers.Orthogonal(2.0)),
    cr.Residual(cr.Dense(4), trainable=False),
    cr.Dropout(0.25, trainable=False),
    cr.BatchNorm(0.5, 1e-3),
    cr.LayerNorm(1e-3, trainable=False),
    cr.Flatten(),
    cr.ELU(0.5),
    cr.Softmax(),
]


@pytest.mark.parametrize("number", range(len(LAYERS)))
def test_layers_are_records(number: int) -> None:
    layer = LAYERS[number]
    assert eval(repr(layer), {**vars(cr.initializers), **vars(cr)}) == layer
    shape = (2, 4) if number == 0 else (4,)
    bound = layer.bind(shape)
    assert eval(repr(bound), {**vars(cr.initializers), **vars(cr)}).bind(shape) == bound
    assert bound != layer
    for one in (layer, bound):
        hash(one)  # kept from here on; a pickle must not carry it
        again = pickle.loads(pickle.dumps(one))
        assert again == one
        assert hash(again) == hash(one)
        assert "_hash" not in one.__getstate__()
        with pytest.raises(AttributeError, match="immutable"):
            one.trainable = False
        with pytest.raises(AttributeError, match="immutable"):
            del one.trainable
        other = one.replace(trainable=not one.trainable)
        assert other != one
        assert hash(other) != hash(one)
    assert [layer == other for other in LAYERS].count(True) == 1


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("Sequential()", cr.ArgumentError),
        ("Sequential(ReLU)", cr.ArgumentTypeError),
        ("Sequential(Dense(2), 3)", cr.ArgumentTypeError),
        ("Residual(3)", cr.ArgumentTypeError),
        ("Residual(Dense(3)).bind((4,))", cr.ShapeError),
        ("MLP(())", cr.ArgumentError),
        ("MLP(3)", cr.ArgumentTypeError),
        ("MLP('33')", cr.ArgumentTypeError),
        ("MLP((3, 0))", cr.ArgumentError),
    ],
)
def test_bad_arguments(code: str, error: Any) -> None:
    with pytest.raises(error):
        eval(code, vars(cr))
