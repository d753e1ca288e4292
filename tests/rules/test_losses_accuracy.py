"""Losses against mpmath over their range: last places, tails, extremes, infinities.

A function here gives l and dl/dz of one row, in 400 digits, from the numbers that the
arrays hold.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from chainrule import rules
from chainrule.errors import ShapeError

from tests.support.libraries import Library, need

pytestmark = pytest.mark.no_sync

mp = need("mpmath").mp.clone()
mp.dps = 400  # more than lie between the terms of a sum
F32, F64 = "float32", "float64"
NAMES = [
    *rules.regression.__all__,
    *rules.classification.__all__,
    "binary_focal",
    "focal",
]
LABELLED = {"cross_entropy", "focal"}
# Four units in the last place of float32; float64's own bound.
TOLERANCE = {F32: 4 * 2.0**-23, F64: 1e-13}
# Targets and smoothing that no value of z makes the gradient of one term.
SOFT = [0.0, 1.0, 1e-6, 0.25, 1.0 - 2.0**-20]


def _number(a: Any) -> Any:
    return mp.mpf(float(a))


def _tails(dtype: str) -> list[float]:
    """Numbers of all magnitudes that matter to exponentials, with both signs."""
    ends = {F32: [17.0, 18.0, 60.0, 86.0], F64: [36.7, 38.0, 100.0, 700.0]}
    some = [1e-6, 1e-3, 0.1, 0.5, 1.0, 2.5, 6.0, 11.0, *ends[dtype]]
    return [0.0, *some, *(-v for v in some)]


def _binary(z: Any, s: Any, c: Any = (1, 1), eps: Any = 0) -> tuple[Any, Any]:
    z, s, eps = _number(z), _number(s), mp.mpf(eps)
    c0, c1 = map(mp.mpf, c)
    yes, no = s * (1 - eps) + eps / 2, (1 - s) * (1 - eps) + eps / 2
    l = c1 * yes * mp.log1p(mp.exp(-z)) + c0 * no * mp.log1p(mp.exp(z))  # noqa: E741
    g = (c0 * no - c1 * yes * mp.exp(-z)) / (1 + mp.exp(-z))
    mass = c1 * s + c0 * (1 - s)
    return l / mass, g / mass


def _softmax(z: Any, s: Any, c: Any = None, eps: Any = 0) -> tuple[Any, Any]:
    z, t = [_number(v) for v in z], [_number(v) for v in s]
    c = [mp.mpf(v) for v in c or [1] * len(z)]
    a = [
        ci * (ti * (1 - mp.mpf(eps)) + mp.mpf(eps) / len(z))
        for ci, ti in zip(c, t, strict=True)
    ]
    e = [mp.exp(v - max(z)) for v in z]
    total = sum(e)
    mass = sum(x * y for x, y in zip(c, t, strict=True)) if eps or c else 1
    l = sum(ai * (mp.log(total) + max(z) - zi) for ai, zi in zip(a, z, strict=True))  # noqa: E741
    g = [ei / total * sum(a) - ai for ei, ai in zip(e, a, strict=True)]
    return l / mass, [gi / mass for gi in g]


def _near(got: Any, want: Any, dtype: str, scale: Any = 1.0) -> None:
    """Assert that got is want to the dtype's bound, or below its normal numbers."""
    got = np.asarray(got, dtype=F64).ravel()
    for g, w in zip(got, want, strict=True):
        low = float(np.finfo(dtype).tiny) * 8
        bound = max(TOLERANCE[dtype] * scale * abs(w), low)
        assert abs(_number(g) - w) <= bound, (g, mp.nstr(w, 20), dtype)


