"""What is refused, in which words; docs/refusals.md has them all.

Whatever is refused leaves the model as it was, down to the next epoch's bits.
"""

from __future__ import annotations

import math
import re
from typing import Any

import array_api_strict
import numpy as np
import pytest

import chainrule as cr

from tests.promises.refusals import CALLS, FITS
from tests.promises.refusals.__main__ import GROUPS, PATH, cases, rows_of
from tests.support.inputs import (
    CE,
    LABELS,
    TARGETS,
    WEIGHT,
    Device,
    Shape,
    Type,
    Value,
    X,
    Y,
    call_method,
    new_model,
    refused,
    snapshot,
    with_value,
)
from tests.support.libraries import LIBRARIES, backend, here, library


@pytest.mark.parametrize("case", FITS)
def test_fit_refuses(case: str) -> None:
    loss, changes, error, match = FITS[case]
    model, twin = new_model(loss), new_model(loss)
    given = {"x": X, "y": TARGETS[loss], "epochs": 1, "batch_size": 10, **changes}
    refused(lambda: model.fit(**given), error, match, model)
    for each in (model, twin):
        each.fit(X, TARGETS[loss], epochs=1, batch_size=10)
    assert snapshot(model) == snapshot(twin)


@pytest.mark.parametrize("case", FITS)
def test_first_fit_refuses(case: str) -> None:
    """A model without weights is refused the same things, and stays without."""
    loss: Any
    loss, changes, error, _ = FITS[case]
    model = cr.Model(cr.MLP((4, 2)), loss=loss)
    given = {"x": X, "y": TARGETS[loss], "epochs": 1, "batch_size": 10, **changes}
    if case in ("x too wide", "x 3-d"):  # nothing yet says how wide x should be
        given["y"] = given["y"][:-1]
    with pytest.raises(error):
        model.fit(**given)
    assert not model.built
    assert model.backend is None
    assert not model.history


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"x": with_value(X, math.nan)}, Value, "^x must be finite"),
        ({"y": with_value(Y, 1e300)}, Value, "^y has values too large"),
        ({"sample_weight": -WEIGHT}, Value, "^sample_weight must not"),
        ({"x": X[:, :2]}, Shape, "^x must have the shape"),
        ({"y": X}, Shape, "^y must have samples"),
    ],
)
@pytest.mark.parametrize("name", LIBRARIES)
def test_every_library_refuses(
    name: str, changes: dict[str, Any], error: type[Exception], match: str
) -> None:
    lib, model = library(name), new_model(**backend(name))
    twin = new_model(**backend(name))
    given = {"x": X, "y": Y, "sample_weight": WEIGHT, **changes}
    if name != "jax":  # outside its 64-bit mode JAX itself turns 1e300 into inf
        given = {k: lib.array(a) for k, a in given.items()}
    refused(lambda: model.fit(**given, epochs=1), error, match, model)
    refused(lambda: model.evaluate(**given), error, match, model)
    for each in (model, twin):
        each.fit(X, Y, epochs=1)
    assert snapshot(model) == snapshot(twin)


def test_two_places() -> None:
    model = new_model()
    strict = library("strict").array(Y)
    here("torch") or pytest.skip("needs torch")
    import torch

    x = torch.asarray(X)
    match = r"must lie in one place; got x on .*torch.*y on .*strict"
    refused(lambda: model.fit(x, strict), Device, match, model)
    match = "x on .*sample_weight on"
    weight = library("strict").array(WEIGHT)
    refused(lambda: model.evaluate(x, Y, weight), Device, match, model)
    meta = torch.empty((24, 3), device="meta")
    for call in (lambda: model.fit(meta, Y), lambda: model.predict(meta)):
        refused(call, Device, "^x lies on torch's meta device", model)
    refused(lambda: model.fit(X, meta[:, :2]), Device, "^y lies on", model)
    refused(lambda: model.predict(x + 1j), Type, "^x .*complex128", model)
    one, two = (array_api_strict.Device(d) for d in ("device1", "device2"))
    given = [array_api_strict.asarray(a, device=d) for a, d in ((X, one), (Y, two))]
    refused(lambda: model.fit(*given), Device, "x on .*device1.*y on .*device2", model)


