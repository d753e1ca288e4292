"""Losses: oracles, weights of samples and classes, no rows, extremes, wrong shapes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from chainrule import rules
from chainrule.errors import ArgumentTypeError, ShapeError
from chainrule.rules import classification, regression

from tests.support.libraries import Library, need
from tests.support.rules import (
    DTYPES,
    EXTREMES,
    NUMPY,
    SHAPES,
    Case,
    RuleChecks,
    call,
    cases,
    cast,
    close,
    finite,
    floats,
    pull,
)

pytestmark = pytest.mark.no_sync

# The package has a function of the module's name.
FOCAL: Any = sys.modules["chainrule.rules.focal"]
LOSSES = (*regression.__all__, *classification.__all__, *FOCAL.__all__)
CASES = cases(regression, classification, FOCAL)
# Losses whose targets may be labels; those of chances of classes.
LABELLED = {"cross_entropy", "focal"}
CHANCES = {*LABELLED, "binary_cross_entropy", "binary_focal", "kullback_leibler"}
TARGETS = {name: CASES[name].data[0] for name in LOSSES}
((Z,), (T, WEIGHT)) = CASES["squared_error, weighted"][1:3]
LABELS = TARGETS["cross_entropy"]
HOT = np.eye(3)[LABELS]


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def _hot(t: Any) -> Any:
    return np.eye(3)[t] if t.dtype.kind == "i" else t


def _entries(case: Case) -> tuple[Any, Any]:
    """Losses of entries and how much each counts, straight from the docstrings."""
    (z,), t = case.arguments, _hot(case.data[0])
    o: dict[str, Any] = case.options
    d = z - t
    mass = np.ones_like(z)
    if case.name == "squared_error":
        return d**2, mass
    if case.name == "absolute_error":
        return abs(d), mass
    if case.name == "huber":
        delta = o.get("delta", 1.0)
        far = delta * (abs(d) - delta / 2)
        return np.where(abs(d) <= delta, d**2 / 2, far), mass
    if case.name == "quantile":
        q = o.get("q", 0.5)
        return np.maximum(-q * d, (1 - q) * d), mass
    smooth = {"poisson": np.exp(z) - t * z, "log_cosh": np.log(np.cosh(d))}
    if case.name in smooth:
        return smooth[case.name], mass
    if case.name == "cosine_distance":
        eps = o.get("eps", 1e-8)
        lengths = [np.maximum(np.sqrt((a**2).sum(-1)), eps) for a in (z, t)]
        cos = (z * t).sum(-1) / np.prod(lengths, axis=0)
        return (1 - cos)[:, None], mass[:, :1]
    if case.name == "hinge":
        gap = np.maximum(1 - (2 * t - 1) * z, 0.0)
        return (gap**2 if o.get("squared") else gap), mass
    return _entries_of_classes(case.name, z, t, o)


def _entries_of_classes(
    name: str, z: Any, t: Any, o: dict[str, Any]
) -> tuple[Any, Any]:
    mass = np.ones_like(z)
    gamma = o.get("gamma", 2.0)
    if name == "binary_focal":
        c0, c1 = o.get("class_weight", (1.0, 1.0))
        p = 1 / (1 + np.exp(-z))
        yes, no = (1 - p) ** gamma * np.log(p), p**gamma * np.log(1 - p)
        return -c1 * t * yes - c0 * (1 - t) * no, c1 * t + c0 * (1 - t)
    eps = o.get("label_smoothing", 0.0)
    if name == "binary_cross_entropy":
        c0, c1 = o.get("class_weight", (1.0, 1.0))
        s = t * (1 - eps) + eps / 2
        p = 1 / (1 + np.exp(-z))
        entries = -c1 * s * np.log(p) - c0 * (1 - s) * np.log(1 - p)
        return entries, c1 * t + c0 * (1 - t)
    c = np.asarray(o.get("class_weight", (1.0, 1.0, 1.0)))
    s = t * (1 - eps) + eps / 3
    logp = z - np.log(np.exp(z).sum(-1, keepdims=True))
    if name == "kullback_leibler":
        l = t * (np.log(np.where(t > 0, t, 1)) - logp)  # noqa: E741
        return l.sum(-1, keepdims=True), mass[:, :1]
    if name == "focal":
        logp = (1 - np.exp(logp)) ** gamma * logp
    return -(c * s * logp).sum(-1, keepdims=True), (c * t).sum(-1, keepdims=True)


class TestLosses(RuleChecks):
    def jax_oracle(self, name: str) -> Callable[..., Any]:
        import jax
        import jax.numpy as jnp

        def forward(z: Any, t: Any, weight: Any = None, **o: Any) -> Any:
            if jnp.issubdtype(t.dtype, jnp.integer):
                t = jax.nn.one_hot(t, 3, dtype=z.dtype)
            eps, mass, d = o.get("label_smoothing", 0.0), jnp.ones_like(z), z - t
            if name == "squared_error":
                l = d**2  # noqa: E741
            elif name == "absolute_error":
                l = jnp.abs(d)  # noqa: E741
            elif name == "huber":
                e = o.get("delta", 1.0)
                l = jnp.where(jnp.abs(d) <= e, d**2 / 2, e * (jnp.abs(d) - e / 2))  # noqa: E741
            elif name == "quantile":
                q = o.get("q", 0.5)
                l = jnp.maximum(-q * d, (1 - q) * d)  # noqa: E741
            elif name == "poisson":
                l = jnp.exp(z) - t * z  # noqa: E741
            elif name == "log_cosh":
                l = jnp.log(jnp.cosh(d))  # noqa: E741
            elif name == "cosine_distance":
                u, v = (
                    a
                    / jnp.maximum(jnp.linalg.norm(a, axis=-1), o.get("eps", 1e-8))[
                        :, None
                    ]
                    for a in (z, t)
                )
                l = 1 - jnp.sum(u * v, -1, keepdims=True)  # noqa: E741
                mass = mass[:, :1]
            elif name == "hinge":
                l = jax.nn.relu(1 - (2 * t - 1) * z)  # noqa: E741
                l = l**2 if o.get("squared") else l  # noqa: E741
            elif name == "binary_focal":
                c0, c1 = o.get("class_weight", (1.0, 1.0))
                mass = c1 * t + c0 * (1 - t)
                up, down = jax.nn.log_sigmoid(z), jax.nn.log_sigmoid(-z)
                gamma = o.get("gamma", 2.0)
                l = -c1 * t * jnp.exp(gamma * down) * up  # noqa: E741
                l = l - c0 * (1 - t) * jnp.exp(gamma * up) * down  # noqa: E741
            elif name == "kullback_leibler":
                l = jax.scipy.special.rel_entr(t, jax.nn.softmax(z))  # noqa: E741
                l, mass = jnp.sum(l, -1, keepdims=True), mass[:, :1]  # noqa: E741
            elif name == "focal":
                c = jnp.asarray(o.get("class_weight", (1.0, 1.0, 1.0)))
                logp, p = jax.nn.log_softmax(z), jax.nn.softmax(z)
                l = c * t * (1 - p) ** o.get("gamma", 2.0) * logp  # noqa: E741
                l = -jnp.sum(l, -1, keepdims=True)  # noqa: E741
                mass = jnp.sum(c * t, -1, keepdims=True)
            elif name == "binary_cross_entropy":
                c0, c1 = o.get("class_weight", (1.0, 1.0))
                s = t * (1 - eps) + eps / 2
                mass = c1 * t + c0 * (1 - t)
                up, down = jax.nn.log_sigmoid(z), jax.nn.log_sigmoid(-z)
                l = -c1 * s * up - c0 * (1 - s) * down  # noqa: E741
            else:
                c = jnp.asarray(o.get("class_weight", (1.0, 1.0, 1.0)))
                s = t * (1 - eps) + eps / 3
                l = -jnp.sum(c * s * jax.nn.log_softmax(z), -1, keepdims=True)  # noqa: E741
                mass = jnp.sum(c * t, -1, keepdims=True)
            w = 1.0 if weight is None else weight[:, None]
            return jnp.sum(w * l) / jnp.sum(w * mass)

        return forward

    def torch_oracle(self, name: str) -> Callable[..., Any] | None:
        import torch
        from torch.nn import functional as f

        def forward(z: Any, t: Any, weight: Any = None, **o: Any) -> Any:
            options: dict[str, Any] = {
                "reduction": "mean" if weight is None else "none"
            }
            if name == "cross_entropy":
                c = o.get("class_weight")
                if c is not None and (weight is not None or t.dtype.is_floating_point):
                    pytest.skip("PyTorch divides by other sums here")
                if c is not None:
                    options["weight"] = torch.tensor(c, dtype=z.dtype)
                options["label_smoothing"] = o.get("label_smoothing", 0.0)
                t = t if t.dtype.is_floating_point else t.long()
                l = f.cross_entropy(z, t, **options)  # noqa: E741
            else:
                no_such = {"quantile", "hinge", "focal", "binary_focal", "log_cosh"}
                if o.keys() & {"q", "class_weight"} or name in no_such:
                    pytest.skip("PyTorch has no such loss")
                if name == "cosine_distance" and "eps" in o:
                    pytest.skip("PyTorch differentiates a length that it replaced")
                own: dict[str, Callable[..., Any]] = {
                    "squared_error": f.mse_loss,
                    "absolute_error": f.l1_loss,
                    "huber": f.huber_loss,
                    "poisson": f.poisson_nll_loss,  # log_input=True is its default
                    "binary_cross_entropy": f.binary_cross_entropy_with_logits,
                    "kullback_leibler": lambda z, t, reduction: _rows(
                        f.kl_div(z.log_softmax(-1), t, reduction="none").sum(-1),
                        reduction,
                    ),
                    "cosine_distance": lambda z, t, eps=1e-8, reduction="none": _rows(
                        1 - f.cosine_similarity(z, t, eps=eps), reduction
                    ),
                }
                l = own[name](z, t, **o, **options)  # noqa: E741
            if weight is None:
                return l
            l = l if l.ndim == 1 else l.mean(-1)  # noqa: E741
            return (weight * l).sum() / weight.sum()

        return forward


def _rows(l: Any, reduction: str) -> Any:  # noqa: E741
    return l.mean() if reduction == "mean" else l


def test_every_loss_has_a_case() -> None:
    assert {case.name for case in CASES.values()} == set(LOSSES)


def test_by_hand(case: Case, lib: Library) -> None:
    """Σwl/Σw in a loop over rows and entries."""
    entries, mass = _entries(case)
    weight = np.ones(5) if case.data[1] is None else case.data[1]
    above = below = 0.0
    for w, row, masses in zip(weight, entries, mass, strict=True):
        for entry, m in zip(row, masses, strict=True):
            above += w * entry
            below += w * m
    close(lib.host(call(case, lib)[0]), above / below)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("weight", [None, (0.5, 3.0, 1.0)])
def test_cross_entropy_of_labels_as_in_torch(weight: Any, smoothing: float) -> None:
    torch = need("torch")
    z = torch.tensor(Z, requires_grad=True)
    wanted = torch.nn.functional.cross_entropy(
        z,
        torch.tensor(LABELS).long(),
        weight=None if weight is None else torch.tensor(weight, dtype=z.dtype),
        label_smoothing=smoothing,
    )
    (dz,) = torch.autograd.grad(wanted, [z])
    for t in (LABELS, HOT):
        value, pullback = rules.cross_entropy(
            Z, t, class_weight=weight, label_smoothing=smoothing
        )
        close(value, wanted.item())
        close(pullback()[0], dz.numpy())


def test_the_pullback_starts_at_one(case: Case, lib: Library) -> None:
    _, pullback = call(case, lib)
    close(lib.host(pullback()[0]), pull(lib, pullback, np.array(1.0))[0])
    close(lib.host(pullback(2.0)[0]), 2.0 * lib.host(pullback()[0]))


def test_a_whole_weight_counts_its_row_so_often(case: Case, lib: Library) -> None:
    (z,), (t, _) = case.arguments, case.data
    whole = np.array([2, 1, 0, 3, 1])
    rows = np.repeat(np.arange(5), whole)
    weighted, pullback = call(case, lib, (z, t, whole.astype(float)))
    plain, back = call(case, lib, (z[rows], t[rows], None))
    close(lib.host(weighted), lib.host(plain))
    dz = np.zeros_like(z)
    np.add.at(dz, rows, lib.host(back()[0]))
    close(lib.host(pullback()[0]), dz)


def test_weights_that_sum_to_zero(case: Case, lib: Library) -> None:
    value, pullback = call(case, lib, (Z, case.data[0], np.zeros(5)))
    assert lib.host(value) == 0.0
    (dz,) = pullback()
    assert tuple(dz.shape) == Z.shape
    assert not lib.host(dz).any()


@pytest.mark.parametrize("scale", [1e-30, 1e30])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_only_ratios_of_weights_matter(
    case: Case, lib: Library, dtype: str, scale: float
) -> None:
    results = []
    for factor in (1.0, scale):
        items = cast((Z, case.data[0], WEIGHT * factor), dtype)
        value, pullback = call(case, lib, items)
        results.append((lib.host(value), lib.host(pullback()[0])))
    for one, other in zip(*results, strict=True):
        finite(dtype, one, other)
        close(other, one, 1e-5, 1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", TARGETS)
def test_subnormal_weights(name: str, dtype: str) -> None:
    """A sum of weights whose reciprocal overflows."""
    tiny = np.full(5, np.finfo(dtype).smallest_subnormal * 8, dtype=dtype)
    case = CASES[name]
    with np.errstate(all="raise", under="ignore"):
        value, pullback = call(case, NUMPY, [*cast((Z, case.data[0]), dtype), tiny])
        (dz,) = pullback()
    wanted, back = call(case, NUMPY)
    finite(dtype, value, dz)
    close(value, wanted, 1e-5)
    close(dz, back()[0], 1e-4, 1e-6)


@pytest.mark.parametrize(
    "name", ["absolute_error", "log_cosh", "quantile", "squared_error"]
)
def test_no_slope_on_target(name: str, lib: Library) -> None:
    t = lib.array(T)
    value, pullback = getattr(rules, name)(t, t, xp=lib.xp)
    assert lib.host(value) == 0.0
    assert not lib.host(pullback()[0]).any()


def test_one_entry_is_its_own_mean(lib: Library) -> None:
    z, t = lib.array(np.full((1, 1), 3.0)), lib.array(np.ones((1, 1)))
    value, pullback = rules.squared_error(z, t, xp=lib.xp)
    assert (lib.host(value), lib.host(pullback()[0])) == (4.0, 4.0)


@pytest.mark.parametrize("name", ["cross_entropy", "binary_cross_entropy"])
def test_class_weights_of_numpy_keep_the_precision(name: str, lib: Library) -> None:
    case = CASES[f"{name}, options"]
    c = np.asarray(case.options["class_weight"])
    case = case._replace(options={**case.options, "class_weight": c})
    value, pullback = call(case, lib, cast(case.inputs, "float32"))
    finite("float32", lib.host(value), lib.host(pullback()[0]))


def test_no_rows(case: Case, lib: Library) -> None:
    data = [None if a is None else a[:0] for a in case.data]
    value, pullback = call(case, lib, (Z[:0], *data))
    assert tuple(value.shape) == ()
    assert lib.host(value) == 0.0
    assert tuple(pullback()[0].shape) == (0, 3)


@settings(max_examples=200, deadline=None)
@given(data=st.data(), name=st.sampled_from(list(CASES)), dtype=DTYPES, shape=SHAPES)
def test_finite_wherever_the_loss_is(
    data: Any, name: str, dtype: str, shape: tuple[int, ...]
) -> None:
    case = CASES[name]
    *lead, rows, m = shape
    options = dict(case.options)
    if case.name in LABELLED and "class_weight" in options:
        options["class_weight"] = (0.5, 3.0, 1.0, 2.0)[:m]
    # e⁸⁸ is finite in float32, but not a sum of such.
    bound = 80.0 if case.name == "poisson" else 1e4
    z = data.draw(floats(dtype, shape, bound=bound))
    if case.name == "hinge":
        t = data.draw(hnp.arrays(dtype, shape, elements=st.sampled_from([0.0, 1.0])))
    elif case.name in CHANCES:
        chances = st.sampled_from([0.0, 0.25, 0.5, 1.0])
        t = data.draw(hnp.arrays(dtype, shape, elements=chances))
        if case.name in LABELLED and data.draw(st.booleans()):
            t = data.draw(
                hnp.arrays(np.int32, shape[:-1], elements=st.integers(0, m - 1))
            )
    else:
        t = data.draw(floats(dtype, shape))
    weight = None
    if case.data[1] is not None:
        some = st.sampled_from([0.0, 0.5, 1.0, 2.0, 1e-30])
        weight = data.draw(
            hnp.arrays(dtype, (rows,), elements=some.map(np.dtype(dtype).type))
        )
    with np.errstate(all="raise", under="ignore"):
        value, pullback = case.rule(z, t, weight, **options)
        (dz,) = pullback(np.ones(lead, dtype=dtype))
    assert value.shape == tuple(lead)
    assert dz.shape == shape
    finite(dtype, value, dz)
    if not rows or (weight is not None and not weight.any()):
        assert not np.any(value)
        assert not dz.any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", sorted(set(TARGETS) - {"poisson"}))
@pytest.mark.parametrize("weighted", [False, True])
def test_extremes_everywhere(
    name: str, dtype: str, weighted: bool, lib: Library
) -> None:
    z = np.asarray([*EXTREMES, 5.0, -5.0], dtype=dtype).reshape(6, 3)
    weight = np.array([1.0, 0.0, 2.0, 3.0, 0.5, 1e-3]) if weighted else None
    t: Any = z[::-1]
    if name in LABELLED:
        t = np.array([0, 1, 2, 0, 1, 2], dtype=np.int32)
    elif name in CHANCES:
        t = np.tile(np.array([0.0, 0.5, 1.0]), (6, 1))
    elif name == "hinge":
        t = np.tile(np.array([0.0, 1.0, 1.0]), (6, 1))
    value, pullback = call(CASES[name], lib, cast((z, t, weight), dtype))
    finite(dtype, lib.host(value), *pull(lib, pullback, np.ones((), dtype=dtype)))


def test_poisson_is_infinite_where_the_rate_is() -> None:
    with np.errstate(over="ignore"):
        value, pullback = rules.poisson(np.array([[800.0]]), np.array([[2.0]]))
        assert value == np.inf
        assert pullback()[0] == np.inf


@pytest.mark.parametrize("name", sorted(set(TARGETS)))
def test_a_flat_target_is_refused(name: str, lib: Library) -> None:
    z, t = lib.array(np.ones((5, 1))), lib.array(np.ones(5))
    text = rf"{name}: the target must have the output's shape.*got.*5"
    with pytest.raises(ShapeError, match=text):
        getattr(rules, name)(z, t, xp=lib.xp)


@pytest.mark.parametrize("shape", [(5, 3), (5, 1), (4,)])
def test_integer_targets_of_the_wrong_shape(shape: tuple[int, ...]) -> None:
    own = r"an integer t holds labels, of shape \(5,\); got integers of z's own shape"
    text = own if shape == Z.shape else "cross_entropy: the target must have"
    with pytest.raises(ShapeError, match=text):
        rules.cross_entropy(Z, np.zeros(shape, dtype=np.int64))


@pytest.mark.parametrize("name", TARGETS)
def test_a_list_is_no_array(name: str) -> None:
    with pytest.raises(ArgumentTypeError, match=r"rules take arrays.*got list"):
        getattr(rules, name)(Z.tolist(), TARGETS[name])


def test_focal_without_focus_is_cross_entropy(lib: Library) -> None:
    z, t = lib.array(Z), lib.array(HOT)
    for rule, plain in (
        (rules.focal, rules.cross_entropy),
        (rules.binary_focal, rules.binary_cross_entropy),
    ):
        value, pullback = rule(z, t, gamma=0.0, xp=lib.xp)
        wanted, back = plain(z, t, xp=lib.xp)
        close(lib.host(value), lib.host(wanted))
        close(lib.host(pullback()[0]), lib.host(back()[0]))


def test_focal_of_two_classes_is_binary_focal() -> None:
    two = np.stack([np.zeros(5), Z[:, 0]], axis=1)
    t = np.array([0, 1, 1, 0, 1])
    pair: Any = {"gamma": 1.3, "class_weight": (0.25, 0.75)}
    one = rules.binary_focal(Z[:, :1], t[:, None].astype(float), **pair)[0]
    close(one, rules.focal(two, t, **pair)[0])


def test_cosine_distance_of_rows_that_nearly_agree(lib: Library) -> None:
    t = np.array([[3e-5, 0.0], [0.0, 2e20]])
    z = t + np.array([[0.0, 3e-13], [2e12, 0.0]])
    value, _ = rules.cosine_distance(lib.array(z), lib.array(t), xp=lib.xp)
    close(lib.host(value), 0.5e-16, 1e-6, 0)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_class_weights_as_torch_has_them(smoothing: float) -> None:
    torch = need("torch")
    f = torch.nn.functional

    c = (0.5, 3.0, 1.0)
    z = torch.tensor(Z)
    options: dict[str, Any] = {"class_weight": c, "label_smoothing": smoothing}
    wanted = f.cross_entropy(
        z,
        torch.from_numpy(np.array(LABELS)).long(),
        weight=torch.tensor(c, dtype=torch.float64),
        label_smoothing=smoothing,
    )
    for target in (LABELS, np.eye(3)[LABELS]):
        ours = rules.cross_entropy(Z, target, **options)[0]
        assert ours == pytest.approx(float(wanted), rel=1e-12)
    # Two classes are the same in one logit.
    pair: dict[str, Any] = {"class_weight": c[:2], "label_smoothing": smoothing}
    t = np.array([0, 1, 1, 0, 1])
    two = np.stack([np.zeros(5), Z[:, 0]], axis=1)
    one = rules.binary_cross_entropy(Z[:, :1], t[:, None].astype(float), **pair)[0]
    assert one == pytest.approx(rules.cross_entropy(two, t, **pair)[0], rel=1e-12)


def test_a_sure_and_right_answer_keeps_its_digits(lib: Library) -> None:
    z, t = np.array([[50.0]]), np.array([[1.0]])
    value, _ = rules.binary_cross_entropy(lib.array(z), lib.array(t), xp=lib.xp)
    assert float(lib.host(value)) == pytest.approx(np.exp(-50.0), rel=1e-12)


def test_no_class_weight_at_all_is_no_loss(lib: Library) -> None:
    labels = np.zeros(5, dtype=np.int32)
    options: dict[str, Any] = {"class_weight": (0.0, 1.0, 1.0), "label_smoothing": 0.1}
    for weight in (None, lib.array(np.ones(5))):
        value, pullback = rules.cross_entropy(
            lib.array(Z), lib.array(labels), weight, **options, xp=lib.xp
        )
        assert float(lib.host(value)) == 0.0
        assert not lib.host(pullback()[0]).any()
