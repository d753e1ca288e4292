"""The order of samples: epochs cut into batches, the remainder as its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.arrays import random

__all__ = ["order", "orders"]


def order(samples: int, batch_size: int, *, seed: int | None, epoch: int) -> Any:
    """Return the sample numbers of one epoch.

    Parameters
    ----------
    samples, batch_size : int
    seed : int or None
        None keeps the samples' own order.
    epoch : int
        Counted from the model's birth; each has an order of its own, a function of
        (seed, epoch) alone.

    Returns
    -------
    full : int32 array, shape (steps, batch_size)
    rest : int32 array, shape (1, remainder), or None
    """
    numbers = np.arange(samples, dtype=np.int32)
    if seed is not None:
        random.generator(seed, random.ORDER, epoch).shuffle(numbers)
    cut = samples - samples % batch_size
    full = numbers[:cut].reshape(-1, batch_size)
    return full, (numbers[cut:][None, :] if cut < samples else None)


def orders(
    samples: int, batch_size: int, seed: int | None
) -> Callable[[int], tuple[Any, Any]]:
    """Return `order` as a function of the epoch; without a seed, one and the same."""
    if seed is not None:
        return lambda epoch: order(samples, batch_size, seed=seed, epoch=epoch)
    fixed: tuple[Any, Any] = order(samples, batch_size, seed=None, epoch=0)
    return lambda _: fixed
