"""Proof for anyone: gradients against differences, backends against one another."""

from __future__ import annotations

from chainrule.errors import GradientError
from chainrule.testing.agreement import compare_backends
from chainrule.testing.comparison import Comparison, Difference
from chainrule.testing.gradients import check_gradients
from chainrule.testing.reports import ArgumentReport, GradientReport

__all__ = [
    "ArgumentReport",
    "Comparison",
    "Difference",
    "GradientError",
    "GradientReport",
    "check_gradients",
    "compare_backends",
]


def __dir__() -> list[str]:
    return __all__
