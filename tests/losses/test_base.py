"""Losses as configuration: names, options, targets, sequences, links."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import losses, rules
from chainrule.losses import (
    AbsoluteError,
    BinaryCrossEntropy,
    BinaryFocal,
    CosineDistance,
    CrossEntropy,
    Focal,
    Hinge,
    Huber,
    KullbackLeibler,
    LogCosh,
    Loss,
    Poisson,
    Quantile,
    SquaredError,
)

from tests.support.libraries import Library

NAMES: dict[str, type[Loss]] = {
    "squared_error": SquaredError,
    "absolute_error": AbsoluteError,
    "huber": Huber,
    "quantile": Quantile,
    "poisson": Poisson,
    "binary_cross_entropy": BinaryCrossEntropy,
    "cross_entropy": CrossEntropy,
    "log_cosh": LogCosh,
    "cosine_distance": CosineDistance,
    "hinge": Hinge,
    "kullback_leibler": KullbackLeibler,
    "binary_focal": BinaryFocal,
    "focal": Focal,
}
LOSSES: list[Loss] = [
    *[kind() for kind in NAMES.values()],
    Huber(0.3),
    Quantile(0.9),
    BinaryCrossEntropy([1.0, 3.0], 0.1),
    CrossEntropy([1.0, 2.0, 0.5], 0.2),
    CosineDistance(0.1),
    Hinge(squared=True),
    BinaryFocal(0.5, [1.0, 3.0]),
    Focal(0.5, [1.0, 2.0, 0.5]),
]
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 3, 12)
X = RNG.normal(size=(12, 4))


@pytest.mark.parametrize("name", NAMES)
def test_names(name: Any) -> None:
    loss = losses.get(name)
    assert type(loss) is NAMES[name]
    assert loss.name == name
    assert losses.get(loss) is loss
    assert loss == NAMES[name]()
    assert hash(loss) == hash(NAMES[name]())
    assert pickle.loads(pickle.dumps(loss)) == loss
    assert loss.rule is getattr(rules, name)


def test_options_are_part_of_a_loss() -> None:
    assert len(set(LOSSES)) == len(LOSSES)
    assert repr(Huber(0.3)) == "Huber(delta=0.3)"
    with pytest.raises(AttributeError):
        Huber(0.3).delta = 2.0


@pytest.mark.parametrize(
    "given",
    [
        {0: 1.0, 1: 2.0, 2: 0.5},
        {2: 0.5, 0: 1, 1: 2},
        [1, 2.0, 0.5],
        np.array([1.0, 2.0, 0.5]),
        (v for v in (1.0, 2.0, 0.5)),
    ],
    ids=["dict", "unordered dict", "list", "array", "generator"],
)
def test_class_weight_forms(given: Any) -> None:
    assert CrossEntropy(given) == CrossEntropy((1.0, 2.0, 0.5))


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: Huber(0.0), ValueError, "^Huber: delta must be .*above 0; got 0.0"),
        (lambda: Huber("x"), TypeError, "^Huber: delta .*'x'"),  # type: ignore[arg-type]
        (lambda: Huber(math.inf), ValueError, "^Huber: delta .*got inf"),
        (lambda: Quantile(0.0), ValueError, r"^Quantile: q .*\(0, 1\); got 0.0"),
        (lambda: Quantile(1.0), ValueError, r"^Quantile: q .*\(0, 1\); got 1.0"),
        (lambda: CrossEntropy(label_smoothing=1.0), ValueError, "label_smoothing"),
        (lambda: CrossEntropy(label_smoothing=-0.1), ValueError, "label_smoothing"),
        (lambda: CrossEntropy("balanced"), TypeError, "class_weight .*'balanced'"),  # type: ignore[arg-type]
        (lambda: CrossEntropy(3.0), TypeError, "class_weight .*got 3.0"),  # type: ignore[arg-type]
        (lambda: CrossEntropy({0: 1, 2: 1}), ValueError, r"keys must be .*\[0, 2\]"),
        (lambda: CrossEntropy({"a": 1}), ValueError, r"keys must be .*\['a'\]"),  # type: ignore[arg-type]
        (lambda: CrossEntropy({0: 1, "a": 1}), ValueError, r"keys must be .*'a'"),  # type: ignore[arg-type]
        (lambda: CrossEntropy([1, -1]), ValueError, r"class_weight\[1\] .*got -1"),
        (lambda: CrossEntropy([math.nan]), ValueError, r"class_weight\[0\] .*nan"),
        (lambda: CrossEntropy([None]), TypeError, r"class_weight\[0\] .*None"),  # type: ignore[list-item]
        (lambda: BinaryCrossEntropy([1.0]), ValueError, "needs 2 values; got 1"),
        (lambda: BinaryFocal(-1.0), ValueError, "^BinaryFocal: gamma .*got -1"),
        (lambda: BinaryFocal(1.0, [1, 2, 3]), ValueError, "^BinaryFocal: .*got 3"),
        (lambda: Focal(math.nan), ValueError, "^Focal: gamma .*got nan"),
        (lambda: Hinge("yes"), TypeError, "^Hinge: squared .*'yes'"),  # type: ignore[arg-type]
        (lambda: CosineDistance(0.0), ValueError, "^CosineDistance: eps .*got 0"),
    ],
    ids=range(21),
)
def test_bad_options(make: Callable[[], Any], error: Any, match: str) -> None:
    with pytest.raises(error, match=match) as caught:
        make()
    assert isinstance(caught.value, cr.ChainruleError)


def _target(loss: Loss, shape: tuple[int, ...]) -> Any:
    rng = np.random.default_rng(1)
    if isinstance(loss, (CrossEntropy, Focal)):
        return rng.integers(0, shape[-1], shape[:-1]).astype(np.int32)
    if isinstance(loss, (BinaryCrossEntropy, BinaryFocal, Hinge)):
        return rng.integers(0, 2, shape).astype(np.float64)
    return rng.uniform(0.0, 2.0, shape)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("members", [(), (2,)], ids=["one", "members"])
@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_sequences_are_rows(
    loss: Loss, members: tuple[int, ...], weighted: bool, lib: Library
) -> None:
    """Outputs (time, m) count as rows, each with the weight of its sample."""
    batch, time, m = 4, 5, 3
    z = np.random.default_rng(2).normal(size=(*members, batch, time, m))
    t = _target(loss, (batch, time, m))
    w = np.array([1.0, 0.0, 2.0, 0.5]) if weighted else None
    value, pull = loss(
        lib.array(z),
        lib.array(t),
        None if w is None else lib.array(w),
        (time, m),
        xp=lib.xp,
    )
    (dz,) = pull()
    rows = t.reshape(-1, *t.shape[2:])
    options = {name: getattr(loss, name) for name in loss.options}
    want, want_pull = type(loss).rule(
        z.reshape(*members, -1, m),
        rows,
        None if w is None else np.repeat(w, time),
        **options,
    )
    np.testing.assert_allclose(lib.host(value), want, rtol=1e-12)
    np.testing.assert_allclose(
        lib.host(dz), want_pull()[0].reshape(z.shape), rtol=1e-11, atol=1e-15
    )
    if not members:  # sequences of one step are vectors
        one, _ = loss(lib.array(z[:, :1]), lib.array(t[:, :1]), None, (1, m), xp=lib.xp)
        two, _ = loss(lib.array(z[:, 0]), lib.array(t[:, 0]), None, (m,), xp=lib.xp)
        np.testing.assert_allclose(lib.host(one), lib.host(two), rtol=1e-12)


@pytest.mark.parametrize("shape", [(3,), (5, 3)], ids=str)
@pytest.mark.parametrize("kind", ["int64", "uint8", "float64", "float32"])
def test_label_targets(shape: tuple[int, ...], kind: str, lib: Library) -> None:
    loss, labels = CrossEntropy(), RNG.integers(0, 3, (4, *shape[:-1]))
    for y in (labels, labels[..., None]):
        t = loss.target(lib.array(y.astype(kind)), shape, xp=lib.xp)
        assert lib.xp.isdtype(t.dtype, "signed integer")
        np.testing.assert_array_equal(lib.host(t), labels)
    rows = np.eye(3)[labels].astype(kind)
    t = loss.target(lib.array(rows), shape, xp=lib.xp)
    np.testing.assert_array_equal(lib.host(t), rows)


@pytest.mark.parametrize("kind", ["int64", "bool", "float32", "float64"])
def test_regression_targets(kind: str, lib: Library) -> None:
    y = (np.arange(4) % 2).astype(kind)
    for loss in (SquaredError(), Poisson(), BinaryCrossEntropy()):
        t = loss.target(lib.array(y), (1,), xp=lib.xp)
        assert t.shape == (4, 1)  # a column: nothing is ever broadcast
        np.testing.assert_array_equal(lib.host(t)[:, 0], y)
        for shape in ((2,), (1, 1)):
            with pytest.raises(cr.ShapeError, match=r"^y must have samples of shape"):
                loss.target(lib.array(y), shape, xp=lib.xp)


def test_bool_labels(lib: Library) -> None:
    t = CrossEntropy().target(lib.array(np.array([True, False])), (2,), xp=lib.xp)
    np.testing.assert_array_equal(lib.host(t), [1, 0])


@pytest.mark.parametrize(
    ("loss", "shape", "y", "match"),
    [
        (CrossEntropy(), (3,), [0, 3], r"labels in 0 \.\.\. 2.*from 0 to 3"),
        (CrossEntropy(), (3,), [-1, 0], "labels from -1 to 0"),
        (CrossEntropy(), (3,), [0.5, 1.0], "fractional value"),
        (CrossEntropy(), (3,), [[0.5, 0.5, 0.5]], "neither"),
        (CrossEntropy(), (3,), [[1.5, -0.5, 0.0]], "neither"),
        (CrossEntropy(), (1,), [0, 1], "binary_cross_entropy"),
        (CrossEntropy([1, 2]), (3,), [0, 1], "one value per class, 3; got 2"),
        (BinaryCrossEntropy(), (1,), [0, 2], r"\[0, 1\]"),
        (BinaryCrossEntropy(), (1,), [-0.1, 0.0], r"\[0, 1\]"),
        (Poisson(), (1,), [-1.0, 2.0], "not be negative"),
        (BinaryFocal(), (1,), [0, 2], r"\[0, 1\] for binary_focal"),
        (Focal(), (3,), [0, 3], r"labels in 0 \.\.\. 2.*from 0 to 3"),
        (Focal(), (1,), [0, 1], "need binary_focal"),
        (Hinge(), (1,), [-1, 1], r"must hold 0 and 1 .*\(y \+ 1\) / 2"),
        (KullbackLeibler(), (3,), [0, 1], "rows of probabilities.*cross_entropy"),
        (KullbackLeibler(), (2,), [[1.0, 1.0]], "for kullback_leibler.*neither"),
        (CosineDistance(), (1,), [0.0, 1.0], "at least 2 units"),
    ],
    ids=range(17),
)
def test_bad_targets(
    loss: Loss, shape: tuple[int, ...], y: Any, match: str, lib: Library
) -> None:
    with pytest.raises(cr.ArgumentError, match=match):
        loss.target(lib.array(np.array(y)), shape, xp=lib.xp)


def test_links(lib: Library) -> None:
    z = RNG.normal(size=(6, 3)) * 4.0
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    for loss, want in (
        (CrossEntropy(), e / e.sum(axis=-1, keepdims=True)),
        (BinaryCrossEntropy(), 1.0 / (1.0 + np.exp(-z))),
    ):
        p = loss.probabilities(lib.array(z), xp=lib.xp)
        np.testing.assert_allclose(lib.host(p), want, rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_predict_proba(name: Any) -> None:
    model = cr.Model(cr.MLP((3,)), loss=name, dtype="float64").build(4)
    classes = {"cross_entropy", "focal", "kullback_leibler"}
    if name not in classes | {"binary_cross_entropy", "binary_focal"}:
        with pytest.raises(cr.ArgumentError, match=f"loss is {name}. Use predict"):
            model.predict_proba(X)
        return
    z, p = model.predict(X), model.predict_proba(X)
    if name in classes:
        np.testing.assert_allclose(p.sum(axis=1), 1.0)
        np.testing.assert_allclose(
            np.log(p[:, :1] / p[:, 1:]), z[:, :1] - z[:, 1:], rtol=1e-9, atol=1e-12
        )
    else:
        np.testing.assert_allclose(np.log(p / (1.0 - p)), z, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_class_weight_is_sample_weight(smoothing: float) -> None:
    """Without smoothing, and on labels, the two are the same: torch's definition."""
    c = np.array([1.0, 2.0, 0.5])
    plain, weighted = (
        cr.Model(cr.MLP((3,)), loss=loss, dtype="float64").build(4)
        for loss in (CrossEntropy(), CrossEntropy(c, smoothing))
    )
    got = weighted.evaluate(X, LABELS)["loss"]
    want = plain.evaluate(X, LABELS, c[LABELS])["loss"]
    assert (got == pytest.approx(want, rel=1e-12)) == (smoothing == 0.0)
    rows = weighted.evaluate(X, np.eye(3)[LABELS])["loss"]
    assert rows == pytest.approx(got, rel=1e-12)


