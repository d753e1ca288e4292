"""What the tests of engines share."""

from __future__ import annotations

import numpy as np

X = np.random.default_rng(0).normal(size=(20, 3))
