"""Examples of every loss."""

from __future__ import annotations

import numpy as np

from chainrule import losses
from chainrule.testing.cases.base import RNG, ROWS, LossCase, fixed, normal
from chainrule.testing.cases.rules import (
    ANSWERS,
    CHANCES,
    CLASSES,
    COLUMN,
    COUNTS,
    HEADS,
    LABELS,
    SHARES,
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
    "LogCosh": LossCase(losses.LogCosh(), Z, T, WEIGHT),
    "CosineDistance": LossCase(losses.CosineDistance(), Z, T, WEIGHT),
    "Hinge": LossCase(losses.Hinge(), Z, ANSWERS, WEIGHT, kinks=True),
    "Hinge, squared": LossCase(losses.Hinge(squared=True), Z, ANSWERS),
    "KullbackLeibler": LossCase(losses.KullbackLeibler(), Z, SHARES, WEIGHT),
    "BinaryFocal": LossCase(losses.BinaryFocal(1.5, (0.5, 3.0)), Z, CHANCES, WEIGHT),
    "Focal": LossCase(losses.Focal(class_weight=(0.5, 3.0, 1.0)), Z, LABELS, WEIGHT),
    "GaussianNLL": LossCase(losses.GaussianNLL(), HEADS[4], COLUMN, WEIGHT),
    "GaussianNLL, sequences": LossCase(
        losses.GaussianNLL(), normal(ROWS, 2, 4), normal(ROWS, 2, 2), WEIGHT
    ),
    "StudentT": LossCase(losses.StudentT(4.0), HEADS[4], COLUMN, WEIGHT),
    "StudentT, learned": LossCase(losses.StudentT(None), HEADS[6], COLUMN),
    "NegativeBinomial": LossCase(losses.NegativeBinomial(), HEADS[6], COUNTS, WEIGHT),
    "MixtureDensity": LossCase(losses.MixtureDensity(2), HEADS[10], COLUMN, WEIGHT),
}