def test_a_loss_of_ones_own() -> None:
    class Doubled(Loss):
        @staticmethod
        def rule(z: Any, t: Any, weight: Any = None, *, xp: Any = None) -> Any:
            value, pull = rules.squared_error(z, t, weight, xp=xp)
            return 2.0 * value, lambda dvalue=1.0: pull(2.0 * dvalue)

    y = X[:, :2]
    one = cr.Model(cr.MLP((2,)), optimizer=cr.SGD(0.02), dtype="float64")
    two = cr.Model(
        cr.MLP((2,)), loss=Doubled(), optimizer=cr.SGD(0.01), dtype="float64"
    )
    want = [2.0 * v for v in one.fit(X, y, epochs=3)["loss"]]
    assert two.fit(X, y, epochs=3)["loss"] == pytest.approx(want)
    np.testing.assert_allclose(two.theta, one.theta)


def _over(axis: Any) -> Callable[..., Any]:
    """A squared error that adds up over these axes."""

    def rule(z: Any, t: Any, weight: Any = None, *, xp: Any = None) -> Any:
        share = 1.0 / (z.shape[-2] * z.shape[-1])
        d = z - t
        return xp.sum(d * d, axis=axis) * share, lambda dvalue=1.0: (
            2.0 * share * d * _back(dvalue),
        )

    return rule


