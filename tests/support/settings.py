"""What the tests of settings share: what a model gives, to be compared."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.libraries import here

RNG = np.random.default_rng(0)

X = RNG.normal(size=(48, 4)).astype(np.float32)

Y = (X**2).sum(axis=1, keepdims=True)

needs_jax = pytest.mark.skipif(not here("jax"), reason="needs JAX")

needs_torch = pytest.mark.skipif(not here("torch"), reason="needs PyTorch")
