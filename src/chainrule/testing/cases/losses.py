"""Examples of every loss."""

from __future__ import annotations

import numpy as np

from chainrule import losses
from chainrule.testing.cases.base import RNG, ROWS, LossCase, fixed, normal
from chainrule.testing.cases.rules import (
    CHANCES,
    CLASSES,
    COUNTS,
    LABELS,
    SMOOTHED,
    WEIGHT,
    T,
    Z,
)

__all__ = ["LOSSES"]

LOSSES: dict[str, LossCase] = {
    "SquaredError": LossCase(losses.SquaredError(), Z, T),
    "SquaredError, weighted": LossCase(losses.SquaredError(), Z, T, WEIGHT),
    "SquaredError, sequences": LossCase(
        losses.SquaredError(), normal(ROWS, 2, 3), normal(ROWS, 2, 3), WEIGHT
    ),
    "AbsoluteError": LossCase(losses.AbsoluteError(), Z, T, kinks=True),
    "Huber": LossCase(losses.Huber(0.8), Z, T, WEIGHT),
    "Quantile": LossCase(losses.Quantile(0.2), Z, T, kinks=True),
    "Poisson": LossCase(losses.Poisson(), Z, COUNTS, WEIGHT),
    "BinaryCrossEntropy": LossCase(
        losses.BinaryCrossEntropy(**SMOOTHED), Z, CHANCES, WEIGHT
    ),
    "CrossEntropy": LossCase(losses.CrossEntropy(**CLASSES), Z, LABELS, WEIGHT),
    "CrossEntropy, sequences": LossCase(
        losses.CrossEntropy(),
        normal(ROWS, 2, 3),
        fixed(RNG.integers(0, 3, size=(ROWS, 2)).astype(np.int32)),
        WEIGHT,
    ),
}
