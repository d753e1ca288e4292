"""The loss over all samples, in inference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.arrays.means import join_means
from chainrule.arrays.types import Array
from chainrule.data.samples import Data
from chainrule.network.chunks import CHUNK, padded
from chainrule.network.forward import build_loss
from chainrule.network.network import Network

if TYPE_CHECKING:
    from chainrule.backends import Backend
    from chainrule.losses import Loss

__all__ = ["evaluate"]


def evaluate(
    backend: Backend,
    network: Network,
    loss: Loss,
    weights: tuple[Array, Array],
    data: Data,
) -> Any:
    """Return the loss over all samples in inference, a scalar of the backend."""
    run = backend.compile(build_loss, network, loss)
    xp = backend.xp
    weight = data.weight
    if weight is None:
        home = np if isinstance(data.x, np.ndarray) else xp
        weight = home.ones((data.x.shape[0],), dtype=weights[0].dtype)
    sums, masses = [], []
    for low in range(0, data.x.shape[0], CHUNK):
        x, t = (padded(backend, a, low, CHUNK)[0] for a in (data.x, data.t))
        # What pads has no weight.
        w, _ = padded(backend, weight, low, CHUNK, fill=False)
        value, mass = run(*weights, x, t, w)
        sums.append(value * mass)
        masses.append(mass)
    return join_means(sums, masses, xp)
