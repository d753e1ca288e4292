"""Dropout with given random words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from chainrule import rules
from chainrule.errors import ArgumentError, ArgumentTypeError
from chainrule.testing.cases import RULES

from tests.support.libraries import Library
from tests.support.rules import DTYPES, SHAPES, Case, RuleChecks, finite, floats

pytestmark = pytest.mark.no_sync

RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, 3))
BITS = RNG.integers(-(2**31), 2**31, size=(5, 3)).astype(np.int32)
ENDS = np.array([-(2**31), -(2**31) + 1, -1, 0, 1, 2**31 - 1], dtype=np.int32)
CASES = {n: case for n, case in RULES.items() if case.rule is rules.dropout}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


class TestDropout(RuleChecks):
    def jax_oracle(self, name: str) -> Callable[..., Any]:
        import jax.numpy as jnp

        def forward(x: Any, bits: Any, rate: float) -> Any:
            share = (bits.astype(jnp.float64) + 2.0**31) / 2.0**32
            return x * (share >= rate) / (1.0 - rate)

        return forward

    def torch_oracle(self, name: str) -> Callable[..., Any] | None:
        return lambda x, bits, rate: (
            x * ((bits.double() + 2.0**31) / 2.0**32 >= rate) / (1.0 - rate)
        )


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(),
    dtype=DTYPES,
    shape=SHAPES,
    rate=st.sampled_from([0.0, 2.0**-33, 0.5, 0.99, 1.0 - 2.0**-20]),
)
def test_an_element_is_scaled_or_zero(
    data: Any, dtype: str, shape: tuple[int, ...], rate: float
) -> None:
    x = data.draw(floats(dtype, shape))
    bits = data.draw(hnp.arrays(np.int32, shape))
    with np.errstate(all="raise", under="ignore"):
        z, pullback = rules.dropout(x, bits, rate=rate)
        (dx,) = pullback(np.ones_like(z))
    finite(dtype, z, dx)
    scale = np.asarray(1.0 / (1.0 - rate), dtype=dtype)
    np.testing.assert_array_equal(z, np.where(dx > 0, x * scale, 0.0))
    assert np.isin(dx, np.asarray([0.0, scale], dtype=dtype)).all()
    if rate == 0.0:
        np.testing.assert_array_equal(z, x)


@pytest.mark.parametrize(
    ("rate", "kept"),
    [
        (0.0, [1, 1, 1, 1, 1, 1]),
        (2.0**-32, [0, 1, 1, 1, 1, 1]),
        (0.5, [0, 0, 0, 1, 1, 1]),
        (1.0 - 2.0**-53, [0, 0, 0, 0, 0, 1]),
    ],
)
def test_the_lowest_words_are_dropped(
    rate: float, kept: list[int], lib: Library
) -> None:
    x, bits = lib.array(np.ones(6)), lib.array(ENDS)
    z, _ = rules.dropout(x, bits, rate=rate, xp=lib.xp)
    np.testing.assert_array_equal(lib.host(z) > 0, np.array(kept, dtype=bool))


def test_half_is_dropped_by_default() -> None:
    for z, wanted in zip(
        (rules.dropout(X, BITS)[0], rules.dropout(X, BITS)[1](X)[0]),
        (rules.dropout(X, BITS, rate=0.5)[0],) * 2,
        strict=True,
    ):
        np.testing.assert_array_equal(z, wanted)


def test_keeps_the_mean() -> None:
    bits = RNG.integers(-(2**31), 2**31, size=100_000).astype(np.int32)
    for rate in (0.1, 0.5, 0.8):
        z, _ = rules.dropout(np.ones(bits.size), bits, rate=rate)
        assert np.mean(z == 0) == pytest.approx(rate, abs=0.01)
        assert np.mean(z) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("rate", [-0.1, 1.0, 2.0, float("nan")])
def test_rates_outside(rate: float) -> None:
    with pytest.raises(ArgumentError, match=r"rate must lie in \[0, 1\); got"):
        rules.dropout(X, BITS, rate=rate)


def test_a_list_is_no_array() -> None:
    with pytest.raises(ArgumentTypeError, match=r"rules take arrays.*got list"):
        rules.dropout([1.0], BITS)  # type: ignore[type-var]
