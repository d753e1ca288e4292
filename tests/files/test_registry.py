"""Classes and functions of one's own in files; nesting."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import chainrule as cr
from chainrule.files import registry as registry_

from tests.support.files import Scale, X, own_model


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What is registered inside a test is forgotten after it."""
    registry: dict[str, Any] = {}
    monkeypatch.setattr(registry_, "_registered", registry)
    return registry


class Forgetful(Scale):
    """Keeps its argument under another name."""

    def __init__(self, amount: float) -> None:
        super().__init__(amount)


class Changing(Scale):
    """Changes its argument."""

    def __init__(self, factor: float) -> None:
        super().__init__(factor + 1)


def double(y_true: Any, y_pred: Any) -> float:
    """Return a metric."""
    return 2.0


def test_ones_own_layer(path: Path, known: dict[str, Any]) -> None:
    model = own_model()
    match = (
        r"model.safetensors: network/layers/1 cannot be saved.*Scale.*register\(Scale\)"
    )
    with pytest.raises(cr.SerializationError, match=match):
        model.save(path)
    assert not path.exists()
    assert registry_.register(Scale) is Scale
    model.save(path)
    assert cr.load(path).predict(X).tobytes() == model.predict(X).tobytes()
    known.clear()
    match = r"model.safetensors: network/layers/1: 'Scale' is not known.*register"
    with pytest.raises(cr.SerializationError, match=match):
        cr.load(path)


def test_registering(known: dict[str, Any]) -> None:
    register = registry_.register
    assert register(name="lab.Scale")(Scale) is Scale
    assert set(known) == {"lab.Scale"}
    register(Scale, name="lab.Scale")  # again, as a notebook does
    for name in ("lab.Scale", "layers.Dense"):
        with pytest.raises(cr.ArgumentError, match=f"'{name}' is taken"):
            register(double, name=name)
    with pytest.raises(cr.ArgumentError, match="give name="):
        register(lambda: 0)
    with pytest.raises(cr.ArgumentTypeError, match="a class must be a subclass"):
        register(dict)
    with pytest.raises(cr.ArgumentTypeError, match="must be a class or a function"):
        register(3)


@pytest.mark.parametrize(
    ("model", "match"),
    [
        (
            lambda: own_model(
                cr.Dense(2, kernel_initializer=lambda s, g: g.normal(size=s))
            ),
            "network/layers/1/kernel_initializer cannot be saved.*lambda.*register",
        ),
        (
            lambda: own_model(cr.Tanh(), metrics=[double]),
            "metrics/0 cannot be saved.*double.*register",
        ),
        (
            lambda: own_model(cr.Tanh(), optimizer=cr.Adam(lambda step: 0.1)),
            "optimizer/learning_rate cannot be saved.*lambda.*register",
        ),
    ],
)
def test_functions_that_no_file_knows(
    model: Callable[[], cr.Model], match: str, path: Path
) -> None:
    path.write_text("old")
    with pytest.raises(cr.SerializationError, match=match) as caught:
        model().save(path)
    assert str(caught.value).startswith(str(path))
    assert path.read_text() == "old"


def test_registered_functions(path: Path, known: dict[str, Any]) -> None:
    rate, start = (lambda step: 0.1 / (1 + step)), (lambda s, g: g.normal(size=s))
    model = own_model(
        cr.Dense(2, kernel_initializer=start),
        metrics=[double],
        optimizer=cr.SGD(rate),
    )
    registry_.register(double)
    registry_.register(rate, name="rate")
    registry_.register(start, name="start")
    model.save(path)
    back = cr.load(path)
    assert back.optimizer.learning_rate is rate
    assert back.network == model.network
    assert list(back.metrics) == ["double"]


@pytest.mark.parametrize(
    ("layer", "match"),
    [
        (Forgetful(2.0), "the constructor of Forgetful has an argument 'amount'"),
        (Changing(2.0), "network cannot be saved.*would come back as"),
        (Scale(object()), "network/layers/1/factor cannot be saved: no file knows"),  # type: ignore[arg-type]
        (Scale(2**300), "factor cannot be saved.*256 bits"),
    ],
)
def test_layers_that_cannot_come_back(
    layer: cr.Layer, match: str, path: Path, known: dict[str, Any]
) -> None:
    registry_.register(type(layer))
    with pytest.raises(cr.SerializationError, match=match):
        own_model(layer).save(path)
    assert not path.exists()


def test_nesting_has_a_limit(path: Path) -> None:
    layer: cr.Layer = cr.Dense(3)
    for _ in range(60):
        layer = cr.Sequential(layer)
    with pytest.raises(cr.SerializationError, match="nested more than 100 deep"):
        cr.Model(layer, backend="numpy").build(3).save(path)
