"""scikit-learn's decorators of methods, which keep the types of what they decorate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from sklearn.base import _fit_context
from sklearn.utils.metaestimators import available_if

__all__ = ["fits", "goes_on"]

_F = TypeVar("_F", bound=Callable[..., Any])


def fits(method: _F) -> _F:
    """Check the parameters before a method that fits."""
    return cast("_F", _fit_context(prefer_skip_nested_validation=True)(method))


def goes_on(method: _F) -> _F:
    """Do the same, and have the method only where the solver can go on."""
    return cast("_F", available_if(lambda est: est._check_solver())(fits(method)))
