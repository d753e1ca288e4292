"""What the tests of the checker share: arrays, wrong rules and layers."""

from __future__ import annotations

import numpy as np

RNG = np.random.default_rng(0)

X, W, B = RNG.normal(size=(5, 3)), RNG.normal(size=(4, 3)), RNG.normal(size=4)
