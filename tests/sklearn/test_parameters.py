"""The types of the estimators' parameters hold what their constraints allow."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from sklearn.utils._param_validation import StrOptions

from chainrule.config import choices
from chainrule.sklearn import MLPClassifier, MLPRegressor, parameters


def words(kind: Any) -> set[str]:
    """Return the names that a type has, in whatever union they stand."""
    found = {kind} if isinstance(kind, str) else set()
    return found.union(*(words(each) for each in get_args(kind)))


@pytest.mark.parametrize(
    ("estimator", "name", "kind"),
    [
        (MLPClassifier, "activation", parameters.OutputActivation),
        (MLPClassifier, "output_activation", parameters.OutputActivation),
        (MLPClassifier, "solver", choices.SolverName),
        (MLPClassifier, "learning_rate", choices.RateSchedule),
        (MLPClassifier, "batch_size", parameters.BatchSize),
        (MLPClassifier, "class_weight", parameters.ClassWeight),
        (MLPClassifier, "loss", parameters.ClassifierLoss),
        (MLPRegressor, "loss", parameters.RegressorLoss),
    ],
)
def test_names(estimator: Any, name: str, kind: Any) -> None:
    allowed: set[str] = set()
    for constraint in estimator._parameter_constraints[name]:
        if isinstance(constraint, StrOptions):
            allowed |= constraint.options
    assert allowed
    assert words(kind) == allowed