def _called(lib: Library, name: str, z: Any, t: Any, *w: Any, **options: Any) -> Any:
    arrays = [lib.array(np.asarray(a)) for a in (z, t, *w)]
    value, pullback = getattr(rules, name)(*arrays, **options, xp=lib.xp)
    (dz,) = pullback()
    return lib.host(value), lib.host(dz)


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"class_weight": (1.0, 1.0)},
        {"class_weight": (0.5, 3.0)},
        {"label_smoothing": 0.125},
        {"label_smoothing": 2.0**-30, "class_weight": (2.0, 0.25)},
    ],
    ids=["plain", "ones", "weights", "smooth", "both"],
)
def test_binary_cross_entropy_to_the_last_places(
    dtype: str, options: dict[str, Any], lib: Library
) -> None:
    c, eps = options.get("class_weight", (1, 1)), options.get("label_smoothing", 0)
    for z in _tails(dtype):
        for t in SOFT:
            row, target = np.array([[z]], dtype), np.array([[t]], dtype)
            want = _binary(row[0, 0], target[0, 0], c, eps)
            value, dz = _called(lib, "binary_cross_entropy", row, target, **options)
            _near(value, [want[0]], dtype, 2.0)
            # Near its root a gradient is a difference of two numbers, of rounded
            # targets.
            p = 1 / (1 + mp.exp(-_number(row[0, 0])))
            s = _number(target[0, 0]) * (1 - mp.mpf(eps)) + mp.mpf(eps) / 2
            if abs(p - s) > 0.3 or s in (0, 1):
                _near(dz, [want[1]], dtype, 2.0)


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("form", ["labels", "rows"])
@pytest.mark.parametrize("c", [None, (1.0, 3.0, 0.5)])
def test_cross_entropy_to_the_last_places(
    dtype: str, form: str, c: Any, lib: Library
) -> None:
    for tail in _tails(dtype):
        z = np.array([[tail, 0.0, -0.5]], dtype)
        for label in range(3):
            hot = np.eye(3, dtype=dtype)[[label]]
            target = np.array([label], np.int32) if form == "labels" else hot
            want = _softmax(z[0], hot[0], c)
            value, dz = _called(lib, "cross_entropy", z, target, class_weight=c)
            _near(value, [want[0]], dtype)
            _near(dz, want[1], dtype)


@pytest.mark.parametrize("dtype", [F32, F64])
def test_soft_targets_keep_their_rests(dtype: str, lib: Library) -> None:
    """A class that is almost sure: what the others have decides its gradient."""
    rest = 1e-5 if dtype == F32 else 1e-10
    t = np.array([[1.0 - rest, 0.25 * rest, 0.75 * rest]], dtype)
    for tail in (30.0, 60.0):
        z = np.array([[tail, 0.0, -0.5]], dtype)
        want = _softmax(z[0], t[0])
        value, dz = _called(lib, "cross_entropy", z, t)
        scale = sum(_number(v) for v in t[0])  # rounded, the row does not sum to 1
        _near(value, [want[0] * scale], dtype)
        _near(dz, [g * scale for g in want[1]], dtype)


def _focal(z: Any, t: Any, gamma: Any) -> tuple[Any, Any]:
    """Of yes/no: l and dl/dz, for t 0 or 1."""
    z = _number(z) * (1 if t else -1)
    p, q = 1 / (1 + mp.exp(-z)), 1 / (1 + mp.exp(z))
    slope = -(q**gamma) * (q - gamma * p * mp.log(p))
    return -(q**gamma) * mp.log(p), slope * (1 if t else -1)


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_losses_to_the_last_places(
    dtype: str, gamma: float, lib: Library
) -> None:
    for tail in _tails(dtype):
        for t in (0.0, 1.0):
            z, target = np.array([[tail]], dtype), np.array([[t]], dtype)
            want = _focal(z[0, 0], t, gamma)
            pair = np.array([[0.0, tail]], dtype)
            value, dz = _called(lib, "binary_focal", z, target, gamma=gamma)
            _near(value, [want[0]], dtype, 4.0)
            _near(dz, [want[1]], dtype, 4.0)
            label = np.array([t], np.int32)
            value, dz = _called(lib, "focal", pair, label, gamma=gamma)
            _near(value, [want[0]], dtype, 4.0)
            _near(dz, [-want[1], want[1]], dtype, 4.0)


@pytest.mark.parametrize(("dtype", "z"), [(F32, 18.0), (F64, 38.0), (F64, 700.0)])
@pytest.mark.parametrize("options", [{}, {"class_weight": (1.0, 1.0)}], ids=str)
def test_binary_losses_are_mirror_images(
    dtype: str, z: float, options: dict[str, Any], lib: Library
) -> None:
    for t in (1.0, 0.75, 0.0):
        there = _called(
            lib,
            "binary_cross_entropy",
            np.array([[z]], dtype),
            np.array([[t]], dtype),
            **options,
        )
        back = _called(
            lib,
            "binary_cross_entropy",
            np.array([[-z]], dtype),
            np.array([[1.0 - t]], dtype),
            **options,
        )
        assert there[0] == back[0]
        assert there[1] == -back[1]
        assert there[1] != 0.0


