"""Records: equality sees all that a method can see, and constructors assign freely."""

from __future__ import annotations

import copy
import dataclasses
import enum
import functools
import pickle
from collections import deque
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.config.record import Config
from chainrule.network import Network

from tests.support.libraries import LIBRARIES, backend, here

X = np.ones((4, 3), dtype=np.float32)


class Holder(Config):
    """Keeps one value, in private."""

    def __init__(self, value: Any) -> None:
        self._value = value


class Scale(cr.Layer):
    """z = k x; what it keeps is written as anyone would."""

    def __init__(self, k: Any) -> None:
        self._k = k

    def forward(self, params: Any, x: Any, context: Any) -> Any:
        k = context.xp.asarray(np.array(self._k), dtype=x.dtype)

        def pullback(dz: Any, dx: bool = True, dp: bool = True) -> Any:
            return (k * dz if dx else None), ()

        return k * x, pullback


class Part(Scale):
    """A subclass whose constructor goes on after the inner one."""

    def __init__(self, k: Any) -> None:
        super().__init__(k)
        self.more = 1


class Rational(cr.losses.SquaredError):
    """A squared error times a private number."""

    def __init__(self, factor: float) -> None:
        self._factor = factor

    def __call__(self, *args: Any, **options: Any) -> Any:
        value, pullback = super().__call__(*args, **options)
        k = self._factor

        def scaled(dvalue: Any = 1.0) -> Any:
            return tuple(None if g is None else k * g for g in pullback(dvalue))

        return k * value, scaled


class Color(enum.Enum):
    RED = 1
    BLUE = 2


@dataclasses.dataclass
class Plain:
    k: Any


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    k: Any


def one() -> None:
    """Be a function."""


def two() -> None:
    """Be another."""


# Values that a method can tell apart.
DIFFERENT = [
    (2.0, 5.0), (1, 1.0), (1, True), (0, False), (0.0, -0.0), (1.0, np.float64(1.0)),
    (np.float32(1), np.float64(1)), ("1", b"1"), (None, False), ((1,), [1]), (1j, -1j),
    ((1, 2), (1, 2.0)), ([1, 2], [2, 1]), ({"a": 1}, {"a": 2}), ({"a": 1}, {"b": 1}),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}), ({1}, {2}), ({1}, frozenset({1})),
    (complex(0.0, 0.0), complex(0.0, -0.0)), (one, two), (Color.RED, Color.BLUE),
    (np.array([0.0]), np.array([-0.0])), (np.array([1]), np.array([1.0])),
    (np.zeros((2, 3)), np.zeros((3, 2))), (np.zeros(2), np.zeros(3)),
    (np.array([1.0, 2.0]), np.array([1.0, 3.0])), (np.array([1.0]), [1.0]),
    (np.array([1, "a"], dtype=object), np.array([1, "b"], dtype=object)),
    (Plain(2), Plain(5)), (Frozen(0.0), Frozen(-0.0)), (Holder(1), Holder(2)),
    ([Holder(1)], [Holder(True)]), (functools.partial(one), functools.partial(two)),
    (object(), object()),
]  # fmt: skip


@pytest.mark.parametrize(("a", "b"), DIFFERENT, ids=map(str, range(len(DIFFERENT))))
def test_what_differs_is_not_equal(a: Any, b: Any) -> None:
    assert Holder(a) != Holder(b)
    assert Holder((a, 3)) != Holder((b, 3))
    assert Holder({"k": a}) != Holder({"k": b})
    assert Holder(Holder(a)) != Holder(Holder(b))
    assert len({Holder(a), Holder(b)}) == 2


@pytest.mark.parametrize("pair", DIFFERENT, ids=map(str, range(len(DIFFERENT))))
def test_what_is_the_same_is_equal(pair: Any) -> None:
    for value in pair:
        assert Holder(value) == Holder(value)
        assert hash(Holder(value)) == hash(Holder(value))
        if type(value) is not object and not callable(value):
            other = copy.deepcopy(value)
            assert Holder(value) == Holder(other)
            assert hash(Holder(value)) == hash(Holder(other))


def test_nan_is_equal_to_itself() -> None:
    assert Holder(float("nan")) == Holder(float("nan"))
    assert hash(Holder(np.array([np.nan]))) == hash(Holder(np.array([np.nan])))


def test_what_changes_is_compared_by_what_it_is_now() -> None:
    changing: list[Any] = [[1], {"k": 1}, np.array([1.0]), {1}, Plain(1)]
    inside: Any
    for inside in changing:
        holder, outer = Holder(inside), Holder(Holder(inside))
        before = copy.deepcopy(holder)
        assert (holder, hash(holder)) == (before, hash(before))
        assert outer == Holder(before)
        if isinstance(inside, set):
            inside.add(2)
        elif isinstance(inside, Plain):
            inside.k = 2
        else:
            inside["k" if isinstance(inside, dict) else 0] = 2
        assert holder != before
        assert hash(holder) != hash(before)
        assert outer != Holder(before)
        assert hash(outer) != hash(Holder(before))


@pytest.mark.parametrize(
    "value", [deque([1]), bytearray(b"1"), [deque()], {"k": memoryview(bytearray(2))}]
)
def test_what_cannot_be_compared_is_refused(value: Any) -> None:
    with pytest.raises(cr.ArgumentTypeError, match=r"Holder: the attribute '_value'"):
        Holder(value)
    with pytest.raises(cr.ArgumentTypeError, match="Keep numbers, text, tuples"):
        cr.Dense(3).replace(extra=value)


