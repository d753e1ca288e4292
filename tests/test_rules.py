"""Every rule: central differences, jax.vjp, torch autograd, leading axes, extremes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule import rules
from chainrule.errors import ArgumentTypeError, ShapeError

from support import LIBRARIES, Library, here, library

RNG = np.random.default_rng(0)
WEIGHT = np.array([0.5, 2.0, 0.0, 1.0, 3.0])
LABELS = np.array([0, 2, 1, 1, 0], dtype=np.int32)
SOFT = np.eye(3)[LABELS] * 0.7 + 0.1


class Case(NamedTuple):
    """A rule, arguments that have gradients, and those that are data."""

    rule: Callable[..., Any]
    arguments: tuple[Any, ...]
    data: tuple[Any, ...] = ()
    options: dict[str, Any] = {}  # noqa: RUF012 - never written
    cores: tuple[int, ...] = (2,)  # core ranks of the arguments


def _normal(*shape: int) -> Any:
    return RNG.normal(size=shape)


X, T = _normal(5, 3), _normal(5, 3)
W, B = _normal(4, 3), _normal(4)
GAIN, SHIFT, MEAN = _normal(3), _normal(3), _normal(3)
VAR = RNG.uniform(0.5, 2.0, 3)
COUNTS = RNG.integers(0, 5, (5, 3)).astype(float)
BITS = RNG.integers(-(2**31), 2**31, (5, 3)).astype(np.int32)

ACTIVATIONS = [
    "identity relu leaky_relu elu selu celu gelu gelu_tanh silu mish sigmoid tanh",
    "softplus softsign hard_sigmoid hard_tanh hard_silu exp softmax log_softmax",
]
NAMES = " ".join(ACTIVATIONS).split()
CASES = {
    **{name: Case(getattr(rules, name), (2 * X,)) for name in NAMES},
    "leaky_relu, slope": Case(rules.leaky_relu, (X,), options={"slope": 0.3}),
    "elu, alpha": Case(rules.elu, (X,), options={"alpha": 0.7}),
    "celu, alpha": Case(rules.celu, (X,), options={"alpha": 1.7}),
    "dense": Case(rules.dense, (X, W, B), cores=(2, 2, 1)),
    "dense, no bias": Case(rules.dense, (X, W), cores=(2, 2)),
    "layer_norm": Case(rules.layer_norm, (X, GAIN, SHIFT), cores=(2, 1, 1)),
    "batch_norm": Case(rules.batch_norm, (X, GAIN, SHIFT), cores=(2, 1, 1)),
    "batch_norm_inference": Case(
        rules.batch_norm_inference, (X, GAIN, SHIFT, MEAN, VAR), cores=(2, 1, 1, 1, 1)
    ),
    "dropout": Case(rules.dropout, (X,), (BITS,), {"rate": 0.4}),
}
for _w, _more in ((None, ""), (WEIGHT, ", weighted")):
    CASES |= {
        f"squared_error{_more}": Case(rules.squared_error, (X,), (T, _w)),
        f"absolute_error{_more}": Case(rules.absolute_error, (X,), (T, _w)),
        f"huber{_more}": Case(rules.huber, (2 * X,), (T, _w), {"delta": 0.8}),
        f"quantile{_more}": Case(rules.quantile, (X,), (T, _w), {"q": 0.2}),
        f"poisson{_more}": Case(rules.poisson, (X,), (COUNTS, _w)),
        f"binary_cross_entropy{_more}": Case(
            rules.binary_cross_entropy, (X,), (SOFT, _w)
        ),
        f"binary_cross_entropy, options{_more}": Case(
            rules.binary_cross_entropy,
            (X,),
            (SOFT, _w),
            {"class_weight": (0.5, 3.0), "label_smoothing": 0.2},
        ),
        f"cross_entropy{_more}": Case(rules.cross_entropy, (X,), (LABELS, _w)),
        f"cross_entropy, options{_more}": Case(
            rules.cross_entropy,
            (X,),
            (SOFT, _w),
            {"class_weight": (0.5, 3.0, 1.0), "label_smoothing": 0.2},
        ),
    }


def test_every_rule_is_here() -> None:
    assert {case.rule.__name__ for case in CASES.values()} == set(rules.__all__)


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def _call(case: Case, lib: Library, *arguments: Any) -> Any:
    data = [None if a is None else lib.array(a) for a in case.data]
    return case.rule(*map(lib.array, arguments), *data, **case.options, xp=lib.xp)


def _pull(case: Case, lib: Library, *arguments: Any, dz: Any) -> list[Any]:
    _, pullback = _call(case, lib, *arguments)
    grads = pullback(lib.array(dz))
    assert isinstance(grads, tuple)
    return [lib.host(g) for g in grads]


def test_central_differences(case: Case, lib: Library) -> None:
    given = [lib.array(a) for a in case.arguments]
    data = [None if a is None else lib.array(a) for a in case.data]
    z, pullback = case.rule(*given, *data, **case.options, xp=lib.xp)
    dz = np.random.default_rng(1).normal(size=tuple(z.shape))
    grads, again = pullback(lib.array(dz)), pullback(lib.array(dz))
    assert len(grads) == len(given)
    rng = np.random.default_rng(2)
    for k, (g, g2) in enumerate(zip(grads, again, strict=True)):
        np.testing.assert_array_equal(lib.host(g), lib.host(g2))
        assert tuple(g.shape) == case.arguments[k].shape
        for _ in range(3):
            v = rng.normal(size=case.arguments[k].shape)
            moved = []
            for step in (1e-6, -1e-6):
                arguments = list(case.arguments)
                arguments[k] = arguments[k] + step * v
                moved.append(lib.host(_call(case, lib, *arguments)[0]))
            wanted = np.sum(dz * (moved[0] - moved[1])) / 2e-6
            got = np.sum(lib.host(g) * v)
            assert got == pytest.approx(wanted, rel=1e-7, abs=1e-8)
    for a, before in zip(given, case.arguments, strict=True):
        np.testing.assert_array_equal(lib.host(a), before)


def test_leading_axes_broadcast_and_are_never_summed(case: Case, lib: Library) -> None:
    """Members on some arguments, more axes on the cotangent: equal to a loop."""
    members = 3
    stacked = [np.stack([a, a + 0.3, a * 0.7]) for a in case.arguments]
    for which in range(1, 2 ** len(stacked)):
        mixed = [
            s if which >> k & 1 else a
            for k, (s, a) in enumerate(zip(stacked, case.arguments, strict=True))
        ]
        z = lib.host(_call(case, lib, *mixed)[0])
        dz = np.random.default_rng(3).normal(size=(2, *z.shape))
        grads = _pull(case, lib, *mixed, dz=dz)
        for i in range(members):
            one = [s[i] if which >> k & 1 else mixed[k] for k, s in enumerate(stacked)]
            np.testing.assert_allclose(
                z[i], lib.host(_call(case, lib, *one)[0]), rtol=1e-12, atol=1e-13
            )
            for j in range(2):
                alone = _pull(case, lib, *one, dz=dz[j, i])
                for g, wanted in zip(grads, alone, strict=True):
                    assert g.shape == (2, members, *wanted.shape)
                    np.testing.assert_allclose(g[j, i], wanted, rtol=1e-11, atol=1e-12)


def test_wrt_leaves_out_what_nobody_wants() -> None:
    lib = library("numpy")
    for name in ("dense", "layer_norm", "batch_norm", "batch_norm_inference"):
        case = CASES[name]
        z, pullback = _call(case, lib, *case.arguments)
        every = pullback(np.ones_like(z))
        for k in range(len(every)):
            some = pullback(np.ones_like(z), wrt=(k,))
            assert [g is None for g in some] == [i != k for i in range(len(every))]
            np.testing.assert_array_equal(some[k], every[k])


@pytest.mark.skipif(not here("jax"), reason="needs JAX")
def test_jax_vjp_of_the_forward_and_jit(case: Case) -> None:
    import jax

    with jax.enable_x64(True):
        lib = library("jax")
        data = [None if a is None else lib.array(a) for a in case.data]

        def forward(*arguments: Any) -> Any:
            return case.rule(*arguments, *data, **case.options, xp=lib.xp)[0]

        @jax.jit
        def both(dz: Any, *arguments: Any) -> Any:
            z, pullback = case.rule(*arguments, *data, **case.options)
            return z, pullback(dz)

        given = [lib.array(a) for a in case.arguments]
        z, vjp = jax.vjp(forward, *given)
        dz = lib.array(np.random.default_rng(4).normal(size=z.shape))
        jitted, grads = both(dz, *given)
        np.testing.assert_allclose(jitted, z, rtol=1e-12)
        for g, wanted in zip(grads, vjp(dz), strict=True):
            np.testing.assert_allclose(g, wanted, rtol=1e-10, atol=1e-12)


def _torch_oracle(name: str) -> Callable[..., Any] | None:
    """An independent forward from torch's own library, for z, t and weight."""
    import torch
    from torch.nn import functional as f

    own: dict[str, Any] = {
        "hard_sigmoid": f.hardsigmoid,
        "hard_tanh": f.hardtanh,
        "hard_silu": f.hardswish,
        "gelu_tanh": functools.partial(f.gelu, approximate="tanh"),
        "identity": lambda x: x,
        "exp": torch.exp,
        "softmax": functools.partial(f.softmax, dim=-1),
        "log_softmax": functools.partial(f.log_softmax, dim=-1),
        "leaky_relu, slope": functools.partial(f.leaky_relu, negative_slope=0.3),
        "elu, alpha": functools.partial(f.elu, alpha=0.7),
        "celu, alpha": functools.partial(f.celu, alpha=1.7),
        "dense": f.linear,
        "dense, no bias": f.linear,
        "layer_norm": lambda x, g, s: f.layer_norm(x, (3,), g, s),
        "batch_norm": lambda x, g, s: f.batch_norm(
            x, None, None, g, s, training=True, eps=1e-5
        ),
        "batch_norm_inference": lambda x, g, s, m, v: (
            (x - m) / (v + 1e-5).sqrt() * g + s
        ),
        "squared_error": lambda z, t, w: f.mse_loss(z, t),
        "absolute_error": lambda z, t, w: f.l1_loss(z, t),
        "huber": lambda z, t, w: f.huber_loss(z, t, delta=0.8),
        "poisson": lambda z, t, w: f.poisson_nll_loss(z, t, log_input=True),
        "binary_cross_entropy": lambda z, t, w: f.binary_cross_entropy_with_logits(
            z, t
        ),
        "cross_entropy": lambda z, t, w: f.cross_entropy(z, t.long()),
        "cross_entropy, weighted": lambda z, t, w: (
            (f.cross_entropy(z, t.long(), reduction="none") * w).sum() / w.sum()
        ),
        "squared_error, weighted": lambda z, t, w: (
            (((z - t) ** 2).mean(-1) * w).sum() / w.sum()
        ),
    }
    if name == "dropout":  # torch draws its own mask
        return None
    return own.get(name, getattr(f, name, None))


