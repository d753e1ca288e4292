"""Every argument of `Model`, checked once, and the attributes that show them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, overload

import numpy as np

from chainrule import losses, optimizers
from chainrule import metrics as chainrule_metrics
from chainrule.config import checks
from chainrule.config.record import Config
from chainrule.errors import ArgumentError
from chainrule.layers import Layer
from chainrule.losses import links

if TYPE_CHECKING:
    from chainrule.backends import Backend
    from chainrule.config.choices import (
        DType,
        DTypeName,
        Int,
        LossAlias,
        LossName,
        MetricAlias,
        MetricName,
        OptimizerAlias,
        OptimizerName,
        PrecisionName,
    )

    AnyLoss = LossName | LossAlias | losses.Loss
    AnyOptimizer = OptimizerName | OptimizerAlias | optimizers.BaseOptimizer
    Metric = MetricName | MetricAlias | chainrule_metrics.Metric | Callable[..., Any]
    Metrics = Metric | Iterable[Metric]

__all__ = [
    "DTYPES",
    "ModelSpec",
    "SpecAttribute",
    "bound_metrics",
    "check_devices",
    "check_optimizer",
    "dtype_name",
]

_T = TypeVar("_T")  # what an attribute is
_G = TypeVar("_G")  # what it may be set to

DTYPES: tuple[DTypeName, ...] = ("float32", "float64")
_PRECISIONS: tuple[PrecisionName, ...] = ("highest", "tf32", "bfloat16")
# Bits of a seed, at most.
_SEED_BITS = 4096


class ModelSpec(Config):
    """What a model is, without weights: the arguments of `Model`, checked.

    Parameters
    ----------
    network, loss, optimizer, metrics, dtype, precision, jit_compile, seed, members
        See `Model`.
    member : int
        A lone model's weights come from (seed, member): which member of an ensemble it
        was, else 0.
    """

    network: Layer
    loss: losses.Loss
    optimizer: Any
    metrics: tuple[Any, ...]
    dtype: DTypeName
    precision: PrecisionName
    jit_compile: bool | None
    seed: int
    members: int | None
    member_number: int

    def __init__(
        self,
        network: Layer,
        *,
        loss: AnyLoss = "squared_error",
        optimizer: AnyOptimizer = "adam",
        metrics: Metrics = (),
        dtype: DType = "float32",
        precision: PrecisionName = "highest",
        jit_compile: bool | None = None,
        seed: Int = 0,
        members: Int | None = None,
        member: Int = 0,
    ) -> None:
        if not isinstance(network, Layer):
            wanted = "a layer such as chainrule.MLP((32, 1))"
            checks.refuse("network", wanted, network)
        self.network = network
        self.loss = losses.get(loss)
        links.check(self.loss, network)
        if members is not None:
            members = checks.integer("members", members, 1)
        self.members = members
        self.optimizer = check_optimizer(optimizer, members)
        self.metrics = _sequence(metrics)
        bound_metrics(self.metrics)
        self.dtype = checks.choice("dtype", dtype_name(dtype), DTYPES)
        self.precision = checks.choice("precision", precision, _PRECISIONS)
        self.jit_compile = checks.boolean("jit_compile", jit_compile, none=True)
        self.seed = checks.integer("seed", seed, 0, high=2**_SEED_BITS - 1)
        self.member_number = checks.integer("member", member, 0)

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of the constructor, by name."""
        values = self._values()
        return {"member": values.pop("member_number"), **values}

    @classmethod
    def of_parts(cls, parts: dict[str, Any]) -> Self:
        """Return the spec of a file or a pickle.

        Its loss may be one that is refused today behind this network: the model
        predicts what it did.
        """
        spec = cls(**{**parts, "loss": "squared_error"}).replace(loss=parts["loss"])
        if msg := links.twice(spec.loss, spec.network):
            checks.warn(msg)
        return spec

    def changed(self, **changes: Any) -> Self:
        """Return a spec with other arguments, all of them checked."""
        new = type(self)(**{**self.arguments, **changes, "loss": "squared_error"})
        loss = losses.get(changes.get("loss", self.loss))
        if "loss" in changes or "network" in changes:
            links.check(loss, new.network)
        return new.replace(loss=loss)

    def check_backend(self, backend: Backend) -> None:
        """Raise an error if a backend lacks what the model needs."""
        backend.check_dtype(self.dtype)
        backend.check_precision(self.precision, self.dtype)
        backend.check_jit_compile(self.jit_compile)
        check_devices(self.optimizer, backend)

    def member(self, k: int) -> Self:
        """Return the spec of member k of an ensemble, a lone model."""
        optimizer = self.optimizer.member(k)
        return self.replace(members=None, member_number=k, optimizer=optimizer)


def check_devices(optimizer: Any, backend: Backend) -> None:
    """Raise an error unless the optimizer works where the parameters lie."""
    if backend.shares > 1 and not isinstance(optimizer, optimizers.Optimizer):
        name = type(optimizer).__name__
        msg = (
            f"optimizer: {name} works on all parameters in one place, and {backend!r} "
            f"divides them over {backend.shares} devices. Take an optimizer that goes "
            f"by batches, such as Adam, or one device."
        )
        raise ArgumentError(msg)


def check_optimizer(optimizer: Any, members: int | None) -> Any:
    """Return the optimizer, or raise an error unless it goes with so many members."""
    optimizer = optimizers.get(optimizer)
    name = type(optimizer).__name__
    if not isinstance(optimizer, optimizers.Optimizer):
        if members is not None:
            msg = (
                f"optimizer: {name} trains one network at a time; train "
                f"model.member(k) for each k, or take an optimizer such as Adam."
            )
            raise ArgumentError(msg)
        return optimizer
    rates = optimizer.members
    if rates not in (None, members):
        have = "a single network" if members is None else f"an ensemble of {members}"
        msg = (
            f"{name}: learning_rate has {rates} rates, one for each member, but the "
            f"model is {have}. Give a single rate, or Model(..., members={rates})."
        )
        raise ArgumentError(msg)
    return optimizer


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
    """Return metrics by name; each is bound to the direction in which it improves."""
    found = [chainrule_metrics.get(metric) for metric in given]
    names = [name for name, _ in found]
    if len(set(names)) < len(names):
        msg = f"metrics must have different names; got {', '.join(names)}."
        raise ArgumentError(msg)
    return dict(found)


class SpecAttribute(Generic[_T, _G]):
    """An attribute of a model that its spec has; to assign it is to change the spec.

    Parameters
    ----------
    instead : str
        What to do instead once there are weights that depend on it; "" where it may
        change at any time.
    """

    def __init__(self, instead: str = "") -> None:
        self._instead = instead

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, model: None, owner: type) -> Self: ...
    @overload
    def __get__(self, model: Any, owner: type) -> _T: ...
    def __get__(self, model: Any, owner: type) -> Any:
        return self if model is None else getattr(model.spec, self._name)

    def __set__(self, model: Any, value: _G) -> None:
        model._access.check_change(self._name)
        if self._instead and model.built:
            msg = (
                f"{self._name} cannot be set once the model has weights, got "
                f"{checks.show(value)}: {self._instead}."
            )
            raise ArgumentError(msg)
        model._change(**{self._name: value})
