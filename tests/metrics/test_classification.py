"""Metrics of answers: they are scikit-learn's, with weights, ties and rare classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import metrics

from tests.metrics.samples import each_case, weighted_case

SCORES = {"f1": "f1_score", "precision": "precision_score", "recall": "recall_score"}
each_score = pytest.mark.parametrize("name", SCORES)


def classes(case: int) -> tuple[Any, Any, Any, int]:
    """Return labels, outputs (n, m), weights and m; some classes are not there."""
    rng, n, weight = weighted_case(case)
    m = int(rng.integers(3, 6))
    labels = rng.integers(0, m - case % 2, n)
    z = np.round(rng.normal(size=(n, m)) + 0.5 * np.eye(m)[labels], 1)
    return labels, z, weight, m


@each_case
@each_score
def test_scores_of_classes(name: str, case: int) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    labels, z, weight, m = classes(case)
    other, metric = getattr(sklearn, SCORES[name]), getattr(metrics, name)
    told = {"sample_weight": weight, "zero_division": 0.0}
    answer = z.argmax(axis=1)
    for average in ("macro", "micro", "weighted"):
        want = other(labels, answer, average=average, **told)
        got = metric(labels, z, weight, average=average, loss="cross_entropy")
        assert got == pytest.approx(want, rel=1e-12, abs=1e-15), average
        rows = metric(
            np.eye(m)[labels], z, weight, average=average, loss="cross_entropy"
        )
        assert rows == got
    assert metric(labels, z, weight) == metric(labels, z, weight, average="macro")
    want = other(labels, answer, average=None, labels=np.arange(m), **told)
    got = metric(labels, z, weight, average=None)
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-15)
    for k in range(m):
        assert metric(labels, z, weight, label=k) == got[k]


@each_case
@each_score
def test_scores_of_two_classes(name: str, case: int) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    rng, n, weight = weighted_case(case)
    labels, z = rng.integers(0, 2, n), np.round(rng.normal(size=n), 1)
    other, metric = getattr(sklearn, SCORES[name]), getattr(metrics, name)
    told = {"sample_weight": weight, "zero_division": 0.0}
    two = np.stack([np.zeros(n), z], axis=1)
    for average in ("binary", "macro", "micro", "weighted"):
        want = other(labels, z > 0, average=average, **told)
        for t, outputs in ((labels, z), (labels[:, None], z[:, None]), (labels, two)):
            got = metric(t, outputs, weight, average=average)
            assert got == pytest.approx(want, rel=1e-12, abs=1e-15)
    assert metric(labels, z) == metric(labels, z, average="binary")
    values = metric(labels, z + 0.5, loss="squared_error")  # yes above ½
    assert values == other(labels, z + 0.5 > 0.5, zero_division=0.0)


@each_case
@each_score
def test_scores_of_labels(name: str, case: int) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    rng, n, weight = weighted_case(case)
    t, z = rng.integers(0, 2, (n, 3)), rng.normal(size=(n, 3))
    other, metric = getattr(sklearn, SCORES[name]), getattr(metrics, name)
    for average in ("macro", "micro", "weighted"):
        want = other(t, z > 0, average=average, sample_weight=weight, zero_division=0.0)
        got = metric(t, z, weight, average=average, loss="binary_cross_entropy")
        assert got == pytest.approx(want, rel=1e-12)


@each_case
def test_balanced_accuracy(case: int) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    labels, z, weight, _ = classes(case)
    there = np.isin(z.argmax(axis=1), labels)  # scikit-learn warns of the others
    labels, z = labels[there], z[there]
    weight = None if weight is None else weight[there] + 0.25
    want = sklearn.balanced_accuracy_score(
        labels, z.argmax(axis=1), sample_weight=weight
    )
    got = metrics.balanced_accuracy(labels, z, weight)
    assert got == pytest.approx(want, rel=1e-12)
    yes = np.stack([labels > 0, labels > 1], axis=1)
    each = [metrics.balanced_accuracy(yes[:, k], z[:, k], weight) for k in (0, 1)]
    both = metrics.balanced_accuracy(yes, z[:, :2], weight, loss="binary_cross_entropy")
    assert both == pytest.approx(np.mean(each), rel=1e-12)


@each_case
def test_top_k(case: int) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    labels, z, weight, m = classes(case)
    z = z + 1e-6 * np.arange(m)[::-1]  # no ties, which scikit-learn breaks otherwise
    for k in range(1, m):
        want = sklearn.top_k_accuracy_score(
            labels, z, k=k, labels=np.arange(m), sample_weight=weight
        )
        got = metrics.top_k(labels, z, weight, k=k)
        assert got == pytest.approx(want, rel=1e-12)
        assert (
            metrics.TopK(k)(np.eye(m)[labels], z, weight, loss="cross_entropy") == got
        )
    assert metrics.top_k(labels, np.zeros_like(z), k=1) == metrics.accuracy(
        labels, np.zeros_like(z)
    )


def test_nothing_is_right_where_outputs_are_no_numbers() -> None:
    z = np.full((4, 3), np.nan)
    assert metrics.top_k(np.zeros(4, int), z, k=2) == 0.0


def test_sequences_are_rows() -> None:
    labels, z, _, m = classes(4)
    n = len(labels) // 4 * 4
    labels, z, weight = labels[:n], z[:n], np.arange(1.0, n // 4 + 1)
    for name in (*SCORES, "balanced_accuracy", "log_loss", "brier", "auc"):
        metric = getattr(metrics, name)
        got = metric(labels.reshape(-1, 4), z.reshape(-1, 4, m), weight)
        want = metric(labels, z, np.repeat(weight, 4))
        assert got == pytest.approx(want, rel=1e-12), name


@each_score
def test_bad_averages(name: str) -> None:
    metric = getattr(metrics, name)
    three = np.array([0, 1, 2]), np.eye(3)
    with pytest.raises(cr.ArgumentError, match=f"^{name}: average must not be 'bin"):
        metric(*three, average="binary")
    with pytest.raises(cr.ArgumentError, match=f"^{name}: average must be one of"):
        metric(*three, average="mean")
    with pytest.raises(cr.ArgumentError, match=f"^{name}: label must be an integer"):
        metric(*three, label=-1)
    with pytest.raises(cr.ArgumentError, match=f"^{name}: label must be .* 0 ... 2"):
        metric(*three, label=3)
    cls = {"f1": metrics.F1, "precision": metrics.Precision}.get(name, metrics.Recall)
    for options, match in (
        ({"average": None}, "average must be one of .* Take label="),
        ({"average": "sum"}, "average must be one of"),
        ({"label": -1}, "label must be"),
        ({"label": 1, "average": "macro"}, "give average or label, not both"),
    ):
        with pytest.raises(cr.ArgumentError, match=match):
            cls(**options)


BAD: dict[str, tuple[Any, str]] = {
    "labels": (lambda m: m([0, 3], np.zeros((2, 3))), "labels in 0 ... 2"),
    "fraction": (lambda m: m([0.5, 1.0], np.zeros((2, 3))), "whole numbers"),
    "yes or no": (lambda m: m([0, 2], np.zeros(2)), "must lie between 0 and 1"),
    "meaning": (lambda m: m(np.eye(3), np.eye(3)), "of several outputs needs to know"),
    "values": (lambda m: m(np.eye(3), np.eye(3), loss="huber"), "outputs are 3 values"),
    "rate": (lambda m: m([0, 1], [0, 1], loss="poisson"), "logarithm of a rate"),
    "one": (
        lambda m: m([[1], [1]], [[0.0], [1.0]], loss="cross_entropy"),
        "an output for each class",
    ),
    "rows": (lambda m: m([0, 1, 1], np.zeros((2, 3))), r"or hold labels of shape \(2,"),
    "weights": (
        lambda m: m([0, 1], np.eye(2), [1.0]),
        r"sample_weight must have shape",
    ),
}


@pytest.mark.parametrize(
    "name", [*SCORES, "auc", "average_precision", "balanced_accuracy", "brier"]
)
@pytest.mark.parametrize("case", BAD)
def test_bad_answers(case: str, name: str) -> None:
    call, match = BAD[case]
    with pytest.raises(cr.ChainruleError, match=f"^{name}.*{match}"):
        call(getattr(metrics, name))


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: metrics.top_k([0, 1], np.eye(3)[:2]), "k must be below .* 3"),
        (lambda: metrics.top_k([0, 1], np.zeros(2), k=1), "needs exclusive classes"),
        (lambda: metrics.top_k([0, 1], np.eye(3)[:2], k=0), "k must be an integer"),
        (lambda: metrics.TopK(0), "TopK: k must be an integer of at least 1"),
        (lambda: metrics.TopK(1.5), "TopK: k must be an integer"),  # type: ignore[arg-type]
    ],
)
def test_bad_k(call: Any, match: str) -> None:
    with pytest.raises(cr.ChainruleError, match=match):
        call()
