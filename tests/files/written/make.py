"""Write models and checkpoints, with what came of them, as one version does.

    PYTHONPATH=.../src python tests/files/written/make.py tests/files/written/2026-11

A folder here holds what the version of that month wrote. It is never written again:
what is in it has to load for as long as the library lives
(`tests/files/test_written.py`). Only public names are used, so that later versions can
write folders of their own.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import chainrule as cr
from chainrule import callbacks, layers, losses, schedules

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 3))
Y = np.stack([np.sin(X[:, 0]) * X[:, 1], X.sum(1)], axis=1)
LABELS = np.digitize(X[:, 0], [-0.5, 0.5])
WEIGHT = RNG.uniform(0.0, 2.0, 24)
MORE = 2  # epochs that a loaded model trains on

ACTIVATIONS = [
    layers.CELU(), layers.ELU(), layers.Exp(), layers.GELU(), layers.GELUTanh(),
    layers.HardSigmoid(), layers.HardSiLU(), layers.HardTanh(), layers.Identity(),
    layers.LeakyReLU(), layers.LogSoftmax(), layers.Mish(), layers.ReLU(),
    layers.SELU(), layers.Sigmoid(), layers.SiLU(), layers.Softmax(),
    layers.Softplus(), layers.Softsign(), layers.Tanh(),
]  # fmt: skip
DEEP = cr.Sequential(
    cr.Dense(6, kernel_initializer="he_normal"),
    cr.BatchNorm(),
    cr.ReLU(),
    cr.Dropout(0.25),
    cr.Residual(cr.Sequential(cr.LayerNorm(), cr.Dense(6), cr.GELU())),
    cr.Dense(4, bias=False, trainable=False),
    cr.Tanh(),
    cr.Dense(2),
)
OPTIMIZERS = {
    "sgd": cr.SGD(0.05),
    "momentum": cr.SGD(0.05, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "velocity": cr.SGD(
        schedules.CosineDecay(0.05, 40), momentum=0.9, rate_in_velocity=True
    ),
    "adam": cr.Adam(1e-2, clip_norm=0.5, weight_decay=1e-2),
    "adam-hat": cr.Adam(schedules.ExponentialDecay(1e-2, 10, 0.9), epsilon_hat=True),
    "adamw": cr.AdamW(1e-2),
    "rmsprop": cr.RMSprop(),
    "adagrad": cr.Adagrad(),
    "nadam": cr.NAdam(),
    "lion": cr.Lion(1e-3, weight_decay=0.1),
    "lbfgs": cr.LBFGS(),
    "levenberg-marquardt": cr.LevenbergMarquardt(),
}
LOSSES: dict[str, tuple[Any, Any, int]] = {
    "absolute-error": ("absolute_error", Y, 2),
    "huber": (losses.Huber(0.8), Y, 2),
    "quantile": (losses.Quantile(0.2), Y, 2),
    "poisson": ("poisson", np.exp(Y.clip(-2, 2)).round(), 2),
    "binary": (losses.BinaryCrossEntropy(label_smoothing=0.1), LABELS > 1, 1),
    "classes": (losses.CrossEntropy(class_weight=(1.0, 2.0, 0.5)), LABELS, 3),
}


def _plain(units: int = 2) -> cr.Layer:
    return cr.MLP((5, units), activation="tanh")


def _model(network: cr.Layer, **options: Any) -> cr.Model:
    return cr.Model(network, **{"backend": "numpy", "dtype": "float64", **options})


def models() -> dict[str, tuple[cr.Model, Any, Any]]:
    """Return name -> (a model, its x, its y)."""
    chain = [part for one in ACTIVATIONS for part in (cr.Dense(3), one)]
    parts: dict[str, tuple[cr.Model, Any, Any]] = {
        "activations": (_model(cr.Sequential(*chain, cr.Dense(2))), X, Y),
        "deep": (_model(DEEP, metrics=["r2", "mean_absolute_error"]), X, Y),
        "single": (_model(DEEP, dtype="float32", seed=7), X, Y),
        "sequences": (
            _model(
                cr.Sequential(
                    cr.Dense(4),
                    cr.LayerNorm(),
                    cr.BatchNorm(),
                    cr.Flatten(),
                    cr.Dense(2),
                )
            ),
            X.reshape(12, 2, 3),
            Y[:12],
        ),
        "ensemble": (_model(DEEP, members=3), X, Y),
        "rates": (_model(_plain(), optimizer=cr.Adam([1e-3, 1e-2]), members=2), X, Y),
    }
    for name, optimizer in OPTIMIZERS.items():
        parts[name] = _model(_plain(), optimizer=optimizer), X, Y
    for name, (loss, y, units) in LOSSES.items():
        parts[name] = _model(_plain(units), loss=loss), X, y
    return parts


def listeners(path: Path, name: str, every_steps: int | None) -> list[Any]:
    """Return callbacks that have a state of their own."""
    found: list[Any] = [callbacks.EarlyStopping(patience=50, restore_best_weights=True)]
    if name != "second-order":  # which has no learning rate
        found.append(callbacks.ReduceLROnPlateau(patience=1))
    return [*found, callbacks.Checkpoint(path, every_steps=every_steps)]


# Name -> (a new model, whether the file is from within an epoch).
FITS: dict[str, tuple[Callable[[], cr.Model], int | None]] = {
    "epochs": (lambda: _model(DEEP, optimizer=OPTIMIZERS["velocity"]), None),
    "within": (lambda: _model(DEEP, metrics=["r2"]), 2),
    "members": (lambda: _model(DEEP, members=2), 2),
    "second-order": (lambda: _model(_plain(), optimizer=cr.LevenbergMarquardt()), None),
}


def fitted(name: str, path: Path, epochs: int, *more: Any, **options: Any) -> cr.Model:
    """Train one of `FITS`; with resume=path, it goes on from there."""
    new, steps = FITS[name]
    model = new()
    model.fit(
        X,
        Y,
        epochs=epochs,
        batch_size=4,
        sample_weight=WEIGHT,
        validation_data=(X[:5] + 0.1, Y[:5]),
        callbacks=[*listeners(path, name, steps), *more],
        progress=False,
        **options,
    )
    return model


class _Killed(Exception):
    """What stands for a process that ends."""


def _kill(epoch: int, logs: Any) -> None:
    if epoch == 2:
        raise _Killed


def write(folder: Path) -> None:
    """Write everything."""
    import pandas as pd

    folder.mkdir(parents=True)
    found: dict[str, Any] = {}
    named = "columns", (_model(_plain()), pd.DataFrame(X, columns=list("abc")), Y)
    for name, (model, x, y) in (*models().items(), named):
        model.fit(x, y, epochs=3, batch_size=8, progress=False)
        model.save(folder / f"{name}.model", include_optimizer=True)
        if name == "deep":
            model.save(folder / "plain.model")
        found[f"{name}/theta"] = model.theta
        found[f"{name}/prediction"] = model.predict(x)
        again = model.fit(x, y, epochs=MORE, batch_size=8, progress=False)
        found[f"{name}/again"] = model.theta
        found[f"{name}/loss"] = np.asarray(again["loss"])
    for name in FITS:
        path = folder / f"{name}.checkpoint"
        with contextlib.suppress(_Killed):
            fitted(name, path, 5, callbacks.LambdaCallback(on_epoch_end=_kill))
        with tempfile.TemporaryDirectory() as place:
            copy = Path(shutil.copy(path, place))
            model = fitted(name, copy, 5, resume=copy)
        found[f"{name}/resumed"] = model.theta
        found[f"{name}/history"] = np.asarray(model.history["val_loss"])
    np.savez_compressed(folder / "expected.npz", **found)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
