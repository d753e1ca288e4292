"""Metrics: functions of targets and outputs, on the host, each with its direction.

A metric is a function ``metric(y_true, y_pred) -> float`` of NumPy arrays, the targets
as the loss takes them and the network's outputs (logits, for the cross entropies). If
it has a parameter `sample_weight`, it receives the weights.

The library's own metrics are told the model's loss and compare what the outputs *mean*
under it: the value for squared_error and its like, exp(z) for poisson, the probability
for binary_cross_entropy, the largest of the outputs for cross_entropy. What the data
look like never decides. They compute in float64. Those with options are objects, too:
``Model(metrics=["auc", metrics.TopK(3), metrics.Recall(label=2)])``, which logs call
auc, top_k_3 and recall_2.

Callbacks ask a metric whether more of it is better. It is known for the library's own;
for scikit-learn's functions, by its rule for their names (``..._score`` is to rise,
``..._error``, ``..._loss``, ``..._deviance`` to fall); for one's own where the function
has an attribute `greater_is_better`, where `Metric` says so, or where the name does
(accuracy, r2, a last word "error", "loss" or "deviance"). Where nobody says, a callback
that needs to know is refused until it is given mode="min" or mode="max".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainrule.config.explain import explain_missing
from chainrule.metrics.accuracies import TopK, accuracy, balanced_accuracy, top_k
from chainrule.metrics.binding import Metric, get
from chainrule.metrics.classification import (
    F1,
    Precision,
    Recall,
    f1,
    precision,
    recall,
)
from chainrule.metrics.probabilistic import (
    ExpectedCalibrationError,
    brier,
    crps,
    crps_members,
    expected_calibration_error,
    interval_coverage,
    log_loss,
)
from chainrule.metrics.ranking import AUC, AveragePrecision, auc, average_precision
from chainrule.metrics.regression import (
    Pinball,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    median_absolute_error,
    pinball,
    r2,
    root_mean_squared_error,
)

__all__ = [
    "AUC",
    "F1",
    "AveragePrecision",
    "ExpectedCalibrationError",
    "Metric",
    "Pinball",
    "Precision",
    "Recall",
    "TopK",
    "accuracy",
    "auc",
    "average_precision",
    "balanced_accuracy",
    "brier",
    "crps",
    "crps_members",
    "expected_calibration_error",
    "f1",
    "get",
    "interval_coverage",
    "log_loss",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "median_absolute_error",
    "pinball",
    "precision",
    "r2",
    "recall",
    "root_mean_squared_error",
    "top_k",
]

# Pickles, and what is shown, know them by the package, whichever file they stand in.
for _name in __all__:
    globals()[_name].__module__ = __name__


if not TYPE_CHECKING:
    __getattr__ = explain_missing(__name__, __all__)
