"""The types of names hold what is understood at run time, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin

import pytest

import chainrule as cr
from chainrule import (
    backends,
    callbacks,
    initializers,
    losses,
    metrics,
    optimizers,
    rules,
)
from chainrule.config import choices
from chainrule.config.hints import canonical
from chainrule.config.words import ALIASES
from chainrule.layers import activations
from chainrule.testing import check_gradients


def model(**given: Any) -> cr.Model:
    return cr.Model(cr.MLP((2,)), **given)


def spread(method: Any) -> Any:
    return model(members=2).build(1).predict([[1.0]], return_std=True, method=method)


# A type -> what takes its names.
TAKEN: dict[str, Callable[[Any], Any]] = {
    "ActivationName": activations.get,
    "BackendName": backends.get,
    "CheckName": lambda name: check_gradients(rules.relu, [1.0], skip=name),
    "DTypeName": lambda name: model(dtype=name),
    "Direction": lambda name: cr.EarlyStopping(mode=name),
    "Distribution": lambda name: initializers.VarianceScaling(distribution=name),
    "FanMode": lambda name: initializers.VarianceScaling(mode=name),
    "InitializerName": lambda name: cr.Dense(1, kernel_initializer=name),
    "LossName": losses.get,
    "MetricAverage": metrics.F1,
    "MetricName": metrics.get,
    "OptimizerName": optimizers.get,
    "PrecisionName": lambda name: model(precision=name),
    "RankingAverage": metrics.AUC,
    "SpreadMethod": spread,
    "ThresholdMode": lambda name: callbacks.EarlyStopping(threshold_mode=name),
}


@pytest.mark.parametrize("name", TAKEN)
def test_a_type_has_the_names_that_an_error_lists(name: str) -> None:
    known = get_args(getattr(choices, name))
    with pytest.raises(cr.ArgumentError) as wrong:
        TAKEN[name]("no such name")
    found = re.search(r"must be one of (.*?); got", str(wrong.value))
    assert found is not None
    assert set(found[1].split(", ")) == set(known)
    assert len(set(known)) == len(known)


@pytest.mark.parametrize("kind", ["activation", "loss", "metric", "optimizer"])
def test_an_alias_is_what_stands_for_a_name(kind: str) -> None:
    names = get_args(getattr(choices, f"{kind.title()}Name"))
    known = get_args(getattr(choices, f"{kind.title()}Alias"))
    taken = TAKEN[f"{kind.title()}Name"]
    for alias in known:
        taken(alias)
    understood = {word for word in ALIASES[kind] if canonical(kind, word, names)}
    assert set(known) == understood - set(names)


def test_no_other_kind_of_name_has_aliases() -> None:
    assert set(ALIASES) == {"activation", "loss", "metric", "optimizer"}


def test_every_type_of_names_is_held_to_something() -> None:
    types = {
        name
        for name in choices.__all__
        if get_origin(getattr(choices, name)) is Literal
    }
    here = {*TAKEN, *(name for name in types if name.endswith("Alias"))}
    of_estimators = {"PointLossName", "RateSchedule", "SolverName"}  # tests/sklearn
    assert types - here == of_estimators