def _back(dvalue: Any) -> Any:
    return dvalue[..., None, None] if getattr(dvalue, "ndim", 0) else dvalue


@pytest.mark.parametrize("backend", [b for b in cr.backends.available() if b != "cupy"])
@pytest.mark.parametrize(
    ("axis", "members", "match"),
    [
        (
            None,
            2,
            r"one value for each member of the ensemble, of shape \(2,\); got \(\)",
        ),
        (-1, 0, r"a scalar, of shape \(\); got \(12,\)"),
        (-1, 2, r"of shape \(2,\); got \(2, 12\)"),
    ],
    ids=["over members", "by row", "by row and member"],
)
@pytest.mark.parametrize("calls", [False, True], ids=["rule", "call"])
def test_a_loss_has_one_value_for_each_member(
    backend: Any, axis: Any, members: int, match: str, calls: bool
) -> None:
    class Own(Loss):
        rule = staticmethod(_over(axis))

    if calls:

        class Calls(Own):
            def __call__(
                self, z: Any, t: Any, weight: Any, shape: Any, *, xp: Any
            ) -> Any:
                return _over(axis)(z, t, weight, xp=xp)

        Own = Calls  # type: ignore[misc]

    ensemble: dict[str, Any] = {"members": members} if members else {}
    model = cr.Model(cr.MLP((2,)), loss=Own(), backend=backend, **ensemble).build(4)
    before = [np.array(a) for a in model.get_weights()]
    for _ in range(2):
        with pytest.raises(cr.ShapeError, match=match):
            model.fit(X, X[:, :2], epochs=2, batch_size=12)
        after = [np.array(a) for a in model.get_weights()]
        for one, two in zip(before, after, strict=True):
            np.testing.assert_array_equal(one, two)
        assert not model.history
    # Where rows are filled up to be compiled once, they are 16.
    with pytest.raises(cr.ShapeError, match=match.replace("12", "1[26]")):
        model.evaluate(X, X[:, :2])


