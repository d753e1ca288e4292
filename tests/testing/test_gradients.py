"""The checker: what it accepts, redraws and reports."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import losses, rules
from chainrule.errors import (
    ArgumentError,
    ArgumentTypeError,
    GradientError,
    ShapeError,
)
from chainrule.network import Network
from chainrule.testing import cases, check_gradients

from tests.support.checker import B, W, X
from tests.support.libraries import STRICT_DEVICE, here


def test_everything_public_is_listed() -> None:
    assert not any(cases.unlisted().values())


def test_a_public_name_without_an_entry_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rules, "__all__", [*rules.__all__, "new_rule"])
    monkeypatch.delitem(cases.LAYERS, "MLP")
    monkeypatch.delitem(cases.OPTIMIZERS, "Lion")
    found = cases.unlisted()
    assert found["rules"] == ["new_rule"]
    assert found["layers"] == ["MLP"]
    assert found["optimizers"] == ["Lion"]


@pytest.mark.parametrize("name", cases.RULES)
def test_accepts_every_rule(name: str) -> None:
    case = cases.RULES[name]
    n = len(case.arguments)
    rule = functools.partial(case.rule, **case.options)
    report = check_gradients(rule, *case.inputs, data=range(n, n + len(case.data)))
    assert report.difference < 1e-8
    assert not report.flat
    assert not report.redraws
    assert [a.directions for a in report.arguments] == [3] * n
    # What is data is known by its name, too.
    assert check_gradients(rule, *case.inputs).data == report.data


@pytest.mark.parametrize("name", cases.LAYERS)
def test_accepts_every_layer(name: str) -> None:
    case = cases.LAYERS[name]
    report = check_gradients(case.layer, case.x, train=case.train)
    assert report.difference < 1e-8
    network = Network(case.layer, case.sample_shape)
    learning = [e.name for e in network.entries if e.trainable]
    assert [a.name for a in report.arguments] == ["x", *learning]


@pytest.mark.parametrize("name", cases.LOSSES)
def test_accepts_every_loss(name: str) -> None:
    case = cases.LOSSES[name]
    report = check_gradients(case.loss, case.z, case.t, case.weight)
    assert report.data == (("t",) if case.weight is None else ("t", "weight"))
    assert report.difference < 1e-8


@pytest.mark.parametrize("name", [n for n in ("jax", "torch") if here(n)])
def test_accepts_on_other_backends(name: Any) -> None:
    # On JAX each new shape is compiled: the rules' own tests go through the leads
    # there.
    skip: Any = ("leads", "dtype") if name == "jax" else ()
    report = check_gradients(rules.dense, X, W, B, backend=name, skip=skip)
    assert report.backend == name
    assert report.checks["compiled"] == ("ok" if name == "jax" else "not compiled")
    network = cr.Sequential(cr.Dense(3), cr.BatchNorm(), cr.Dropout(0.2))
    report = check_gradients(network, X, backend=name, skip=skip)
    assert report.difference < 1e-8


def test_accepts_on_a_strict_device() -> None:
    backend = cr.backends.get(pytest.importorskip("array_api_strict"), STRICT_DEVICE)
    assert check_gradients(rules.dense, X, W, B, backend=backend).difference < 1e-8


def test_models_networks_and_bound_layers() -> None:
    layer = cr.MLP((4, 2), activation="tanh")
    names = ["x", "0.weight", "0.bias", "2.weight", "2.bias"]
    model = cr.Model(layer, seed=1)
    for target in (
        layer,
        layer.bind((3,)),
        Network(layer, (3,)),
        model,
        model.build(3),
    ):
        report = check_gradients(target, X)
        assert [a.name for a in report.arguments] == names


def test_a_built_model_is_checked_at_its_own_parameters() -> None:
    model = cr.Model(cr.Sequential(cr.Dense(2), cr.ReLU()), seed=1).build(3)
    theta, state = model.get_weights()
    theta[-2:] = -100.0
    model.set_weights((theta, state))
    with pytest.raises(GradientError, match="nothing was tested"):
        check_gradients(model, X)


# Kinks
# -----------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [0.0, 1e-9, -1e-12])
def test_a_kink_is_redrawn_and_reported(at: float) -> None:
    x = X.copy()
    x[2, 1] = at
    report = check_gradients(rules.relu, x)
    assert report.redraws["x"] >= 1
    assert "redrawn" in str(report)
    assert not check_gradients(rules.relu, X).redraws


def test_a_kink_does_not_hide_a_wrong_gradient() -> None:
    def rule(x: Any, *, xp: Any = None) -> Any:
        z, pullback = rules.relu(x, xp=xp)
        return z, lambda dz: (1.001 * pullback(dz)[0],)

    with pytest.raises(GradientError, match="disagrees"):
        check_gradients(rule, np.zeros((5, 3)))


def test_a_parameter_at_a_kink() -> None:
    model = cr.Model(cr.Sequential(cr.Dense(2), cr.ReLU()), dtype="float64").build(3)
    x = X.copy()
    x[0] = 0.0  # the bias begins at 0
    assert set(check_gradients(model, x).redraws) >= {"x", "0.bias"}


def test_noise_is_not_a_function() -> None:
    rng = np.random.default_rng(3)

    def rule(x: Any, *, xp: Any = None) -> Any:
        noise = rng.normal(size=x.shape).astype(x.dtype)
        return x + noise, lambda dz: (dz,)

    with pytest.raises(GradientError, match="no difference quotient converges"):
        check_gradients(rule, X)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e5])
def test_any_scale_of_the_argument(scale: float) -> None:
    def rule(x: Any, *, xp: Any = None) -> Any:
        z, pullback = rules.tanh(x / scale, xp=xp)
        return z, lambda dz: (pullback(dz)[0] / scale,)

    assert check_gradients(rule, X * scale).difference < 1e-6


def test_a_direction_without_a_gradient_is_called_flat() -> None:
    report = check_gradients(cr.Sequential(cr.Dense(4), cr.BatchNorm()), X)
    assert report.difference < 1e-8
    assert report.flat == ("0.bias",)
    report = check_gradients(lambda x, y: (x + 0.0 * y, lambda d: (d, 0.0 * d)), X, X)
    assert report.flat == ("y",)
    assert "flat" in str(report)


# Arguments
# -------------------------------------------------------------------------------


def test_bad_arguments() -> None:
    with pytest.raises(ArgumentError, match="needs inputs"):
        check_gradients(rules.dense)
    with pytest.raises(
        ArgumentTypeError, match=r"got the class ReLU; hand in an object"
    ):
        check_gradients(cr.ReLU, X)
    with pytest.raises(ArgumentTypeError, match="takes a rule, a layer"):
        check_gradients(3, X)
    with pytest.raises(ArgumentError, match="one input, a batch x"):
        check_gradients(cr.Dense(2), X, X)
    with pytest.raises(ShapeError, match=r"x must have the shape \(batch, 3\)"):
        check_gradients(cr.Dense(2).bind((3,)), np.ones((5, 2)))
    with pytest.raises(ArgumentError, match="input 0 must be finite"):
        check_gradients(rules.relu, X * np.inf)
    with pytest.raises(ArgumentError, match="no input is left"):
        check_gradients(rules.relu, np.arange(3))
    with pytest.raises(ArgumentError, match="data must be numbers or names"):
        check_gradients(rules.relu, X, data="q")
    with pytest.raises(ArgumentError, match="skip must be one of"):
        check_gradients(rules.relu, X, skip="differenses")  # type: ignore[arg-type]


def test_the_report_reads_well() -> None:
    text = str(check_gradients(losses.Huber(), X, 0.5 * X, np.ones(5)))
    assert text.startswith("Huber on numpy: the gradients are right\n  z  (5, 3): ")
    assert "data, without a gradient: t, weight" in text
    assert "differences ok, leads ok" in text


def test_the_inputs_stay_as_they_are() -> None:
    x = X.copy()
    check_gradients(rules.relu, x)
    np.testing.assert_array_equal(x, X)
    assert x.flags.writeable
