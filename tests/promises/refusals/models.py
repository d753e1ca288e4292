"""Arguments and attributes of models."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import chainrule as cr

from tests.promises.refusals.learning import train
from tests.support.inputs import (
    Shape,
    Type,
    Value,
    X,
    Y,
)


def assigned(name: str, value: Any, **options: Any) -> Callable[[], Any]:
    """Return what sets an attribute of a model that has weights."""
    model = cr.Model(cr.MLP((4, 2)), **{"backend": "numpy", **options}).build(3)
    return lambda: setattr(model, name, value)


def two_fits() -> Any:
    def again(epoch: int, logs: Any) -> None:
        model.fit(X, Y, epochs=1)

    model = cr.Model(cr.MLP((4, 2)), backend="numpy")
    hook = cr.callbacks.LambdaCallback(on_epoch_end=again)
    return model.fit(X, Y, epochs=2, callbacks=[hook])


def assigned_in_a_fit() -> Any:
    def change(epoch: int, logs: Any) -> None:
        model.optimizer = cr.SGD(0.1)

    model = cr.Model(cr.MLP((4, 2)), backend="numpy")
    hook = cr.callbacks.LambdaCallback(on_epoch_end=change)
    return model.fit(X, Y, epochs=2, callbacks=[hook])


def whole(optimizer: Any, layer: Any = None, fitted: bool = False) -> Any:
    """Return a fit by an optimizer of the whole problem; or a band after Adam's."""
    layers = [cr.Dense(4), *([layer] if layer else []), cr.Dense(2)]
    model = cr.Model(cr.Sequential(*layers), optimizer=optimizer, backend="numpy")
    if not fitted:
        return partial(model.fit, X, Y, epochs=1)
    model.fit(X, Y, epochs=1)
    return partial(model.predict, X, return_std=True, method="laplace")


MODELS: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "another network": (
        assigned("network", cr.MLP((8, 2))),
        Value,
        "^network cannot be set once the model has weights.*make a new Model of it",
    ),
    "another number of members": (
        assigned("members", 8),
        Value,
        "^members cannot be set once the model has weights.*make a new Model",
    ),
    "another dtype": (
        assigned("dtype", "float64"),
        Value,
        "^dtype cannot be set once the model has weights.*make a new Model",
    ),
    "another backend": (
        assigned("backend", "numpy"),
        Value,
        r"^backend cannot be set once the model has weights.*model\.to\(backend\)",
    ),
    "a learning rate of text": (
        assigned("learning_rate", "0.1"),
        Type,
        "^learning_rate must be a finite number above 0; got '0.1'",
    ),
    "a ragged learning rate": (
        assigned("learning_rate", [0.1, [0.2]], members=2),
        Type,
        r"^learning_rate\[1\] must be a finite number above 0; got \[0.2\]",
    ),
    "too few learning rates": (
        assigned("learning_rate", np.array([0.1]), members=2),
        Shape,
        "^learning_rate must be a number, or one for each of the 2 members; got 1",
    ),
    "an array of learning rates": (
        assigned("learning_rate", np.array([[0.1], [0.2]]), members=2),
        Type,
        r"^learning_rate\[0\] must be a finite number above 0; got array",
    ),
    "a learning rate beyond the schedule": (
        assigned("learning_rate", 1e308, optimizer=cr.Adam(1e-3)),
        Value,
        "^learning_rate: 1e.308 is too large beside the schedule's 0.001",
    ),
    "two fits at once": (
        two_fits,
        cr.BusyError,
        "^the model is being fitted already, by the fit whose callback calls this",
    ),
    "an optimizer while it is fitted": (
        assigned_in_a_fit,
        cr.BusyError,
        "^optimizer cannot be set while the model is being fitted",
    ),
    "LevenbergMarquardt with Dropout": (
        whole(cr.LevenbergMarquardt(), cr.Dropout(0.5)),
        Value,
        r"LevenbergMarquardt makes all passes.*Dropout\(rate=0.5\).*be ignored",
    ),
    "LevenbergMarquardt with BatchNorm": (
        whole(cr.LevenbergMarquardt(), cr.BatchNorm()),
        Value,
        "LevenbergMarquardt makes all passes.*BatchNorm.*be ignored",
    ),
    "a band after a fit by Adam": (
        whole(cr.Adam(), fitted=True),
        Value,
        r"method='laplace' needs the covariance.*parameter_covariance\(x, y\)",
    ),
    "float16": (train(dtype="float16"), Value, "^dtype .*'float16'. Did you mean"),
    "dtype class": (train(dtype=np.float16), Type, "^dtype must be one of .*float16"),
    "dtype None": (train(dtype=None), Type, "^dtype must be one of .*None"),
    "precision": (train(backend="numpy", precision="low"), Value, "precision.*'low'"),
    "precision 3": (train(precision=3), Type, "^precision must be .*got 3"),
    "jit_compile": (
        train(backend="numpy", jit_compile=True),
        Value,
        "^jit_compile must be one of None, False with the numpy backend.*got True",
    ),
    "jit_compile 'yes'": (train(jit_compile="yes"), Type, "^jit_compile .*got 'yes'"),
    **{
        f"seed {seed!r}": (train(seed=seed), error, f"^seed must be .*got {seed!r}")
        for seed, error in ((-1, Value), (1.5, Type), (True, Type), (None, Type))
    },
    "no network": (lambda: cr.Model((4, 2)), Type, r"^network .*got \(4, 2\)"),  # type: ignore[arg-type]
    "network class": (lambda: cr.Model(cr.Tanh), Type, "^network must be a layer"),  # type: ignore[arg-type]
    "BatchNorm, batches of one": (
        lambda: cr.Model(cr.Sequential(cr.BatchNorm(), cr.Dense(2))).fit(
            X, Y, batch_size=1
        ),
        Value,
        "^BatchNorm needs batches of at least 2 rows",
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
}
