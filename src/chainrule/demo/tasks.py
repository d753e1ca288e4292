"""The figures' samples and networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from chainrule.config.choices import ActivationName

__all__ = ["GAP", "Task", "curve", "gap", "parabola", "sphere"]


class Task(NamedTuple):
    """A figure: its samples, its network, and how it is trained."""

    name: str
    x: Any
    y: Any
    units: tuple[int, ...]
    activation: ActivationName
    epochs: int
    batch_size: int
    learning_rate: float
    members: int | None = None
    noisy: bool = False


def parabola(epochs: int | None) -> Task:
    """f(x) = x² on [-1, 1], 256 points, fitted by 8 networks at once."""
    x = np.linspace(-1.0, 1.0, 256)[:, None]
    units = (32, 32, 1)
    return Task("parabola", x, x**2, units, "tanh", epochs or 4000, 32, 1e-2, 8)


def sphere(epochs: int | None) -> Task:
    """Points on the unit sphere, a Fibonacci lattice: (angles) -> (x, y, z).

    The inputs are the two angles: longitude in [-π, π), latitude in [-π/2, π/2].
    """
    n = 1024
    i = np.arange(n)
    z = 1.0 - (2.0 * i + 1.0) / n
    golden = np.pi * (3.0 - np.sqrt(5.0))
    longitude = np.mod(golden * i + np.pi, 2.0 * np.pi) - np.pi
    latitude = np.arcsin(z)
    x = np.stack([longitude, latitude], axis=1)
    r = np.cos(latitude)
    y = np.stack([r * np.cos(longitude), r * np.sin(longitude), z], axis=1)
    units = (48, 48, 48, 3)
    return Task("sphere", x, y, units, "gelu_tanh", epochs or 2000, 32, 1e-2)


# Where the third figure has no samples.
GAP = (-0.4, 0.3)


def curve(x: Any) -> Any:
    """Return what the third figure's samples are scattered about."""
    return np.sin(4.0 * x) + 0.5 * x


def gap(epochs: int | None) -> Task:
    """96 noisy samples of a curve on [-1, 1], none of them between -0.4 and 0.3."""
    rng = np.random.default_rng(2)
    left = rng.uniform(-1.0, GAP[0], 48)
    right = rng.uniform(GAP[1], 1.0, 48)
    x = np.sort(np.concatenate([left, right]))[:, None]
    y = curve(x) + rng.normal(0.0, 0.1, x.shape)
    units = (32, 32, 1)
    return Task("gap", x, y, units, "gelu_tanh", epochs or 1000, 32, 1e-2, 32, True)
