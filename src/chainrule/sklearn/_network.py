"""From an estimator's parameters to a network, a loss and weights.

scikit-learn keeps weights as lists, `coefs_` (fan_in, fan_out) and `intercepts_`; a
network keeps them in one vector, layer by layer, each weight (m, n) the transpose. In a
network of the user's own every matrix is one of `coefs_` and everything else one of
`intercepts_`, in layout order.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule import derivatives, losses
from chainrule._typing import Params, Shape
from chainrule.context import Context
from chainrule.errors import ArgumentError, ArgumentTypeError, ShapeError
from chainrule.layers import Dense, Dropout, Exp, Layer, Sequential, activations
from chainrule.network import Network
from chainrule.sklearn._losses import FunctionLoss

__all__ = [
    "ACTIVATIONS",
    "LINKS",
    "LOSSES",
    "bind",
    "build_derivative",
    "build_hidden",
    "build_linked",
    "build_mean_of_each",
    "build_validation",
    "custom_loss",
    "draw",
    "linked",
    "mlp",
    "pack",
    "unpack",
]

ACTIVATIONS = frozenset(activations._NAMES) | {"logistic"}
LOSSES = frozenset(losses._NAMES)
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
    """Return the layer of a name, scikit-learn's or ours, of a layer or of a function."""
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
    """Return the network of these units, features first, that the parameters describe."""
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
    if network.output_shape != (outputs,):
        msg = (
            f"network must have {outputs} outputs for this y; its output has the shape "
            f"{network.output_shape}. Change the units of its last Dense layer."
        )
        raise ShapeError(msg)
    return network


def draw(estimator: Any, units: Sequence[int], dtype: str) -> tuple[list[Any], Any]:
    """Draw initial weights as scikit-learn does: per layer, weights then intercepts.

    Of an ensemble, member 0 draws what the lone network does and leaves the generator
    as that does; the others' generators are seeded from a copy of it.
    """
    generator, members = estimator._random_state, estimator.members
    if members is None:
        return _drawn(estimator, generator, units, dtype)
    others = copy.deepcopy(generator)
    seeds = others.randint(np.iinfo(np.int32).max, size=members)[1:]
    generators = [generator, *(np.random.RandomState(seed) for seed in seeds)]
    drawn = [_drawn(estimator, each, units, dtype) for each in generators]
    coefs, intercepts = (
        [np.stack(group) for group in zip(*lists, strict=True)]
        for lists in zip(*drawn, strict=True)
    )
    return coefs, intercepts


def _drawn(
    estimator: Any, generator: Any, units: Sequence[int], dtype: str
) -> tuple[list[Any], list[Any]]:
    specs = each("activation", estimator.activation, len(units) - 2)
    specs = [*specs, specs[-1]] if specs else [estimator.activation]
    coefs, intercepts = [], []
    for fan_in, fan_out, spec in zip(units[:-1], units[1:], specs, strict=True):
        factor = 2.0 if spec in ("logistic", "sigmoid") else 6.0
        bound = np.sqrt(factor / (fan_in + fan_out))
        uniform = generator.uniform
        coefs.append(uniform(-bound, bound, (fan_in, fan_out)).astype(dtype))
        intercepts.append(uniform(-bound, bound, fan_out).astype(dtype))
    return coefs, intercepts


def pack(network: Network, coefs: Any, intercepts: Any, backend: Any) -> Any:
    """Join the lists into one vector (..., P): here if all lie here, else on the host."""
    arrays = [*coefs, *intercepts]
    matrices, rest = iter(coefs), iter(intercepts)
    ordered = [
        next(matrices) if len(e.shape) == 2 else next(rest) for e in network.entries
    ]
    here = all(backend.owns(a) for a in arrays)
    xp = backend.xp if here else np
    flat = []
    for a, e in zip(ordered, network.entries, strict=True):
        rank = len(e.shape)
        w = a if here else np.asarray(a)
        lead = tuple(w.shape[: w.ndim - rank])
        flat.append(xp.reshape(w.mT if rank == 2 else w, (*lead, e.stop - e.start)))
    return xp.concat(flat, axis=-1)


def unpack(network: Network, theta: Any) -> tuple[list[Any], list[Any]]:
    """Split a host vector (..., P) into scikit-learn's two lists, copies."""
    coefs: list[Any] = []
    intercepts: list[Any] = []
    for e in network.entries:
        a = theta[..., e.start : e.stop].reshape(*theta.shape[:-1], *e.shape)
        matrix = len(e.shape) == 2
        (coefs if matrix else intercepts).append(np.array(a.mT if matrix else a))
    coefs = [np.ascontiguousarray(c) for c in coefs]
    return coefs, intercepts


