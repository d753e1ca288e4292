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

from tests.support.libraries import Library, need
from tests.support.rules import (
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

pytestmark = pytest.mark.no_sync

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


def _exact(x: Any, axis: int, dz: Any, eps: float = 1e-5) -> tuple[Any, Any]:
    """Value and dx of a norm with gain 1 and shift 0, in long numbers."""
    mp = need("mpmath").mp.clone()
    mp.dps = 120
    x, dz = (np.vectorize(mp.mpf, otypes=[object])(a.astype(float)) for a in (x, dz))
    count = mp.mpf(x.shape[axis])
    d = x - x.sum(axis=axis, keepdims=True) / count
    var = (d * d).sum(axis=axis, keepdims=True) / count
    r = np.vectorize(lambda v: 1 / mp.sqrt(v + mp.mpf(eps)), otypes=[object])(var)
    u = d * r
    rest = dz.sum(axis=axis, keepdims=True) / count
    dx = r * (dz - rest - u * ((dz * u).sum(axis=axis, keepdims=True) / count))
    return u.astype(float), dx


GREAT = {"float32": 3e38, "float64": 1.6e308}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["layer_norm", "batch_norm"])
def test_great_numbers(name: str, dtype: str, lib: Library) -> None:
    """Squares, sums and differences overflow; what is asked for does not."""
    big = GREAT[dtype]
    axis = -1 if name == "layer_norm" else -2
    rows = [
        *([1.0, 1.0, 0.0, 0.0], [1.0, 1.0, -1.0, 1.0], [1e-10, 0.0, 0.0, 0.0]),
        *([1.0, -1.0, 0.0, 0.5], [1e-19, -1e-19, 2e-19, 0.0], [1e-38, 0.0, 0.0, 0.0]),
    ]
    dz = np.array([0.5, -1.0, 2.0, 0.25], dtype)
    one, zero = np.ones(4, dtype), np.zeros(4, dtype)
    for row in rows:
        x = (np.array([row]) * big).astype(dtype)
        given = x if axis == -1 else x.T
        by = dz[None] if axis == -1 else dz[:, None]
        k = given.shape[-1]
        want, slope = _exact(given, axis, by)
        with np.errstate(all="raise", under="ignore"):
            z, pullback = getattr(rules, name)(
                lib.array(given), lib.array(one[:k]), lib.array(zero[:k]), xp=lib.xp
            )
            dx, dgain, dshift = map(lib.host, pullback(lib.array(by)))
        close(lib.host(z), want, 1e-5, 1e-6)
        close(dshift, by.sum(axis=-2), 1e-6)
        close(dgain, (by * want).sum(axis=-2), 1e-5, 1e-5)
        for got, exact in zip(dx.ravel(), slope.ravel(), strict=True):
            small = max(abs(float(v)) for v in slope.ravel()) * 1e-5
            assert abs(got - float(exact)) <= max(small, np.finfo(dtype).tiny)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [3, 10, 32, 33, 100, 1000])
def test_what_is_constant_becomes_zero(rows: int, dtype: str, lib: Library) -> None:
    """On every library alike, where a rounded mean would leave noise over √ε."""
    constants = [0.1, 2024.3, 10000.1, 123456.0, 1e6 + 0.7, 1.7e9, GREAT[dtype]]
    columns = np.tile(np.array(constants, dtype), (rows, 1))
    k = len(constants)
    for name, x in (("batch_norm", columns), ("layer_norm", columns.T)):
        n = x.shape[-1]
        z, pullback = getattr(rules, name)(
            lib.array(x),
            lib.array(np.ones(n, dtype)),
            lib.array(np.zeros(n, dtype)),
            xp=lib.xp,
        )
        assert not lib.host(z).any()
        assert np.isfinite(lib.host(pullback(z)[0])).all()
    kept: list[Any] = []
    rules.batch_norm(
        lib.array(columns),
        lib.array(np.ones(k, dtype)),
        lib.array(np.zeros(k, dtype)),
        keep=lambda *a: kept.extend(map(lib.host, a)),
        xp=lib.xp,
    )
    np.testing.assert_allclose(kept[0], columns[0], rtol=1e-6)
    assert not kept[1].any()


def test_a_great_offset_costs_no_digits(lib: Library) -> None:
    rng = np.random.default_rng(0)
    one, zero = np.ones(2, "float32"), np.zeros(2, "float32")
    for offset in (0.0, 1e3, 1e5, 1e6):
        x = (offset + rng.normal(size=(64, 2))).astype("float32")
        d = x.astype(float) - x.astype(float).mean(axis=0)
        want = d / np.sqrt((d * d).mean(axis=0) + 1e-5)
        z, _ = rules.batch_norm(*map(lib.array, (x, one, zero)), xp=lib.xp)
        np.testing.assert_allclose(lib.host(z), want, rtol=0, atol=3e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_inference_far_from_the_mean(dtype: str, lib: Library) -> None:
    big = GREAT[dtype]
    given = [[[big]], [1.0], [0.0], [-big], [big]]
    arrays = [lib.array(np.array(a, dtype)) for a in given]
    with np.errstate(all="raise", under="ignore"):
        z, pullback = rules.batch_norm_inference(*arrays, xp=lib.xp)
        grads = pullback(lib.array(np.ones((1, 1), dtype)))
    np.testing.assert_allclose(lib.host(z), 2.0 * big**0.5, rtol=1e-5)
    assert all(np.isfinite(lib.host(g)).all() for g in grads)


def test_integers_and_halves() -> None:
    x = np.array([[100, -100, 50, 27], [1, 2, 3, 4]])
    one, zero = np.ones(4), np.zeros(4)
    for name in ("layer_norm", "batch_norm"):
        rule = getattr(rules, name)
        want, back = rule(x.astype(float), one, zero)
        np.testing.assert_allclose(rule(x.astype("int8"), one, zero)[0], want)
        half = [a.astype("float16") for a in (5.0 * x, one, zero)]
        z, pullback = rule(*half)
        assert z.dtype == "float16"
        np.testing.assert_allclose(z, rule(5.0 * x, one, zero)[0], atol=2e-3)
        assert pullback(z)[0].dtype == "float16"
        assert back(want)[0].dtype == float
