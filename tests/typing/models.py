"""A user's own code, for mypy and pyright in strict mode: what models give."""

from __future__ import annotations

from typing import Any, Literal, assert_type

import numpy as np
import numpy.typing as npt

import chainrule as cr
from chainrule import backends, losses, metrics, rules, schedules
from chainrule.arrays.types import Array, Pullback

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


assert_type(model.predict([[0.5], [0.25]]), npt.NDArray[Any])
assert_type(
    model.predict([[0.5]], return_std=True), tuple[npt.NDArray[Any], npt.NDArray[Any]]
)
assert_type(model.jvp(x, x), npt.NDArray[Any])
assert_type(model.vjp(x, y), npt.NDArray[Any])
assert_type(model.hvp(x, x), npt.NDArray[Any])
assert_type(model.hessian(((0.5,),)), npt.NDArray[Any])
assert_type(model.sample_gradients(x, y), npt.NDArray[Any])
assert_type(model.parameter_jacobian(x), npt.NDArray[Any])


def elsewhere(a: Array) -> None:
    """What goes in as another library's array comes out as one."""
    assert_type(model.predict(a), Array)
    assert_type(model.predict(a, return_std=True), tuple[Array, Array])
    assert_type(model.predict_proba(a), Array)
    assert_type(model.jacobian(a), Array)
    assert_type(model.jvp(a, a), Array)
    assert_type(model.vjp(a, a), Array)
    assert_type(model.hvp(a, a), Array)
    assert_type(model.hessian(a), Array)
    assert_type(model.sample_gradients(a, a), Array)
    assert_type(rules.dense(a, a), tuple[Array, Pullback])


assert_type(rules.tanh(x), tuple[npt.NDArray[np.float64], Pullback])


class Float32:
    """A dtype as PyTorch has it."""

    is_complex: bool = False
    is_floating_point: bool = True


# All that is understood may be said: names, others' words for them, dtypes, objects.
cr.Model(cr.Dense(1), loss="mse", optimizer="lm", metrics="r2", dtype=np.float64)
cr.Model(cr.Dense(1), metrics=["acc", metrics.r2], dtype=np.dtype(np.float32))
cr.Model(cr.MLP((4, 1), "swish"), dtype=x.dtype, backend=np, precision="tf32")
cr.Model(cr.MLP((4, 1), cr.GELU()), dtype=Float32())
cr.Dense(4, kernel_initializer="he_normal", bias_initializer=np.zeros)
assert_type(model.dtype, Literal["float32", "float64"])
for name in backends.available():
    cr.Model(cr.Dense(1), backend=name)
model.loss = "huber"
model.optimizer = cr.SGD([0.1, 0.2])
model.metrics = ["accuracy"]


assert_type(model.evaluate(x, y), dict[str, Any])
assert_type(model.jacobian(x), npt.NDArray[Any])
named = model.parameters
assert_type(named, dict[str, Any])
theta, state = model.get_weights()
assert_type(theta, npt.NDArray[Any])
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
