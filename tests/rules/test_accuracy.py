"""How near activations are to the function that they are: against mpmath, everywhere.

`LOOSE` is the table of what is not within 4 units in the last place (ulp) in float32;
in float64 all are within 1e-13, relatively. Around the root of a slope, and in the
slope of tanh, what is bounded is the absolute error: `ABSOLUTE`. Below the least normal
number a result has the spacing of subnormal numbers, times how fast the factor beside
eˣ grows; XLA sets them to zero.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np
import pytest

from chainrule import rules
from chainrule.rules import activations

from tests.support.libraries import Library, here
from tests.support.rules import pull

pytestmark = pytest.mark.no_sync

ONE = mp.mpf(1)
ULPS = {"float32": 4.0, "float64": 1e-13 / 2.0**-52}
# (library, rule) -> ulps in float32. NumPy's exp is off by 2.5 ulp, XLA's expm1 by 5.
LOOSE = {
    **{("numpy", name): 6.0 for name in ("silu", "mish", "gelu_tanh")},
    **{("strict", name): 6.0 for name in ("silu", "mish", "gelu_tanh")},
    **{("jax", name): 6.0 for name in ("elu", "celu", "selu")},
    ("numpy", "gelu"): 7.0,
    ("strict", "gelu"): 7.0,
    ("torch", "gelu"): 5.0,
    ("jax", "gelu"): 5.0,
}
# Rule -> where its slope is right only absolutely, and by how many eps (ulps of 1).
ABSOLUTE = {
    "tanh": (-np.inf, np.inf, 4.0),
    "silu": (-2.5, -0.4, 0.5),
    "mish": (-2.5, -0.4, 0.5),
    "gelu": (-1.7, -0.25, 0.5),
    "gelu_tanh": (-1.7, -0.25, 0.5),
}
ALPHA, SCALE = mp.mpf("1.6732632423543772"), mp.mpf("1.0507009873554805")


def sigmoid(x: Any) -> Any:
    return 1 / (1 + mp.exp(-x))


def twice_u(x: Any) -> Any:
    return 2 * mp.sqrt(2 / mp.pi) * (x + mp.mpf("0.044715") * x**3)


def gelu_tanh_slope(x: Any) -> Any:
    growth = 2 * mp.sqrt(2 / mp.pi) * (x + 3 * mp.mpf("0.044715") * x**3)
    v = twice_u(x)
    return sigmoid(v) * (1 + growth * sigmoid(-v))


def mish_slope(x: Any) -> Any:
    t = mp.tanh(mp.log1p(mp.exp(x)))
    return t + x * mp.sech(mp.log1p(mp.exp(x))) ** 2 * sigmoid(x)


def normal(x: Any) -> Any:
    return mp.erfc(-x / mp.sqrt(2)) / 2


def density(x: Any) -> Any:
    return mp.exp(-x * x / 2) / mp.sqrt(2 * mp.pi)


def ramp(x: Any) -> Any:
    return min(max(x + 3, mp.mpf(0)), mp.mpf(6)) / 6


# Value and slope, straight from the definitions: `exact` has digits for what cancels.
EXACT: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "identity": (lambda x: x, lambda _: ONE),
    "relu": (lambda x: max(x, mp.mpf(0)), lambda x: ONE * (x > 0)),
    "leaky_relu": (
        lambda x: x if x > 0 else mp.mpf("0.01") * x,
        lambda x: ONE if x > 0 else mp.mpf("0.01"),
    ),
    "elu": (
        lambda x: x if x > 0 else mp.expm1(x),
        lambda x: ONE if x > 0 else mp.exp(x),
    ),
    "selu": (
        lambda x: SCALE * (x if x > 0 else ALPHA * mp.expm1(x)),
        lambda x: SCALE * (ONE if x > 0 else ALPHA * mp.exp(x)),
    ),
    "celu": (
        lambda x: x if x > 0 else mp.expm1(x),
        lambda x: ONE if x > 0 else mp.exp(x),
    ),
    "sigmoid": (sigmoid, lambda x: sigmoid(x) * sigmoid(-x)),
    "tanh": (mp.tanh, lambda x: mp.sech(x) ** 2),
    "softplus": (lambda x: mp.log1p(mp.exp(x)), sigmoid),
    "softsign": (lambda x: x / (1 + abs(x)), lambda x: (1 + abs(x)) ** -2),
    "silu": (lambda x: x * sigmoid(x), lambda x: sigmoid(x) * (1 + x * sigmoid(-x))),
    "mish": (lambda x: x * mp.tanh(mp.log1p(mp.exp(x))), mish_slope),
    "gelu": (lambda x: x * normal(x), lambda x: normal(x) + x * density(x)),
    "gelu_tanh": (lambda x: x * sigmoid(twice_u(x)), gelu_tanh_slope),
    "hard_sigmoid": (ramp, lambda x: ONE / 6 if abs(x) < 3 else mp.mpf(0)),
    "hard_tanh": (
        lambda x: min(max(x, -ONE), ONE),
        lambda x: ONE if abs(x) < 1 else mp.mpf(0),
    ),
    "hard_silu": (
        lambda x: x * ramp(x),
        lambda x: (2 * x + 3) / 6 if abs(x) < 3 else ONE * (x > 0),
    ),
    "exp": (mp.exp, mp.exp),
}
ROWWISE = {"softmax", "log_softmax"}


def numbers(dtype: str) -> Any:
    """Both tails, what lies between, what is tiny; the largest stand in `LIMITS`."""
    info = np.finfo(dtype)
    far = 110.0 if dtype == "float32" else 760.0
    tiny = np.geomspace(float(info.tiny) * 4.0, 1.0, 40)
    x = np.concatenate(
        [np.linspace(-far, far, 161), np.linspace(-12, 12, 161), tiny, -tiny, [0.0]]
    )
    return np.unique(x.astype(dtype))


@functools.cache
def exact(name: str, dtype: str) -> tuple[Any, list[Any], list[Any]]:
    """Return where, the value and the slope, as mpmath's numbers."""
    x = numbers(dtype)
    if name == "exp":
        x = x[np.abs(x) < (86.0 if dtype == "float32" else 706.0)]
    with mp.workdps(700):  # 1 + e^x keeps e^x down to the least number of float64
        points = [mp.mpf(float(v)) for v in x]
        return x, *([f(v) for v in points] for f in EXACT[name])


