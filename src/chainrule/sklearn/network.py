"""From an estimator's parameters to a network, a loss and weights.

scikit-learn keeps weights as lists, `coefs_` (fan_in, fan_out) and `intercepts_`; a
network keeps them in one vector, layer by layer, each weight (m, n) the transpose. In a
network of the user's own every matrix is one of `coefs_` and everything else one of
`intercepts_`, in layout order.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from chainrule import losses
from chainrule.arrays.types import Params
from chainrule.errors import ArgumentError, ArgumentTypeError, ShapeError
from chainrule.layers import Dense, Dropout, Exp, Layer, Sequential, activations
from chainrule.layers.context import Context
from chainrule.network import Network
from chainrule.sklearn.losses import FunctionLoss

__all__ = [
    "ACTIVATIONS",
    "LINKS",
    "LOSSES",
    "FunctionActivation",
    "activation",
    "bind",
    "custom_loss",
    "each",
    "mlp",
    "output_activation",
]


ACTIVATIONS = frozenset(activations._NAMES) | {"logistic"}


# Names of losses of one output for each target.
LOSSES = frozenset(
    name for name, kind in losses._NAMES.items() if kind.spread is losses.Loss.spread
)


# out_activation_ -> the layer by which predictions follow from a network's outputs.
LINKS: dict[str, Layer | None] = {
    "identity": None,
    "exp": Exp(),
    "logistic": activations.get("sigmoid"),
    "softmax": activations.get("softmax"),
}


class FunctionActivation(Layer):
    """An elementwise function of the user's own, ``f(x, *, xp) -> (z, pullback)``."""

    function: Callable[..., Any]

    def __init__(self, function: Callable[..., Any]) -> None:
        self._configure(True, function=function)

    def __hash__(self) -> int:
        return hash((type(self), self.function, self.input_shape))

    def forward(self, params: Params, x: Any, context: Context) -> Any:
        """Return ``(z, pullback)``."""
        z, pull = self.function(x, xp=context.xp)

        def pullback(dz: Any, dx: bool = True, dp: bool = True) -> tuple[Any, Any]:
            return (pull(dz)[0] if dx else None), ()

        return z, pullback


def activation(spec: Any) -> Layer:
    """Return the layer of a name, theirs or ours, of a layer or of a function."""
    if spec == "logistic":
        spec = "sigmoid"
    if callable(spec) and not isinstance(spec, (type, Layer)):
        return FunctionActivation(spec)
    return activations.get(spec)


def each(name: str, spec: Any, hidden: int) -> list[Any]:
    """Spread a parameter over the hidden layers, or check the list that it is."""
    if not isinstance(spec, (list, tuple)):
        return [spec] * hidden
    if len(spec) != hidden:
        msg = (
            f"{name} must have one entry per hidden layer, {hidden}; got {len(spec)}. "
            f"Give one value for all of them, or change hidden_layer_sizes."
        )
        raise ArgumentError(msg)
    return list(spec)


def mlp(estimator: Any, units: Sequence[int]) -> Layer:
    """Return the network of these units, features first, by the parameters."""
    _, *hidden, last = (int(u) for u in units)
    between = each("activation", estimator.activation, len(hidden))
    rates = each("dropout", estimator.dropout, len(hidden))
    layers: list[Layer] = []
    for size, spec, rate in zip(hidden, between, rates, strict=True):
        layers += [Dense(size), activation(spec)]
        layers += [Dropout(rate)] if rate else []
    layers.append(Dense(last))
    if estimator._output_layer is not None:
        layers.append(activation(estimator._output_layer))
    return Sequential(*layers)


@functools.lru_cache(maxsize=64)
def bind(layer: Layer, features: int, outputs: int) -> Network:
    """Return the network for samples of so many features, its outputs checked."""
    network = Network(layer, (features,))
    if network.input_dtype is not None:
        msg = (
            f"network: {type(layer).__name__} takes indices ({network.input_dtype}), "
            "and an estimator's X are numbers. Train it as a chainrule.Model."
        )
        raise ArgumentError(msg)
    if network.output_shape != (outputs,):
        msg = (
            f"network must have {outputs} outputs for this y; its output has the shape "
            f"{network.output_shape}. Change the units of its last Dense layer."
        )
        raise ShapeError(msg)
    return network


def custom_loss(loss: Any) -> losses.Loss:
    """Return a loss of the library, or the one that wraps a function."""
    if isinstance(loss, type) and issubclass(loss, losses.Loss):
        msg = f"loss: got the class {loss.__name__}; write {loss.__name__}()."
        raise ArgumentTypeError(msg)
    if callable(loss) and not isinstance(loss, losses.Loss):
        return FunctionLoss(loss)
    found = losses.get(loss)
    if found.has_spread:
        msg = (
            f"loss: an estimator has one output for each target, and {found.name} "
            f"needs {found.units(1)} for one. Take chainrule.Model with that loss."
        )
        raise ArgumentError(msg)
    return found


def output_activation(
    estimator: Any, link: str, default: str | None = None
) -> tuple[str, Any]:
    """Return the name of what stands at the output, and its layer's spec or None.

    `link` is how predictions follow from what the loss takes; where it is not the
    identity, the loss brings it, and nothing else may stand there. `default` is the
    layer to take when the user names none.
    """
    spec = estimator.output_activation
    if estimator.network is not None:
        if spec is not None:
            msg = "output_activation: a network of your own ends as it ends; give one."
            raise ArgumentError(msg)
        return link, None
    name = "logistic" if spec == "sigmoid" else spec
    if link != "identity":
        if name not in (None, link):
            msg = (
                f"output_activation must be None or {link!r} for this loss, which "
                f"takes the output before it; got {spec!r}. Choose another loss with "
                "it."
            )
            raise ArgumentError(msg)
        return link, None
    spec = default if spec is None else spec
    if spec is None or spec == "identity":
        return "identity", None
    if not isinstance(spec, str):
        layer = activation(spec)
        function = getattr(layer, "function", None)
        return getattr(function, "__name__", type(layer).__name__.lower()), spec
    return ("logistic" if spec == "sigmoid" else spec), spec
