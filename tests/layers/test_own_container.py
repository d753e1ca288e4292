"""Containers of one's own: with `children`, `bind` and `forward`, all works."""

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
from tests.support.libraries import MATRIX, Library, here
from tests.support.own_layers import Counting, Given, Parallel

RNG = np.random.default_rng(7)
X = RNG.normal(size=(40, 3))
Y = np.sin(X[:, :1]) * X[:, 1:2]


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
    left = cr.Sequential(cr.BatchNorm(), cr.Tanh(), cr.Dropout(0.2), cr.Dense(5))
    right = cr.Sequential(cr.Residual(cr.Dense(6)), cr.Dense(5, trainable=False))
    return cr.Sequential(
        cr.Dense(6),
        Parallel(left, right, trainable=not frozen),
        Holding(cr.Sequential(cr.Tanh(), cr.Dense(4, bias=False)), cr.BatchNorm()),
        cr.Dense(1),
    )


# name -> whether it learns
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
    "2.a.1.weight": True,
    "2.b.gain": True,
    "2.b.shift": True,
    "3.weight": True,
    "3.bias": True,
}
STATE = ["1.left.0.mean", "1.left.0.var", "2.b.mean", "2.b.var"]


def test_names_state_and_what_learns() -> None:
    network = Network(layered(), (3,))
    assert {e.name: e.trainable for e in network.entries} == NAMES
    assert [e.name for e in network.state_entries] == STATE
    assert network.draws == 1
    assert [name for name, _ in walk(network.layer)] == [
        *("0", "1.left.0", "1.left.1", "1.left.2", "1.left.3", "1.left"),
        *("1.right.0.layer", "1.right.0", "1.right.1", "1.right", "1"),
        *("2.a.0", "2.a.1", "2.a", "2.b", "2", "3", ""),
    ]
    frozen = Network(layered(frozen=True), (3,))
    assert {e.name for e in frozen.entries if not e.trainable} == {
        name for name in NAMES if name.startswith("1.")
    }
    parts = dict(walk(frozen.layer))
    assert not any(p.trainable for name, p in parts.items() if name.startswith("1."))
    assert parts["2.a"].trainable


def test_all_that_is_inside_a_frozen_model_is_frozen() -> None:
    layer = Holding(Parallel(cr.Dense(2), cr.BatchNorm()), cr.Dense(1), trainable=False)
    network = Network(layer, (2,))
    assert not any(e.trainable for e in network.entries)
    assert not any(part.trainable for _, part in walk(network.layer))
    assert layer.children[0][1].trainable  # the layer that was handed in is as it was


@pytest.mark.parametrize("lib", MATRIX, indirect=True)
def test_every_library_gives_numpys_numbers(lib: Library) -> None:
    network = Network(layered(), (3,))
    theta, state = network.initial(3)
    key = np.array([[11, 12]], np.int32)
    dz = RNG.normal(size=(7, 1))
    arrays = [a.astype(lib.dtype) for a in (theta, X[:7], dz, state)]
    *rest, s = arrays
    wanted = through(network, theta, X[:7], dz, state=state, key=key)
    if not lib.values:
        pytest.skip("no values")
    got = through(network, *rest, state=s, key=key, lib=lib)
    rtol = 1e-4 if lib.dtype == "float32" else 1e-10
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("train", [False, True])
def test_the_gradient_is_right(train: bool) -> None:
    layer = Parallel(cr.Sequential(cr.Dense(4), cr.LayerNorm(), cr.Tanh()), cr.Dense(4))
    check_gradients(layer, X[:5], train=train)


