"""The edge of the library: what is refused, in which words, and what is taken.

Whatever is refused leaves the model as it was, down to the next epoch's bits.
"""

from __future__ import annotations

import decimal
import functools
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import array_api_strict
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import chainrule as cr
from chainrule import backends

from tests.support.libraries import LIBRARIES, STRICT_DEVICE, backend, here, library
from tests.support.models import standing

RNG = np.random.default_rng(0)
# Whole numbers: every dtype below holds them exactly.
X = RNG.integers(0, 4, (24, 3)).astype(np.float64)
Y = RNG.integers(0, 2, (24, 2)).astype(np.float64)
LABELS = RNG.integers(0, 2, 24)
WEIGHT = RNG.uniform(0.5, 2.0, 24)
TARGETS = {
    "squared_error": Y,
    "poisson": Y,
    "binary_cross_entropy": Y,
    "cross_entropy": LABELS,
}
WHERE = {"backend": "numpy"}

Value, Type, Shape, Device = (
    cr.ArgumentError,
    cr.ArgumentTypeError,
    cr.ShapeError,
    cr.DeviceError,
)
BUILTIN: dict[Any, type[Exception]] = {
    Value: ValueError,
    Type: TypeError,
    Shape: ValueError,
    Device: ValueError,
    cr.OutOfMemoryError: MemoryError,
    cr.BusyError: RuntimeError,
}


def _model(loss: str = "squared_error", fitted: int = 2, **where: Any) -> cr.Model:
    model = cr.Model(
        cr.Sequential(cr.Dense(5), cr.BatchNorm(), cr.Tanh(), cr.Dense(2)),
        loss=loss,
        optimizer=cr.Adam(0.01),
        **(where or WHERE),
    )
    if fitted:
        model.fit(X, TARGETS[loss], epochs=fitted, batch_size=10)
    return model


def _snapshot(model: cr.Model) -> Any:
    slots = [
        np.asarray(model.backend.to_numpy(a)).tobytes() for a in standing(model).slots
    ]
    weights = [a.tobytes() for a in model.get_weights()]
    counters = (
        standing(model).step,
        standing(model).epoch,
        standing(model).rate,
        standing(model).rate_scale,
    )
    return weights, slots, counters, dict(model.history)


def _refused(
    call: Callable[[], Any], error: type[Exception], match: str, *models: Any
) -> None:
    """Check the error, its family and its words; the models stay as they were."""
    before = [_snapshot(model) for model in models]
    with pytest.raises(error, match=match) as caught:
        call()
    assert caught.type is error
    assert isinstance(caught.value, cr.ChainruleError)
    assert isinstance(caught.value, BUILTIN[error])
    assert [_snapshot(model) for model in models] == before


def _with(a: Any, value: float) -> Any:
    a = np.array(a, dtype=np.float64)
    a[5, ...] = value
    return a


class Sparse:
    """What a sparse matrix looks like from outside."""

    __module__ = "scipy.sparse._csr"
    shape = X.shape


