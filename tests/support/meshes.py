"""Several JAX devices, and models whose training on them is compared."""

from __future__ import annotations

from typing import Any

import numpy as np

import chainrule as cr

N = 203  # so that each batch size leaves a remainder
_RNG = np.random.default_rng(0)
X = _RNG.normal(size=(N, 5))
Y = np.sin(X[:, :2])
W = _RNG.random(N) * (_RNG.random(N) > 0.1)
LABELS = _RNG.integers(0, 3, N)


def first(n: int) -> list[Any]:
    """Return the first n CPU devices."""
    import jax

    found: list[Any] = jax.devices("cpu")[:n]
    return found


def mixed(outputs: int = 2) -> cr.Layer:
    """Return a network that mixes rows, drops some, and has parts that stand still."""
    return cr.Sequential(
        cr.Dense(16),
        cr.BatchNorm(),
        cr.Tanh(),
        cr.Dropout(0.3),
        cr.Dense(8),
        cr.LayerNorm(),
        cr.Dense(7, trainable=False),
        cr.BatchNorm(trainable=False),
        cr.Dense(outputs),
    )


def smooth(outputs: int = 2) -> cr.Layer:
    """Return a network that is the same function in training and inference."""
    return cr.MLP((16, 16, outputs), activation="tanh")


def new_model(device: Any, network: cr.Layer | None = None, **options: Any) -> Any:
    """Return a float64 model on a device of JAX, or several."""
    given: dict[str, Any] = {"dtype": "float64", "optimizer": cr.Adam(0.01), "seed": 1}
    return cr.Model(
        network or mixed(), backend="jax", device=device, **{**given, **options}
    )


def difference(a: Any, b: Any) -> float:
    """Return the largest difference of two sequences of arrays."""
    pairs = [(np.asarray(u), np.asarray(v)) for u, v in zip(a, b, strict=True)]
    assert all(u.shape == v.shape for u, v in pairs)
    return max(float(np.abs(u - v).max(initial=0.0)) for u, v in pairs)
