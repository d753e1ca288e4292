"""Activation functions: differences, oracles, leads, extremes."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule import rules
from chainrule.errors import ArgumentTypeError
from chainrule.rules import activations

from tests.support.libraries import Library, here
from tests.support.rules import (
    DTYPES,
    EXTREMES,
    SHAPES,
    Case,
    RuleChecks,
    call,
    cases,
    close,
    finite,
    floats,
    pull,
)

pytestmark = pytest.mark.no_sync

CASES = cases(activations)
BOUNDED = sorted(set(activations.__all__) - {"exp"})
ROWWISE = {"softmax", "log_softmax"}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


class TestActivations(RuleChecks):
    def jax_oracle(self, name: str) -> Callable[..., Any]:
        import jax

        own: dict[str, Callable[..., Any]] = {
            "identity": lambda x: x,
            "exp": jax.numpy.exp,
            "tanh": jax.numpy.tanh,
            "softsign": jax.nn.soft_sign,
            "gelu": functools.partial(jax.nn.gelu, approximate=False),
            "gelu_tanh": functools.partial(jax.nn.gelu, approximate=True),
            "leaky_relu": lambda x, slope=0.01: jax.nn.leaky_relu(x, slope),
        }
        return own.get(name) or getattr(jax.nn, name)  # type: ignore[no-any-return]

    def torch_oracle(self, name: str) -> Callable[..., Any] | None:
        import torch
        from torch.nn import functional as f

        own: dict[str, Callable[..., Any]] = {
            "identity": lambda x: x,
            "exp": torch.exp,
            "tanh": torch.tanh,
            "sigmoid": torch.sigmoid,
            "gelu_tanh": functools.partial(f.gelu, approximate="tanh"),
            "leaky_relu": lambda x, slope=0.01: f.leaky_relu(x, slope),
            "hard_sigmoid": f.hardsigmoid,
            "hard_tanh": f.hardtanh,
            "hard_silu": f.hardswish,
            "softmax": functools.partial(f.softmax, dim=-1),
            "log_softmax": functools.partial(f.log_softmax, dim=-1),
        }
        return own.get(name) or getattr(f, name)  # type: ignore[no-any-return]


def test_every_activation_has_a_case() -> None:
    assert {case.name for case in CASES.values()} == set(activations.__all__)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def _softplus(x: float) -> float:
    return math.log(1 + math.exp(x))


# One number at a time, straight from the papers.
BY_HAND: dict[str, Callable[..., float]] = {
    "identity": lambda x: x,
    "relu": lambda x: x if x > 0 else 0.0,
    "leaky_relu": lambda x, slope=0.01: x if x > 0 else slope * x,
    "elu": lambda x, alpha=1.0: x if x > 0 else alpha * (math.exp(x) - 1),
    "selu": lambda x: (
        1.0507009873554805 * (x if x > 0 else 1.6732632423543772 * (math.exp(x) - 1))
    ),
    "celu": lambda x, alpha=1.0: x if x > 0 else alpha * (math.exp(x / alpha) - 1),
    "sigmoid": _sigmoid,
    "tanh": lambda x: (math.exp(x) - math.exp(-x)) / (math.exp(x) + math.exp(-x)),
    "softplus": _softplus,
    "softsign": lambda x: x / (1 + abs(x)),
    "silu": lambda x: x * _sigmoid(x),
    "mish": lambda x: x * math.tanh(_softplus(x)),
    "gelu": lambda x: x * 0.5 * math.erfc(-x / math.sqrt(2)),
    "gelu_tanh": lambda x: (
        0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    ),
    "hard_sigmoid": lambda x: min(max(x + 3, 0), 6) / 6,
    "hard_tanh": lambda x: min(max(x, -1), 1),
    "hard_silu": lambda x: x * min(max(x + 3, 0), 6) / 6,
    "exp": math.exp,
}


def test_by_hand(case: Case, lib: Library) -> None:
    x = np.array([[-7.0, -3.5, -2.5, -0.3], [0.0, 0.4, 1.7, 6.5]])
    z = lib.host(call(case, lib, (x,))[0])
    if case.name in ROWWISE:
        e = np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)
        wanted = e if case.name == "softmax" else np.log(e)
    else:
        one = BY_HAND[case.name]
        wanted = np.vectorize(lambda v: float(one(v, **case.options)))(x)
    close(z, wanted, 1e-12)


@settings(max_examples=200, deadline=None)
@given(data=st.data(), name=st.sampled_from(BOUNDED), dtype=DTYPES, shape=SHAPES)
def test_finite_wherever_the_function_is(
    data: Any, name: str, dtype: str, shape: tuple[int, ...]
) -> None:
    x = data.draw(floats(dtype, shape))
    with np.errstate(all="raise", under="ignore"):
        z, pullback = getattr(rules, name)(x)
        (dx,) = pullback(np.ones_like(x))
    assert z.shape == dx.shape == shape
    finite(dtype, z, dx)


@pytest.mark.skipif(not here("torch"), reason="needs PyTorch")
@settings(max_examples=150, deadline=None)
@given(
    data=st.data(),
    name=st.sampled_from(BOUNDED),
    shape=SHAPES,
    step=st.sampled_from([1, 2, -1, -3]),
)
def test_torchs_own_in_any_shape(
    data: Any, name: str, shape: tuple[int, ...], step: int
) -> None:
    """Leads, no rows, one row, odd strides, ±0 ... ±800, subnormals."""
    import torch

    wide = (*shape[:-1], shape[-1] * abs(step))
    x = data.draw(floats("float64", wide, bound=800.0))[..., ::step]
    dz = np.random.default_rng(1).normal(size=x.shape)
    leaf = torch.tensor(x.copy(), requires_grad=True)
    function: Any = TestActivations().torch_oracle(name)
    wanted = function(leaf)
    (dx,) = torch.autograd.grad(wanted, [leaf], torch.tensor(dz))
    z, pullback = getattr(rules, name)(x)
    # PyTorch keeps some functions' constants in float32.
    close(z, wanted.detach().numpy(), 1e-7, 1e-11)
    close(pullback(dz)[0], dx.numpy(), 1e-6, 1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", BOUNDED)
def test_extremes_everywhere(name: str, dtype: str, lib: Library) -> None:
    x = np.asarray(EXTREMES, dtype=dtype)[:, None]
    x = np.concatenate([x, x[::-1]], axis=1)
    z, pullback = call(CASES[name], lib, (x,))
    z, (dx,) = lib.host(z), pull(lib, pullback, np.ones_like(x))
    finite(dtype, z, dx)
    if name not in ROWWISE:
        assert (np.abs(z) <= 1.0 + 1.1 * np.abs(x)).all()
        assert (np.abs(dx) <= 2.0).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", BOUNDED)
def test_where_a_square_would_overflow(name: str, dtype: str, lib: Library) -> None:
    huge = float(np.finfo(dtype).max) / 4
    x = np.array([[huge, -huge, 1e20, -1e20]], dtype=dtype)
    with np.errstate(over="raise", invalid="raise"):
        z, pullback = call(CASES[name], lib, (x,))
        grads = pull(lib, pullback, np.ones_like(x))
    finite(dtype, lib.host(z), *grads)


def test_a_steep_celu_does_not_overflow(lib: Library) -> None:
    x = np.array([[-1.0, -1e-4, 0.5, 50.0]])
    with np.errstate(over="raise"):
        z, pullback = rules.celu(lib.array(x), alpha=1e-4, xp=lib.xp)
        (dx,) = pull(lib, pullback, np.ones_like(x))
    e = math.exp(-1.0)
    close(lib.host(z), [[-1e-4, 1e-4 * (e - 1), 0.5, 50.0]])
    close(dx, [[0.0, e, 1.0, 1.0]])


@pytest.mark.parametrize("bound", [88.0, 1e4])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_exp_is_infinite_only_where_it_overflows(dtype: str, bound: float) -> None:
    x = np.array([v for v in EXTREMES if abs(v) <= bound], dtype=dtype)
    with np.errstate(over="ignore", under="ignore"):
        z, pullback = rules.exp(x)
        (dx,) = pullback(np.ones_like(x))
        wanted = np.exp(x)
    np.testing.assert_array_equal(z, wanted)
    np.testing.assert_array_equal(dx, wanted)
    assert np.isfinite(z).all() == (bound == 88.0)


@pytest.mark.parametrize(
    ("name", "at", "slope"),
    [
        ("relu", 0.0, 0.0),
        ("elu, alpha", 0.0, 0.7),
        ("leaky_relu", 0.0, 0.01),
        ("hard_tanh", 1.0, 0.0),
        ("hard_tanh", -1.0, 0.0),
        ("hard_sigmoid", 3.0, 0.0),
        ("hard_sigmoid", -3.0, 0.0),
        ("hard_silu", 3.0, 1.0),
        ("hard_silu", -3.0, 0.0),
    ],
)
def test_at_the_kinks(name: str, at: float, slope: float, lib: Library) -> None:
    x = np.array([at, -at if at == 0 else at])
    _, pullback = call(CASES[name], lib, (x,))
    np.testing.assert_allclose(pull(lib, pullback, np.ones(2))[0], [slope, slope])


@given(x=floats("float64", (3, 4)))
def test_softmax_is_a_distribution_and_log_softmax_its_log(x: Any) -> None:
    p, logp = rules.softmax(x)[0], rules.log_softmax(x)[0]
    np.testing.assert_allclose(np.sum(p, axis=-1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(np.exp(logp), p, rtol=1e-10, atol=1e-300)


@pytest.mark.parametrize("name", activations.__all__)
def test_a_list_is_no_array(name: str) -> None:
    with pytest.raises(ArgumentTypeError, match=r"rules take arrays.*got list"):
        getattr(rules, name)([1.0, 2.0])
