"""Losses, optimizers, metrics and callbacks."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import chainrule as cr

from tests.support.inputs import (
    BCE,
    LABELS,
    Shape,
    Type,
    Value,
    X,
    Y,
)


def train(**options: Any) -> Callable[[], Any]:
    return lambda: cr.Model(cr.MLP((4, 2)), **options)


def heard(hook: Any = None, **options: Any) -> Callable[[], Any]:
    """Return a fit with a metric that says nothing of its direction, and a callback."""

    def gain(y_true: Any, y_pred: Any) -> float:
        return 0.0

    model = cr.Model(cr.MLP((4, 2)), **{"metrics": [gain], **options})
    return lambda: model.fit(X, Y, epochs=1, callbacks=[hook] if hook else ())


def _over_members(z: Any, t: Any, weight: Any = None, *, xp: Any = None) -> Any:
    return xp.mean((z - t) ** 2), lambda dvalue=1.0: (2.0 * (z - t) / z.size,)


def _row_by_row(z: Any, t: Any, weight: Any = None, *, xp: Any = None) -> Any:
    return xp.mean((z - t) ** 2, axis=-1), lambda dvalue=1.0: (2.0 * (z - t),)


class _Summed(cr.losses.Loss):
    rule = _over_members


class _Each(cr.losses.Loss):
    rule = _row_by_row


class _Forgetful(cr.Adam):
    """Leaves out a slot."""

    def step(self, *given: Any, **named: Any) -> Any:
        return super().step(*given, **named)[:2]


class _Bare(cr.Adam):
    """Returns the parameters without a tuple."""

    def step(self, *given: Any, **named: Any) -> Any:
        return super().step(*given, **named)[0]


class _Idle(cr.optimizers.Optimizer):
    """Has no step."""


class _Declared(cr.Adam):
    """Reads a number that it declares as a scalar."""

    numbers = cr.Adam.numbers

    def step(self, xp: Any, s: Any, g: Any, theta: Any, m: Any, v: Any) -> Any:
        return theta - self.beta_1 * g, m, v


def _stepped(optimizer: Any) -> Callable[[], Any]:
    model = cr.Model(cr.MLP((4, 2)), optimizer=optimizer, backend="numpy")
    return lambda: model.fit(X, Y, epochs=1)


LEARNING: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "a loss that sums over members": (
        lambda: cr.Model(
            cr.MLP((4, 2)), loss=_Summed(), backend="numpy", members=3
        ).fit(X, Y),
        Shape,
        (
            r"^loss: _over_members must return one value for each member "
            r".* \(3,\); got \(\)"
        ),
    ),
    "a loss with a value for each row": (
        lambda: cr.Model(cr.MLP((4, 2)), loss=_Each(), backend="numpy").fit(X, Y),
        Shape,
        r"^loss: _row_by_row must return a scalar, of shape \(\); got \(24,\)",
    ),
    **{
        f"{kind.__name__}({rate!r})": (
            partial(kind, rate),  # type: ignore[arg-type]
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
    "loss": (train(loss="squared_eror"), Value, "Did you mean 'squared_error'"),
    "loss 3": (train(loss=3), Type, "^loss must be a name .*got 3"),
    "loss class": (train(loss=cr.losses.Huber), Type, "^loss must be"),
    "a link twice": (
        lambda: cr.Model(cr.Sequential(cr.Dense(1), cr.Sigmoid()), loss=BCE),
        Value,
        r"^loss: binary_cross_entropy takes logits .* ends in Sigmoid\(\)",
    ),
    "Keras's loss": (
        train(loss="categorical_crossentropy"),
        Value,
        "^loss must be one of .*'cross_entropy', which takes logits",
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
    "optimizer": (train(optimizer="adm"), Value, "^optimizer .*'adm'. Did you mean"),
    "optimizer class": (train(optimizer=cr.Adam), Type, "^optimizer must be"),
    "a step without a slot": (
        _stepped(_Forgetful()),
        Value,
        r"^_Forgetful\.step must return the tuple \(theta, m, v\), .*; got 2 arrays",
    ),
    "a step without a tuple": (
        _stepped(_Bare()),
        Value,
        r"^_Bare\.step must return the tuple \(theta, m, v\), .*; got an array of",
    ),
    "an optimizer without a step": (
        _stepped(_Idle(0.1)),
        Value,
        r"^_Idle has no step; write def step\(self, xp, s, g, theta, \*slots\)",
    ),
    "a declared number read from self": (
        _stepped(_Declared()),
        Type,
        r"^_Declared\.beta_1 travels as a scalar and has no value in `step`: read it",
    ),
    "metric": (train(metrics=["acuracy"]), Value, "^metrics .*mean 'accuracy'"),
    "metric 3": (train(metrics=[3]), Type, "^metrics must be .*got 3"),
    "metrics 3": (train(metrics=3), Type, "^metrics must be a sequence.*got 3"),
    "accuracy of several values": (
        heard(metrics=["accuracy"]),
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
    "monitor": (heard(cr.EarlyStopping("gian")), Value, "'gian' is not in the logs"),
    "monitor without a direction": (
        heard(cr.EarlyStopping("gain")),
        Value,
        "^EarlyStopping: whether 'gain' is to rise or to fall",
    ),
    "plateau without a rate": (
        heard(cr.callbacks.ReduceLROnPlateau(), optimizer=cr.LevenbergMarquardt()),
        Value,
        "^ReduceLROnPlateau needs an optimizer with a learning rate",
    ),
    "hook": (
        lambda: cr.callbacks.LambdaCallback(on_batch_end=print),
        Type,
        "^LambdaCallback: there is no hook on_batch_end; the hooks are",
    ),
    "log 3": (lambda: cr.callbacks.CSVLogger(3), Type, "^path must be .*got 3"),  # type: ignore[arg-type]
    "separator": (
        lambda: cr.callbacks.CSVLogger("log.csv", separator="ab"),
        Value,
        "^CSVLogger: separator must be one character",
    ),
}
