"""Examples of every rule, layer, loss and optimizer."""

from __future__ import annotations

from chainrule.testing.cases.all import LAYERS, LOSSES, OPTIMIZERS, RULES, unlisted
from chainrule.testing.cases.cases import LayerCase, LossCase, RuleCase

__all__ = [
    "LAYERS",
    "LOSSES",
    "OPTIMIZERS",
    "RULES",
    "LayerCase",
    "LossCase",
    "RuleCase",
    "unlisted",
]
