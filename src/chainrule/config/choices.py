"""Names and numbers that an argument may be: what type checkers and editors know.

Each Literal holds the names that are looked up where the argument is used, no more and
no fewer (`tests/config/test_choices.py`); an ``Alias`` holds the words of other
libraries that stand for them. Other spellings, "ReLU" for "relu", are understood, too,
but have no type. Imported for annotations alone: nothing here is needed while a program
runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol

import numpy as np

__all__ = [
    "ActivationAlias",
    "ActivationName",
    "BackendName",
    "CheckName",
    "DType",
    "DTypeName",
    "Direction",
    "Distribution",
    "FanMode",
    "InitializerName",
    "Int",
    "LossAlias",
    "LossName",
    "MetricAlias",
    "MetricAverage",
    "MetricName",
    "OptimizerAlias",
    "OptimizerName",
    "PointLossName",
    "PrecisionName",
    "RankingAverage",
    "Rate",
    "RateSchedule",
    "Real",
    "SolverName",
    "SpreadMethod",
    "ThresholdMode",
    "TorchDType",
]

# Numbers: Python's, or NumPy's scalars.
Int = int | np.integer[Any]
Real = float | np.floating[Any] | np.integer[Any]
# A learning rate, or a schedule: the rate as a function of the step's number.
Rate = Real | Callable[[int], Real]

BackendName = Literal["numpy", "jax", "cupy", "torch"]
DTypeName = Literal["float32", "float64"]
PrecisionName = Literal["highest", "tf32", "bfloat16"]

LossName = Literal[
    "absolute_error",
    "binary_cross_entropy",
    "binary_focal",
    "cosine_distance",
    "cross_entropy",
    "focal",
    "gaussian_nll",
    "hinge",
    "huber",
    "kullback_leibler",
    "log_cosh",
    "mixture_density",
    "negative_binomial",
    "poisson",
    "quantile",
    "squared_error",
    "student_t",
]
# Losses whose outputs are one number for each column of the targets.
PointLossName = Literal[
    "absolute_error",
    "binary_cross_entropy",
    "binary_focal",
    "cosine_distance",
    "cross_entropy",
    "focal",
    "hinge",
    "huber",
    "kullback_leibler",
    "log_cosh",
    "poisson",
    "quantile",
    "squared_error",
]
LossAlias = Literal[
    "cosine",
    "hinge_loss",
    "huber_loss",
    "kl_div",
    "kl_divergence",
    "l1",
    "l2",
    "mae",
    "mean_absolute_error",
    "mean_squared_error",
    "mse",
    "pinball",
    "pinball_loss",
]

MetricName = Literal[
    "accuracy",
    "auc",
    "average_precision",
    "balanced_accuracy",
    "brier",
    "crps",
    "expected_calibration_error",
    "f1",
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
MetricAlias = Literal[
    "acc",
    "average_precision_score",
    "balanced_accuracy_score",
    "brier_score",
    "brier_score_loss",
    "ece",
    "f1_score",
    "mae",
    "mape",
    "mean_pinball_loss",
    "mse",
    "pinball_loss",
    "precision_score",
    "r2_score",
    "recall_score",
    "rmse",
    "roc_auc",
    "roc_auc_score",
    "top_k_accuracy",
]
# How a metric of each class becomes one number.
MetricAverage = Literal["auto", "binary", "macro", "micro", "weighted"]
RankingAverage = Literal["macro", "weighted"]

OptimizerName = Literal[
    "adagrad",
    "adam",
    "adamw",
    "lbfgs",
    "levenberg_marquardt",
    "lion",
    "nadam",
    "rmsprop",
    "sgd",
]
OptimizerAlias = Literal["l_bfgs_b", "lm"]

ActivationName = Literal[
    "celu",
    "elu",
    "exp",
    "gelu",
    "gelu_tanh",
    "hard_sigmoid",
    "hard_silu",
    "hard_tanh",
    "identity",
    "leaky_relu",
    "log_softmax",
    "mish",
    "relu",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "softsign",
    "tanh",
]
ActivationAlias = Literal["exponential", "hard_swish", "linear", "logistic", "swish"]

InitializerName = Literal[
    "constant",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "lecun_normal",
    "lecun_uniform",
    "ones",
    "orthogonal",
    "zeros",
]
FanMode = Literal["fan_in", "fan_avg"]
Distribution = Literal["uniform", "normal"]

# Of what is monitored.
Direction = Literal["auto", "min", "max"]
ThresholdMode = Literal["abs", "rel"]

# Where a standard deviation comes from.
SpreadMethod = Literal["ensemble", "laplace"]

# What `chainrule.testing.check_gradients` checks.
CheckName = Literal[
    "compiled", "differences", "dtype", "leads", "purity", "shape", "wrt"
]

# scikit-learn's own.
SolverName = Literal["adam", "lbfgs", "sgd"]
RateSchedule = Literal["adaptive", "constant", "invscaling"]


class TorchDType(Protocol):
    """A dtype of PyTorch, which nothing here imports."""

    @property
    def is_complex(self) -> bool:
        """False for torch.float32 and torch.float64."""

    @property
    def is_floating_point(self) -> bool:
        """True for torch.float32 and torch.float64."""


# A name, or the dtype of a library; jax.numpy.float32 is an Any to type checkers.
DType = (
    DTypeName
    | type[np.float32]
    | type[np.float64]
    | np.dtype[np.floating[Any]]
    | TorchDType
)
