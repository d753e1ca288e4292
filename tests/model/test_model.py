"""What happens where an attribute of a model is assigned: it is checked, or refused."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import numpy as np
import pytest

import chainrule as cr

from tests.support.libraries import here, need

X = np.random.default_rng(0).normal(size=(24, 3)).astype(np.float32)
Y = X[:, :2] * 2.0
BACKENDS = ["numpy", *[name for name in ("jax", "torch") if here(name)]]


def _model(**options: Any) -> cr.Model:
    return cr.Model(cr.MLP((4, 2), "tanh"), **{"backend": "numpy", **options})


def _fit(model: cr.Model, epochs: int = 2) -> cr.History:
    return model.fit(X, Y, epochs=epochs, batch_size=8, progress=False)


FIXED = {
    "network": (cr.MLP((2,)), "make a new Model"),
    "members": (3, "make a new Model"),
    "dtype": ("float64", "make a new Model"),
    "backend": ("numpy", r"model\.to\(backend\)"),
}


@pytest.mark.parametrize("name", FIXED)
def test_what_weights_depend_on_is_fixed(name: str) -> None:
    value, instead = FIXED[name]
    model = _model()
    _fit(model)
    before = getattr(model, name)
    with pytest.raises(cr.ArgumentError, match=f"^{name} cannot be set .*{instead}"):
        setattr(model, name, value)
    assert getattr(model, name) is before
    _fit(model)


@pytest.mark.parametrize("name", FIXED)
def test_before_there_are_weights_it_is_the_constructor_s(name: str) -> None:
    value, _ = FIXED[name]
    model = _model()
    setattr(model, name, value)
    made: dict[str, Any] = {
        "network": cr.MLP((4, 2), "tanh"),
        "backend": "numpy",
        name: value,
    }
    other = cr.Model(**made)
    for each in (model, other):
        _fit(each)
    np.testing.assert_array_equal(model.get_weights()[0], other.get_weights()[0])


BAD: list[tuple[str, Any, str]] = [
    ("network", "mlp", "network must be a layer"),
    ("network", cr.Sequential(cr.Dense(1), cr.Sigmoid()), "Sigmoid"),
    ("members", 0, "members must be"),
    ("dtype", "float16", "dtype must be"),
    ("backend", "numpi", "numpi"),
    ("metrics", 3, "metrics must be"),
    ("metrics", ["r3"], "r2"),
    ("metrics", ["r2", "r2"], "different names"),
    ("precision", "tf32", "precision must be one of highest"),
    ("jit_compile", 1, "jit_compile must be"),
    ("jit_compile", True, "jit_compile must be"),
    ("seed", -1, "seed must be"),
    ("loss", "huberr", "Did you mean 'huber'"),
    ("optimizer", "adan", "Did you mean"),
]


@pytest.mark.parametrize(("name", "value", "match"), BAD, ids=range(len(BAD)))
def test_what_is_refused_leaves_the_model_as_it_was(
    name: str, value: Any, match: str
) -> None:
    model = _model(loss="binary_cross_entropy", metrics=["accuracy"])
    before = getattr(model, name)
    with pytest.raises(cr.ChainruleError, match=match):
        setattr(model, name, value)
    assert getattr(model, name) is before


@pytest.mark.parametrize("backend", BACKENDS)
def test_metrics_that_are_set_are_the_constructor_s(backend: str) -> None:
    model, other = _model(backend=backend), _model(backend=backend, metrics=["r2"])
    model.metrics = ["r2"]
    model.metrics = model.metrics  # type: ignore[assignment]
    assert dict(_fit(model)) == dict(_fit(other))
    assert model.evaluate(X, Y) == other.evaluate(X, Y)
    copied = pickle.loads(pickle.dumps(model))
    assert copied.evaluate(X, Y) == other.evaluate(X, Y)
    model.metrics = ()
    assert set(model.evaluate(X, Y)) == {"loss"}


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_loss_that_is_set_starts_the_optimizer_anew(backend: str) -> None:
    model = _model(backend=backend, optimizer=cr.SGD(0.1, momentum=0.9))
    _fit(model)
    other = _model(backend=backend, optimizer=cr.SGD(0.1, momentum=0.9), loss="huber")
    other.build(3).set_weights(model.get_weights())
    model.loss = "huber"
    assert isinstance(model.loss, cr.losses.Huber)
    # One batch: the epochs made before decide nothing but the order.
    for each in (model, other):
        each.fit(X, Y, epochs=3, batch_size=24, shuffle=False, progress=False)
    np.testing.assert_array_equal(model.get_weights()[0], other.get_weights()[0])


@pytest.mark.parametrize("name", ["network", "loss", "metrics", "seed", "dtype"])
def test_nothing_is_set_while_the_model_is_fitted(name: str) -> None:
    model = _model()
    value = {"loss": "huber", "metrics": ["r2"], "seed": 1}.get(name, "float64")

    def act(epoch: int, logs: Any) -> None:
        with pytest.raises(cr.BusyError, match=f"^{name} cannot be set while"):
            setattr(model, name, value)

    hook = cr.callbacks.LambdaCallback(on_epoch_end=act)
    model.fit(X, Y, epochs=2, callbacks=[hook], progress=False)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_infinite_loss_is_told(backend: str) -> None:
    model = _model(backend=backend)
    model.build(3)
    y = Y.copy()
    y[5] = 3e38
    with pytest.warns(cr.ChainruleWarning, match="evaluate: the loss is inf") as told:
        assert math.isinf(model.evaluate(X, y)["loss"])
    assert told[0].filename == __file__


def test_the_summary_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    network = cr.Sequential(
        cr.Dense(4, bias=False),
        cr.BatchNorm(),
        cr.Residual(cr.MLP((4, 4), "tanh")),
        cr.Dense(2, trainable=False),
    )
    model = cr.Model(network, backend="numpy", members=2).build(3)
    text = model.summary()
    assert capsys.readouterr().out == f"{text}\n"
    rows = [line.split() for line in text.split("\n")]
    assert rows[0] == ["layer", "output", "number", "trainable"]
    assert rows[1:3] == [
        ["0", "Dense", "(batch,", "4)"],
        ["0.weight", "(4,", "3)", "12", "yes"],
    ]
    assert ["2.layer.1", "Tanh", "(batch,", "4)"] in rows
    assert ["1.mean", "(4,)", "4", "state"] in rows
    assert ["3.bias", "(2,)", "2", "no"] in rows
    assert text.endswith(
        "70 parameters, 60 trainable; samples (3,) -> (2,); float32 on numpy"
    )
    assert "an ensemble of 2 members" in text
    assert repr(text).startswith("<summary: 70 parameters")  # not the table again


@pytest.mark.parametrize("backend", BACKENDS)
def test_weights_from_another_library(backend: Any) -> None:
    torch = need("torch")
    model = cr.Model(cr.MLP((4, 1), "tanh"), backend=backend, seed=0).build(1)
    theta = torch.nn.Parameter(torch.linspace(-1.0, 1.0, 13))
    with pytest.warns(cr.ChainruleWarning, match="graph"):
        model.set_weights((theta, np.zeros(0)))
    right = theta.detach().numpy()
    np.testing.assert_array_equal(np.asarray(model.get_weights()[0]), right)
    half = theta.detach().to(torch.bfloat16)
    model.set_weights((half, np.zeros(0)))
    right = half.float().numpy()
    np.testing.assert_array_equal(np.asarray(model.get_weights()[0]), right)


class _Own(cr.Model):
    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.tag = "mine"


@pytest.mark.parametrize(
    "made",
    [
        lambda m: m.to("numpy"),
        lambda m: m.member(0),
        copy.deepcopy,
        lambda m: pickle.loads(pickle.dumps(m)),
    ],
    ids=["to", "member", "deepcopy", "pickle"],
)
def test_what_a_user_puts_on_a_model_goes_along(made: Any) -> None:
    model = _Own(cr.MLP((4, 2)), members=2, backend="numpy")
    _fit(model)
    vars(model)["note"] = "beside"
    new = made(model)
    assert type(new) is _Own
    assert (vars(new)["tag"], vars(new)["note"]) == ("mine", "beside")
    assert new.history is not model.history


@pytest.mark.parametrize("members", [None, 2])
def test_rates_of_other_members_are_refused(members: int | None) -> None:
    model = _model(members=3)
    model.learning_rate = [0.1, 0.2, 0.3]
    with pytest.raises(cr.ArgumentError, match="set for 3 members"):
        model.members = members
    model.learning_rate = 0.1
    model.members = members
    _fit(model)
    assert model.members == members
