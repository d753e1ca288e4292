"""Proof for anyone: gradients against differences, backends against one another."""

from __future__ import annotations

from chainrule.errors import GradientError
from chainrule.testing.gradients import ArgumentReport, GradientReport, check_gradients

__all__ = [
    "ArgumentReport",
    "GradientError",
    "GradientReport",
    "check_gradients",
]


def __dir__() -> list[str]:
    return __all__