def off(got: Any, wanted: list[Any], dtype: str) -> Any:
    """Return the error of each number in units of the last place of what is right."""
    info = np.finfo(dtype)
    least = mp.mpf(float(info.smallest_subnormal))
    errors = []
    for a, b in zip(got, wanted, strict=True):
        place = least
        if abs(b) > float(info.tiny):
            place = mp.mpf(2) ** (mp.floor(mp.log(abs(b), 2)) - info.nmant)
        errors.append(float(abs(mp.mpf(float(a)) - b) / place))
    return np.array(errors)


def allowed(name: str, lib: Library, x: Any, wanted: list[Any], slope: bool) -> Any:
    """Return the bound of `off` for each number."""
    dtype = str(x.dtype)
    info = np.finfo(dtype)
    ulps = ULPS[dtype]
    if dtype == "float32":
        ulps = LOOSE.get((lib.name, name), ulps)
    bound = np.full(x.shape, ulps)
    right = np.array([float(b) for b in wanted])
    place = np.maximum(np.spacing(np.abs(right).astype(dtype)).astype(float), 5e-324)
    if slope and name in ABSOLUTE:
        low, high, eps = ABSOLUTE[name]
        scale = 1.0 if dtype == "float32" else 4.0
        with np.errstate(over="ignore"):
            absolute = scale * eps * float(info.eps) / place
        inside = (x > low) & (x < high)
        bound = np.where(inside, np.maximum(bound, absolute), bound)
    growth = np.maximum(np.abs(x.astype(float)), 2.0)
    if name == "gelu_tanh":
        growth = growth * 25.0
    least = float(info.tiny if lib.name == "jax" else info.smallest_subnormal)
    below = np.abs(right) < growth * float(info.tiny)
    return np.where(below, np.maximum(bound, 2.0 * growth * least / place), bound)


def test_every_activation_has_an_exact_form() -> None:
    from chainrule.rules import activations

    assert EXACT.keys() | ROWWISE == set(activations.__all__)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", EXACT)
def test_value_and_slope(name: str, dtype: str, lib: Library) -> None:
    x, values, slopes = exact(name, dtype)
    with np.errstate(all="ignore"):
        z, pullback = getattr(rules, name)(lib.array(x), xp=lib.xp)
        (dx,) = pull(lib, pullback, np.ones_like(x))
    for got, wanted, slope in ((lib.host(z), values, False), (dx, slopes, True)):
        error = off(got, wanted, dtype)
        bound = allowed(name, lib, x, wanted, slope)
        worst = int(np.argmax(error - bound))
        assert (error <= bound).all(), (slope, x[worst], error[worst], bound[worst])


