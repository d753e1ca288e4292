"""The loss over all samples, in inference."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.arrays.means import join_means
from chainrule.arrays.types import Array
from chainrule.data.samples import Data, map_arrays
from chainrule.data.stream import Stream
from chainrule.network.chunks import CHUNK, padded
from chainrule.network.forward import build_loss
from chainrule.network.network import Network

if TYPE_CHECKING:
    from chainrule.backends import Backend
    from chainrule.losses import Loss

__all__ = ["evaluate", "parts_of", "sums"]


def parts_of(backend: Backend, data: Data | Stream) -> Iterator[Data]:
    """Yield samples as parts that are in memory one at a time."""
    if not isinstance(data, Stream):
        yield data
        return
    for part in data.parts():
        yield part if backend.pads else map_arrays(backend.adopt, part)


def sums(
    backend: Backend,
    network: Network,
    loss: Loss,
    weights: tuple[Array, Array],
    data: Data,
) -> Iterator[tuple[Any, Any]]:
    """Yield (sum, mass) of the loss in inference, some rows at a time."""
    run = backend.compile(build_loss, network, loss)
    weight = data.weight
    if weight is None:
        home = np if isinstance(data.x, np.ndarray) else backend.xp
        weight = home.ones((data.x.shape[0],), dtype=weights[0].dtype)
    rows = backend.rounded(CHUNK)
    for low in range(0, data.x.shape[0], rows):
        x, t = (padded(backend, a, low, rows)[0] for a in (data.x, data.t))
        # What pads has no weight.
        w, _ = padded(backend, weight, low, rows, fill=False)
        value, mass = run(*weights, *map(backend.divided, (x, t, w)))
        yield value * mass, mass


def evaluate(
    backend: Backend,
    network: Network,
    loss: Loss,
    weights: tuple[Array, Array],
    data: Data,
) -> Any:
    """Return the loss over all samples in inference, a scalar of the backend."""
    values, masses = zip(*sums(backend, network, loss, weights, data), strict=True)
    return join_means(values, masses, backend.xp)
