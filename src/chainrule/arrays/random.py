"""Randomness as a pure function of the seed and of what it is for.

Host draws (weights, batch order) come from NumPy's Philox, keyed and never sequential.
Device draws (dropout) come from Threefry-2x32, written in int32 array API operations,
so that every backend draws the same bits. No generator state is ever kept.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.arrays.namespace import namespace
from chainrule.arrays.types import ArrayNamespace

__all__ = [
    "BOOTSTRAP",
    "ORDER",
    "SAMPLES",
    "WEIGHTS",
    "bits",
    "generator",
    "step_keys",
    "threefry",
]

# What a host draw is for: the first number of its spawn key.
WEIGHTS, ORDER, BOOTSTRAP, SAMPLES = 0, 1, 2, 3

_ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
_PARITY = 0x1BD11BDA  # Salmon et al. 2011: the key schedule's constant


def generator(seed: int, purpose: int, *index: int) -> np.random.Generator:
    """Return the host generator of (seed, purpose, *index); equal keys, equal draws.

    The key is a spawn key: an index in Philox's counter would give overlapping streams.
    """
    if seed >> 128:
        # Words of a seed beyond four could not be told from those of the spawn key.
        words = np.random.SeedSequence(seed).generate_state(4)
        seed = int.from_bytes(words.astype("<u4").tobytes(), "little")
    sequence = np.random.SeedSequence(seed, spawn_key=(purpose, *index))
    return np.random.Generator(np.random.Philox(sequence))


def threefry(
    key: Any, counter: tuple[Any, Any], *, xp: ArrayNamespace | None = None
) -> tuple[Any, Any]:
    """Threefry-2x32 with 20 rounds: two random words for each counter.

    Parameters
    ----------
    key : array of int32, shape (2,) or (..., 2)
        The two words of the key; leading axes broadcast against the counter's.
    counter : two arrays of int32
        Their shapes broadcast.

    Returns
    -------
    two arrays of int32, the broadcast shape
        The bits of the published uint32 words: addition wraps, as it does there.

    Notes
    -----
    Source: Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as
    1, 2, 3". Shifts of int32 are arithmetic, hence the mask in the rotation.
    """
    xp = xp or namespace(key)
    # Slices, not items: 0-d integers warn when they wrap in NumPy.
    k0, k1 = key[..., 0:1], key[..., 1:2]
    schedule = (k0, k1, k0 ^ k1 ^ _PARITY)
    x0, x1 = counter[0] + k0, counter[1] + k1
    for i in range(5):
        for r in _ROTATIONS[4 * (i % 2) : 4 * (i % 2) + 4]:
            x0 = x0 + x1
            x1 = (x1 << r) | ((x1 >> (32 - r)) & ((1 << r) - 1))
            x1 = x1 ^ x0
        x0 = x0 + schedule[(i + 1) % 3]
        x1 = x1 + schedule[(i + 2) % 3] + (i + 1)
    return x0, x1


def _words(numbers: Any) -> np.ndarray[Any, np.dtype[np.int32]]:
    return np.asarray(numbers, dtype=np.uint64).astype(np.uint32).view(np.int32)


def step_keys(seed: int, first: int, steps: int, draws: int) -> Any:
    """Keys of the dropout masks of `steps` steps, as host int32 (steps, draws, 2).

    The key of draw d in step s is threefry(words of the seed, (s, d)). Of a seed of
    2^64 or more, further pairs of words are counters, one after the other, that make a
    key of the key before.
    """
    key = _words([seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF])
    while seed := seed >> 64:
        pair = _words([seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF])
        key = np.concatenate(threefry(key, (pair[:1], pair[1:])))
    step = _words(np.arange(first, first + steps, dtype=np.uint64) & 0xFFFFFFFF)
    draw = np.arange(draws, dtype=np.int32)
    x0, x1 = threefry(key, (step[:, None], draw[None, :]))
    return np.stack([x0, x1], axis=-1)


def bits(key: Any, rows: int, size: int, *, first: Any = 0, xp: ArrayNamespace) -> Any:
    """Random int32 words of shape (rows, size), a function of (key, row, element).

    Parameters
    ----------
    key : array of int32, shape (2,)
    rows, size : int
        Each row's words depend on its number alone, not on how many rows there are.
    first : int, or int32 array of shape ()
        The first row's number.
    """
    half = (size + 1) // 2
    element = xp.arange(half, dtype=xp.int32)[None, :]
    row = xp.arange(rows, dtype=xp.int32)[:, None]
    if not isinstance(first, int) or first:
        row = row + first
    # Counters are spread here, so that no operation meets a 0-d integer.
    zero = xp.zeros((rows, half), dtype=xp.int32)
    words = threefry(key, (element + zero, row + zero), xp=xp)
    return xp.concat(words, axis=-1)[:, :size]
