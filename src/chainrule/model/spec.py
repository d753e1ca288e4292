"""Attributes of a model that are checked when they are assigned."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from chainrule import backends
from chainrule import metrics as chainrule_metrics
from chainrule.config import checks
from chainrule.errors import ArgumentError
from chainrule.layers import Layer
from chainrule.losses import links
from chainrule.network import ensemble

__all__ = [
    "DTYPES",
    "Setting",
    "backend",
    "bound_metrics",
    "dtype",
    "dtype_name",
    "jit_compile",
    "members",
    "metrics",
    "network",
    "precision",
    "seed",
]

DTYPES = ("float32", "float64")
_PRECISIONS = ("highest", "tf32", "bfloat16")


class Setting:
    """An attribute that is checked, or refused, when it is assigned.

    It has no `__get__`: to read it is to read any attribute.

    Parameters
    ----------
    check : function
        ``check(model, value)`` returns what is kept, or raises an error; the model is
        then as it was.
    instead : str
        What to do instead once there are weights that depend on it; "" where it may
        change at any time.
    """

    def __init__(self, check: Callable[[Any, Any], Any], instead: str = "") -> None:
        self._check, self._instead = check, instead

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __set__(self, model: Any, value: Any) -> None:
        own = model.__dict__
        if "_access" in own:  # else it is being made
            own["_access"].check_change(self._name)
            if self._instead and own.get("_bound") is not None:
                msg = (
                    f"{self._name} cannot be set once the model has weights, got "
                    f"{checks.show(value)}: {self._instead}."
                )
                raise ArgumentError(msg)
        own[self._name] = self._check(model, value)
        if "_direct" in own:
            model._prepare()


def _check_network(model: Any, network: Any) -> Any:
    if not isinstance(network, Layer):
        wanted = "a layer such as chainrule.MLP((32, 1))"
        checks.refuse("network", wanted, network)
    if "_loss" in model.__dict__:
        links.check(model.loss, network)
    return network


def _check_members(model: Any, members: Any) -> int | None:
    number = None if members is None else checks.integer("members", members, 1)
    if "_optimizer" in model.__dict__:
        ensemble.check_optimizer(model.optimizer, number)
    return number


def _check_dtype(model: Any, dtype: Any) -> str:
    name = checks.choice("dtype", dtype_name(dtype), DTYPES)
    if model.backend is not None:
        model.backend.check_dtype(name)
    return name


def _check_backend(model: Any, backend: Any) -> Any:
    return None if backend is None else model._checked(backends.get(backend))


def _check_metrics(model: Any, given: Any) -> dict[str, Any]:
    if given is model.__dict__.get("metrics"):
        return given  # type: ignore[no-any-return]
    given = _sequence(given)
    found = bound_metrics(given)
    model._given_metrics = given
    return found


def _check_precision(model: Any, precision: Any) -> str:
    found = checks.choice("precision", precision, _PRECISIONS)
    if model.backend is not None:
        model.backend.check_precision(found, model.dtype)
    return found


def _check_jit_compile(model: Any, jit_compile: Any) -> bool | None:
    found: bool | None = checks.boolean("jit_compile", jit_compile, none=True)
    if model.backend is not None:
        model.backend.check_jit_compile(found)
    return found


def dtype_name(dtype: Any) -> Any:
    """float32 for "float32", numpy.float32, numpy.dtype("float32"), torch.float32."""
    if isinstance(dtype, str) or dtype is None or dtype is float:
        return dtype
    for name in DTYPES:
        try:
            if dtype == np.dtype(name) or str(dtype) == f"torch.{name}":
                return name
        except Exception:  # an array, or an object that cannot be compared
            return dtype
    return dtype


def _sequence(given: Any) -> tuple[Any, ...]:
    if isinstance(given, str) or callable(given):
        given = (given,)
    if not isinstance(given, Iterable):
        checks.refuse("metrics", "a sequence of names or functions", given)
    return tuple(given)


def bound_metrics(given: tuple[Any, ...]) -> dict[str, Any]:
    """Return metrics by name."""
    found = [chainrule_metrics.get(metric) for metric in given]
    names = [name for name, _ in found]
    if len(set(names)) < len(names):
        msg = f"metrics must have different names; got {', '.join(names)}."
        raise ArgumentError(msg)
    return dict(found)


network = Setting(_check_network, "make a new Model of it")
members = Setting(_check_members, "make a new Model with so many members")
dtype = Setting(_check_dtype, "make a new Model, and set its weights")
backend = Setting(_check_backend, "model.to(backend) returns a model there")
metrics = Setting(_check_metrics)
precision = Setting(_check_precision)
jit_compile = Setting(_check_jit_compile)
seed = Setting(lambda _, given: checks.integer("seed", given, 0, high=2**4096 - 1))