class Stubborn:
    """Its conversion fails with whatever it likes."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        msg = "never"
        raise LookupError(msg)


ITSELF: list[Any] = []
ITSELF.append(ITSELF)
SQ, CE, BCE, POISSON = (
    "squared_error",
    "cross_entropy",
    "binary_cross_entropy",
    "poisson",
)
RAGGED = [[1.0, 2.0], [3.0]]
STRUCTURED = np.zeros(24, dtype=[("a", "f8"), ("b", "f8"), ("c", "f8")])
MASKED = np.ma.masked_equal(np.where(X > 2, -1.0, X), -1.0)
OBJECTS = X.astype(object)
ARRAYS: dict[str, tuple[Any, type[Exception], str]] = {
    "ragged": (RAGGED, Shape, "must be rectangular"),
    "a string": ("abc", Type, "must be an array of numbers.*got str"),
    "bytes": (b"abc", Type, "got bytes"),
    "strings": ([["1", "2", "3"]] * 24, Type, "must hold numbers.*got dtype <U1"),
    "complex": (X + 1j, Type, "got dtype complex128"),
    "objects": (OBJECTS, Type, "got dtype object"),
    "dates": (np.zeros(24, "M8[D]"), Type, r"got dtype datetime64\[D\]"),
    "structured": (STRUCTURED, Type, "must hold numbers.*got dtype"),
    "0-d": (np.float64(3.0), Shape, "axis of samples; got a single value"),
    "number": (3.0, Shape, "axis of samples; got a single value"),
    "None": (None, Type, "got NoneType"),
    "dict": ({"a": 1}, Type, "got dict"),
    "generator": ((row for row in X), Type, "got generator"),
    "function": (len, Type, "got builtin_function_or_method"),
    "class": (np.ndarray, Type, "got type"),
    "bytearray": (bytearray(b"abc"), Type, "got bytearray"),
    "frozenset": (frozenset({1}), Type, "got frozenset"),
    "void": (np.zeros((24, 3), "V8"), Type, r"got dtype \|V8"),
    "text": (np.full((24, 3), "1", "T"), Type, "got dtype StringDType"),
    "byte strings": (np.full((24, 3), b"1"), Type, r"got dtype \|S1"),
    "durations": (np.zeros((24, 3), "m8[s]"), Type, r"got dtype timedelta64\[s\]"),
    "long complex": (X.astype("G"), Type, "got dtype complex256|clongdouble"),
    "None inside": ([[1.0, None, 2.0]] * 24, Type, "got dtype object"),
    "decimals": ([[decimal.Decimal(1)] * 3] * 24, Type, "got dtype object"),
    "all masked": (np.ma.masked_array(X, True), Value, "masked entries"),
    "NaN masked": (np.ma.masked_invalid([[math.nan] * 3]), Value, "masked entries"),
    "its own error": (Stubborn(), Type, "got Stubborn.*become an array: never"),
    "itself inside": (ITSELF, Shape, "must be rectangular"),
    "sparse": (Sparse(), Type, r"sparse matrix; hand in .*\.toarray\(\)"),
    "masked": (MASKED, Value, "masked entries"),
    "huge integers": ([[10**400] * 3] * 24, Type, "got dtype object"),
}
TEXT = np.asarray(["cat", "dog"])[LABELS]
CASES: dict[str, tuple[str, dict[str, Any], type[Exception], str]] = {
    **{f"x: {k}": (SQ, {"x": a}, e, f"^x .*{m}") for k, (a, e, m) in ARRAYS.items()},
    **{f"y: {k}": (SQ, {"y": a}, e, f"^y .*{m}") for k, (a, e, m) in ARRAYS.items()},
    **{
        f"sample_weight: {k}": (SQ, {"sample_weight": a}, e, f"^sample_weight .*{m}")
        for k, (a, e, m) in ARRAYS.items()
        if k != "None"
    },
    **{
        f"validation x: {k}": (
            SQ,
            {"validation_data": (a, Y)},
            e,
            f"^validation x .*{m}",
        )
        for k, (a, e, m) in ARRAYS.items()
    },
    **{
        f"{name}: {value}": (
            SQ,
            {name: _with(good, value)},
            Value,
            f"^{name} must be finite; got .*first {value}",
        )
        for name, good in (("x", X), ("y", Y), ("sample_weight", WEIGHT))
        for value in (math.nan, math.inf)
    },
    **{
        f"{name}: beyond float32": (
            SQ,
            {name: _with(good, 1e300)},
            Value,
            f"^{name} has values too large for float32",
        )
        for name, good in (("x", X), ("y", Y), ("sample_weight", WEIGHT))
    },
    "labels of text": (CE, {"y": TEXT}, Type, r"^y .*U3.*numpy\.unique"),
    "several inputs": (SQ, {"x": [X, X]}, Shape, "^x is a list of 2 arrays of 24 rows"),
    "Keras's verbose": (SQ, {"verbose": 0}, Type, "^fit has no .*write progress=False"),
    "labels: nan": (CE, {"y": _with(LABELS, math.nan)}, Value, "^y must be finite"),
    "x too wide": (
        SQ,
        {"x": np.ones((24, 4))},
        Shape,
        r"^x must have the shape \(batch, 3\).*got \(24, 4\)",
    ),
    "x 1-d": (SQ, {"x": X[:, 0]}, Shape, r"^x must .*got \(24,\)"),
    "x 3-d": (SQ, {"x": X[..., None]}, Shape, r"^x must .*got \(24, 3, 1\)"),
    "x longer": (SQ, {"y": Y[:-1]}, Shape, "^x and y must .* 24 and 23"),
    "none": (SQ, {"x": X[:0], "y": Y[:0]}, Shape, r"^x must .*got shape \(0, 3\)"),
    "empty list": (SQ, {"x": [], "y": []}, Shape, r"^x must have.*got \(0,\)"),
    "y 1-d": (SQ, {"y": Y[:, 0]}, Shape, r"^y must .*\(2,\).*\(24,\)"),
    "y too wide": (SQ, {"y": X}, Shape, r"^y must .*\(2,\).*\(24, 3\)"),
    "y one column": (SQ, {"y": Y[:, :1]}, Shape, r"^y must .*\(24, 1\)"),
    "label above": (CE, {"y": _with(LABELS, 2)}, Value, "^y .*0 ... 1.*0 to 2"),
    "label below": (CE, {"y": _with(LABELS, -1)}, Value, "^y .*labels from -1 to 1"),
    "half a label": (CE, {"y": _with(LABELS, 0.5)}, Value, "^y .*fractional"),
    "no one-hot": (CE, {"y": np.ones((24, 2))}, Value, "^y's rows must be one-hot"),
    "negative row": (CE, {"y": np.array([[2.0, -1.0]] * 24)}, Value, "^y's rows"),
    "label width": (CE, {"y": X}, Shape, r"^y must hold labels.*\(24, 3\)"),
    "binary above": (BCE, {"y": _with(Y, 2)}, Value, r"^y must lie in \[0, 1\]"),
    "negative count": (POISSON, {"y": _with(Y, -1)}, Value, "^y must not be negative"),
    "negative weight": (
        SQ,
        {"sample_weight": _with(WEIGHT, -1.0)},
        Value,
        "^sample_weight must not be negative",
    ),
    "weight column": (
        SQ,
        {"sample_weight": WEIGHT[:, None]},
        Shape,
        r"^sample_weight must .*\(24,\); got shape \(24, 1\)",
    ),
    "weights too few": (SQ, {"sample_weight": WEIGHT[:5]}, Shape, r"got shape \(5,\)"),
    **{
        f"batch_size {value!r}": (
            SQ,
            {"batch_size": value},
            error,
            f"^batch_size must be an integer of at least 1; got {value!r}",
        )
        for value, error in ((0, Value), ("32", Type), (True, Type), (2.5, Type))
    },
    **{
        f"epochs {value!r}": (SQ, {"epochs": value}, error, f"^epochs .*got {value!r}")
        for value, error in ((-1, Value), (1.0, Type), (None, Type), (True, Type))
    },
    "progress": (SQ, {"progress": "yes"}, Type, "^progress must be True.*'yes'"),
    "progress 1": (SQ, {"progress": 1}, Type, "^progress must be True.*got 1"),
    "resume": (SQ, {"resume": 3}, Type, "^resume must be the path.* got 3"),
    **{
        f"validation_data of {k}": (
            SQ,
            {"validation_data": value},
            Type,
            r"^validation_data must be \(x, y\) or",
        )
        for k, value in {
            "an array": X,
            "one": (X,),
            "four": (X, Y, WEIGHT, WEIGHT),
            "a string": "xy",
        }.items()
    },
    "validation x too narrow": (
        SQ,
        {"validation_data": (X[:, :2], Y)},
        Shape,
        r"^validation x must .*got \(24, 2\)",
    ),
    "validation y nan": (
        SQ,
        {"validation_data": (X, _with(Y, math.nan))},
        Value,
        "^validation y must be finite",
    ),
    "validation empty": (
        SQ,
        {"validation_data": (X[:0], Y[:0])},
        Shape,
        "^validation x must have at least one",
    ),
    "validation weight": (
        SQ,
        {"validation_data": (X, Y, -WEIGHT)},
        Value,
        "^validation sample_weight must not be negative",
    ),
    "two validations": (
        SQ,
        {"validation_data": (X, Y), "validation_split": 0.5},
        Value,
        "validation_data or validation_split, not both",
    ),
    **{
        f"validation_split {value!r}": (
            SQ,
            {"validation_split": value},
            error,
            rf"^validation_split must be a number in \[0, 1\); got {value!r}",
        )
        for value, error in (
            (1.0, Value),
            (-0.1, Value),
            (math.nan, Value),
            ("x", Type),
            (True, Type),
        )
    },
    "all for validation": (
        SQ,
        {"validation_split": 0.99},
        Value,
        "^validation_split 0.99 of 24 samples leaves none",
    ),
    **{
        f"callbacks {value!r}": (SQ, {"callbacks": value}, Type, "^callbacks must be")
        for value in ("ab", 3, None, [None], cr.EarlyStopping, [cr.EarlyStopping])
    },
}


@pytest.mark.parametrize("case", CASES)
def test_fit_refuses(case: str) -> None:
    loss, changes, error, match = CASES[case]
    model, twin = _model(loss), _model(loss)
    given = {"x": X, "y": TARGETS[loss], "epochs": 1, "batch_size": 10, **changes}
    _refused(lambda: model.fit(**given), error, match, model)
    for each in (model, twin):
        each.fit(X, TARGETS[loss], epochs=1, batch_size=10)
    assert _snapshot(model) == _snapshot(twin)


@pytest.mark.parametrize("case", CASES)
def test_first_fit_refuses(case: str) -> None:
    """A model without weights is refused the same things, and stays without."""
    loss, changes, error, _ = CASES[case]
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
        ({"x": _with(X, math.nan)}, Value, "^x must be finite"),
        ({"y": _with(Y, 1e300)}, Value, "^y has values too large"),
        ({"sample_weight": -WEIGHT}, Value, "^sample_weight must not"),
        ({"x": X[:, :2]}, Shape, "^x must have the shape"),
        ({"y": X}, Shape, "^y must have samples"),
    ],
)
@pytest.mark.parametrize("name", LIBRARIES)
def test_every_library_refuses(
    name: str, changes: dict[str, Any], error: type[Exception], match: str
) -> None:
    lib, model = library(name), _model(**backend(name))
    twin = _model(**backend(name))
    given = {"x": X, "y": Y, "sample_weight": WEIGHT, **changes}
    if name != "jax":  # outside its 64-bit mode JAX itself turns 1e300 into inf
        given = {k: lib.array(a) for k, a in given.items()}
    _refused(lambda: model.fit(**given, epochs=1), error, match, model)
    _refused(lambda: model.evaluate(**given), error, match, model)
    for each in (model, twin):
        each.fit(X, Y, epochs=1)
    assert _snapshot(model) == _snapshot(twin)


def test_two_places() -> None:
    model = _model()
    strict = library("strict").array(Y)
    here("torch") or pytest.skip("needs torch")
    import torch

    x = torch.asarray(X)
    match = r"must lie in one place; got x on .*torch.*y on .*strict"
    _refused(lambda: model.fit(x, strict), Device, match, model)
    match = "x on .*sample_weight on"
    weight = library("strict").array(WEIGHT)
    _refused(lambda: model.evaluate(x, Y, weight), Device, match, model)
    meta = torch.empty((24, 3), device="meta")
    for call in (lambda: model.fit(meta, Y), lambda: model.predict(meta)):
        _refused(call, Device, "^x lies on torch's meta device", model)
    _refused(lambda: model.fit(X, meta[:, :2]), Device, "^y lies on", model)
    _refused(lambda: model.predict(x + 1j), Type, "^x .*complex128", model)
    one, two = (array_api_strict.Device(d) for d in ("device1", "device2"))
    given = [array_api_strict.asarray(a, device=d) for a, d in ((X, one), (Y, two))]
    _refused(lambda: model.fit(*given), Device, "x on .*device1.*y on .*device2", model)


@pytest.mark.parametrize("name", ["numpy", "jax", "torch"])
def test_devices_that_are_none(name: str) -> None:
    here(name) or pytest.skip(f"needs {name}")
    for device in ("x" * 10**5, [1.0] * 10**5, 10**5000, X):
        with pytest.raises(Device, match=r"^device .*backend") as caught:
            cr.Model(cr.MLP((4, 2)), backend=name, device=device)
        assert len(str(caught.value)) < 1000


def _train(**options: Any) -> Callable[[], Any]:
    return lambda: cr.Model(cr.MLP((4, 2)), **options)


def _whole(optimizer: Any, layer: Any = None, fitted: bool = False) -> Any:
    """Return a fit by an optimizer of the whole problem; or a band after one by Adam."""
    layers = [cr.Dense(4), *([layer] if layer else []), cr.Dense(2)]
    model = cr.Model(cr.Sequential(*layers), optimizer=optimizer, backend="numpy")
    if not fitted:
        return partial(model.fit, X, Y, epochs=1)
    model.fit(X, Y, epochs=1)
    return partial(model.predict, X, return_std=True, method="laplace")


def _heard(hook: Any = None, **options: Any) -> Callable[[], Any]:
    """Return a fit with a metric that says nothing of its direction, and a callback."""

    def gain(y_true: Any, y_pred: Any) -> float:
        return 0.0

    model = cr.Model(cr.MLP((4, 2)), **{"metrics": [gain], **options})
    return lambda: model.fit(X, Y, epochs=1, callbacks=[hook] if hook else ())


def _assigned(name: str, value: Any, **options: Any) -> Callable[[], Any]:
    """Return what sets an attribute of a model that has weights."""
    model = cr.Model(cr.MLP((4, 2)), **{"backend": "numpy", **options}).build(3)
    return lambda: setattr(model, name, value)


def _two_fits() -> Any:
    def again(epoch: int, logs: Any) -> None:
        model.fit(X, Y, epochs=1)

    model = cr.Model(cr.MLP((4, 2)), backend="numpy")
    hook = cr.callbacks.LambdaCallback(on_epoch_end=again)
    return model.fit(X, Y, epochs=2, callbacks=[hook])


def _assigned_in_a_fit() -> Any:
    def change(epoch: int, logs: Any) -> None:
        model.optimizer = cr.SGD(0.1)

    model = cr.Model(cr.MLP((4, 2)), backend="numpy")
    hook = cr.callbacks.LambdaCallback(on_epoch_end=change)
    return model.fit(X, Y, epochs=2, callbacks=[hook])


def _over_members(z: Any, t: Any, weight: Any = None, *, xp: Any = None) -> Any:
    return xp.mean((z - t) ** 2), lambda dvalue=1.0: (2.0 * (z - t) / z.size,)


def _row_by_row(z: Any, t: Any, weight: Any = None, *, xp: Any = None) -> Any:
    return xp.mean((z - t) ** 2, axis=-1), lambda dvalue=1.0: (2.0 * (z - t),)


class _Summed(cr.losses.Loss):
    rule = _over_members


class _Each(cr.losses.Loss):
    rule = _row_by_row


CONSTRUCTORS: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "another network": (
        _assigned("network", cr.MLP((8, 2))),
        Value,
        "^network cannot be set once the model has weights.*make a new Model of it",
    ),
    "another number of members": (
        _assigned("members", 8),
        Value,
        "^members cannot be set once the model has weights.*make a new Model",
    ),
    "another dtype": (
        _assigned("dtype", "float64"),
        Value,
        "^dtype cannot be set once the model has weights.*make a new Model",
    ),
    "another backend": (
        _assigned("backend", "numpy"),
        Value,
        r"^backend cannot be set once the model has weights.*model\.to\(backend\)",
    ),
    "a learning rate of text": (
        _assigned("learning_rate", "0.1"),
        Type,
        "^learning_rate must be a finite number above 0; got '0.1'",
    ),
    "a ragged learning rate": (
        _assigned("learning_rate", [0.1, [0.2]], members=2),
        Type,
        r"^learning_rate\[1\] must be a finite number above 0; got \[0.2\]",
    ),
    "too few learning rates": (
        _assigned("learning_rate", np.array([0.1]), members=2),
        Shape,
        "^learning_rate must be a number, or one for each of the 2 members; got 1",
    ),
    "an array of learning rates": (
        _assigned("learning_rate", np.array([[0.1], [0.2]]), members=2),
        Type,
        r"^learning_rate\[0\] must be a finite number above 0; got array",
    ),
    "a learning rate beyond the schedule": (
        _assigned("learning_rate", 1e308, optimizer=cr.Adam(1e-3)),
        Value,
        "^learning_rate: 1e.308 is too large beside the schedule's 0.001",
    ),
    "two fits at once": (
        _two_fits,
        cr.BusyError,
        "^the model is being fitted already, by the fit whose callback calls this",
    ),
    "an optimizer while it is fitted": (
        _assigned_in_a_fit,
        cr.BusyError,
        "^optimizer cannot be set while the model is being fitted",
    ),
    "a loss that sums over members": (
        lambda: cr.Model(
            cr.MLP((4, 2)), loss=_Summed(), backend="numpy", members=3
        ).fit(X, Y),
        Shape,
        r"^loss: _over_members must return one value for each member .* \(3,\); got \(\)",
    ),
    "a loss with a value for each row": (
        lambda: cr.Model(cr.MLP((4, 2)), loss=_Each(), backend="numpy").fit(X, Y),
        Shape,
        r"^loss: _row_by_row must return a scalar, of shape \(\); got \(24,\)",
    ),
    "LevenbergMarquardt with Dropout": (
        _whole(cr.LevenbergMarquardt(), cr.Dropout(0.5)),
        Value,
        r"LevenbergMarquardt makes all passes.*Dropout\(rate=0.5\).*be ignored",
    ),
    "LevenbergMarquardt with BatchNorm": (
        _whole(cr.LevenbergMarquardt(), cr.BatchNorm()),
        Value,
        "LevenbergMarquardt makes all passes.*BatchNorm.*be ignored",
    ),
    "a band after a fit by Adam": (
        _whole(cr.Adam(), fitted=True),
        Value,
        r"method='laplace' needs the covariance.*parameter_covariance\(x, y\)",
    ),
    **{
        f"{kind.__name__}({rate!r})": (
            partial(kind, rate),
            error,
            f"learning_rate must be .*above 0.*{rate!r}",
        )
        for kind in (cr.SGD, cr.Adam, cr.AdamW, cr.RMSprop, cr.Adagrad, cr.Lion)
        for rate, error in (
            (0, Value),
            (-1, Value),
            ("x", Type),
            (math.nan, Value),
            (None, Type),
        )
    },
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
    "loss": (_train(loss="squared_eror"), Value, "Did you mean 'squared_error'"),
    "loss 3": (_train(loss=3), Type, "^loss must be a name .*got 3"),
    "loss class": (_train(loss=cr.losses.Huber), Type, "^loss must be"),
    "a link twice": (
        lambda: cr.Model(cr.Sequential(cr.Dense(1), cr.Sigmoid()), loss=BCE),
        Value,
        r"^loss: binary_cross_entropy takes logits .* ends in Sigmoid\(\)",
    ),
    "Keras's loss": (
        _train(loss="categorical_crossentropy"),
        Value,
        "^loss must be one of .*'cross_entropy', which takes logits",
    ),
    "Keras's activation": (
        lambda: cr.Dense(8, activation="relu"),  # type: ignore[call-arg]
        Type,
        "^Dense has no argument 'activation': put the layer behind it",
    ),
    "PyTorch's rate": (
        lambda: cr.Adam(lr=1e-3),  # type: ignore[call-arg]
        Type,
        "^Adam has no argument 'lr': write learning_rate=",
    ),
    "nesterov 'no'": (
        lambda: cr.SGD(0.1, 0.9, nesterov="no"),  # type: ignore[arg-type]
        Type,
        "^SGD: nesterov must be True or False; got 'no'",
    ),
    "initializer's shape": (
        lambda: cr.Model(cr.Dense(2, kernel_initializer=lambda s, g: s)).build(3),
        Shape,
        r"^the initializer of weight must return .*\(2, 3\).*got \(2,\)",
    ),
    "activation": (
        lambda: cr.MLP((2,), activation="rellu"),
        Value,
        "^activation .*'rellu'. Did you mean 'relu'",
    ),
    "activation 3": (lambda: cr.MLP((2,), activation=3), Type, "^activation .*got 3"),
    "optimizer": (_train(optimizer="adm"), Value, "^optimizer .*'adm'. Did you mean"),
    "optimizer class": (_train(optimizer=cr.Adam), Type, "^optimizer must be"),
    "metric": (_train(metrics=["acuracy"]), Value, "^metrics .*mean 'accuracy'"),
    "metric 3": (_train(metrics=[3]), Type, "^metrics must be .*got 3"),
    "metrics 3": (_train(metrics=3), Type, "^metrics must be a sequence.*got 3"),
    "accuracy of several values": (
        _heard(metrics=["accuracy"]),
        Value,
        "^accuracy has no meaning under squared_error, whose outputs are 2 values",
    ),
    "r2 of classes": (
        lambda: cr.Model(cr.MLP((4, 2)), loss="cross_entropy", metrics=["r2"]).fit(
            X, LABELS % 2, epochs=1
        ),
        Value,
        "^metrics: r2 compares values",
    ),
    "monitor": (_heard(cr.EarlyStopping("gian")), Value, "'gian' is not in the logs"),
    "monitor without a direction": (
        _heard(cr.EarlyStopping("gain")),
        Value,
        "^EarlyStopping: whether 'gain' is to rise or to fall",
    ),
    "plateau without a rate": (
        _heard(cr.callbacks.ReduceLROnPlateau(), optimizer=cr.LevenbergMarquardt()),
        Value,
        "^ReduceLROnPlateau needs an optimizer with a learning rate",
    ),
    "hook": (
        lambda: cr.callbacks.LambdaCallback(on_batch_end=print),
        Type,
        "^LambdaCallback: there is no hook on_batch_end; the hooks are",
    ),
    "log 3": (lambda: cr.callbacks.CSVLogger(3), Type, "^path must be .*got 3"),
    "separator": (
        lambda: cr.callbacks.CSVLogger("log.csv", separator="ab"),
        Value,
        "^CSVLogger: separator must be one character",
    ),
    "backend": (_train(backend="nunpy"), Value, "^backend .*Did you mean 'numpy'"),
    "backend 3": (_train(backend=3), Type, "^backend must be .*got 3"),
    "module": (_train(backend=math), Type, "^backend: the module math is not"),
    "float16": (_train(dtype="float16"), Value, "^dtype .*'float16'. Did you mean"),
    "dtype class": (_train(dtype=np.float16), Type, "^dtype must be one of .*float16"),
    "dtype None": (_train(dtype=None), Type, "^dtype must be one of .*None"),
    "precision": (_train(backend="numpy", precision="low"), Value, "precision.*'low'"),
    "precision 3": (_train(precision=3), Type, "^precision must be .*got 3"),
    "jit_compile": (
        _train(backend="numpy", jit_compile=True),
        Value,
        "^jit_compile must be one of None, False with the numpy backend.*got True",
    ),
    "jit_compile 'yes'": (_train(jit_compile="yes"), Type, "^jit_compile .*got 'yes'"),
    **{
        f"seed {seed!r}": (_train(seed=seed), error, f"^seed must be .*got {seed!r}")
        for seed, error in ((-1, Value), (1.5, Type), (True, Type), (None, Type))
    },
    "initializer": (
        lambda: cr.Dense(2, kernel_initializer="he_norml"),
        Value,
        "^Dense: kernel_initializer .*Did you mean 'he_normal'",
    ),
    "bias initializer": (
        lambda: cr.Dense(2, bias_initializer="zero"),
        Value,
        "^Dense: bias_initializer .*Did you mean 'zeros'",
    ),
    "Dense.replace(own=bytearray())": (
        lambda: cr.Dense(2).replace(own=bytearray(b"12")),
        Type,
        "^Dense: the attribute 'own' has a bytearray in it.* Keep numbers, text",
    ),
    "bias": (lambda: cr.Dense(2, bias=1), Type, "^Dense: bias must be True or False"),  # type: ignore[arg-type]
    "no network": (lambda: cr.Model((4, 2)), Type, r"^network .*got \(4, 2\)"),  # type: ignore[arg-type]
    "network class": (lambda: cr.Model(cr.Tanh), Type, "^network must be a layer"),  # type: ignore[arg-type]
    "BatchNorm, batches of one": (
        lambda: cr.Model(cr.Sequential(cr.BatchNorm(), cr.Dense(2))).fit(
            X, Y, batch_size=1
        ),
        Value,
        "^BatchNorm needs batches of at least 2 rows",
    ),
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
    "build 0": (lambda: cr.Model(cr.MLP((2,))).build(0), Value, "^sample_shape .*0"),
    "build True": (lambda: cr.Model(cr.MLP((2,))).build(True), Type, "^sample_shape"),
    "build str": (lambda: cr.Model(cr.MLP((2,))).build("3"), Type, "^sample_shape"),  # type: ignore[arg-type]
    "build ()": (
        lambda: cr.Model(cr.MLP((2,))).build(()),
        Shape,
        "^Dense: x must have the shape",
    ),
    "build twice": (
        lambda: cr.Model(cr.MLP((2,))).build(3).build(4),
        Shape,
        r"built for samples of shape \(3,\); got \(4,\)",
    ),
    "build of too many units": (
        lambda: cr.Model(cr.Dense(10**18), backend="numpy").build(3),
        cr.OutOfMemoryError,
        "^out of memory on .* for the .* parameters of this model.* smaller network",
    ),
    "no backend": (_train(device="cpu"), Value, "^device 'cpu' needs a backend"),
    "numpy device": (
        _train(backend="numpy", device="cuda:0"),
        Device,
        "^device must be None or 'cpu' on the numpy backend; got 'cuda:0'",
    ),
    "strict device": (
        _train(backend=array_api_strict, device="device9"),
        Device,
        "^device 'device9' is not to be had in array_api_strict",
    ),
    "strict device 3": (
        _train(backend=array_api_strict, device=3),
        Device,
        "^device 3 is not to be had in array_api_strict",
    ),
    "numpy on a strict device": (
        _train(backend="numpy", device=STRICT_DEVICE),
        Device,
        "^device must be None or 'cpu'",
    ),
    "two devices": (
        _train(
            backend=backends.get(array_api_strict, STRICT_DEVICE), device="CPU_DEVICE"
        ),
        Device,
        "^device 'CPU_DEVICE' contradicts",
    ),
}
if here("torch"):
    for device in ("cuda:99", "nowhere", STRICT_DEVICE, 3):
        CONSTRUCTORS[f"torch on {device}"] = (
            _train(backend="torch", device=device),
            Device,
            r"^device .*torch backend",
        )
if here("jax"):
    for device in ("tpu", "cpu:99", "cpu:x", "nowhere", STRICT_DEVICE):
        CONSTRUCTORS[f"jax on {device}"] = (
            _train(backend="jax", device=device),
            Device,
            r"^device .*jax backend",
        )


@pytest.mark.parametrize("case", CONSTRUCTORS)
def test_constructors_refuse(case: str) -> None:
    _refused(*CONSTRUCTORS[case])


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
    model = _model(fitted=0)
    with pytest.raises(cr.NotBuiltError, match="no weights yet: call fit") as caught:
        getattr(model, name)(*(given or ()))
    assert isinstance(caught.value, RuntimeError)
    assert not model.built


def _use(name: str) -> Callable[[cr.Model, Any], Any]:
    return lambda model, x: getattr(model, name)(x)


@pytest.mark.parametrize(
    ("x", "error", "match"),
    [
        (X[:, :2], Shape, r"^x must have the shape \(batch, 3\).*\(24, 2\)"),
        (X[0], Shape, r"^x must have the shape \(batch, 3\).*\(3,\)"),
        (_with(X, math.nan), Value, "^x must be finite; got 3 values.*nan"),
        (_with(X, 1e300), Value, "^x has values too large for float32"),
        (None, Type, "^x must be an array.*NoneType"),
    ],
)
@pytest.mark.parametrize("name", ["predict", "predict_proba", "jacobian"])
def test_use_refuses(name: str, x: Any, error: type[Exception], match: str) -> None:
    model = _model(CE)
    _refused(lambda: _use(name)(model, x), error, match, model)


def test_other_refusals() -> None:
    model = _model()
    match = "^predict_proba needs .*squared_error. Use predict"
    _refused(lambda: model.predict_proba(X), Value, match, model)
    for rate, error in ((0.0, Value), (-1, Value), (math.nan, Value), ("x", Type)):
        call = lambda rate=rate: setattr(model, "learning_rate", rate)  # noqa: E731
        _refused(call, error, "^learning_rate must be", model)
    theta, state = model.get_weights()
    match = "^weights must have the shapes"
    _refused(lambda: model.set_weights((theta[1:], state)), Shape, match, model)
    _refused(lambda: model.set_weights(3), Type, "^weights must be", model)
    frozen = cr.Model(cr.MLP((2,), trainable=False))
    _refused(lambda: frozen.fit(X, Y), Value, "nothing to train")
    binary = cr.Model(cr.MLP((1,)), loss=CE)
    _refused(lambda: binary.fit(X, LABELS), Shape, "needs an output of at least 2")


# What is accepted.

FITTED = _model()


def _outcome(x: Any, y: Any, loss: str = SQ, **options: Any) -> Any:
    """Loss and outputs after two epochs."""
    model = _model(loss, fitted=0)
    history = model.fit(x, y, epochs=2, batch_size=10, **options)
    return history["loss"], np.asarray(model.predict(X)).tobytes()


def _mapped(a: Any, folder: Path) -> Any:
    mapped = np.memmap(folder / str(a.shape), a.dtype, "w+", shape=a.shape)
    mapped[...] = a
    return mapped


def _frozen(a: Any) -> Any:
    a = np.array(a)
    a.flags.writeable = False
    return a


def _stored(a: Any, folder: Path) -> Path:
    np.save(folder / f"{a.shape}.npy", a)
    return folder / f"{a.shape}.npy"


def _field(a: Any) -> Any:
    """Every other stride of a structured array."""
    rows = np.zeros(a.shape, [("x", "f8"), ("flag", "i1")])
    rows["x"] = a
    return rows["x"]


def _unaligned(a: Any) -> Any:
    raw = np.zeros(a.nbytes + 1, np.uint8)
    odd = raw[1:].view(a.dtype).reshape(a.shape)
    odd[...] = a
    return odd


FORMS: dict[str, Callable[[Any, Path], Any]] = {
    "lists": lambda a, _: a.tolist(),
    "tuples": lambda a, _: tuple(map(tuple, a.tolist())),
    "list of arrays": lambda a, _: list(a),
    "Fortran": lambda a, _: np.asfortranarray(a),
    "backwards": lambda a, _: np.array(a[::-1, ::-1])[::-1, ::-1],
    "read-only": lambda a, _: _frozen(a),
    "mapped": _mapped,
    "big-endian": lambda a, _: a.astype(">f8"),
    "nothing masked": lambda a, _: np.ma.masked_array(a),
    "matrix": lambda a, _: a.view(np.matrix),
    "memory": lambda a, _: memoryview(np.ascontiguousarray(a)),  # type: ignore[arg-type]
    "mapped read-only": lambda a, f: np.lib.format.open_memmap(_stored(a, f), "r"),
    "record field": lambda a, _: _field(a),
    "unaligned": lambda a, _: _unaligned(a),
    "matrix rows": lambda a, _: np.broadcast_to(a[None], (2, *a.shape))[1],
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", LIBRARIES)
def test_forms(form: str, name: str, tmp_path: Path) -> None:
    """Layouts and containers change nothing, and x is never written into."""
    model, twin = (_model(fitted=0, **backend(name)) for _ in range(2))
    x, y = FORMS[form](X, tmp_path), FORMS[form](Y, tmp_path)
    model.fit(x, y, epochs=1)
    twin.fit(X, Y, epochs=1)
    assert _snapshot(model) == _snapshot(twin)
    assert np.array_equal(np.asarray(x), X)
    assert np.array_equal(np.asarray(y), Y)
    assert model.predict(x).tobytes() == twin.predict(X).tobytes()


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
)
@given(
    kind=st.sampled_from(["?", *np.typecodes["AllInteger"], "e", "f", "d", "g"]),
    order=st.sampled_from("CF"),
    swap=st.booleans(),
    frozen=st.booleans(),
    rows=st.sampled_from([-2, -1, 1, 2, 3]),
    columns=st.sampled_from([-2, -1, 1, 2]),
)
def test_dtypes_and_strides(
    kind: str, order: Any, swap: bool, frozen: bool, rows: int, columns: int
) -> None:
    wanted = X > 1 if kind == "?" else X
    dtype = np.dtype(kind).newbyteorder() if swap else np.dtype(kind)
    shape = wanted.shape[0] * abs(rows), wanted.shape[1] * abs(columns)
    blank: Any = np.zeros(shape, dtype)
    x = np.array(blank, order=order)[::rows, ::columns]
    x[...] = wanted
    x.flags.writeable = not frozen
    plain = wanted.astype("f4")
    assert np.array_equal(FITTED.predict(x), FITTED.predict(plain))
    assert FITTED.evaluate(x, Y) == FITTED.evaluate(plain, Y)


def _contained(a: Any, container: str, folder: Path) -> Any:
    if container == "list":
        return a.tolist()
    if container == "masked":
        return np.ma.masked_array(a)
    if container == "frame":
        return pytest.importorskip("pandas").DataFrame(a)
    if container == "file" and a.ndim and a.size and a.dtype != object:
        return _mapped(a, folder)
    a = np.asfortranarray(a)
    a.flags.writeable = False
    return a


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
)
@given(
    shape=st.lists(st.integers(0, 4), max_size=4).map(tuple)
    | st.tuples(st.integers(0, 4), st.just(3)),
    kind=st.sampled_from(["?", "i1", ">i8", "u2", "f2", ">f4", "f8", "g"])
    | st.sampled_from(["c8", "O", "U3", "S2", "M8[s]", "m8[D]", "V4"]),
    value=st.sampled_from([None, None, math.nan, math.inf, 1e39]),
    container=st.sampled_from(["array", "list", "masked", "frame", "file"]),
)
def test_any_array_is_taken_or_refused(
    shape: Any, kind: str, value: float | None, container: str, tmp_path: Path
) -> None:
    """What fits is used; all else is an error of the family, and changes nothing."""
    dtype = np.dtype(kind)
    a: Any = np.zeros(shape, dtype)
    finite = True
    if value is not None and a.size and dtype.kind == "f":
        with np.errstate(over="ignore"):
            a.flat[0] = value
        finite = False
    if container == "frame" and (a.ndim != 2 or dtype.kind == "V"):
        container = "array"
    x = _contained(a, container, tmp_path)
    seen = np.asarray(x)  # a list does not keep the dtype, nor an empty one the shape
    good = seen.dtype.kind in "?biuf" and finite and seen.shape[1:] == (3,)
    before = _snapshot(FITTED)
    if good:
        assert FITTED.predict(x).shape == (len(seen), 2)
    else:
        with pytest.raises(cr.ChainruleError) as caught:
            FITTED.predict(x)
        assert str(caught.value).startswith("x ")
    with pytest.raises(cr.ChainruleError):  # never so few samples for so many targets
        FITTED.fit(x, Y)
    with pytest.raises(cr.ChainruleError):
        FITTED.evaluate(X, Y, sample_weight=x)
    assert _snapshot(FITTED) == before


def test_data_frames() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abc"), index=range(100, 124))
    assert _outcome(frame, pandas.DataFrame(Y)) == _outcome(X, Y)
    mixed = frame.assign(a=frame["a"].astype(int))
    series = pandas.Series(LABELS, index=range(7, 31))
    weight = pandas.Series(WEIGHT)
    assert _outcome(mixed, series, CE, sample_weight=weight) == _outcome(
        X, LABELS, CE, sample_weight=WEIGHT
    )
    text = frame.assign(a="x")
    _refused(lambda: _outcome(text, Y), Type, "^x must hold numbers.*dtype object")
    # Columns of several kinds, and pandas' own, as long as nothing is missing.
    several = frame.assign(a=frame["a"] > 1, b=frame["b"].astype("Int64"))
    plain = np.column_stack([X[:, 0] > 1, X[:, 1], X[:, 2]])
    assert _outcome(several, Y) == _outcome(plain, Y)
    assert _outcome(frame.astype("Int64"), Y) == _outcome(X, Y)
    assert _outcome(frame.astype("Float64"), Y) == _outcome(X, Y)
    assert _outcome(frame, series.astype("Int64"), CE) == _outcome(X, LABELS, CE)
    model = _model()
    for wrong, error, match in (
        (frame.astype("Int64").mask(frame > 2), Value, "^x must be finite.*first nan"),
        (several.assign(b=several["b"].mask(frame["b"] > 2)), Value, "^x must be fin"),
        ((frame > 1).astype("boolean").mask(frame > 2), Value, "^x must be finite"),
        (frame.astype(object).mask(frame > 2, None), Type, "^x .*dtype object"),
        (frame.assign(a=pandas.Timestamp("2020")), Type, "^x must hold numbers"),
        (frame.assign(a=pandas.Timedelta("1s")), Type, "^x must hold numbers"),
        (frame.assign(a=pandas.array(["x"] * 24, "string")), Type, "^x must hold"),
        (frame + 1j, Type, "^x must hold numbers.*complex128"),
    ):
        _refused(functools.partial(model.fit, wrong, Y), error, match, model)
    hole = series.astype("Int64").mask(series > 0)
    _refused(lambda: _outcome(frame, hole, CE), Value, "^y must be finite")
    gap = frame.copy()
    gap.iloc[0, 0] = math.nan
    _refused(lambda: _outcome(gap, Y), Value, "^x must be finite; got 1 values")


def test_polars_frames() -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame(X, schema=list("abc"))
    assert _outcome(frame, polars.DataFrame(Y)) == _outcome(X, Y)
    several = frame.with_columns(
        polars.col("a") > 1, polars.col("b").cast(polars.Int16)
    )
    plain = np.column_stack([X[:, 0] > 1, X[:, 1], X[:, 2]])
    assert _outcome(several, Y) == _outcome(plain, Y)
    series = polars.Series(LABELS)
    assert _outcome(frame, series, CE) == _outcome(X, LABELS, CE)
    model = _model()
    date = polars.date(2020, 1, 1)
    column = polars.col("a")
    empty = polars.when(column > 2).then(None).otherwise(column)
    for wrong, error, match in (
        (frame.with_columns(a=empty), Value, "^x must be finite.*first nan"),
        (frame.with_columns(a=empty.cast(polars.Int32)), Value, "^x must be finite"),
        (frame.with_columns(a=date), Type, "^x must hold.*a column of dtype Date"),
        (frame.with_columns(a=polars.lit("x")), Type, "^x must .*dtype String"),
        (frame.with_columns(a=polars.duration(days=1)), Type, "^x .*dtype Duration"),
        (frame.lazy(), Type, "^x must be an array of numbers.*got LazyFrame"),
    ):
        _refused(functools.partial(model.fit, wrong, Y), error, match, model)
    hole = polars.Series([None, *LABELS[1:].tolist()])
    _refused(lambda: _outcome(frame, hole, CE), Value, "^y must be finite")


@pytest.mark.parametrize(
    "labels",
    [
        LABELS.tolist(),
        LABELS.astype(np.uint8),
        LABELS.astype(np.float64),
        LABELS.astype(bool),
        LABELS[:, None],
        LABELS[:, None].astype(np.float32),
    ],
    ids=lambda a: f"{np.asarray(a).dtype}{np.shape(a)}",
)
def test_labels(labels: Any) -> None:
    assert _outcome(X, labels, CE) == _outcome(X, LABELS, CE)


def test_one_hot_rows() -> None:
    want = _outcome(X, LABELS, CE)[0]
    for kind in ("f4", "i8", "?"):
        rows = np.eye(2)[LABELS].astype(kind)
        assert _outcome(X, rows, CE)[0] == pytest.approx(want, rel=1e-5)


def test_binary_targets_and_columns() -> None:
    assert _outcome(X, Y > 0, BCE) == _outcome(X, Y, BCE)
    one, two = (
        cr.Model(cr.MLP((4, 1)), loss=BCE).fit(X, y, epochs=2)["loss"]
        for y in (LABELS.astype(bool), LABELS[:, None])
    )
    assert one == two


@pytest.mark.parametrize("origin", LIBRARIES)
def test_boolean_weights(origin: str) -> None:
    """A mask is a weight of 0 or 1."""
    mask = WEIGHT > 1.0
    got = _outcome(X, Y, sample_weight=library(origin).array(mask))
    assert got == _outcome(X, Y, sample_weight=mask.astype(float))


@pytest.mark.parametrize("where", ["numpy", "torch"])
def test_tensors_that_torch_cannot_compute_with(where: str) -> None:
    here("torch") or pytest.skip("needs torch")
    import torch

    model = _model(**backend(where))
    sparse = torch.tensor(X).to_sparse()
    _refused(lambda: model.fit(sparse, Y), Type, "^x .*sparse", model)
    wide = torch.tensor(WEIGHT > 1.0).to(torch.uint16)
    want = model.evaluate(X, Y, WEIGHT > 1.0)
    assert model.evaluate(X, Y, wide) == want
    assert _outcome(X, torch.tensor(LABELS).to(torch.uint64), CE) == _outcome(
        X, LABELS, CE
    )


@pytest.mark.parametrize("where", ["numpy", "torch"])
def test_odd_tensors_of_torch(where: str) -> None:
    here("torch") or pytest.skip("needs torch")
    import torch

    model = _model(**backend(where))
    want = model.predict(X)
    x = torch.tensor(X)
    negated = torch.complex(torch.zeros(24, 3, dtype=x.dtype), -x).conj().imag
    assert negated.is_neg()  # a view that NumPy refuses to see
    learned = torch.nn.Parameter(x)
    for same in (x.T.clone().T, negated, learned.detach(), x.to(torch.int8)):
        np.testing.assert_array_equal(model.predict(same).numpy(), want)
    with pytest.warns(cr.ChainruleWarning, match=r"^x is part of PyTorch's graph"):
        np.testing.assert_array_equal(model.predict(learned).numpy(), want)
    row = x[0].expand(24, 3)
    np.testing.assert_array_equal(
        model.predict(row).numpy(), model.predict(row.numpy())
    )
    for wrong, error, match in (
        (x.to(torch.complex64), Type, "^x must hold numbers.*complex64"),
        (torch.tensor(1.0), Shape, "^x must have an axis of samples"),
        (torch.tensor(_with(X, math.nan)).half(), Value, "^x must be finite"),
        (x.float() * 1e38 * 10, Value, "^x must be finite"),
    ):
        _refused(functools.partial(model.fit, wrong, Y), error, match, model)


def test_odd_arrays_of_jax() -> None:
    here("jax") or pytest.skip("needs jax")
    import jax
    import jax.numpy as jnp

    model = _model(backend="jax")
    gone = jnp.asarray(X, dtype=jnp.float32)
    gone.delete()
    for wrong, error, match in (
        (gone, Value, "^x was deleted, or donated"),
        (jax.random.key(0), Type, "^x must hold numbers.*key"),
        (jnp.asarray(X, dtype=jnp.complex64), Type, "^x must hold.*complex64"),
        (jnp.asarray(1.0), Shape, "^x must have an axis of samples"),
        (jnp.asarray(X[:, :2], dtype=jnp.bfloat16), Shape, "^x must have the shape"),
    ):
        _refused(functools.partial(model.fit, wrong, Y), error, match, model)
    half = jnp.asarray(X, dtype=jnp.bfloat16)
    np.testing.assert_array_equal(model.predict(half), model.predict(X))


def test_numbers_of_other_types() -> None:
    got = _outcome(X, Y, validation_split=np.float64(0.25), callbacks=iter(()))
    assert got == _outcome(X, Y, validation_split=0.25)
    model = _model(fitted=0)
    model.fit(X, Y, epochs=np.int64(2), batch_size=np.uint8(10))  # type: ignore[arg-type]
    twin = _model()
    assert _snapshot(model)[0] == _snapshot(twin)[0]


@pytest.mark.parametrize(
    "given", [np.float64, np.dtype("float64"), "float64"], ids=repr
)
def test_dtype_spellings(given: Any) -> None:
    model = cr.Model(cr.MLP((2,)), dtype=given).build(3)
    assert model.dtype == "float64"
    assert model.predict(X).dtype == np.float64


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("origin", LIBRARIES)
def test_array_in_array_out(name: str, origin: str) -> None:
    """What comes out is of the library, and on the device, of what went in."""
    model, lib = _model(CE, **backend(name)), library(origin)
    x = lib.array(X.astype(np.float32))
    for use in ("predict", "predict_proba", "jacobian"):
        z = _use(use)(model, x)
        assert type(z) is type(x)
        assert getattr(z, "device", None) == getattr(x, "device", None)
        assert z.dtype == x.dtype
        want = _use(use)(model, X)
        assert type(want) is np.ndarray
        np.testing.assert_allclose(lib.host(z), want, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("origin", LIBRARIES)
def test_training_data_of_any_library(origin: str) -> None:
    """A NumPy model learns the same from any library's arrays."""
    lib = library(origin)
    x, y, w = (lib.array(a.astype(np.float32)) for a in (X, Y, WEIGHT))
    got = _outcome(x, y, sample_weight=w, validation_data=(x, y))
    assert got == _outcome(
        X, Y, sample_weight=WEIGHT.astype("f4"), validation_data=(X, Y)
    )
    assert _outcome(x, Y) == _outcome(X, Y)  # NumPy goes with any


@pytest.mark.parametrize("origin", LIBRARIES)
def test_backend_follows_the_first_data(origin: str) -> None:
    model = cr.Model(cr.MLP((2,)))
    x = library(origin).array(X.astype(np.float32))
    model.fit(x, Y, epochs=1)
    assert model.backend == backends.of(x)


def test_tensors_of_autograd() -> None:
    here("torch") or pytest.skip("needs torch")
    import torch

    x = torch.tensor(X, requires_grad=True)
    model = _model()
    with pytest.warns(cr.ChainruleWarning, match="graph, which ends here"):
        z = model.predict(x)
    assert not z.requires_grad
    np.testing.assert_array_equal(z.numpy(), model.predict(X))


@pytest.mark.parametrize("where", ["numpy", "torch"])
def test_bfloat16_tensors(where: str) -> None:
    here("torch") or pytest.skip("needs torch")
    import torch

    model = _model(**backend(where))
    half = torch.tensor(X, dtype=torch.bfloat16)
    np.testing.assert_array_equal(model.predict(half).numpy(), model.predict(X))
