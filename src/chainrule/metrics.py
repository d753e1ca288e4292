"""Metrics: functions of targets and outputs, on the host.

A metric is a function ``metric(y_true, y_pred) -> float`` of NumPy arrays, the targets
as the loss takes them and the network's outputs (logits, for the cross entropies). If
it has a parameter `sample_weight`, it receives the weights.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule import _checks
from chainrule.errors import ArgumentError

__all__ = ["accuracy", "get", "mean_absolute_error", "r2"]


def accuracy(y_true: Any, y_pred: Any, sample_weight: Any = None) -> float:
    """Share of samples whose class is the right one.

    With one output, or one target per output, class 1 is a logit above 0; otherwise the
    class is the largest output. Targets are labels, or rows that are one-hot.
    """
    if np.issubdtype(y_true.dtype, np.integer):
        right = np.argmax(y_pred, axis=-1) == y_true
    elif y_pred.shape[-1] == 1 or not _one_hot(y_true):
        right = (y_pred > 0) == (y_true > 0.5)
    else:
        right = np.argmax(y_pred, axis=-1) == np.argmax(y_true, axis=-1)
    hits = right.reshape(len(right), -1).mean(axis=1, dtype=np.float64)
    return float(_average(hits, sample_weight))


def _one_hot(y: Any) -> bool:
    return bool(np.allclose(y.sum(axis=-1), 1.0, atol=1e-3))


def mean_absolute_error(y_true: Any, y_pred: Any, sample_weight: Any = None) -> float:
    """Mean of |y_true - y_pred| over samples and outputs."""
    error = np.abs(y_true.astype(np.float64) - y_pred)
    return float(_average(error.reshape(len(error), -1).mean(axis=1), sample_weight))


def r2(y_true: Any, y_pred: Any, sample_weight: Any = None) -> float:
    """Coefficient of determination, 1 - residual / variance, the mean over outputs.

    An output whose target is constant counts 1 if it is met exactly, else 0.
    """
    t = y_true.astype(np.float64).reshape(len(y_true), -1)
    z = y_pred.astype(np.float64).reshape(len(y_pred), -1)
    w = np.ones(len(t))
    if sample_weight is not None:
        w = np.asarray(sample_weight, dtype=np.float64)
    w = w[:, None]
    mean = (w * t).sum(axis=0) / max(float(w.sum()), np.finfo(float).tiny)
    residual = (w * (t - z) ** 2).sum(axis=0)
    total = (w * (t - mean) ** 2).sum(axis=0)
    flat = total == 0
    score = np.where(flat, residual == 0, 1.0 - residual / np.where(flat, 1.0, total))
    return float(score.mean())


def _average(values: Any, weight: Any) -> Any:
    if weight is None:
        return values.mean() if values.size else np.nan
    weight = np.asarray(weight, dtype=np.float64)
    total = float(np.sum(weight))
    return float(np.sum(values * weight)) / total if total > 0 else 0.0


_NAMES = {"accuracy": accuracy, "mean_absolute_error": mean_absolute_error, "r2": r2}


def get(metric: Any) -> tuple[str, Callable[..., float]]:
    """Return a metric's name and a function ``f(y_true, y_pred, weight) -> float``."""
    if isinstance(metric, str):
        metric = _NAMES[_checks.choice("metrics", metric, _NAMES, "metric")]
    if not callable(metric):
        wanted = "names or functions of (y_true, y_pred)"
        _checks.refuse("metrics", wanted, metric)
    name = getattr(metric, "__name__", type(metric).__name__)
    if name in ("loss", "val_loss"):
        msg = f"metrics: a metric must not be called {name!r}; rename the function."
        raise ArgumentError(msg)
    try:
        weighted = "sample_weight" in inspect.signature(metric).parameters
    except (TypeError, ValueError):
        weighted = False

    def call(y_true: Any, y_pred: Any, weight: Any) -> float:
        if weighted and weight is not None:
            return float(metric(y_true, y_pred, sample_weight=weight))
        return float(metric(y_true, y_pred))

    return name, call
