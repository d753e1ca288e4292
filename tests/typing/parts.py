"""A user's own layer, loss, optimizer, schedule, metric and callback, typed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, assert_type

import numpy as np
import numpy.typing as npt

import chainrule as cr
from chainrule import callbacks, initializers, losses, metrics, optimizers, schedules
from chainrule.arrays.types import Params, Shape
from chainrule.config.choices import Rate
from chainrule.layers import Variable
from chainrule.layers.context import Context


class Scale(cr.Layer):
    """z = gain x."""

    gain: float

    def __init__(self, gain: float = 1.0, *, trainable: bool = True) -> None:
        self._configure(trainable, gain=gain)

    @property
    def parameters(self) -> tuple[Variable, ...]:
        return (Variable("bias", self.input_shape[-1:], initializers.Constant(0.0)),)

    def forward(self, params: Params, x: Any, context: Context) -> Any:
        (bias,) = params

        def pullback(dz: Any, dx: bool = True, dp: bool = True) -> tuple[Any, Any]:
            return dz * self.gain, (context.xp.sum(dz, axis=-2),) if dp else None

        return x * self.gain + bias, pullback


def quartic(
    z: Any, t: Any, weight: Any = None, *, xp: Any = None
) -> tuple[Any, Callable[..., tuple[Any]]]:
    """A rule of one's own."""
    d = z - t

    def pullback(dvalue: Any = 1.0) -> tuple[Any]:
        return (4.0 * d**3 * (dvalue / d.size),)

    return xp.mean(d**4), pullback


class Quartic(losses.Loss):
    """A loss of one's own."""

    rule = staticmethod(quartic)


class SignDescent(optimizers.Optimizer):
    """An optimizer of one's own."""

    slots = ("m",)
    beta: float

    def __init__(self, learning_rate: Rate = 1e-3, beta: float = 0.9) -> None:
        super().__init__(learning_rate)
        self.beta = beta

    def step(self, xp: Any, s: Any, g: Any, theta: Any, *slots: Any) -> tuple[Any, ...]:
        (m,) = slots
        m = self.beta * m + g
        return theta - s.rate * xp.sign(m), m


def warmup(step: int) -> float:
    """A schedule of one's own."""
    return 1e-3 * min(1.0, step / 100)


class Sawtooth(schedules.Schedule):
    """A schedule of one's own, with values."""

    period: int

    def __init__(self, period: int) -> None:
        self.period = period

    def __call__(self, step: int) -> float:
        return 1e-3 * (1.0 - step % self.period / self.period)


def worst(y_true: npt.NDArray[Any], y_pred: npt.NDArray[Any]) -> float:
    """A metric of one's own."""
    return float(np.max(np.abs(y_true - y_pred)))


class Patient(callbacks.Callback):
    """A callback of one's own."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit = limit
        self.seen: list[float] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        self.seen.append(float(logs["loss"]))
        if self.seen[-1] < self.limit:
            self.model.stop_training = True

    def state(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def restore(self, state: dict[str, Any]) -> None:
        self.seen = list(state["seen"])


model = cr.Model(
    cr.Sequential(cr.Dense(8), Scale(2.0), cr.Residual(cr.Dense(8)), cr.Dense(1)),
    loss=Quartic(),
    optimizer=SignDescent(warmup),
    metrics=[worst, metrics.r2],
)


def told(epoch: int, logs: dict[str, Any]) -> None:
    """A function in the place of a hook."""


hook = callbacks.LambdaCallback(on_epoch_end=told)
aside = callbacks.LambdaCallback(on_train_end=lambda logs: logs.get("loss"))
model.fit([[1.0], [2.0]], [[1.0], [2.0]], callbacks=[Patient(0.1), hook, aside])

assert_type(losses.get("huber"), losses.Loss)
assert_type(Scale().replace(gain=2.0), Scale)
assert_type(cr.Dense(3).bind((4,)), cr.Dense)
assert_type(cr.Dense(3).bind((4,)).output_shape, Shape)
assert_type(cr.Dense(3).units, int)
assert_type(cr.Dropout(0.5).rate, float)
assert_type(cr.MLP((3, 1)), cr.Sequential)
assert_type(cr.SGD(0.1, momentum=0.9).momentum, float)
assert_type(cr.EarlyStopping().patience, int)

# Several of a kind, side by side.
for schedule in [schedules.Constant(0.1), schedules.CosineDecay(0.1, 9), Sawtooth(3)]:
    assert_type(schedule(1), float)
    cr.Adam(schedule)
for optimizer, epochs in {"first": (cr.Adam(), 3), "whole": (cr.LBFGS(), 5)}.values():
    cr.Model(cr.Dense(1), optimizer=optimizer).fit(
        [[1.0], [2.0]], [[1.0], [2.0]], epochs=epochs
    )

# NumPy's scalars stand for numbers, and are kept as Python's.
share, rate, count = np.float32(0.25), np.float64(1e-3), np.int64(2)
layers = (cr.Dense(count), cr.Dropout(share), cr.BatchNorm(share), cr.MLP([count, 1]))
assert_type(cr.Dropout(share).rate, float)
assert_type(cr.Dense(count).units, int)
assert_type(cr.SGD(share, momentum=share, clip_norm=share).momentum, float)
cr.Adam([share, rate, 1e-3], beta_1=share, weight_decay=rate)
cr.Adam(lambda step: np.float32(0.1) / (1 + step))
cr.LBFGS(count, ftol=share)
schedules.CosineDecay(share, count * 5, count, final=rate)
schedules.OneCycle(share, count * 50, share)
schedules.CosineRestarts(share, count, count, final=rate)
schedules.LinearWarmup(schedules.PolynomialWarmup(share, count), count, rate)
cr.Adam(
    schedules.Join([share, Sawtooth(3), schedules.PolynomialDecay(rate, 9)], [1, count])
)
schedules.StepDecay(share, count, share)
losses.Huber(share)
losses.CrossEntropy([share, rate, 1.0], label_smoothing=share)
initializers.Constant(share)
watching = [
    cr.EarlyStopping(patience=count, min_delta=share),
    callbacks.ReduceLROnPlateau(factor=share, patience=count, min_lr=rate),
    callbacks.ExponentialMovingAverage(share, count),
    callbacks.StochasticWeightAveraging(count, every=count),
]
twins = cr.Model(cr.Sequential(*layers), members=count, seed=count)
twins.fit(
    [[1.0], [2.0], [3.0], [4.0]],
    [[1.0], [2.0], [3.0], [4.0]],
    epochs=count,
    batch_size=count,
    validation_split=share,
    callbacks=watching,
)
twins.seed = count
assert_type(twins.seed, int)
