"""The multi-layer perceptron, made of the other layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from chainrule.config import checks
from chainrule.config.explain import explain_call
from chainrule.errors import ArgumentError
from chainrule.layers import activations
from chainrule.layers.base import Layer
from chainrule.layers.containers import Sequential
from chainrule.layers.dense import Dense

if TYPE_CHECKING:
    from chainrule.config.choices import (
        ActivationAlias,
        ActivationName,
        InitializerName,
        Int,
    )
    from chainrule.layers.activations import Activation

__all__ = ["MLP"]


@explain_call(0)
def MLP(  # noqa: N802 - named like the layers, since it makes one
    units: Iterable[Int],
    activation: ActivationName | ActivationAlias | Layer | type[Activation] = "relu",
    *,
    kernel_initializer: InitializerName | Callable[..., Any] = "glorot_uniform",
    bias_initializer: InitializerName | Callable[..., Any] = "zeros",
    trainable: bool = True,
) -> Sequential:
    """Multi-layer perceptron: Dense layers with an activation between them.

    Parameters
    ----------
    units : sequence of int
        One Dense layer each; the last is the output and stays linear.
    activation : str or Layer
        What stands between them: a rule's name, or a layer.
    kernel_initializer, bias_initializer : str or callable
        For every Dense layer.
    trainable : bool
        False freezes all of it.

    Returns
    -------
    Sequential
    """
    if isinstance(units, (str, bytes)) or not isinstance(units, Iterable):
        wanted = "a sequence such as (32, 32, 1)"
        checks.refuse("MLP: units", wanted, units)
    between = activations.get(activation)
    layers: list[Layer] = []
    for m in units:
        if layers:
            layers.append(between)
        layers.append(Dense(m, True, kernel_initializer, bias_initializer))
    if not layers:
        msg = "MLP: units must name at least the output's width; got none."
        raise ArgumentError(msg)
    return Sequential(*layers, trainable=trainable)