@pytest.mark.skipif(not here("torch"), reason="needs PyTorch")
@pytest.mark.parametrize("name", CASES)
def test_torch_autograd_of_torchs_own_functions(name: str) -> None:
    import torch

    case, oracle = CASES[name], _torch_oracle(name)
    if oracle is None:
        assert name.partition(",")[0] in {
            *("quantile", "dropout", "absolute_error", "huber", "poisson"),
            *("binary_cross_entropy", "cross_entropy"),
        }
        return
    lib = library("torch")
    given = [lib.array(a).requires_grad_() for a in case.arguments]
    data = [None if a is None else lib.array(a) for a in case.data]
    z = oracle(*given, *data)
    dz = torch.randn(z.shape, dtype=z.dtype, generator=torch.manual_seed(0))
    wanted = torch.autograd.grad(z, given, dz)
    ours, pullback = _call(case, lib, *case.arguments)
    np.testing.assert_allclose(lib.host(ours), lib.host(z), rtol=1e-10, atol=1e-12)
    for g, w in zip(pullback(dz), wanted, strict=True):
        # torch keeps these two functions' constants in float32.
        rtol = 5e-8 if name in ("hard_sigmoid", "celu, alpha") else 1e-9
        np.testing.assert_allclose(lib.host(g), lib.host(w), rtol=rtol, atol=1e-12)