def custom_loss(loss: Any) -> losses.Loss:
    """Return a loss of the library, or the one that wraps a function."""
    if isinstance(loss, type) and issubclass(loss, losses.Loss):
        msg = f"loss: got the class {loss.__name__}; write {loss.__name__}()."
        raise ArgumentTypeError(msg)
    if callable(loss) and not isinstance(loss, losses.Loss):
        return FunctionLoss(loss)
    return losses.get(loss)


@functools.lru_cache(maxsize=64)
def linked(network: Network, link: Layer | None) -> Network:
    """Return the network that ends in the link: what predictions are."""
    if link is None:
        return network
    return Network(Sequential(network.layer, link), network.input_shape)


def build_linked(backend: Any, network: Network, link: Layer | None) -> Any:
    """Return ``f(theta, state, x) -> predictions`` in inference."""
    xp = backend.xp
    whole = linked(network, link)

    def predictions(theta: Any, state: Any, x: Any) -> Any:
        pieces = whole.unflatten_state(state, xp) if whole.state_size else ()
        context = Context(xp, state=pieces)
        return whole.forward(whole.unflatten(theta, xp), x, context)[0]

    return predictions


def build_derivative(backend: Any, network: Network, link: Layer | None) -> Any:
    """Return ``f(theta, state, x) -> ∂predictions/∂x``, (batch, m, n)."""
    return derivatives.build_jacobian(backend, linked(network, link))


def build_mean_of_each(backend: Any, network: Network, build: Any, *key: Any) -> Any:
    """Return ``f(theta, state, x)``, the mean over members of a function of one."""
    one = build(backend, network, *key)

    def mean(theta: Any, state: Any, x: Any) -> Any:
        members = theta.shape[0]
        total = one(theta[0, :], state[0, :], x)
        for k in range(1, members):
            total = total + one(theta[k, :], state[k, :], x)
        return total / members

    return mean


def build_validation(
    backend: Any, network: Network, loss: Any, link: Layer | None
) -> Any:
    """Return ``f(theta, state, x, t, weight) -> (predictions, loss)`` in inference.

    Of an ensemble: the mean of its members' predictions, and the loss of each.
    """
    xp = backend.xp

    def validation(theta: Any, state: Any, x: Any, t: Any, weight: Any) -> Any:
        pieces = network.unflatten_state(state, xp) if network.state_size else ()
        context = Context(xp, state=pieces)
        z, _ = network.forward(network.unflatten(theta, xp), x, context)
        value = loss(z, t, weight, network.output_shape, xp=xp)[0]
        if link is not None:
            bound = link.bind(network.output_shape)
            z, _ = bound.forward((), z, Context(xp))
        if theta.ndim > 1:
            z = xp.mean(z, axis=0)
        return z, value

    return validation


def build_hidden(backend: Any, network: Network) -> Any:
    """Return ``f(theta, state, x) -> hidden activations``, side by side: (n, Σ hᵢ)."""
    xp = backend.xp
    chain: Any = network.layer

    def hidden(theta: Any, state: Any, x: Any) -> Any:
        pieces = network.unflatten_state(state, xp) if network.state_size else ()
        context = Context(xp, state=pieces)
        found = []
        params = network.unflatten(theta, xp)
        for part, p in zip(chain.layers, params, strict=True):
            if isinstance(part, Dense):
                found.append(x)  # what a dense layer receives is a hidden activation
            x, _ = part.forward(p, x, context)
        return xp.concat(found[1:], axis=-1)

    return hidden


def hidden_widths(network: Network) -> list[int]:
    """Widths of the hidden activations that `build_hidden` gives."""
    dense = [p for p in getattr(network.layer, "layers", ()) if isinstance(p, Dense)]
    shapes: list[Shape] = [p.input_shape for p in dense[1:] if p.input_shape]
    if not shapes or any(len(s) != 1 for s in shapes):
        msg = (
            "hidden_activations needs a Sequential of at least two Dense layers on "
            "vectors; this network is none."
        )
        raise ArgumentError(msg)
    return [s[0] for s in shapes]


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
                f"output_activation must be None or {link!r} for this loss, which takes "
                f"the output before it; got {spec!r}. Choose another loss with it."
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
