"""Dual arrays: every rule runs on them, forward and pullback; and their functions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from chainrule import rules
from chainrule.arrays.dual import DualArray, DualNamespace
from chainrule.arrays.namespace import Namespace
from chainrule.errors import ArgumentTypeError

from tests.support.libraries import Library

RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 3)) * 2.0
T = RNG.normal(size=(4, 3))
W = np.array([1.0, 0.0, 2.0, 0.5])
GAIN, SHIFT = RNG.uniform(0.5, 1.5, size=3), RNG.normal(size=3)
HEADS = np.concat([X, 0.3 * T], axis=1)
WEIGHT = RNG.normal(size=(2, 3))
BITS = RNG.integers(-(2**31), 2**31, size=(4, 3)).astype(np.int32)
COUNTS = np.array([[0.0, 1.0, 1.0]] * 4)
LABELS = np.array([0, 2, 1, 1], dtype=np.int32)
DATA = {"bits", "t", "weight"}  # arguments without a gradient

# Rule -> its arguments by name, and options; the activations take x alone.
CASES: dict[str, Any] = {
    "dense": [({"x": X, "w": WEIGHT, "b": SHIFT[:2]}, {})],
    "dropout": [({"x": X, "bits": BITS}, {"rate": 0.4})],
    "layer_norm": [({"x": X, "gain": GAIN, "shift": SHIFT}, {})],
    "batch_norm": [({"x": X, "gain": GAIN, "shift": SHIFT}, {})],
    "batch_norm_inference": [
        ({"x": X, "gain": GAIN, "shift": SHIFT, "mean": SHIFT, "var": GAIN}, {})
    ],
    "binary_cross_entropy": [
        ({"z": X, "t": COUNTS, "weight": W}, {}),
        ({"z": X, "t": COUNTS}, {"class_weight": (1.0, 3.0), "label_smoothing": 0.1}),
    ],
    "cross_entropy": [
        ({"z": X, "t": LABELS, "weight": W}, {}),
        ({"z": X, "t": LABELS}, {"class_weight": (1.0, 2.0, 3.0)}),
        ({"z": X, "t": np.eye(3)[LABELS]}, {"label_smoothing": 0.1}),
    ],
    "poisson": [({"z": X, "t": COUNTS}, {})],
    "hinge": [({"z": X, "t": COUNTS, "weight": W}, {"squared": True})],
    "binary_focal": [
        ({"z": X, "t": COUNTS, "weight": W}, {"class_weight": (1.0, 3.0)})
    ],
    "focal": [
        ({"z": X, "t": LABELS, "weight": W}, {"class_weight": (1.0, 2.0, 3.0)}),
        ({"z": X, "t": np.eye(3)[LABELS]}, {}),
    ],
    "kullback_leibler": [({"z": X, "t": np.eye(3)[LABELS] * 0.7 + 0.1}, {})],
    "gaussian_nll": [({"z": HEADS, "t": T, "weight": W}, {})],
    "student_t": [
        ({"z": HEADS, "t": T, "weight": W}, {}),
        ({"z": HEADS, "t": T[:, :2]}, {"df": None}),
    ],
    "negative_binomial": [({"z": HEADS, "t": COUNTS}, {})],
    "mixture_density": [({"z": HEADS, "t": T[:, :1], "weight": W}, {"components": 2})],
    **{
        name: [({"z": X, "t": T}, {}), ({"z": X, "t": T, "weight": W}, {})]
        for name in (
            "absolute_error",
            "cosine_distance",
            "huber",
            "log_cosh",
            "quantile",
            "squared_error",
        )
    },
}
EVERY = [
    pytest.param(name, *case, id=f"{name}-{k}")
    for name in rules.__all__
    for k, case in enumerate(CASES.get(name, [({"x": X}, {})]))
]


def close(got: Any, want: Any, rtol: float = 1e-6, atol: float = 1e-7) -> None:
    assert np.shape(got) == np.shape(want)
    np.testing.assert_allclose(got, want, rtol=rtol, atol=atol)


def both(name: str, arrays: dict[str, Any], options: Any, dz: Any, xp: Any) -> Any:
    """(value, gradients of those that have one) of a rule."""
    z, pullback = getattr(rules, name)(**arrays, **options, xp=xp)
    return z, pullback(dz)


@pytest.mark.parametrize(("name", "arrays", "options"), EVERY)
def test_every_rule_runs_forward_and_back(
    name: str, arrays: dict[str, Any], options: Any, lib: Library
) -> None:
    """Value and gradients keep their values; their tangents are differences."""
    rng = np.random.default_rng(1)
    moving = [k for k in arrays if k not in DATA]
    ways = {k: rng.normal(size=arrays[k].shape) for k in moving}
    plain = Namespace(np)
    z0 = np.asarray(getattr(rules, name)(**arrays, **options, xp=plain)[0])
    dz, way = rng.normal(size=(2, *z0.shape))

    def host(s: float) -> Any:
        there = arrays | {k: arrays[k] + s * ways[k] for k in moving}
        return both(name, there, options, dz + s * way, plain)

    xp = DualNamespace(lib.xp)
    duals = {
        k: xp.dual(lib.array(a), lib.array(ways[k]) if k in ways else None)
        for k, a in arrays.items()
    }
    cotangent = xp.dual(lib.array(dz), lib.array(way))
    got, grads = both(name, duals, options, cotangent, xp)
    value, gradients = host(0.0)
    low, high = host(-1e-6), host(1e-6)
    for a, at, before, after in zip(
        (got, *grads),
        (value, *gradients),
        (low[0], *low[1]),
        (high[0], *high[1]),
        strict=True,
    ):
        assert isinstance(a, DualArray)
        close(lib.host(a.value), at, 1e-12, 1e-14)
        close(lib.host(a.tangent), (after - before) / 2e-6)


@pytest.mark.parametrize(("name", "arrays", "options"), EVERY)
def test_directions_are_a_loop(name: str, arrays: dict[str, Any], options: Any) -> None:
    rng = np.random.default_rng(2)
    moving = [k for k in arrays if k not in DATA]
    ways = {k: rng.normal(size=(2, *arrays[k].shape)) for k in moving}
    xp = DualNamespace(Namespace(np))

    def run(some: Any) -> Any:
        duals = {
            k: xp.dual(a, ways[k][some] if k in ways else None)
            for k, a in arrays.items()
        }
        z, pullback = getattr(rules, name)(**duals, **options, xp=xp)
        dz = np.random.default_rng(3).normal(size=np.shape(z.value))
        return [z, *pullback(xp.dual(dz))]

    at_once = run(slice(None))
    for i in range(2):
        for a, b in zip(at_once, run(i), strict=True):
            tangent = np.broadcast_to(a.tangent, (2, *a.shape))
            close(tangent[i], b.tangent, 1e-12, 1e-14)


FUNCTIONS = {
    "abs": lambda xp, x: abs(x),
    "broadcast_to": lambda xp, x: xp.broadcast_to(x[0, :], (4, 3)) * x,
    "concat": lambda xp, x: xp.concat([x, xp.ones_like(x), x * x], axis=1),
    "constants": lambda xp, x: x * xp.full_like(x, 2.0) + xp.asarray(1.0) - xp.sign(x),
    "cos": lambda xp, x: xp.cos(x) / xp.sin(x),
    "erf": lambda xp, x: xp.erf(x),
    "erfcx": lambda xp, x: xp.erfcx(x * x),
    "minus_abs": lambda xp, x: xp.exp(xp.minus_abs(x)) * x,
    "one_where_positive": lambda xp, x: (
        xp.one_where_positive(x - 0.1, xp.exp(xp.minus_abs(x))) * x
    ),
    "expand_dims": lambda xp, x: xp.expand_dims(x, axis=0) * x,
    "functions": lambda xp, x: xp.subtract(xp.add(x, 1.0), xp.divide(x, 3.0)),
    "index": lambda xp, x: x[1:, 0] * x[..., 1:, 2] + x[:, None, ...][1:, 0, 1],
    "log": lambda xp, x: xp.log(x * x + 1.0) + xp.log1p(x * x),
    "matmul": lambda xp, x: xp.matmul(x, x.mT) @ x,
    "max": lambda xp, x: xp.max(x, axis=0) + xp.max(x, axis=-1, keepdims=True),
    "mean": lambda xp, x: xp.mean(x * x) + xp.mean(x, axis=0),
    "minimum": lambda xp, x: xp.minimum(x, 0.3) * xp.maximum(0.1, x),
    "moveaxis": lambda xp, x: xp.moveaxis(x * x, 0, 1),
    "pow": lambda xp, x: x**3 + xp.pow(x, 2),
    "quotient": lambda xp, x: (1.0 - x) / (2.0 + x * x) - 3.0 / (x * x + 1.0),
    "reshape": lambda xp, x: xp.reshape(x * x, (2, 6)),
    "sqrt": lambda xp, x: xp.sqrt(1.0 + x * x) + xp.expm1(-x),
    "stack": lambda xp, x: xp.stack([x, 2.0 * x, xp.zeros_like(x)], axis=1),
    "sum": lambda xp, x: xp.sum(x * x, axis=(0, 1)) + xp.sum(x, axis=0),
    "where": lambda xp, x: xp.where(x > 0, x * x, 2.0) + xp.where(x < 1, 0.0, x),
    "where of two": lambda xp, x: xp.where(x > 0, xp.exp(x), xp.sum(x)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name: str, lib: Library) -> None:
    """First derivatives, several at once, and second ones by nesting."""
    f: Any = FUNCTIONS[name]
    rng = np.random.default_rng(4)
    u = rng.normal(size=(2, *X.shape))
    plain = DualNamespace(Namespace(np))

    def host(s: float, k: int) -> Any:
        return plain.parts(f(plain, plain.dual(X + s * u[k])))[0]

    inner = DualNamespace(lib.xp)
    outer = DualNamespace(inner)
    z = f(inner, inner.dual(lib.array(X), lib.array(u)))
    close(lib.host(z.value), host(0.0, 0), 1e-12)
    tangent = np.broadcast_to(lib.host(z.tangent), (2, *z.shape))
    for k in range(2):
        close(tangent[k], (host(1e-6, k) - host(-1e-6, k)) / 2e-6)
    way = lib.array(u[0])
    z = f(outer, outer.dual(inner.dual(lib.array(X), way), inner.dual(way)))
    first, second = inner.parts(outer.parts(z)[1])
    ends = [host(s, 0) for s in (-1e-4, 0.0, 1e-4)]
    close(lib.host(first), (ends[2] - ends[0]) / 2e-4, 1e-5, 1e-5)
    close(lib.host(second), (ends[0] - 2 * ends[1] + ends[2]) / 1e-8, 1e-4, 1e-4)


def test_levels_are_kept_apart() -> None:
    """∂/∂x of x ∂(x y)/∂y is 2x: the inner direction is no outer one."""
    inner = DualNamespace(Namespace(np))
    outer = DualNamespace(inner)
    x = outer.dual(inner.dual(np.asarray([3.0])), inner.dual(np.asarray([1.0])))
    y = inner.dual(np.asarray([2.0]), np.asarray([1.0]))
    for product in (x * y, y * x):
        assert product.xp is outer
        slope = outer.dual(
            *(inner.parts(a)[1] for a in (product.value, product.tangent))
        )
        np.testing.assert_array_equal(
            (x.value * slope.tangent + slope.value).value, [6.0]
        )


def test_kinks_are_those_of_the_pullbacks() -> None:
    xp = DualNamespace(Namespace(np))
    zero = xp.dual(np.zeros((1, 1)), np.ones((1, 1)))
    for name in ("relu", "leaky_relu", "hard_tanh", "hard_sigmoid", "elu", "celu"):
        rule = getattr(rules, name)
        z, pullback = rule(zero, xp=xp)
        (dx,) = pullback(xp.dual(np.ones((1, 1))))
        np.testing.assert_array_equal(z.tangent, dx.value)
    for value in (-1.0, 1.0):
        bound: Any = xp.dual(np.full((1, 1), value), np.ones((1, 1)))
        z, _ = rules.hard_tanh(bound, xp=xp)
        np.testing.assert_array_equal(z.tangent, [[0.0]])
    assert (zero > -1.0).all()
    assert not (zero != 0.0).any()


def test_what_is_not_there_is_refused() -> None:
    xp = DualNamespace(Namespace(np))
    x = xp.dual(X, X)
    with pytest.raises(ArgumentTypeError, match="sort is not defined for dual arrays"):
        xp.sort(x)
    with pytest.raises(ArgumentTypeError, match="pow is not defined for a dual expo"):
        x**x
    np.testing.assert_array_equal(xp.sort(X), np.sort(X))
    assert "tangent" not in repr(x)
    assert repr(xp) == "DualNamespace(Namespace(numpy))"