@pytest.mark.skipif(not here("torch"), reason="needs PyTorch")
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_class_weights_as_torch_has_them(smoothing: float) -> None:
    import torch
    from torch.nn import functional as f

    c = (0.5, 3.0, 1.0)
    z = torch.from_numpy(X)
    options: dict[str, Any] = {"class_weight": c, "label_smoothing": smoothing}
    wanted = f.cross_entropy(
        z,
        torch.from_numpy(LABELS).long(),
        weight=torch.tensor(c, dtype=torch.float64),
        label_smoothing=smoothing,
    )
    for target in (LABELS, np.eye(3)[LABELS]):
        ours = rules.cross_entropy(X, target, **options)[0]
        assert ours == pytest.approx(float(wanted), rel=1e-12)
    # Two classes are the same in one logit.
    pair: dict[str, Any] = {"class_weight": c[:2], "label_smoothing": smoothing}
    t = np.array([0, 1, 1, 0, 1])
    two = np.stack([np.zeros(5), X[:, 0]], axis=1)
    one = rules.binary_cross_entropy(X[:, :1], t[:, None].astype(float), **pair)[0]
    assert one == pytest.approx(rules.cross_entropy(two, t, **pair)[0], rel=1e-12)


LOSSES = [name for name in CASES if name.endswith(", weighted")]


