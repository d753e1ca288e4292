"""Normalisation over the batch and over the features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule import rules
from chainrule.errors import ArgumentTypeError
from chainrule.rules import normalization

from rules_support import (
    DTYPES,
    SHAPES,
    Case,
    WrtChecks,
    call,
    cases,
    close,
    finite,
    floats,
)
from support import Library, need

RNG = np.random.default_rng(0)
CASES = cases(normalization)
GIVEN = {name: CASES[name].arguments for name in normalization.__all__}
X, GAIN, SHIFT, MEAN, VAR = GIVEN["batch_norm_inference"]


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


class TestNormalization(WrtChecks):
    def jax_oracle(self, name: str) -> Callable[..., Any]:
        import jax.numpy as jnp

        def forward(
            x: Any, gain: Any, shift: Any, *statistics: Any, eps: float = 1e-5
        ) -> Any:
            axis = 1 if name == "layer_norm" else 0
            mean, var = statistics or (
                jnp.mean(x, axis=axis, keepdims=True),
                jnp.var(x, axis=axis, keepdims=True),
            )
            return (x - mean) / jnp.sqrt(var + eps) * gain + shift

        return forward

    def torch_oracle(self, name: str) -> Callable[..., Any] | None:
        from torch.nn import functional as f

        own: dict[str, Callable[..., Any]] = {
            "layer_norm": lambda x, g, s, eps=1e-5: f.layer_norm(x, (3,), g, s, eps),
            "batch_norm": lambda x, g, s, eps=1e-5: f.batch_norm(
                x, None, None, g, s, training=True, eps=eps
            ),
            # PyTorch's own function has no gradients of the statistics.
            "batch_norm_inference": lambda x, g, s, m, v, eps=1e-5: (
                (x - m) / (v + eps).sqrt() * g + s
            ),
        }
        return own[name]


def test_by_hand(case: Case, lib: Library) -> None:
    """(x - mean) / sqrt(var + eps), in loops over rows and features."""
    x, gain, shift, *given = case.arguments
    eps = case.options.get("eps", 1e-5)
    wanted = np.empty_like(x)
    for i, j in np.ndindex(*x.shape):
        over = x[i] if case.name == "layer_norm" else x[:, j]
        mean = sum(over) / len(over)
        var = sum((v - mean) ** 2 for v in over) / len(over)
        if given:
            mean, var = given[0][j], given[1][j]
        wanted[i, j] = gain[j] * (x[i, j] - mean) / (var + eps) ** 0.5 + shift[j]
    close(lib.host(call(case, lib)[0]), wanted)


def test_inference_is_training_with_the_batchs_statistics(lib: Library) -> None:
    kept: list[Any] = []
    z, _ = rules.batch_norm(
        *map(lib.array, GIVEN["batch_norm"]),
        keep=lambda *a: kept.extend(a),
        xp=lib.xp,
    )
    mean, var = map(lib.host, kept)
    close(mean, X.mean(axis=0))
    close(var, X.var(axis=0))
    close(lib.host(z), rules.batch_norm_inference(X, GAIN, SHIFT, mean, var)[0])


def test_keep_sees_every_member() -> None:
    kept: list[Any] = []
    x = np.stack([X, 2 * X])
    rules.batch_norm(x, GAIN, SHIFT, keep=lambda *a: kept.extend(a))
    close(kept[0], x.mean(axis=1))
    close(kept[1], x.var(axis=1))


def test_torchs_own_inference_in_x_gain_and_shift() -> None:
    torch = need("torch")
    given = [torch.tensor(a, requires_grad=True) for a in (X, GAIN, SHIFT)]
    x, gain, shift = given
    mean, var = torch.tensor(MEAN), torch.tensor(VAR)
    z = torch.nn.functional.batch_norm(x, mean, var, gain, shift)
    dz = RNG.normal(size=z.shape)
    ours, pullback = rules.batch_norm_inference(*GIVEN["batch_norm_inference"])
    close(ours, z.detach().numpy())
    wanted = torch.autograd.grad(z, given, torch.tensor(dz))
    for g, w in zip(pullback(dz)[:3], wanted, strict=True):
        close(g, w.numpy())


@settings(max_examples=100, deadline=None)
@given(data=st.data(), name=st.sampled_from(sorted(GIVEN)), dtype=DTYPES, shape=SHAPES)
def test_finite_in_any_shape(
    data: Any, name: str, dtype: str, shape: tuple[int, ...]
) -> None:
    *lead, _, d = shape
    given = [data.draw(floats(dtype, shape))]
    given += [data.draw(floats(dtype, (d,))) for _ in GIVEN[name][1:]]
    if len(given) == 5:
        given[4] = np.abs(given[4])
    with np.errstate(all="raise", under="ignore"):
        z, pullback = getattr(rules, name)(*given)
        grads = pullback(np.ones_like(z))
    assert z.shape == shape
    assert [g.shape for g in grads] == [shape, *[(*lead, d)] * (len(given) - 1)]
    finite(dtype, z, *grads)


def test_one_row_and_constant_rows_normalise_to_the_shift() -> None:
    z, pullback = rules.batch_norm(X[:1], GAIN, SHIFT)
    close(z, SHIFT[None])
    assert not pullback(np.ones_like(z))[0].any()
    close(rules.layer_norm(np.full((2, 3), 7.0), GAIN, SHIFT)[0], np.stack([SHIFT] * 2))


@pytest.mark.parametrize("name", GIVEN)
def test_a_list_is_no_array(name: str) -> None:
    with pytest.raises(ArgumentTypeError, match=r"rules take arrays.*got list"):
        getattr(rules, name)(X.tolist(), *GIVEN[name][1:])
