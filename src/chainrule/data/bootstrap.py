"""Bootstrap samples: weights that count how often each sample is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.arrays import random
from chainrule.data.samples import Data

if TYPE_CHECKING:
    from chainrule.backends import Backend

__all__ = ["counts", "resample"]


def counts(seed: int, member: int, samples: int) -> Any:
    """How often each of the samples is in a member's bootstrap sample, float64 (n,).

    n draws with replacement, a function of (seed, member, n) alone.
    Source: Efron 1979, "Bootstrap methods: another look at the jackknife".
    """
    generator = random.generator(seed, random.BOOTSTRAP, member)
    drawn = generator.integers(0, samples, samples)
    # On platforms of 32 bits bincount refuses the generator's 64.
    return np.bincount(drawn.astype(np.intp), minlength=samples).astype(np.float64)


def resample(
    data: Data, seed: int, members: int | range, backend: Backend, dtype: str
) -> Data:
    """Return data whose weights are multiplied with members' bootstrap counts.

    members is the number of one member, or the range of several: the weights are then
    (n, members).
    """
    samples = data.x.shape[0]
    if isinstance(members, int):
        weight = counts(seed, members, samples)
    else:
        weight = np.stack([counts(seed, k, samples) for k in members], axis=1)
    weight = backend.asarray(weight, dtype)
    if data.weight is not None:
        own = data.weight if weight.ndim == 1 else data.weight[:, None]
        weight = weight * own
    return data._replace(weight=weight)