@pytest.mark.parametrize("name", LOSSES)
def test_weights_by_hand(name: str, lib: Library) -> None:
    """Σwl/Σw: an integer weight counts a row that often, 0 leaves it out."""
    case = CASES[name]
    t = case.data[0]
    whole = np.array([2.0, 1.0, 0.0, 3.0, 1.0])
    rows = np.repeat(np.arange(5), whole.astype(int))
    weighted = lib.host(
        _call(case._replace(data=(t, whole)), lib, case.arguments[0])[0]
    )
    repeated = case._replace(data=(t[rows], None))
    plain = lib.host(_call(repeated, lib, case.arguments[0][rows])[0])
    np.testing.assert_allclose(weighted, plain, rtol=1e-13)
    for weight in (np.zeros(5), np.full(5, 1e-300)):
        z, pullback = _call(case._replace(data=(t, weight)), lib, case.arguments[0])
        (dz,) = pullback()
        assert np.isfinite(lib.host(z))
        assert np.isfinite(lib.host(dz)).all()
        if not weight.any():
            assert lib.host(z) == 0.0
            assert not lib.host(dz).any()


@pytest.mark.parametrize(
    "name", [*LOSSES, *(n.removesuffix(", weighted") for n in LOSSES)]
)
def test_no_rows(name: str, lib: Library) -> None:
    case = CASES[name]
    data = tuple(None if a is None else a[:0] for a in case.data)
    z, pullback = _call(case._replace(data=data), lib, case.arguments[0][:0])
    assert lib.host(z) == 0.0
    assert tuple(pullback()[0].shape) == (0, 3)