@pytest.mark.parametrize(("dtype", "members"), [("float64", None), ("float32", 3)])
@pytest.mark.parametrize("frozen", [False, True])
def test_fit_predict_and_summary(
    where: Any, dtype: str, frozen: bool, members: int | None
) -> None:
    options: Any = {"dtype": dtype, "members": members, "seed": 1, **where}
    model = cr.Model(layered(frozen), optimizer=cr.Adam(1e-2), **options).build(3)
    before = {
        k: np.array(model.backend.to_numpy(a)) for k, a in model.parameters.items()
    }
    history = model.fit(X, Y, epochs=20, batch_size=16, progress=False)
    assert np.all(np.asarray(history["loss"][-1]) < np.asarray(history["loss"][0]))
    after = {k: model.backend.to_numpy(a) for k, a in model.parameters.items()}
    learns = {k: on and not (frozen and k.startswith("1.")) for k, on in NAMES.items()}
    for name, value in after.items():
        assert np.array_equal(value, before[name]) != learns[name], name
    state = np.asarray(model.get_weights()[1])
    still = state[..., :12] == np.array([0.0] * 6 + [1.0] * 6)
    assert still.all() == frozen  # a frozen batch norm keeps its statistics
    text = str(model.summary())
    rows = {
        line.split()[0]: line for line in text.splitlines() if line.startswith("  ")
    }
    assert set(rows) == {*NAMES, *STATE}
    assert all(rows[k].endswith("no") for k, on in learns.items() if not on)
    assert "1.right.0.layer Dense" in text
    z = np.asarray(model.predict(X))
    assert z.shape == (40, 1)
    assert np.isfinite(z).all()


def test_backends_agree_layer_by_layer() -> None:
    others = [n for n in ("jax", "torch", "array_api_strict") if here(n)]
    found = compare_backends(layered(), X, Y, ["numpy", *others], steps=10)
    assert found.ok, str(found)
    places = {d.where for d in found.differences if d.stage == "forward"}
    inner = {"1.left.0 BatchNorm", "1.right.0.layer Dense", "1.right.0 Residual"}
    assert {*inner, "1 Parallel", "2.b BatchNorm"} <= places


@pytest.fixture
def known() -> Any:
    """Parallel and Holding as files may name them."""
    serialization.register(Parallel, name="tests.Parallel")
    return Parallel


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("members", [None, 2])
def test_files_and_resumed_fits(
    where: Any, members: int | None, tmp_path: Path
) -> None:
    layer = cr.Sequential(
        Parallel(
            cr.Sequential(cr.Dense(4), cr.BatchNorm(), cr.Dropout(0.2)),
            cr.Dense(4, trainable=False),
        ),
        cr.Dense(1),
    )

    def model() -> cr.Model:
        return cr.Model(layer, seed=2, members=members, **where)

    whole, cut = model(), model()
    options: Any = {"batch_size": 16, "progress": False}
    whole.fit(X, Y, epochs=4, **options)
    file = tmp_path / "fit.safetensors"
    cut.fit(X, Y, epochs=2, callbacks=[cr.callbacks.Checkpoint(file)], **options)
    again = model()
    again.fit(X, Y, epochs=4, resume=file, **options)
    for a, b in zip(whole.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    whole.save(tmp_path / "model.safetensors")
    loaded = cr.load(tmp_path / "model.safetensors", **where)
    np.testing.assert_array_equal(
        np.asarray(loaded.predict(X)), np.asarray(whole.predict(X))
    )
    assert loaded.network == whole.network


class Scaled(Parallel):
    """z = scale · (left(x) + right(x)): a parameter of its own beside its parts'."""

    @property
    def parameters(self) -> tuple[Any, ...]:
        one = cr.initializers.Constant(1.0)
        return (*super().parameters, cr.layers.Variable("scale", (1,), one))

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        *inner, scale = params
        z, pull = super().forward(inner, x, context)
        xp = context.xp

        def pullback(dz: Any, dx: bool = True, dp: bool = True) -> tuple[Any, Any]:
            grad, grads = pull(dz * scale[..., None, :], dx, dp)
            dscale = xp.sum(dz * z, axis=(-2, -1))[..., None] if dp else None
            return grad, (*grads, dscale)

        return z * scale[..., None, :], pullback


def test_a_container_has_parameters_of_its_own_too() -> None:
    layer = Scaled(cr.Dense(1, trainable=False), cr.Dense(1, trainable=False))
    network = Network(cr.Sequential(cr.Tanh(), layer), (3,))
    learning = [e.name for e in network.entries if e.trainable]
    assert learning == ["1.scale"]
    assert network.layer.learns
    check_gradients(cr.Sequential(cr.Tanh(), layer), X[:5])
    model = cr.Model(cr.Sequential(cr.Tanh(), layer), backend="numpy").build(3)
    assert "1.scale" in str(model.summary())
    model.fit(X, Y, epochs=1, progress=False)
    assert float(model.parameters["1.scale"][0]) != 1.0


# What is refused.


DENSE = cr.Dense(1)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ((("a", 3),), r"Given\.children: 'a' must be a layer .*got 3 \(int\)"),
        ((("a", None),), r"Given\.children: 'a' must be a layer .*got None"),
        ((("a", cr.ReLU),), r"Given\.children: got the class ReLU; write ReLU\("),
        ((DENSE,), r"Given\.children must be pairs of a name and a layer"),
        (((DENSE, "a"),), r"Given\.children: every name must be a text"),
        ((("", DENSE),), r"Given\.children: every name must be a text"),
        (DENSE, r"Given\.children must be a tuple of names and layers.*got Dense"),
        ("ab", r"Given\.children must be a tuple of names and layers.*got 'ab'"),
    ],
    ids=str,
)
def test_children_that_are_no_layers(given: Any, match: str) -> None:
    for layer in (Given(given), cr.Sequential(cr.Dense(2), Given(given))):
        with pytest.raises(ArgumentTypeError, match=match):
            cr.Model(layer, backend="numpy").build(3)


