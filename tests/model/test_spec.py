"""Every argument of a model, checked once; a model as a snapshot."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import backends
from chainrule.model import ModelSpec
from chainrule.state import ModelSnapshot

from tests.support.libraries import LIBRARIES, backend
from tests.support.models import standing

X = np.linspace(-1.0, 1.0, 40).reshape(20, 2)
Y = X[:, :1]
NETWORK = cr.MLP((4, 1))


def test_equal_arguments_are_equal_specs() -> None:
    spec = ModelSpec(NETWORK, optimizer="adam", metrics=["r2"], seed=3)
    again = ModelSpec(cr.MLP((4, 1)), optimizer=cr.Adam(), metrics=("r2",), seed=3)
    assert spec == again
    assert hash(spec) == hash(again)
    assert spec != spec.changed(seed=4)
    assert ModelSpec(**spec.arguments) == spec
    assert pickle.loads(pickle.dumps(spec)) == spec


def test_a_model_has_the_spec_of_its_arguments() -> None:
    given: dict[str, Any] = {
        "loss": "huber",
        "optimizer": cr.SGD(0.1),
        "metrics": ["r2"],
        "dtype": "float64",
        "seed": 7,
        "members": 2,
    }
    model = cr.Model(NETWORK, backend="numpy", **given)
    assert model.spec == ModelSpec(NETWORK, **given)
    model.optimizer = cr.Adam(1e-2)
    assert model.spec == ModelSpec(NETWORK, **{**given, "optimizer": cr.Adam(1e-2)})
    assert model.member(1).spec == model.spec.member(1)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("network", "dense"),
        ("loss", "mean"),
        ("optimizer", 3),
        ("metrics", 4),
        ("dtype", "int8"),
        ("precision", "low"),
        ("jit_compile", "yes"),
        ("seed", -1),
        ("members", 0),
    ],
)
def test_each_argument_is_checked(argument: str, value: Any) -> None:
    """By the spec, by the model, and by the attribute: with the same words."""
    wrong = {"network": NETWORK, argument: value}
    with pytest.raises(cr.ChainruleError, match=argument) as by_spec:
        ModelSpec(**wrong)
    with pytest.raises(cr.ChainruleError, match=argument) as by_model:
        cr.Model(**wrong)
    model = cr.Model(NETWORK)
    before = model.spec
    with pytest.raises(cr.ChainruleError, match=argument) as by_attribute:
        setattr(model, argument, value)
    assert model.spec is before
    assert str(by_spec.value) == str(by_model.value) == str(by_attribute.value)


def test_a_spec_is_frozen() -> None:
    spec = ModelSpec(NETWORK)
    with pytest.raises(AttributeError, match="immutable"):
        spec.seed = 4


@pytest.mark.parametrize("members", [None, 2])
@pytest.mark.parametrize("name", LIBRARIES)
def test_a_snapshot_is_the_model(name: str, members: int | None) -> None:
    """It trains on, on any backend, as the model would."""
    options = backend(name)
    model = cr.Model(NETWORK, members=members, **options)
    model.fit(X, Y, epochs=2, batch_size=8)
    snapshot = model.snapshot()
    assert isinstance(snapshot, ModelSnapshot)
    assert snapshot.training is not None
    assert isinstance(snapshot.training.theta, np.ndarray)
    place = backends.get(options["backend"], options.get("device"))
    again = cr.Model.from_snapshot(snapshot, place)
    assert again.spec == model.spec
    for each in (model, again):
        each.fit(X, Y, epochs=2, batch_size=8)
    assert all(map(np.array_equal, again.get_weights(), model.get_weights()))
    fresh = cr.Model.from_snapshot(model.snapshot(include_optimizer=False), place)
    assert (standing(fresh).step, standing(fresh).epoch) == (0, 0)
    assert all(map(np.array_equal, fresh.get_weights(), model.get_weights()))


def test_pickles_keep_what_users_set() -> None:
    model = cr.Model(NETWORK)
    model.learning_rate = 0.5
    model.note = "mine"  # type: ignore[attr-defined]
    again = pickle.loads(pickle.dumps(model))
    assert (again.note, again.learning_rate) == ("mine", 0.5)
    assert not again.built
    again.fit(X, Y, epochs=1)
    assert again.learning_rate == 0.5
