"""A user's own code, for mypy and pyright in strict mode: what models give."""

from __future__ import annotations

from typing import Any, assert_type

import numpy as np
import numpy.typing as npt

import chainrule as cr
from chainrule import backends, losses, metrics, schedules
from chainrule.arrays.types import Array

x: npt.NDArray[np.float64] = np.linspace(-1.0, 1.0, 64)[:, None]
y = x**2

model = cr.Model(
    cr.Sequential(cr.Dense(16), cr.Tanh(), cr.Dropout(0.1), cr.Dense(1)),
    loss=losses.Huber(0.5),
    optimizer=cr.AdamW(schedules.CosineDecay(1e-3, 100)),
    metrics=["r2", metrics.mean_absolute_error],
    backend="numpy",
    seed=1,
)
assert_type(model, cr.Model)
assert_type(model.loss, losses.Loss)
assert_type(model.built, bool)
assert_type(model.build(1), cr.Model)

history = model.fit(
    x,
    y,
    epochs=3,
    batch_size=16,
    validation_split=0.25,
    callbacks=[cr.EarlyStopping(patience=2), cr.Checkpoint("fit.safetensors")],
    progress=False,
)
assert_type(history, cr.History)
assert_type(history["loss"], list[Any])
assert_type(history.epochs, int)
assert_type(history.interrupted, bool)
assert_type(model.history, cr.History)
last: float = history["val_loss"][-1]

z = model.predict(x)
assert_type(z, npt.NDArray[Any])
mean, deviation = model.predict(x, return_std=True, method="laplace")
assert_type(mean, npt.NDArray[Any])
assert_type(deviation, npt.NDArray[Any])
assert_type(model.predict_proba([[0.5], [0.25]]), npt.NDArray[Any])


def elsewhere(a: Array) -> None:
    """What goes in as another library's array comes out as one."""
    assert_type(model.predict(a), Array)
    assert_type(model.jacobian(a), Array)


assert_type(model.evaluate(x, y), dict[str, Any])
assert_type(model.jacobian(x), npt.NDArray[Any])
named = model.parameters
assert_type(named, dict[str, Any])
theta, state = model.get_weights()
model.set_weights((theta, state))
model.learning_rate = 1e-4

model.save("model.safetensors", include_optimizer=True)
again = cr.load("model.safetensors", backend="numpy")
assert_type(again, cr.Model)
assert_type(again.to("numpy"), cr.Model)
assert_type(str(again.summary()), str)

ensemble = cr.Model(cr.MLP((8, 1)), members=3)
assert_type(ensemble.member(0), cr.Model)

engine = backends.get("numpy")
assert_type(engine, backends.Backend)
assert_type(engine.name, str)

try:
    model.fit(x, y[:3])
except cr.ShapeError as wrong:
    assert_type(str(wrong), str)
except cr.ChainruleError:
    pass