@pytest.mark.parametrize("members", [0, 2])
def test_a_loss_over_samples_and_outputs_alone(members: int) -> None:
    class Own(Loss):
        rule = staticmethod(_over((-2, -1)))

    ensemble: dict[str, Any] = {"members": members} if members else {}
    theirs, ours = (
        cr.Model(cr.MLP((2,)), loss=loss, backend="numpy", **ensemble)
        for loss in (Own(), "squared_error")
    )
    for model in (theirs, ours):
        model.fit(X, X[:, :2], epochs=3, batch_size=5)
    np.testing.assert_allclose(theirs.theta, ours.theta, rtol=1e-5)


def test_what_a_rule_must_return() -> None:
    class Own(Loss):
        @staticmethod
        def rule(z: Any, t: Any, weight: Any = None, *, xp: Any = None) -> Any:
            return xp.sum((z - t) ** 2)

    model = cr.Model(cr.MLP((2,)), loss=Own(), backend="numpy")
    with pytest.raises(cr.ArgumentError, match=r"must return \(value, pullback\)"):
        model.fit(X, X[:, :2], epochs=1)
    # Sequences are folded into rows before the rule sees them.
    model = cr.Model(cr.Dense(2), loss=Own(), backend="numpy")
    with pytest.raises(cr.ArgumentError, match=r"must return \(value, pullback\)"):
        model.fit(X[:, None], X[:, None, :2], epochs=1)