@pytest.mark.parametrize("name", ["numpy", "jax", "torch"])
def test_devices_that_are_none(name: Any) -> None:
    here(name) or pytest.skip(f"needs {name}")
    for device in ("x" * 10**5, [1.0] * 10**5, 10**5000, X):
        with pytest.raises(Device, match=r"^device .*backend") as caught:
            cr.Model(cr.MLP((4, 2)), backend=name, device=device)
        assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("case", CALLS)
def test_constructors_refuse(case: str) -> None:
    refused(*CALLS[case])


def test_residual_leaves_the_model_unbuilt() -> None:
    model = cr.Model(cr.Residual(cr.Dense(2)))
    with pytest.raises(cr.ShapeError, match=r"^Residual"):
        model.fit(X, Y)
    assert not model.built


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("theta", None),
        ("parameters", None),
        ("get_weights", ()),
        ("set_weights", ((np.ones(3), np.ones(0)),)),
        ("predict", (X,)),
        ("predict_proba", (X,)),
        ("jacobian", (X,)),
        ("evaluate", (X, Y)),
        ("summary", ()),
    ],
)
def test_not_built(name: str, given: Any) -> None:
    model = new_model(fitted=0)
    with pytest.raises(cr.NotBuiltError, match="no weights yet: call fit") as caught:
        getattr(model, name)(*(given or ()))
    assert isinstance(caught.value, RuntimeError)
    assert not model.built


@pytest.mark.parametrize(
    ("x", "error", "match"),
    [
        (X[:, :2], Shape, r"^x must have the shape \(batch, 3\).*\(24, 2\)"),
        (X[0], Shape, r"^x must have the shape \(batch, 3\).*\(3,\)"),
        (with_value(X, math.nan), Value, "^x must be finite; got 3 values.*nan"),
        (with_value(X, 1e300), Value, "^x has values too large for float32"),
        (None, Type, "^x must be an array.*NoneType"),
    ],
)
@pytest.mark.parametrize("name", ["predict", "predict_proba", "jacobian"])
def test_use_refuses(name: str, x: Any, error: type[Exception], match: str) -> None:
    model = new_model(CE)
    refused(lambda: call_method(name)(model, x), error, match, model)


def test_other_refusals() -> None:
    model = new_model()
    match = "^predict_proba needs .*squared_error. Use predict"
    refused(lambda: model.predict_proba(X), Value, match, model)
    for rate, error in ((0.0, Value), (-1, Value), (math.nan, Value), ("x", Type)):
        call = lambda rate=rate: setattr(model, "learning_rate", rate)  # noqa: E731
        refused(call, error, "^learning_rate must be", model)
    theta, state = model.get_weights()
    match = "^weights must have the shapes"
    refused(lambda: model.set_weights((theta[1:], state)), Shape, match, model)
    refused(lambda: model.set_weights(3), Type, "^weights must be", model)
    frozen = cr.Model(cr.MLP((2,), trainable=False))
    refused(lambda: frozen.fit(X, Y), Value, "nothing to train")
    binary = cr.Model(cr.MLP((1,)), loss=CE)
    refused(lambda: binary.fit(X, LABELS), Shape, "needs an output of at least 2")


def test_every_kind_is_listed_with_its_words() -> None:
    listed = rows_of(PATH.read_text(encoding="utf-8"))
    assert list(listed) == list(GROUPS)
    for group, kinds in cases().items():
        assert list(listed[group]) == list(kinds)
        for kind, (error, message) in listed[group].items():
            _, wanted, pattern = kinds[kind]
            assert error == wanted.__name__, kind
            assert re.search(pattern.removeprefix("^"), message), kind
    assert sum(map(len, listed.values())) >= 60
