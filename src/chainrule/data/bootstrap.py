"""How often each sample is in a member's bootstrap sample."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.arrays import random
from chainrule.data.samples import Data

__all__ = ["counts"]


def counts(seed: int, member: int, samples: int) -> Any:
    """How often each of the samples is in a member's bootstrap sample, float64 (n,).

    n draws with replacement, a function of (seed, member, n) alone.
    Source: Efron 1979, "Bootstrap methods: another look at the jackknife".
    """
    generator = random.generator(seed, random.BOOTSTRAP, member)
    drawn = generator.integers(0, samples, samples)
    # On platforms of 32 bits bincount refuses the generator's 64.
    return np.bincount(drawn.astype(np.intp), minlength=samples).astype(np.float64)


def _bootstrapped(model: Any, data: Data) -> Data:
    """Return data whose weights are multiplied with each member's bootstrap counts."""
    samples = data.x.shape[0]
    members = [model._member] if model.members is None else range(model.members)
    weight = np.stack([counts(model.seed, k, samples) for k in members], 1)
    if model.members is None:
        weight = weight[:, 0]
    placed = model.backend.asarray(weight, model.dtype)
    if data.weight is not None:
        each = data.weight if placed.ndim == 1 else data.weight[:, None]
        placed = placed * each
    return data._replace(weight=placed)