@pytest.mark.parametrize("form", ["labels", "rows"])
def test_classes_that_change_places(form: str, lib: Library) -> None:
    for tail in (0.0, 3.0, 18.0, 38.0, 700.0):
        z = np.array([[tail, 0.0]])
        t = np.array([0], np.int32) if form == "labels" else np.array([[1.0, 0.0]])
        other = 1 - t if form == "labels" else t[:, ::-1]
        one = _called(lib, "cross_entropy", z, t)
        two = _called(lib, "cross_entropy", z[:, ::-1], other)
        assert one[0] == two[0]
        np.testing.assert_array_equal(one[1], two[1][:, ::-1])
        assert one[1][0, 0] == -one[1][0, 1] != 0.0
        _near(one[1][0, 1], [1 / (1 + mp.exp(tail))], F64)


def _plain(name: str, z: Any, t: Any) -> tuple[Any, Any]:
    z, t = _number(z), _number(t)
    d = z - t
    third, small = mp.mpf(0.3), mp.mpf(0.05)
    forms: dict[str, Callable[[], tuple[Any, Any]]] = {
        "squared_error": lambda: (d * d, 2 * d),
        "absolute_error": lambda: (abs(d), mp.sign(d)),
        "huber": lambda: (
            (d * d / 2, d)
            if abs(d) <= third
            else (third * (abs(d) - third / 2), third * mp.sign(d))
        ),
        "quantile": lambda: (
            (-small * d, -small)
            if d < 0
            else ((1 - small) * d, (1 - small) * mp.sign(d))
        ),
        "poisson": lambda: (mp.exp(z) - t * z, mp.exp(z) - t),
        "log_cosh": lambda: (mp.log(mp.cosh(d)), mp.tanh(d)),
    }
    return forms[name]()


OPTIONS: dict[str, dict[str, float]] = {
    "huber": {"delta": 0.3},
    "quantile": {"q": 0.05},
}


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize(
    "name",
    ["squared_error", "absolute_error", "huber", "quantile", "poisson", "log_cosh"],
)
def test_the_other_losses_to_the_last_places(
    name: str, dtype: str, lib: Library
) -> None:
    great = [1e-12, 1e-3, 0.125, 0.75, 3.0, 17.0, 1e6, 1e15]
    zs = [0.0, *great, *(-v for v in great)]
    if name == "poisson":
        zs = [0.0, *(v for v in _tails(dtype) if abs(v) < 86.0)]
    for z in zs:
        for t in (0.0, 0.25, 4.0):
            row, target = np.array([[z]], dtype), np.array([[t]], dtype)
            d = row - target  # what z - t loses is not the loss's
            if name != "poisson":
                row, target = d, np.zeros_like(d)
            if name == "log_cosh" and abs(z) >= 1e6:
                continue  # what 400 digits do not hold
            want = _plain(name, row[0, 0], target[0, 0])
            value, dz = _called(lib, name, row, target, **OPTIONS.get(name, {}))
            if name == "poisson" and t and z > -1.0:
                continue  # a difference of two positive numbers
            _near(value, [want[0]], dtype)
            _near(dz, [want[1]], dtype)


