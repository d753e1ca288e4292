"""Initial values of parameters: functions of a shape and a NumPy generator.

They draw on the host in float64, so that one seed gives the same weights everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.arrays.types import Shape
from chainrule.config import checks
from chainrule.config.names import lookup
from chainrule.config.record import Config
from chainrule.errors import ArgumentTypeError

if TYPE_CHECKING:
    from chainrule.config.choices import Distribution, FanMode, InitializerName, Real

__all__ = ["Constant", "Orthogonal", "VarianceScaling", "get"]


class VarianceScaling(Config):
    """Draws of mean 0 and variance scale / fan.

    Parameters
    ----------
    scale : float
        1 for Glorot and LeCun, 2 for He.
    mode : {"fan_in", "fan_avg"}
        What the variance is divided by; fan_avg is (fan_in + fan_out) / 2.
    distribution : {"uniform", "normal"}
        Uniform on ±sqrt(3 scale / fan), or normal (not truncated).

    Notes
    -----
    How many inputs a unit adds up, fan_in, and how many units an input goes to,
    fan_out, is what the layer says of its weight. Without that a weight has the shape
    (m, n): fan_in is n, fan_out is m.

    Glorot, Bengio 2010: scale 1, fan_avg. He et al. 2015: scale 2, fan_in.
    LeCun et al. 1998: scale 1, fan_in.
    """

    scale: float
    mode: FanMode
    distribution: Distribution

    def __init__(
        self,
        scale: Real = 1.0,
        mode: FanMode = "fan_in",
        distribution: Distribution = "uniform",
    ) -> None:
        self._set(
            scale=checks.real("scale", scale, 0.0, open_low=True),
            mode=checks.choice("mode", mode, ("fan_in", "fan_avg")),
            distribution=checks.choice(
                "distribution", distribution, ("uniform", "normal")
            ),
        )

    def __call__(
        self,
        shape: Shape,
        generator: np.random.Generator,
        fans: tuple[int, int] | None = None,
    ) -> Any:
        """Return a float64 array of `shape`; fans are (fan_in, fan_out)."""
        if fans is None:
            fans = (shape[-1], shape[0]) if len(shape) > 1 else (shape[0], 1)
        fan_in, fan_out = fans
        fan = fan_in if self.mode == "fan_in" else (fan_in + fan_out) / 2
        variance = self.scale / fan
        if self.distribution == "normal":
            return generator.normal(0.0, math.sqrt(variance), shape)
        bound = math.sqrt(3.0 * variance)
        return generator.uniform(-bound, bound, shape)


class Orthogonal(Config):
    """A matrix with orthonormal rows or columns, whichever are fewer, times `gain`.

    Source: Saxe, McClelland, Ganguli 2013 (arXiv:1312.6120).
    """

    gain: float

    def __init__(self, gain: Real = 1.0) -> None:
        self._set(gain=checks.real("gain", gain))

    def __call__(self, shape: Shape, generator: np.random.Generator) -> Any:
        """Return a float64 array of `shape`, which must have two axes."""
        if len(shape) != 2:
            msg = f"Orthogonal needs a matrix to fill; got shape {shape}."
            raise ArgumentTypeError(msg)
        m, n = shape
        q, r = np.linalg.qr(generator.normal(size=(max(m, n), min(m, n))))
        q = q * np.sign(np.diagonal(r))  # makes the distribution uniform (Haar)
        return self.gain * (q if m >= n else q.T)


class Constant(Config):
    """Every entry is `value`."""

    value: float

    def __init__(self, value: Real = 0.0) -> None:
        self._set(value=checks.real("value", value))

    def __call__(self, shape: Shape, generator: np.random.Generator) -> Any:
        """Return a float64 array of `shape`; nothing is drawn."""
        return np.full(shape, self.value)


_NAMES: dict[str, Callable[[], Any]] = {
    "glorot_uniform": lambda: VarianceScaling(1.0, "fan_avg", "uniform"),
    "glorot_normal": lambda: VarianceScaling(1.0, "fan_avg", "normal"),
    "he_uniform": lambda: VarianceScaling(2.0, "fan_in", "uniform"),
    "he_normal": lambda: VarianceScaling(2.0, "fan_in", "normal"),
    "lecun_uniform": lambda: VarianceScaling(1.0, "fan_in", "uniform"),
    "lecun_normal": lambda: VarianceScaling(1.0, "fan_in", "normal"),
    "orthogonal": Orthogonal,
    "zeros": Constant,
    "ones": lambda: Constant(1.0),
    "constant": Constant,
}


def get(name: str, initializer: InitializerName | Callable[..., Any]) -> Any:
    """Return an initializer from its name, or as it is if it is callable.

    `name` is the argument's name, for the error.
    """
    if callable(initializer) and not isinstance(initializer, type):
        return initializer
    if isinstance(initializer, type):
        checks.refuse(name, "an initializer or a name", initializer)
    return lookup(name, initializer, _NAMES, "initializer")()
