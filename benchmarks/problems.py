"""The networks that are trained, their data, and what all contenders start from."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np

__all__ = ["LARGEST", "PROBLEMS", "RATE", "SMALL", "Problem"]

RATE, BETA_1, BETA_2, EPSILON = 1e-3, 0.9, 0.999, 1e-8  # Adam, of every contender


class Problem(NamedTuple):
    """A network to be trained.

    units are the widths, input first. The loss is "squared_error" (mean over samples
    and outputs) or "cross_entropy" (from logits). `epochs` is what one fit has.
    """

    name: str
    units: tuple[int, ...]
    activation: str
    batch: int
    samples: int
    loss: str
    epochs: int

    @property
    def steps(self) -> int:
        """Steps of one epoch."""
        return -(-self.samples // self.batch)

    def data(self) -> tuple[Any, Any]:
        """Return x (samples, n) in float32, and y: (samples, m), or labels in int32."""
        rng = np.random.default_rng(1)
        n, m = self.units[0], self.units[-1]
        if self.loss == "cross_entropy":
            # Clouds that overlap, so that there is always something left to learn.
            y = rng.integers(0, m, self.samples)
            centres = rng.normal(size=(m, n)) / math.sqrt(n)
            x = 1.5 * centres[y] + rng.normal(size=(self.samples, n)) / math.sqrt(n)
            return x.astype(np.float32), y.astype(np.int32)
        x = rng.uniform(-1, 1, (self.samples, n)).astype(np.float32)
        if (n, m) == (1, 1):  # f(x) = x²
            return x, x**2
        if (n, m) == (2, 3):  # a point of the sphere from its angles
            u, v = (math.pi * x).T
            return x, np.stack(
                [np.sin(u) * np.cos(v), np.sin(u) * np.sin(v), np.cos(u)], 1
            )
        mix = rng.normal(size=(n, m)).astype(np.float32) / math.sqrt(n)
        return x, np.tanh(x @ mix)

    def initial(self) -> list[tuple[Any, Any]]:
        """Return (w (m, n), b (m,)) of each layer in float32: Glorot's, and zeros."""
        rng = np.random.default_rng(0)
        layers = []
        for n, m in zip(self.units, self.units[1:], strict=False):
            bound = math.sqrt(6 / (n + m))
            w = rng.uniform(-bound, bound, (m, n)).astype(np.float32)
            layers.append((w, np.zeros(m, np.float32)))
        return layers

    def order(self, epoch: int) -> Any:
        """Return the sample numbers of an epoch, (steps, batch): those of chainrule."""
        if self.steps == 1:
            return np.arange(self.samples)[None, :]
        from chainrule.data.order import order

        return order(self.samples, self.batch, seed=0, epoch=epoch)[0]

    def evaluate(self, layers: list[tuple[Any, Any]]) -> float:
        """Return the loss of parameters over all samples: the same sum for everyone."""
        x, y = self.data()
        for k, (w, b) in enumerate(layers):
            x = x @ w.T + b
            if k < len(layers) - 1:
                x = np.tanh(x) if self.activation == "tanh" else np.maximum(x, 0)
        if self.loss == "squared_error":
            return float(np.mean((x - y) ** 2))
        x = x - x.max(axis=1, keepdims=True)
        right = np.take_along_axis(x, y[:, None], axis=1)[:, 0]
        return float(np.mean(np.log(np.exp(x).sum(axis=1)) - right))


_relu = functools.partial(Problem, activation="relu")
_tanh = functools.partial(Problem, activation="tanh", loss="squared_error")

SMALL = _tanh("2-64-64-3", (2, 64, 64, 3), batch=128, samples=8192, epochs=15)
LARGEST = _relu(
    "2048x3", (2048, 2048, 2048, 2048), batch=1024, samples=4096, epochs=1,
    loss="squared_error",
)  # fmt: skip
PROBLEMS = {
    problem.name: problem
    for problem in (
        _tanh("1-32-32-1", (1, 32, 32, 1), batch=32, samples=1024, epochs=40),
        SMALL,
        _relu(
            "64-128-10", (64, 128, 10), batch=64, samples=1792, epochs=40,
            loss="cross_entropy",
        ),
        _relu(
            "784-512-512-10", (784, 512, 512, 10), batch=256, samples=5120, epochs=3,
            loss="cross_entropy",
        ),
        LARGEST,
    )
}  # fmt: skip
