"""Inference: outputs and losses of a trained network, in chunks of rows."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from chainrule._typing import Shape
from chainrule.context import Context
from chainrule.errors import ArgumentTypeError, ShapeError
from chainrule.network import Network

__all__ = [
    "Data",
    "build_function",
    "build_output",
    "build_probabilities",
    "evaluate",
    "outputs",
]

# Rows of one forward pass in inference: bounds memory, and JAX's compiled shapes.
CHUNK = 8192
# Rows of one forward pass from which on products are as fast as they get.
ENOUGH = 512
# Rows that are predicted directly.
FEW = 64


class Data(NamedTuple):
    """Samples on the backend: x (n, ...), targets t (n, ...), weights (n,) or None.

    In training, weights may also be (n, members).
    """

    x: Any
    t: Any
    weight: Any


def build_output(backend: Any, network: Network) -> Any:
    """Return ``f(theta, state, x) -> z`` in inference."""
    xp = backend.xp

    def output(theta: Any, state: Any, x: Any) -> Any:
        pieces = network.unflatten_state(state, xp) if network.state_size else ()
        context = Context(xp, state=pieces)
        return network.forward(network.unflatten(theta, xp), x, context)[0]

    return output


def build_function(backend: Any, network: Network, dtype: str, precision: str) -> Any:
    """Return ``f(theta, state, x) -> z`` for a program of others; see `Model.function`."""
    output, xp = build_output(backend, network), backend.xp
    kind, shape = getattr(xp, dtype), network.input_shape

    def check(name: str, a: Any, core: Shape, form: str) -> Any:
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

    def function(theta: Any, state: Any, x: Any) -> Any:
        theta = check("theta", theta, (network.size,), f"(..., {network.size})")
        if network.state_size:
            form = f"(..., {network.state_size})"
            state = check("state", state, (network.state_size,), form)
        form = ", ".join(map(str, ("batch", *shape)))
        x = check("x", x, shape, f"({form})")
        if x.ndim != len(shape) + 1:
            msg = f"model.function(): x must have the shape ({form}); got {tuple(x.shape)}."
            raise ShapeError(msg)
        with backend.products(dtype, precision):
            z = output(theta, state, x)
            lead = tuple(theta.shape[:-1])
            # Without parameters all members have the same output.
            core = z.shape[z.ndim - len(network.output_shape) - 1 :]
            return xp.broadcast_to(z, (*lead, *core)) if lead else z

    return function


def build_direct(backend: Any, network: Network) -> Any:
    """Return ``f(weights, x) -> z``, or None for a network without parameters.

    It takes a few rows that are already what the network wants, as people serve them:
    finite, and in the backend's library, dtype and shape. What is checked costs less
    than the products. Of all else it returns None: that goes the long way, which says
    what is wrong.
    """
    if not network.size:
        return None
    xp, shape = backend.xp, network.input_shape
    forward, make = network.layer.forward, network.unflatten
    unflatten = backend.memoize(lambda theta: make(theta, xp))
    rank, stateful = len(shape) + 1, network.state_size > 0

    stateless = Context(xp)  # of networks that take nothing from it, and keep nothing

    def output(theta: Any, state: Any, x: Any) -> Any:
        context = stateless
        if stateful:
            context = Context(xp, state=network.unflatten_state(state, xp))
        return forward(unflatten(theta), x, context)[0]

    run = backend.scope("")(output)

    def direct(weights: tuple[Any, Any], x: Any) -> Any:
        theta, state = weights
        if not (
            type(x) is type(theta)  # nothing derived: a masked array, a matrix
            and x.dtype == theta.dtype
            and len(x.shape) == rank
            and x.shape[1:] == shape
            and 0 < x.shape[0] <= FEW
        ):
            return None
        return run(theta, state, x) if backend.is_finite(x) else None

    return direct


def build_loss(backend: Any, network: Network, loss: Any) -> Any:
    """Return ``f(theta, state, x, t, weight) -> (loss, mass)`` in inference."""
    xp = backend.xp
    output, core = build_output(backend, network), len(network.output_shape)

    def value(theta: Any, state: Any, x: Any, t: Any, weight: Any) -> Any:
        z = output(theta, state, x)
        # A row without weight counts as none, though its output be infinite: NaN is what
        # it would be times 0. Those that are filled up are such.
        counts = xp.reshape(weight > 0, (*weight.shape, *(1 for _ in range(core))))
        z = xp.where(counts, z, 0.0)
        share = loss.mass(t, weight, weight.dtype, xp=xp)
        return loss(z, t, weight, network.output_shape, xp=xp)[0], share

    return value


def build_probabilities(backend: Any, network: Network, loss: Any) -> Any:
    """Return ``f(theta, state, x) -> probabilities`` through the loss's link."""
    output = build_output(backend, network)

    def probabilities(theta: Any, state: Any, x: Any) -> Any:
        return loss.probabilities(output(theta, state, x), xp=backend.xp)

    return probabilities