GREAT = {F32: 3e38, F64: 1.6e308}


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("weighted", [False, True])
def test_means_of_great_numbers(dtype: str, weighted: bool, lib: Library) -> None:
    """A sum may overflow where the mean does not."""
    big = GREAT[dtype]
    root = 0.9 * big**0.5
    w = [np.full(40, 0.3 * big, dtype)] if weighted else []
    zero, one = np.zeros((40, 1), dtype), np.ones((40, 1), dtype)
    with np.errstate(all="raise", under="ignore"):
        for name, z, t, want, slope in (
            ("squared_error", root * one, zero, root**2, 2 * root / 40),
            ("absolute_error", big * one, zero, big, 1 / 40),
            ("absolute_error", big * one, big * one, 0.0, 0.0),
            ("huber", 0.5 * big * one, -0.4 * big * one, 0.9 * big, 1 / 40),
            ("quantile", big * one, zero, 0.5 * big, 0.5 / 40),
            ("log_cosh", 0.5 * big * one, -0.4 * big * one, 0.9 * big, 1 / 40),
            ("hinge", -big * one, one, big, -1 / 40),
            ("binary_focal", -big * one, one, big, -1 / 40),
            ("poisson", -0.1 * big * one, 4 * one, 0.4 * big, -4 / 40),
            ("binary_cross_entropy", -big * one, one, big, -1 / 40),
        ):
            value, dz = _called(lib, name, z.astype(dtype), t.astype(dtype), *w)
            np.testing.assert_allclose(value, want, rtol=1e-5)
            np.testing.assert_allclose(dz, np.full((40, 1), slope), rtol=1e-5)
        # Differences that the dtype does not hold, and small factors.
        z, t = big * one[:1], -big * one[:1]
        w = [w[0][:1]] if weighted else []
        for name, option in (("huber", {"delta": 0.01}), ("quantile", {"q": 0.99})):
            value, dz = _called(lib, name, z, t, *w, **option)
            np.testing.assert_allclose(value, 0.02 * big, rtol=1e-5)
            np.testing.assert_allclose(dz, 0.01, rtol=1e-5)


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("form", ["labels", "rows"])
def test_logits_as_far_apart_as_can_be(dtype: str, form: str, lib: Library) -> None:
    z = np.array([[0.6, -0.6], [0.0, 0.0]]) * GREAT[dtype]
    t = np.array([0, 1], np.int32)
    target = t if form == "labels" else np.eye(2, dtype=dtype)[t]
    with np.errstate(all="raise", under="ignore"):
        value, dz = _called(lib, "cross_entropy", z.astype(dtype), target)
    np.testing.assert_allclose(value, 0.5 * np.log(2.0), rtol=1e-6)
    np.testing.assert_allclose(dz, [[0.0, 0.0], [0.25, -0.25]], atol=1e-7)


@pytest.mark.parametrize("form", ["labels", "rows"])
def test_masked_classes(form: str, lib: Library) -> None:
    inf = np.inf
    for z, label, loss, slope in (
        ([-inf, 0.0, 0.0], 1, np.log(2.0), [0.0, -0.5, 0.5]),
        ([-inf, 2.0, -inf], 1, 0.0, [0.0, 0.0, 0.0]),
        ([-inf, 0.0, 0.0], 0, inf, [-1.0, 0.5, 0.5]),
    ):
        t = np.array([label], np.int32) if form == "labels" else np.eye(3)[[label]]
        value, dz = _called(lib, "cross_entropy", np.array([z]), t)
        np.testing.assert_allclose(value, loss, rtol=1e-12)
        np.testing.assert_allclose(dz, [slope], atol=1e-12)
        # As a row of weight 0 it is no row.
        rows = np.array([z, [0.0, 1.0, 2.0]])
        t = (
            np.array([label, 2], np.int32)
            if form == "labels"
            else np.eye(3)[[label, 2]]
        )
        value, dz = _called(lib, "cross_entropy", rows, t, np.array([0.0, 2.0]))
        np.testing.assert_allclose(value, np.log(1 + np.exp(-1.0) + np.exp(-2.0)))
        np.testing.assert_array_equal(dz[0], 0.0)


def test_certain_answers(lib: Library) -> None:
    """An infinite logit of the right sign costs nothing, of the wrong infinitely."""
    z = np.array([[np.inf], [-np.inf]])
    for t, loss, slope in ((z > 0, 0.0, [0.0, 0.0]), (z < 0, np.inf, [0.5, -0.5])):
        value, dz = _called(lib, "binary_cross_entropy", z, t.astype(F64))
        assert value == loss
        np.testing.assert_array_equal(dz[:, 0], slope)
    value, dz = _called(lib, "poisson", z[1:], np.zeros((1, 1)))
    assert value == 0.0
    assert dz == 0.0


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("name", NAMES)
def test_weights_of_any_size(name: str, dtype: str, lib: Library) -> None:
    z = np.array([[0.5, -1.0], [2.0, 0.25], [1.0, 3.0]], dtype)
    t = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]], dtype)
    ratios = np.array([1.0, 0.25, 0.0625], dtype)
    want = _called(lib, name, z, t, ratios)
    for factor in (GREAT[dtype], float(np.finfo(dtype).tiny) * 64.0):
        got = _called(lib, name, z, t, ratios * np.asarray(factor, dtype))
        np.testing.assert_allclose(got[0], want[0], rtol=4e-7)
        np.testing.assert_allclose(got[1], want[1], rtol=4e-6)
    if name.endswith("cross_entropy"):
        for c in ((1e300, 3e300), (1e-300, 3e-300)):
            got = _called(lib, name, z, t, class_weight=c)
            want = _called(lib, name, z, t, class_weight=(1.0, 3.0))
            np.testing.assert_allclose(got[0], want[0], rtol=1e-6)
            np.testing.assert_allclose(got[1], want[1], rtol=1e-5)


