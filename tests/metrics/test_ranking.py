"""Areas and mean precisions: scikit-learn's, of ties, weights and several classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chainrule as cr
from chainrule import metrics

from tests.metrics.samples import each_case, softmax, weighted_case

OTHERS = {"auc": "roc_auc_score", "average_precision": "average_precision_score"}
each_name = pytest.mark.parametrize("name", OTHERS)


def both_there(labels: Any, m: int) -> Any:
    labels[:m] = np.arange(m)
    return labels


@each_case
@each_name
def test_two_classes(name: str, case: int) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    rng, n, weight = weighted_case(case)
    if weight is not None:
        weight[:2] += 1.0
    labels = both_there(rng.integers(0, 2, n), 2)
    z = np.round(rng.normal(size=n) + labels, case % 3)  # from many ties to few
    want = getattr(sklearn, OTHERS[name])(labels, z, sample_weight=weight)
    metric = getattr(metrics, name)
    two = np.stack([-z, np.zeros(n)], axis=1)
    for t, outputs, loss in (
        (labels, z, None),
        (labels > 0, z[:, None], "binary_cross_entropy"),
        (labels, z, "squared_error"),
        (labels, two, "cross_entropy"),
        (np.eye(2)[labels], two, "cross_entropy"),
    ):
        got = metric(t, outputs, weight, loss=loss)
        assert got == pytest.approx(want, rel=1e-12)
    if name == "auc":
        assert metric(labels, z, weight, label=0) == pytest.approx(want, rel=1e-12)
    both = metric(labels, z, weight, average=None)
    assert both[1] == metric(labels, z, weight)
    want = getattr(sklearn, OTHERS[name])(1 - labels, -z, sample_weight=weight)
    assert both[0] == pytest.approx(want, rel=1e-12)


@each_case
@each_name
@pytest.mark.parametrize("average", ["macro", "weighted"])
def test_several_classes(average: Any, name: str, case: int) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    rng, n, weight = weighted_case(case)
    m = int(rng.integers(3, 6))
    if weight is not None:
        weight[:m] += 1.0
    labels = both_there(rng.integers(0, m, n), m)
    z = np.round(rng.normal(size=(n, m)) + np.eye(m)[labels], 2)
    told = {"multi_class": "ovr"} if name == "auc" else {}
    want = getattr(sklearn, OTHERS[name])(
        labels, softmax(z), sample_weight=weight, average=average, **told
    )
    metric = getattr(metrics, name)
    got = metric(labels, z, weight, average=average)
    assert got == pytest.approx(want, rel=1e-12)
    rows = metric(np.eye(m)[labels], z, weight, average=average, loss="cross_entropy")
    assert rows == got
    each = metric(labels, z, weight, average=None)
    assert [metric(labels, z, weight, label=k) for k in range(m)] == list(each)


@each_case
@each_name
@pytest.mark.parametrize("average", ["macro", "weighted"])
def test_several_labels(average: Any, name: str, case: int) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    rng, n, weight = weighted_case(case)
    if weight is not None:
        weight[:2] += 1.0
    t = rng.integers(0, 2, (n, 3))
    t[:2] = [[0] * 3, [1] * 3]
    z = np.round(rng.normal(size=(n, 3)) + t, 1)
    want = getattr(sklearn, OTHERS[name])(t, z, sample_weight=weight, average=average)
    got = getattr(metrics, name)(
        t, z, weight, average=average, loss="binary_cross_entropy"
    )
    assert got == pytest.approx(want, rel=1e-12)


_SAMPLES = st.lists(
    st.tuples(st.booleans(), st.integers(-3, 3), st.integers(0, 3)), min_size=1
)


@given(_SAMPLES)
def test_by_pairs(samples: Any) -> None:
    """The definition: a share of pairs, of which those at the same score count ½."""
    t, z, w = (np.array(column) for column in zip(*samples, strict=True))
    won = pairs = 0.0
    for i in np.flatnonzero(t):
        for j in np.flatnonzero(~t):
            pairs += w[i] * w[j]
            won += w[i] * w[j] * ((z[i] > z[j]) + 0.5 * (z[i] == z[j]))
    precision = 0.0
    for i in np.flatnonzero(t & (w > 0)):
        said = z >= z[i]
        precision += w[i] * (w * said * t).sum() / (w * said).sum()
    for name, part, whole in (
        ("auc", won, pairs),
        ("average_precision", precision, (w * t).sum()),
    ):
        metric = getattr(metrics, name)
        if whole:
            assert metric(t, z, w) == pytest.approx(part / whole, rel=1e-12)
            continue
        with pytest.warns(cr.ChainruleWarning, match=f"{name} is NaN"):
            assert np.isnan(metric(t, z, w))


def test_probabilities_near_one_are_no_ties() -> None:
    labels = np.array([0, 0, 1, 1])
    z = np.array([40.0, 41.0, 42.0, 43.0])
    wide = np.stack([z * 0, z, z * 0], axis=1)
    assert metrics.auc(labels, z) == metrics.auc(labels, wide, label=1) == 1.0
    assert metrics.auc(labels, wide[:, :2]) == 1.0


@each_name
def test_classes_that_are_not_there(name: str) -> None:
    """A mean over those that are; NaN, with a warning, where it has no meaning."""
    metric = getattr(metrics, name)
    labels, z = np.array([0, 1, 0, 1, 1]), np.random.default_rng(0).normal(size=(5, 4))
    each = metric(labels, z, average=None)
    assert np.isnan(each[2:]).all()
    assert metric(labels, z) == pytest.approx(np.mean(each[:2]))
    zero = np.zeros(5, int)
    for t, outputs in ((zero, z[:, 0]), (zero, z)):
        if name == "average_precision" and outputs is z:
            assert metric(t, outputs) == 1.0  # all are of class 0
            continue
        with pytest.warns(cr.ChainruleWarning, match=f"{name} is NaN.*shuffle"):
            assert np.isnan(metric(t, outputs))
    z[0, 0] = np.nan  # a network that diverges says so by itself
    assert np.isnan(metric(labels, z))
    assert np.isnan(metric(labels, z[:, 0]))


@each_name
def test_bad_options(name: str) -> None:
    metric = getattr(metrics, name)
    cls = metrics.AUC if name == "auc" else metrics.AveragePrecision
    three = np.array([0, 1, 2]), np.eye(3)
    options: Any
    for options, match in (
        ({"average": "micro"}, "average must be one of macro, weighted"),
        ({"label": 3}, "label must be one of the classes, or outputs, 0 ... 2"),
    ):
        with pytest.raises(cr.ArgumentError, match=f"^{name}: {match}"):
            metric(*three, **options)
    for options, match in (
        ({"average": "micro"}, "average must be one of macro, weighted"),
        ({"label": -1}, "label must be"),
        ({"label": 1, "average": "weighted"}, "give average or label, not both"),
    ):
        with pytest.raises(cr.ArgumentError, match=f"^{cls.__name__}: {match}"):
            cls(**options)
