"""Which way to a Jacobian is cheaper, and how many rows fit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from chainrule.network import Network
from chainrule.network.chunks import CHUNK

if TYPE_CHECKING:
    from chainrule.backends import Backend

__all__ = ["LIMIT", "chunk", "forward_is_cheaper"]


# Numbers of one intermediate array, at most: 64 MB in float64.
LIMIT = 1 << 23


def chunk(backend: Backend, each: int, least: int) -> int:
    """Rows to work on at a time where each asks for so many numbers: a power of two.

    Enough for the backend's `block`, but `least` where memory allows it, since products
    of few rows are slow.
    """
    rows: int = min(max(backend.block // each, least), LIMIT // each, CHUNK)
    return 1 << max(0, rows.bit_length() - 1)


def forward_is_cheaper(network: Network) -> bool:
    """Whether a Jacobian costs less by tangents of inputs than by gradients of outputs.

    A direction costs as many multiplications as there are parameters. The first weight
    costs nothing in forward mode, since its product with the identity is the same for
    all samples; in reverse mode the last one is met by the identity, and not saved.
    """
    n, m = math.prod(network.input_shape), math.prod(network.output_shape)
    first = network.entries[0].stop if network.entries else 0
    return n * (network.size - first) <= m * network.size
