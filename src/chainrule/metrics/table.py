"""The library's own metrics by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chainrule.metrics.accuracies import accuracy, balanced_accuracy, top_k
from chainrule.metrics.classification import f1, precision, recall
from chainrule.metrics.probabilistic import (
    brier,
    crps,
    expected_calibration_error,
    log_loss,
)
from chainrule.metrics.ranking import auc, average_precision
from chainrule.metrics.regression import (
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    median_absolute_error,
    pinball,
    r2,
    root_mean_squared_error,
)

__all__ = ["NAMES"]

_ALL: tuple[Callable[..., Any], ...] = (
    accuracy,
    auc,
    average_precision,
    balanced_accuracy,
    brier,
    crps,
    expected_calibration_error,
    f1,
    log_loss,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    median_absolute_error,
    pinball,
    precision,
    r2,
    recall,
    root_mean_squared_error,
    top_k,
)
NAMES = {function.__name__: function for function in _ALL}