# At the largest numbers: the value over x, and the slope; at the lowest ones too.
LIMITS = {
    **dict.fromkeys(
        ("elu", "celu", "softplus", "silu", "mish", "gelu", "gelu_tanh", "hard_silu"),
        ((1.0, 1.0), (0.0, 0.0)),
    ),
    **dict.fromkeys(("sigmoid", "hard_sigmoid", "tanh", "hard_tanh", "softsign"), None),
    "relu": ((1.0, 1.0), (0.0, 0.0)),
    "leaky_relu": ((1.0, 1.0), (0.01, 0.01)),
    "identity": ((1.0, 1.0), (1.0, 1.0)),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", LIMITS)
def test_the_largest_numbers(name: str, dtype: str, lib: Library) -> None:
    x = np.array([1.0, 0.5, -0.5, -1.0]).astype(dtype) * np.finfo(dtype).max
    with np.errstate(all="raise", under="ignore"):
        z, pullback = getattr(rules, name)(lib.array(x), xp=lib.xp)
        (dx,) = pull(lib, pullback, np.ones_like(x))
    z = lib.host(z)
    limits = LIMITS[name]
    if limits is None:  # bounded
        low = 0.0 if "sigmoid" in name else -1.0
        np.testing.assert_array_equal(z, np.array([1.0, 1.0, low, low], dtype))
        np.testing.assert_array_equal(dx, np.zeros(4))
        return
    for k, (over, slope) in enumerate((limits[0], limits[0], limits[1], limits[1])):
        assert float(z[k] / x[k]) == pytest.approx(over, rel=1e-6, abs=1e-30)
        assert float(dx[k]) == pytest.approx(slope, rel=1e-6)


ROWS = [
    *([0.0, d, 0.25 * d] for d in (-1e-3, -1.0, -20.0, -45.0, -80.0)),
    *([3.5, 3.5, d] for d in (3.25, -20.0, -60.0)),
    [100.0, 20.0, 99.0],
    [-7.0, -7.0, -7.0],
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", sorted(ROWWISE))
def test_rows(name: str, dtype: str, lib: Library) -> None:
    """Also of rows that are sure of an entry: 1 - p keeps its digits."""
    x = np.array(ROWS, dtype)
    dz = np.array([[1.0, 0.25, -0.5], [0.0, 3.0, 0.5]] * (len(ROWS) // 2), dtype)
    z, pullback = getattr(rules, name)(lib.array(x), xp=lib.xp)
    (dx,) = pull(lib, pullback, dz)
    z = lib.host(z)
    with mp.workdps(60):
        for row, g, got, grad in zip(x, dz, z, dx, strict=True):
            logits = [mp.mpf(float(v)) for v in row]
            cotangent = [mp.mpf(float(v)) for v in g]
            total = mp.fsum(mp.exp(v) for v in logits)
            p = [mp.exp(v) / total for v in logits]
            value = p if name == "softmax" else [mp.log(a) for a in p]
            slope, scale = row_slope(name, p, cotangent)
            bound = ULPS[dtype] + np.ptp(row) / 2.0
            assert off(got, value, dtype).max() <= bound
            for a, right, terms in zip(grad, slope, scale, strict=True):
                error = abs(mp.mpf(float(a)) - right)
                assert error <= 2.0 * bound * float(np.finfo(dtype).eps) * terms


def row_slope(name: str, p: Any, dz: Any) -> tuple[list[Any], list[Any]]:
    """Return the slope of each entry, and the size of the terms that it is made of."""
    slope, scale = [], []
    for i, (a, g) in enumerate(zip(p, dz, strict=True)):
        rest = [(b, h) for j, (b, h) in enumerate(zip(p, dz, strict=True)) if j != i]
        # With 1 - p the sum of the others' p.
        if name == "softmax":
            terms = [a * b * (g - h) for b, h in rest]
        else:
            terms = [g * b for b, _ in rest] + [-a * h for _, h in rest]
        slope.append(mp.fsum(terms))
        scale.append(mp.fsum(map(abs, terms)))
    return slope, scale


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_scaled_error_function(dtype: str, lib: Library) -> None:
    x = np.concatenate([[0.0], np.geomspace(1e-8, 25.0, 400)]).astype(dtype)
    with mp.workdps(60):
        wanted = [mp.exp(v * v) * mp.erfc(v) for v in map(mp.mpf, x.tolist())]
    got = lib.host(lib.xp.erfcx(lib.array(x)))
    assert off(got, wanted, dtype).max() <= (2.5 if dtype == "float32" else 8.0)


SMOOTH = sorted(set(activations.__all__) - ROWWISE - {"exp"})
# Where a rule has a kink, or another derivative than its limit.
KINKS = {"relu": {0}, "leaky_relu": {0}, "selu": {0}}
NEAR = [0.0, 1e-30, 1e-9, 0.3, 2.0, 5.0, 8.0, 20.0, 37.5, 60.0, 100.0, 1e4, 1e38]


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("where", ["jax", "torch"])
def test_the_value_is_differentiable_by_others(name: str, where: str) -> None:
    """What jax.grad or autograd make of a value is the pullback, where it is smooth."""
    if not here(where):
        pytest.skip(f"needs {where}")
    ends = [v for v in NEAR if v not in KINKS.get(name, ())]
    x = np.array([*ends, *(-v for v in ends)])
    rule = getattr(rules, name)
    (wanted,) = rule(x)[1](np.ones_like(x))
    if where == "torch":
        import torch

        leaf = torch.tensor(x, requires_grad=True)
        rule(leaf)[0].sum().backward()
        assert leaf.grad is not None
        got = leaf.grad.numpy()
    else:
        import jax

        with jax.enable_x64(True):
            got = jax.grad(lambda v: rule(v)[0].sum())(jax.numpy.asarray(x))
    np.testing.assert_allclose(got, wanted, rtol=1e-7, atol=1e-14)
