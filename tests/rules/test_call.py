"""Rules called by hand, without a namespace: dtypes, matrices, masks."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from chainrule import rules
from chainrule.arrays.namespace import Namespace
from chainrule.errors import ArgumentError, ArgumentTypeError
from chainrule.rules import activations
from chainrule.rules.call import call_rule
from chainrule.testing.cases import RULES

from tests.support.libraries import Library, here, need

pytestmark = pytest.mark.no_sync

NAMES = sorted(activations.__all__)
WHOLE = np.array([[1, 2, 5], [0, 1, 3]])
INTEGERS = ("uint8", "int8", "int16", "int32", "int64", "bool")


def by_hand(lib: Library, name: str, x: Any) -> tuple[Any, Any]:
    """Value and gradient of ones, the rule called without a namespace."""
    z, pullback = getattr(rules, name)(x)
    (dx,) = pullback(z * 0 + 1)
    return z, dx


def wanted(name: str, x: Any, dz: Any = 1.0) -> tuple[Any, Any]:
    z, pullback = getattr(rules, name)(np.asarray(x, dtype="float64"))
    return z, pullback(np.ones_like(z) * dz)[0]


@pytest.mark.parametrize("kind", INTEGERS)
@pytest.mark.parametrize("name", NAMES)
def test_integers_are_computed_with_as_floats(
    name: str, kind: str, lib: Library
) -> None:
    x = WHOLE.astype(kind)
    z, dx = by_hand(lib, name, lib.array(x))
    assert z.dtype == dx.dtype
    assert z.dtype == lib.xp.asarray(0.0).dtype  # the library's own default
    for got, right in zip((z, dx), wanted(name, x), strict=True):
        np.testing.assert_allclose(lib.host(got), right, rtol=2e-6, atol=1e-7)


HALVES = [("numpy", "float16"), *(("torch", k) for k in ("float16", "bfloat16"))]
HALVES += [("jax", k) for k in ("float16", "bfloat16")]


@pytest.mark.parametrize(("where", "kind"), HALVES)
@pytest.mark.parametrize("name", NAMES)
def test_halves_are_rounded_once(name: str, where: str, kind: str) -> None:
    if not here(where):
        pytest.skip(f"needs {where}")
    x = np.array([[-5.0, -1.0, 0.5, 5.0], [-300.0, -12.0, 0.0, 10.0]])
    xp, a = half(where, kind, x)
    dz = np.array([[1.0, -0.5, 2.0, 0.25]] * 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        z, pullback = getattr(rules, name)(a)
        (dx,) = pullback(half(where, kind, dz)[1])
    assert z.dtype == dx.dtype == getattr(xp, kind)
    eps = {"float16": 2.0**-11, "bfloat16": 2.0**-8}[kind]
    for got, right in zip((z, dx), wanted(name, x, dz), strict=True):
        host = np.asarray(xp.astype(got, xp.float32))
        # Half a unit in the last place, and the least that a half can hold.
        np.testing.assert_allclose(host, right, rtol=1.01 * eps, atol=6e-8)


def half(where: str, kind: str, x: Any) -> Any:
    if where == "numpy":
        return Namespace(np), x.astype(kind)
    if where == "jax":
        jnp = need("jax.numpy")
        return Namespace(jnp), jnp.asarray(x, dtype=kind)
    torch = need("torch")
    compat = need("array_api_compat.torch")
    return Namespace(compat), torch.tensor(x).to(getattr(torch, kind))


@pytest.mark.parametrize("name", NAMES)
def test_a_matrix_is_an_array(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        x = np.matrix(WHOLE * 0.5)
    z, dx = by_hand(Library("numpy", None), name, x)
    assert type(z) is type(dx) is np.ndarray
    for got, right in zip((z, dx), wanted(name, WHOLE * 0.5), strict=True):
        np.testing.assert_array_equal(got, right)


def test_masked_arrays() -> None:
    whole = np.ma.array(WHOLE * 0.5, mask=np.zeros((2, 3), bool))
    z, _ = rules.gelu(whole)
    assert type(z) is np.ndarray
    np.testing.assert_array_equal(z, rules.gelu(WHOLE * 0.5)[0])
    masked = np.ma.array(WHOLE * 0.5, mask=np.eye(2, 3, dtype=bool))
    with pytest.raises(ArgumentError, match="gelu: x has masked entries"):
        rules.gelu(masked)


@pytest.mark.parametrize("kind", ["complex64", "complex128", "object", "datetime64[s]"])
@pytest.mark.parametrize("name", NAMES)
def test_other_dtypes_are_refused(name: str, kind: str) -> None:
    with pytest.raises(ArgumentTypeError, match=rf"{name}: x must hold.*{kind[:6]}"):
        getattr(rules, name)(WHOLE.astype(kind))


@pytest.mark.skipif(not here("jax"), reason="needs JAX")
def test_keys_of_jax_are_refused() -> None:
    import jax

    with pytest.raises(ArgumentTypeError, match=r"tanh: x must hold real numbers"):
        rules.tanh(jax.random.key(0))


def product(x: Any, w: Any, t: Any = None, *, xp: Any = None) -> Any:
    """Stand for a rule of three arrays, the last of them whole numbers."""
    if xp is None:
        return call_rule(product, x, w, t, integral=(2,))
    z = x * w

    def pullback(dz: Any = 1.0, wrt: tuple[int, ...] = (0, 1)) -> Any:
        return (dz * w if 0 in wrt else None), (dz * x if 1 in wrt else None)

    return z if t is None else z * xp.astype(t, z.dtype), pullback


@pytest.mark.parametrize(
    ("x", "w", "wanted"),
    [
        ("float16", "float16", "float16"),
        ("float16", "float32", "float32"),
        ("float64", "float16", "float64"),
        ("uint8", "float16", "float16"),
        ("uint8", "float32", "float32"),
        ("float64", "float32", "float64"),
        ("int8", "bool", "float64"),
    ],
)
def test_arrays_of_several_dtypes(x: str, w: str, wanted: str) -> None:
    a, b = np.full(3, 200.0).astype(x), np.full(3, 100.0).astype(w)
    z, pullback = product(a, b, np.ones(3, "int8"))
    assert z.dtype == wanted
    with np.errstate(over="ignore"):
        right = (a.astype("float64") * b.astype("float64")).astype(wanted)
    np.testing.assert_array_equal(z, right)
    one, none = pullback(np.ones(3, wanted), wrt=(0,))
    assert (one.dtype, none) == (wanted, None)
    pullback(1.0)


def test_whole_numbers_stay_whole() -> None:
    def rule(x: Any, t: Any, *, xp: Any = None) -> Any:
        assert t.dtype == "int8"
        return x, lambda dz: (dz,)

    call_rule(rule, np.ones(2, "float16"), np.ones(2, "int8"), integral=(1,))


@pytest.mark.skipif(not here("torch"), reason="needs PyTorch")
def test_a_default_dtype_of_half_is_not_computed_in() -> None:
    import torch

    torch.set_default_dtype(torch.float16)
    try:
        assert rules.exp(torch.tensor([1, 2]))[0].dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.skipif(not here("jax"), reason="needs JAX")
@pytest.mark.parametrize("name", RULES)
def test_ranks_are_not_promoted(name: str) -> None:
    """With arrays of their core ranks, no rule makes JAX promote a rank."""
    import jax

    case = RULES[name]
    arrays = [None if a is None else jax.numpy.asarray(a) for a in case.inputs]
    with jax.numpy_rank_promotion("raise"):
        z, pullback = case.rule(*arrays, **case.options)
        grads = pullback(jax.numpy.ones_like(z))
    for a, g in zip(arrays, grads, strict=False):
        assert a is not None
        assert g.shape == a.shape


RANKS: dict[str, list[tuple[int, ...]]] = {
    "squared_error": [(2, 6, 4), (6, 4), (6,)],
    "absolute_error": [(2, 6, 4), (6, 4), (6,)],
    "huber": [(2, 6, 4), (6, 4), (6,)],
    "quantile": [(2, 6, 4), (6, 4), (6,)],
    "poisson": [(2, 6, 4), (6, 4), (6,)],
    "binary_cross_entropy": [(2, 6, 4), (6, 4), (6,)],
    "cross_entropy": [(2, 6, 4), (6, 4), (6,)],
    "dense": [(6, 4), (2, 3, 4), (2, 3)],
    "layer_norm": [(2, 6, 4), (4,), (4,)],
    "batch_norm": [(2, 6, 4), (4,), (4,)],
    "batch_norm_inference": [(2, 6, 4), (4,), (4,), (4,), (4,)],
}


@pytest.mark.parametrize("name", RANKS)
def test_jax_told_to_refuse_ranks(name: str) -> None:
    jax = need("jax")
    rng = np.random.default_rng(0)
    arrays = [rng.uniform(0.1, 1.0, shape).astype("float32") for shape in RANKS[name]]
    rule = getattr(rules, name)
    right, pull = rule(*arrays)
    seed = np.ones(np.shape(right), "float32")
    with jax.numpy_rank_promotion("raise"):
        for call in (rule, jax.jit(lambda *a: rule(*a)[0])):
            z = call(*[jax.numpy.asarray(a) for a in arrays])
            z, *_ = z if isinstance(z, tuple) else (z,)
            np.testing.assert_allclose(z, right, rtol=1e-5, atol=1e-6)
        _, pullback = rule(*[jax.numpy.asarray(a) for a in arrays])
        got = pullback(jax.numpy.asarray(seed))
    for dx, wanted in zip(got, pull(seed), strict=True):
        np.testing.assert_allclose(dx, wanted, rtol=1e-4, atol=1e-5)


KINKS: dict[str, Any] = {
    "relu": rules.relu,
    "absolute_error": lambda a: rules.absolute_error(a, 0.0 * a),
    "quantile": lambda a: rules.quantile(a, 0.0 * a, q=0.3),
    "huber": lambda a: rules.huber(a, 0.0 * a),
}


@pytest.mark.parametrize("name", KINKS)
def test_at_a_kink_libraries_differentiate_as_the_pullback_does(name: str) -> None:
    rule, zero = KINKS[name], np.zeros((1, 1), "float32")
    for a in (zero, -zero):
        z, pullback = rule(a)
        (right,) = pullback(np.ones_like(z) if np.ndim(z) else 1.0)
        np.testing.assert_array_equal(right, zero)
        if here("jax"):
            jax = need("jax")
            got = jax.grad(lambda v: rule(v)[0].sum())(jax.numpy.asarray(a))
            np.testing.assert_array_equal(got, zero)
        if here("torch"):
            t = need("torch").tensor(a, requires_grad=True)
            rule(t)[0].sum().backward()
            np.testing.assert_array_equal(t.grad, zero)


def test_relu_carries_nan_along() -> None:
    for lib in ("numpy", *[name for name in ("jax", "torch") if here(name)]):
        _, a = half(lib, "float16", np.array([[np.nan, -1.0, np.inf]]))
        z = np.asarray(rules.relu(a)[0])
        np.testing.assert_array_equal(z, np.array([[np.nan, 0.0, np.inf]]))