EXTREMES = [0.0, -0.0, 88.0, -88.0, 1e4, -1e4, 800.0, -800.0, 1e-40, -1e-310, 3.0, 1.0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("where", LIBRARIES)
def test_extremes_are_finite_and_keep_their_dtype(dtype: str, where: str) -> None:
    lib = library(where)
    if where == "jax":
        import jax

        context: Any = jax.enable_x64(dtype == "float64")
    else:
        context = np.errstate(under="ignore")
    with context, np.errstate(over="raise", invalid="raise", divide="raise"):
        x = np.array(EXTREMES, dtype=dtype).reshape(4, 3)
        for name in set(NAMES) - {"exp"}:
            z, pullback = getattr(rules, name)(lib.array(x), xp=lib.xp)
            (dx,) = pullback(lib.array(np.ones_like(x)))
            for a in (z, dx):
                assert dtype in str(a.dtype), name
                assert np.isfinite(lib.host(a)).all(), name
        for name, t in (
            ("squared_error", x[::-1].copy()),
            ("absolute_error", x[::-1].copy()),
            ("huber", x[::-1].copy()),
            ("quantile", x[::-1].copy()),
            ("binary_cross_entropy", np.eye(4, 3, dtype=dtype)),
            ("cross_entropy", np.array([0, 1, 2, 0], dtype=np.int32)),
        ):
            for weight in (None, lib.array(np.array([1, 0, 2, 3], dtype=dtype))):
                z, pullback = getattr(rules, name)(
                    lib.array(x), lib.array(t), weight, xp=lib.xp
                )
                (dx,) = pullback()
                for a in (z, dx):
                    assert dtype in str(a.dtype), name
                    assert np.isfinite(lib.host(a)).all(), name


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    shape=st.lists(st.integers(0, 4), min_size=1, max_size=4).map(lambda s: (*s, 3)),
    seed=st.integers(0, 99),
)
def test_any_shape(name: str, shape: tuple[int, ...], seed: int) -> None:
    """Zero rows and any lead: shapes are kept, rows are independent of each other."""
    x = np.random.default_rng(seed).normal(scale=3.0, size=shape)
    strided = np.repeat(x, 2, axis=0)[::2][..., ::-1]
    z, pullback = getattr(rules, name)(strided)
    (dx,) = pullback(np.ones_like(z))
    assert z.shape == dx.shape == shape
    flat = getattr(rules, name)(np.ascontiguousarray(strided).reshape(-1, 3))[0]
    np.testing.assert_allclose(z.reshape(-1, 3), flat, rtol=1e-14)


def test_a_sure_and_right_answer_keeps_its_digits(lib: Library) -> None:
    z, t = np.array([[50.0]]), np.array([[1.0]])
    value, _ = rules.binary_cross_entropy(lib.array(z), lib.array(t), xp=lib.xp)
    assert float(lib.host(value)) == pytest.approx(np.exp(-50.0), rel=1e-12)


def test_no_class_weight_at_all_is_no_loss(lib: Library) -> None:
    labels = np.zeros(5, dtype=np.int32)
    options: dict[str, Any] = {"class_weight": (0.0, 1.0, 1.0), "label_smoothing": 0.1}
    for weight in (None, lib.array(np.ones(5))):
        value, pullback = rules.cross_entropy(
            lib.array(X), lib.array(labels), weight, **options, xp=lib.xp
        )
        assert float(lib.host(value)) == 0.0
        assert not lib.host(pullback()[0]).any()


def test_errors_say_what_came() -> None:
    with pytest.raises(ShapeError, match=r"x must have 3 features.*got x of shape"):
        rules.dense(np.ones((2, 4)), W, B)
    with pytest.raises(ShapeError, match=r"output's shape \(5, 1\).*got \(5,\)"):
        rules.squared_error(np.ones((5, 1)), np.ones(5))
    with pytest.raises(ShapeError, match="Cast a one-hot target"):
        rules.cross_entropy(X, np.eye(3, dtype=int)[LABELS])
    with pytest.raises(ArgumentTypeError, match="got list"):
        rules.relu([1.0])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="rate must lie in"):
        rules.dropout(X, BITS, rate=1.0)