@pytest.mark.parametrize("shape", [(4, 1), (3,), (1,), ()], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_weights_of_another_shape_are_refused(
    name: str, shape: tuple[int, ...], lib: Library
) -> None:
    z = np.ones((4, 2))
    for t in (z, np.zeros(4, np.int32))[: 1 + (name in LABELLED)]:
        with pytest.raises(ShapeError, match=r"^weight: .*\(4,\).*; got \("):
            _called(lib, name, z, t, np.ones(shape))


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "int64", "uint16"])
def test_labels_of_few_bits(kind: str, lib: Library) -> None:
    rng = np.random.default_rng(0)
    z, labels = rng.normal(size=(3, 300)), np.array([0, 100, 127])
    want = _called(lib, "cross_entropy", z, labels.astype(np.int32))
    got = _called(lib, "cross_entropy", z, labels.astype(kind))
    np.testing.assert_array_equal(got[0], want[0])
    np.testing.assert_array_equal(got[1], want[1])


def test_a_label_of_no_class_counts_as_a_row_without_loss(lib: Library) -> None:
    z = np.array([[1.0, 2.0], [0.5, 0.25], [3.0, 1.0]])
    value, dz = _called(lib, "cross_entropy", z, np.array([0, 2, -1], np.int32))
    alone, back = _called(lib, "cross_entropy", z[:1], np.array([0], np.int32))
    np.testing.assert_allclose(value, alone / 3.0, rtol=1e-12)
    np.testing.assert_allclose(dz, np.vstack([back / 3.0, np.zeros((2, 2))]))


@pytest.mark.parametrize("name", ["cross_entropy", "binary_cross_entropy"])
def test_users_of_automatic_derivatives_get_the_same_at_ties(name: str) -> None:
    jax, torch = need("jax"), need("torch")
    z = np.zeros((2, 2), F32)
    t = np.array([[1.0, 0.0], [0.25, 0.75]], F32)
    targets = [t, np.array([0, 1], np.int32)] if name == "cross_entropy" else [t]
    rule = getattr(rules, name)
    for target in targets:
        (want,) = rule(z, target)[1]()
        got = jax.grad(lambda a, t=target: rule(a, jax.numpy.asarray(t))[0])(
            jax.numpy.asarray(z)
        )
        np.testing.assert_allclose(got, want, atol=1e-7)
        tensor = torch.zeros((2, 2), requires_grad=True)
        rule(tensor, torch.from_numpy(target))[0].backward()
        np.testing.assert_allclose(tensor.grad.numpy(), want, atol=1e-7)


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
@pytest.mark.parametrize("name", NAMES)
def test_integers_halves_and_matrices(name: str) -> None:
    rule = getattr(rules, name)
    t = np.array([[1, 0], [0, 1]])
    z = np.array([[3, 1], [2, 120]])
    value, pullback = rule(z.astype(F64), t.astype(F64))
    (dz,) = pullback()
    if name not in {*LABELLED, "poisson"}:
        for kind in ("int8", "uint8", "int64"):
            got, back = rule(z.astype(kind), t.astype(kind))
            np.testing.assert_allclose(got, value, rtol=1e-6)
            np.testing.assert_allclose(back()[0], dz, rtol=1e-6)
    got, back = rule(np.asmatrix(z * 1.0), np.asmatrix(t * 1.0))
    np.testing.assert_allclose(got, value)
    np.testing.assert_allclose(back()[0], dz)
    if name != "poisson":
        half, back = rule(z.astype("float16"), t.astype("float16"))
        assert half.dtype == back()[0].dtype == np.float16
        np.testing.assert_allclose(half, value, rtol=2e-3)


def test_many_rows_of_halves() -> None:
    ones = np.ones((70_000, 1), "float16")
    value, _ = rules.squared_error(ones, 0 * ones)
    assert value == 1.0
