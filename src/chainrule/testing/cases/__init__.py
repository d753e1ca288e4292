"""The registry: every public rule, layer, loss and optimizer, with inputs to try it on.

`python -m chainrule.testing` and the tests take from here what they check, so a new
rule joins both by being listed once; `unlisted` says what is public and not listed.
"""

from __future__ import annotations

from chainrule.testing.cases.base import LayerCase, LossCase, RuleCase
from chainrule.testing.cases.layers import LAYERS
from chainrule.testing.cases.losses import LOSSES
from chainrule.testing.cases.optimizers import OPTIMIZERS
from chainrule.testing.cases.rules import RULES
from chainrule.testing.cases.unlisted import unlisted

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