def test_attributes_are_assigned_in_the_constructor_alone() -> None:
    part = Part(3)
    assert (part._k, part.more, part.trainable) == (3, 1, True)
    with pytest.raises(AttributeError, match=r"immutable; use replace\(more=...\)"):
        part.more = 2
    with pytest.raises(AttributeError, match="immutable"):
        del part.more
    assert part.replace(more=2).more == 2

    class Fails(Scale):
        def __init__(self) -> None:
            self.k = 1
            raise RuntimeError

    fails = object.__new__(Fails)
    with pytest.raises(RuntimeError):
        fails.__init__()  # type: ignore[misc]
    with pytest.raises(AttributeError, match="immutable"):
        fails.k = 2


def test_equality_inside_a_constructor_is_not_kept() -> None:
    class Early(Config):
        def __init__(self, k: int) -> None:
            self.a = 1
            hash(self)
            self.k = k

    assert Early(1) != Early(2)


@pytest.mark.parametrize(
    "again",
    [copy.copy, copy.deepcopy, "pickle"],
    ids=["copy", "deepcopy", "pickle"],
)
def test_private_attributes_are_copied(again: Any) -> None:
    layer = Part([2.0])
    hash(layer)
    same = pickle.loads(pickle.dumps(layer)) if again == "pickle" else again(layer)
    assert same._k == [2.0]
    assert same == layer
    assert not [name for name in same.__getstate__() if name.startswith("_Record")]


def test_deep_networks_are_compared() -> None:
    def deep(last: float) -> cr.Layer:
        layer: cr.Layer = Scale(last)
        for _ in range(100):
            layer = cr.Residual(layer)
        return layer

    assert deep(1.0) == deep(1.0)
    assert deep(1.0) != deep(2.0)
    assert hash(deep(1.0)) != hash(deep(2.0))


class Careless(Scale):
    """Its equality is another one."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Careless)

    def __hash__(self) -> int:
        return 1


def test_networks_go_by_what_layers_hold() -> None:
    assert Network(Careless(1), (3,)) != Network(Careless(2), (3,))


def output(layer: cr.Layer, name: str, **options: Any) -> Any:
    network = cr.Sequential(layer, cr.Dense(1, kernel_initializer="ones"))
    model = cr.Model(network, optimizer=cr.SGD(1e-30), **backend(name), **options)
    z = model.build(3).predict(X)[0, 0]
    loss = model.fit(X, X[:, :1], epochs=1, batch_size=4, progress=False)["loss"][0]
    return float(z), loss


@pytest.mark.parametrize("name", LIBRARIES)
def test_every_layer_computes_as_itself(name: str) -> None:
    ks: Any
    for ks in [(2.0, 5.0), ([1, 2, 3], [3, 2, 2]), (np.arange(3), np.arange(3.0) + 1)]:
        for k in ks:
            want = float(np.sum(np.ones(3) * np.array(k)))
            assert output(Scale(k), name) == (want, (want - 1) ** 2)


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_list_that_was_changed_is_seen(name: str) -> None:
    k = [1.0, 1.0, 1.0]
    network = cr.Sequential(Scale(k), cr.Dense(1, kernel_initializer="ones"))
    model = cr.Model(network, **backend(name)).build(3)
    assert float(model.predict(X)[0, 0]) == 3.0
    k[0] = 5.0
    assert float(model.predict(X)[0, 0]) == 7.0


@pytest.mark.parametrize("name", LIBRARIES)
def test_every_loss_computes_as_itself(name: str) -> None:
    for factor in (1.0, 3.0):
        model = cr.Model(cr.MLP((1,)), loss=Rational(factor), **backend(name)).build(3)
        model.set_weights((np.zeros(4), np.zeros(0)))
        assert model.evaluate(X, X[:, :1])["loss"] == factor
        assert model.fit(X, X[:, :1], epochs=1, batch_size=4)["loss"][0] == factor


@pytest.mark.skipif(not here("torch"), reason="needs PyTorch")
def test_compiled_steps_of_torch_are_their_layers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from chainrule.backends.torch import compiled as compiled_

    keys = []

    def compiled(step: Any, key: Any, *arguments: Any) -> Any:
        keys.append(key)
        return "not today"

    monkeypatch.setattr(compiled_, "compiled", compiled)
    for k in (2.0, 5.0, 2.0):
        with pytest.warns(cr.ChainruleWarning, match="not today"):
            output(Scale(k), "torch", jit_compile=True)
    assert keys[0] == keys[2] != keys[1]


@pytest.mark.parametrize("name", LIBRARIES)
def test_an_optimizer_of_ones_own_keeps_what_is_no_number(name: str) -> None:
    class Signed(cr.SGD):
        def __init__(self, way: str) -> None:
            super().__init__(0.5)
            self.way = way

        def update(
            self, xp: Any, s: Any, g: Any, decay: Any, theta: Any, *slots: Any
        ) -> Any:
            theta = theta - s.rate * g if self.way == "down" else theta + s.rate * g
            return theta, *slots

    losses = {}
    for way in ("down", "up"):
        model = cr.Model(cr.MLP((1,)), optimizer=Signed(way), **backend(name))
        model.fit(X, X[:, :1], epochs=1, batch_size=4)
        losses[way] = model.evaluate(X, X[:, :1])["loss"]
    assert losses["up"] != losses["down"]