def _padded(
    backend: Any, a: Any, low: int, size: int, *, fill: bool = True
) -> tuple[Any, int]:
    """Rows low ... low + size of a, and how many they are.

    Where every new number of rows costs a compilation they are filled up to a power of
    two: with the first row, or with zeros. Host arrays are filled up on the host.
    """
    part = a[low : min(low + size, a.shape[0]), ...]
    rows = part.shape[0]
    if not backend.pads or rows == 0:
        return part, rows
    missing = (1 << (rows - 1).bit_length()) - rows
    if missing:
        xp = np if isinstance(a, np.ndarray) else backend.xp
        more = part[:1, ...] if fill else xp.zeros_like(part[:1, ...])
        more = xp.broadcast_to(more, (missing, *part.shape[1:]))
        part = xp.concat([part, more], axis=0)
    return part, rows


def _rows(backend: Any, network: Network) -> int:
    """Rows to work on at a time, so that what is between the layers fits a cache."""
    rows: int = min(CHUNK, max(ENOUGH, backend.block // network.widest))
    return 1 << (
        rows.bit_length() - 1
    )  # a power of two: where rows are padded, none is


def outputs(
    backend: Any,
    weights: tuple[Any, Any],
    x: Any,
    build: Any,
    *key: Any,
    also: tuple[Any, ...] = (),
    rows: int | None = None,
) -> Any:
    """Apply the function that ``build(backend, *key)`` makes to x in chunks; join them.

    x may be a host array where the backend `pads`; the result is then one, too. `also`
    are further arrays of the same samples, for the function's next arguments; `rows` is
    how many are worked on at a time. The key begins with the network.
    """
    run, rows = backend.compile(build, *key), rows or _rows(backend, key[0])
    host = backend.pads and isinstance(x, np.ndarray)
    samples, parts, whole = x.shape[0], [], None
    for low in range(0, max(1, samples), rows):
        some = [_padded(backend, a, low, rows)[0] for a in (x, *also)]
        count = min(rows, samples - low)
        z = run(*weights, *some)
        if not key[0].size:  # without parameters it may be x itself
            z = backend.copy(z)
        if host:
            z = backend.to_numpy(z)
        z = z if z.shape[0] == count else z[:count, ...]
        if count == samples:
            return z
        if isinstance(z, np.ndarray):
            # Put down at once: joining all at the end would take twice the memory.
            if whole is None:
                whole = np.empty((samples, *z.shape[1:]), dtype=z.dtype)
            whole[low : low + count] = z
        else:
            parts.append(z)
    return backend.xp.concat(parts, axis=0) if whole is None else whole


def evaluate(
    backend: Any, network: Network, loss: Any, weights: tuple[Any, Any], data: Data
) -> Any:
    """Return the loss over all samples in inference, a scalar of the backend."""
    run = backend.compile(build_loss, network, loss)
    xp = backend.xp
    weight = data.weight
    if weight is None:
        home = np if isinstance(data.x, np.ndarray) else xp
        weight = home.ones((data.x.shape[0],), dtype=data.x.dtype)
    total: Any = None
    mass: Any = None
    for low in range(0, data.x.shape[0], CHUNK):
        x, t = (_padded(backend, a, low, CHUNK)[0] for a in (data.x, data.t))
        w, _ = _padded(
            backend, weight, low, CHUNK, fill=False
        )  # what is filled up has none
        value, share = run(*weights, x, t, w)
        total = value * share if total is None else total + value * share
        mass = share if mass is None else mass + share
    return total / xp.where(mass > 0, mass, xp.ones_like(mass))
