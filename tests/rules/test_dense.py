"""The affine map, and that every rule has a file of tests."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule import rules
from chainrule.errors import ArgumentTypeError, ShapeError
from chainrule.testing.cases import RULES

from tests.support.libraries import here
from tests.support.rules import DTYPES, SHAPES, Case, WrtChecks, close, finite, floats

RNG = np.random.default_rng(0)
X, W, B = (RNG.normal(size=shape) for shape in ((5, 3), (4, 3), (4,)))
CASES = {n: case for n, case in RULES.items() if case.rule is rules.dense}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


class TestDense(WrtChecks):
    def jax_oracle(self, name: str) -> Callable[..., Any]:
        import jax.numpy as jnp

        def forward(x: Any, w: Any, b: Any = None) -> Any:
            y = jnp.einsum("rn,mn->rm", x, w)
            return y if b is None else y + b

        return forward

    def torch_oracle(self, name: str) -> Callable[..., Any] | None:
        import torch

        return torch.nn.functional.linear  # type: ignore[no-any-return]


def test_every_rule_is_tested() -> None:
    files = ("activations", "dense", "dropout", "likelihood", "losses", "normalization")
    tested = [
        case.name
        for file in files
        for case in importlib.import_module(f"tests.rules.test_{file}").CASES.values()
    ]
    assert sorted(set(tested)) == rules.__all__


@settings(max_examples=50, deadline=None)
@given(data=st.data(), dtype=DTYPES, shape=SHAPES, m=st.integers(1, 3))
def test_shapes_and_precision(
    data: Any, dtype: str, shape: tuple[int, ...], m: int
) -> None:
    *lead, rows, n = shape
    x = data.draw(floats(dtype, shape))
    w = data.draw(floats(dtype, (m, n)))
    b = data.draw(floats(dtype, (m,)))
    with np.errstate(all="raise", under="ignore"):
        y, pullback = rules.dense(x, w, b)
        grads = pullback(np.ones_like(y))
    assert y.shape == (*lead, rows, m)
    assert [g.shape for g in grads] == [shape, (*lead, m, n), (*lead, m)]
    finite(dtype, y, *grads)
    if not rows:
        assert not any(g.any() for g in grads)


@pytest.mark.skipif(not here("torch"), reason="needs PyTorch")
@settings(max_examples=50, deadline=None)
@given(data=st.data(), shape=SHAPES, m=st.integers(1, 3), step=st.sampled_from([1, -2]))
def test_torchs_own_in_any_shape(
    data: Any, shape: tuple[int, ...], m: int, step: int
) -> None:
    """Leads, no rows, one row, odd strides: a loop over the leads of torch's linear."""
    import torch

    *lead, rows, n = shape
    x = data.draw(floats("float64", (*lead, rows, n * abs(step))))[..., ::step]
    w, b = data.draw(floats("float64", (m, n))), data.draw(floats("float64", (m,)))
    y, pullback = rules.dense(x, w, b)
    dy = RNG.normal(size=y.shape)
    grads = pullback(dy)
    for i in np.ndindex(*lead):
        leaves = [torch.tensor(a.copy(), requires_grad=True) for a in (x[i], w, b)]
        wanted = torch.nn.functional.linear(*leaves)
        close(y[i], wanted.detach().numpy(), 1e-9, 1e-6)
        for g, t in zip(
            grads, torch.autograd.grad(wanted, leaves, torch.tensor(dy[i])), strict=True
        ):
            close(g[i], t.numpy(), 1e-9, 1e-8)


def test_gradients_per_sample_are_the_terms_of_the_sum() -> None:
    y, pullback = rules.dense(X, W, B)
    dy = RNG.normal(size=y.shape)
    _, each = rules.dense(X[:, None], W, B)
    for g, whole in zip(each(dy[:, None])[1:], pullback(dy)[1:], strict=True):
        assert g.shape == (5, *whole.shape)
        close(g.sum(axis=0), whole)


def test_errors() -> None:
    with pytest.raises(
        ShapeError,
        match=r"dense: x must have 3 features to match weight \(4, 3\); got x of "
        r"shape \(2, 5\)",
    ):
        rules.dense(np.ones((2, 5)), W, B)
    with pytest.raises(ArgumentTypeError, match=r"rules take arrays.*got list"):
        rules.dense([[1.0, 2.0, 3.0]], W, B)  # type: ignore[type-var]
