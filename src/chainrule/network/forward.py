"""The forward pass in inference, as pure functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from chainrule.arrays.share import WHOLE, Share
from chainrule.arrays.types import Array, ArrayNamespace, Pullback, Shape
from chainrule.errors import ArgumentTypeError, ShapeError
from chainrule.layers.context import Context
from chainrule.network.network import Network

if TYPE_CHECKING:
    from chainrule.backends import Backend
    from chainrule.losses import Loss
    from chainrule.state.training import TrainingState

__all__ = [
    "Build",
    "Function",
    "begin_pass",
    "build_direct",
    "build_expectation",
    "build_function",
    "build_loss",
    "build_output",
    "build_probabilities",
    "run",
]

# A pure function, f(theta, state, x) -> z, say; and what makes one for a backend.
Function = Callable[..., Any]
Build = Callable[..., Function]


def begin_pass(
    network: Network,
    state: Array,
    xp: ArrayNamespace,
    *,
    train: bool = False,
    key: Any = None,
    share: Share = WHOLE,
) -> Context:
    """Return what a pass carries: the pieces of the state (S,), and its random keys."""
    pieces = network.unflatten_state(state, xp) if network.state_size else ()
    return Context(xp, train=train, state=pieces, key=key, share=share)


def run(
    network: Network, theta: Any, state: Any, x: Any, xp: ArrayNamespace
) -> tuple[Any, Pullback]:
    """Return ``(z, pullback)`` of the network in inference, in any namespace."""
    params = network.unflatten(theta, xp)
    return network.forward(params, x, begin_pass(network, state, xp))


# Rows that are predicted directly.
_FEW = 64


def build_output(backend: Backend, network: Network) -> Function:
    """Return ``f(theta, state, x) -> z`` in inference."""
    xp = backend.xp

    def output(theta: Array, state: Array, x: Array) -> Any:
        return run(network, theta, state, x, xp)[0]

    return output


def build_function(
    backend: Backend, network: Network, dtype: str, precision: str
) -> Function:
    """Return ``f(theta, state, x) -> z`` for others' programs; see `Model.function`."""
    output, xp = build_output(backend, network), backend.xp
    kind, shape = getattr(xp, dtype), network.input_shape

    def check(name: str, a: Any, core: Shape, form: str, kind: Any = kind) -> Any:
        if not backend.holds(a):
            msg = (
                f"model.function(): {name} must be an array of {backend.name}, which "
                f"computes here; got {type(a).__name__}."
            )
            raise ArgumentTypeError(msg)
        if tuple(a.shape[a.ndim - len(core) :]) != core:
            msg = (
                f"model.function(): {name} must have the shape {form}; got "
                f"{tuple(a.shape)}."
            )
            raise ShapeError(msg)
        return a if a.dtype == kind else xp.astype(xp.asarray(a), kind)

    def check_x(x: Array, form: str) -> Any:
        if network.input_dtype is None:
            return check("x", x, shape, f"({form})")
        if backend.holds(x) and not xp.isdtype(x.dtype, "integral"):
            msg = (
                f"model.function(): x must hold indices, of an integer dtype; got "
                f"{x.dtype}. Convert it: x.astype('int32'), or x.int() of a tensor."
            )
            raise ArgumentTypeError(msg)
        return check("x", x, shape, f"({form})", getattr(xp, network.input_dtype))

    def function(theta: Array, state: Array, x: Array) -> Any:
        theta = check("theta", theta, (network.size,), f"(..., {network.size})")
        if network.state_size:
            form = f"(..., {network.state_size})"
            state = check("state", state, (network.state_size,), form)
        form = ", ".join(map(str, ("batch", *shape)))
        x = check_x(x, form)
        if x.ndim != len(shape) + 1:
            came = tuple(x.shape)
            msg = f"model.function(): x must have the shape ({form}); got {came}."
            raise ShapeError(msg)
        with backend.products(dtype, precision):
            z = output(theta, state, x)
            lead = tuple(theta.shape[:-1])
            # Without parameters all members have the same output.
            core = z.shape[z.ndim - len(network.output_shape) - 1 :]
            return xp.broadcast_to(z, (*lead, *core)) if lead else z

    return function


def build_direct(backend: Backend, network: Network) -> Function | None:
    """Return ``f(weights, x) -> z``; None for a network of indices or no parameters.

    It takes a few rows that are already what the network wants, as people serve them:
    finite, and in the backend's library, dtype and shape. What is checked costs less
    than the products. Of all else it returns None: that goes the long way, which says
    what is wrong.
    """
    if not network.size or network.input_dtype is not None:
        return None
    xp, shape = backend.xp, network.input_shape
    forward, make = network.layer.forward, network.unflatten
    unflatten = backend.memoize(lambda theta: make(theta, xp))
    rank, stateful = len(shape) + 1, network.state_size > 0

    stateless = Context(xp)  # of networks that take nothing from it, and keep nothing

    def output(theta: Array, state: Array, x: Array) -> Any:
        context = stateless
        if stateful:
            context = Context(xp, state=network.unflatten_state(state, xp))
        return forward(unflatten(theta), x, context)[0]

    run = backend.scope("")(output)

    def direct(training: TrainingState, x: Array) -> Any:
        theta, state = training.theta, training.state
        if not (
            type(x) is type(theta)  # nothing derived: a masked array, a matrix
            and x.dtype == theta.dtype
            and len(x.shape) == rank
            and x.shape[1:] == shape
            and 0 < x.shape[0] <= _FEW
        ):
            return None
        return run(theta, state, x) if backend.is_finite(x) else None

    return direct


def build_loss(backend: Backend, network: Network, loss: Loss) -> Function:
    """Return ``f(theta, state, x, t, weight) -> (loss, mass)`` in inference."""
    xp = backend.xp
    output, core = build_output(backend, network), len(network.output_shape)

    def value(theta: Array, state: Array, x: Array, t: Array, weight: Array) -> Any:
        z = output(theta, state, x)
        # A row without weight counts as none, though its output be infinite: NaN is
        # what it would be times 0. Those that are filled up are such.
        counts = xp.reshape(weight > 0, (*weight.shape, *(1 for _ in range(core))))
        z = xp.where(counts, z, 0.0)
        share = loss.mass(t, weight, weight.dtype, xp=xp)
        return loss(z, t, weight, network.output_shape, xp=xp)[0], share

    return value


def build_expectation(backend: Backend, network: Network, loss: Loss) -> Function:
    """Return ``f(theta, state, x) -> mean`` of the target, where a loss says it."""
    output = build_output(backend, network)

    def expectation(theta: Array, state: Array, x: Array) -> Any:
        return loss.mean(output(theta, state, x), xp=backend.xp)

    return expectation


def build_probabilities(backend: Backend, network: Network, loss: Loss) -> Function:
    """Return ``f(theta, state, x) -> probabilities`` through the loss's link."""
    output = build_output(backend, network)

    def probabilities(theta: Array, state: Array, x: Array) -> Any:
        return loss.probabilities(output(theta, state, x), xp=backend.xp)

    return probabilities