def test_children_of_one_name() -> None:
    match = r"Given\.children: each child needs a name of its own; got a, a\."
    with pytest.raises(ArgumentError, match=match):
        Network(Given((("a", DENSE), ("a", cr.ReLU()))), (3,))


def test_layers_of_which_some_are_none() -> None:
    class Chain(cr.Layer):
        def __init__(self, layers: Any) -> None:
            self._configure(True, layers=layers)

    match = r"Chain\.children: '1' must be a layer .*got 3"
    with pytest.raises(ArgumentTypeError, match=match):
        Network(Chain((DENSE, 3)), (3,))
    assert Network(Chain((3, 4)), (3,)).size == 0  # numbers under that name


# State.


@pytest.mark.parametrize("name", [n for n in ("numpy", "jax", "torch") if here(n)])
@pytest.mark.parametrize(
    ("kept", "declared", "names"),
    [
        (0, 2, "first, second"),
        (1, 2, "first, second"),
        (3, 2, "first, second"),
        (0, 1, "first"),
        (1, 0, "none"),
    ],
)
def test_another_number_of_states_than_declared(
    name: Any, kept: int, declared: int, names: str
) -> None:
    inner = cr.Sequential(cr.BatchNorm(), Counting(kept, declared), cr.BatchNorm())
    layer = cr.Sequential(cr.Dense(2), Parallel(cr.Dense(2), inner), cr.Dense(1))
    model = cr.Model(layer, backend=name)
    match = (
        rf"Counting \(part '1\.right\.1'\): forward kept {kept} arrays? of state, but "
        rf"`state` declares {declared}: {names}\. Call context\.keep"
    )
    with pytest.raises(ArgumentError, match=match):
        model.fit(X, Y, epochs=1, progress=False)
    right = Counting(declared, declared)
    cr.Model(cr.Sequential(right, cr.Dense(1)), backend=name).fit(
        X, Y, epochs=1, progress=False
    )


def test_the_outermost_layer_keeps_too_few() -> None:
    network = Network(Counting(1), (3,))
    context = Context(cr.backends.get("numpy").xp, train=True, state=[np.zeros(1)] * 2)
    with pytest.raises(ArgumentError, match=r"^Counting: forward kept 1 array"):
        network.refuse_state((), X, context)


def test_hidden_activations_of_a_nested_network() -> None:
    pytest.importorskip("sklearn")
    from chainrule.sklearn import linked

    layer = cr.Sequential(
        cr.Sequential(cr.Dense(4), cr.Tanh()), cr.Residual(cr.Dense(4)), cr.Dense(1)
    )
    network = Network(layer, (3,))
    assert linked.hidden_widths(network) == [4, 4]
    numpy = cr.backends.get("numpy")
    theta, state = network.initial(0)
    hidden = linked.build_hidden(numpy, network)(theta, state, X)
    first = network.layer.layers[0]  # type: ignore[attr-defined]
    h, _ = first.forward(network.unflatten(theta, np)[0], X, Context(numpy.xp))
    np.testing.assert_array_equal(hidden[:, :4], h)
    assert hidden.shape == (40, 8)
