"""Inference: outputs, losses and Jacobians of a trained network, in chunks of rows."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from chainrule.context import Context
from chainrule.network import Network

__all__ = [
    "Data",
    "build_jacobian",
    "build_output",
    "build_probabilities",
    "evaluate",
    "outputs",
]

# Rows of one forward pass in inference: bounds memory, and JAX's compiled shapes.
CHUNK = 8192


class Data(NamedTuple):
    """Samples on the backend: x (n, ...), targets t (n, ...), weights (n,) or None."""

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


def build_loss(backend: Any, network: Network, loss: Any) -> Any:
    """Return ``f(theta, state, x, t, weight) -> (loss, mass)`` in inference."""
    xp = backend.xp
    output = build_output(backend, network)

    def value(theta: Any, state: Any, x: Any, t: Any, weight: Any) -> Any:
        z = output(theta, state, x)
        share = loss.mass(t, weight, weight.dtype, xp=xp)
        return loss(z, t, weight, network.output_shape, xp=xp)[0], share

    return value


def build_jacobian(backend: Any, network: Network) -> Any:
    """Return ``f(theta, state, x) -> J`` of shape (batch, *out, *in)."""
    xp = backend.xp

    def jacobian(theta: Any, state: Any, x: Any) -> Any:
        pieces = network.unflatten_state(state, xp) if network.state_size else ()
        context = Context(xp, state=pieces)
        z, pullback = network.forward(network.unflatten(theta, xp), x, context)
        out, batch = network.output_shape, z.shape[0]
        size = int(np.prod(out))
        # A leading axis on dz, fed with the identity: one cotangent per output.
        eye = xp.reshape(xp.eye(size, dtype=z.dtype), (size, 1, *out))
        dz = xp.broadcast_to(eye, (size, batch, *out))
        dx, _ = pullback(dz, dp=False)
        dx = xp.moveaxis(dx, 0, 1)
        return xp.reshape(dx, (batch, *out, *network.input_shape))

    return jacobian


def build_probabilities(backend: Any, network: Network, loss: Any) -> Any:
    """Return ``f(theta, state, x) -> probabilities`` through the loss's link."""
    output = build_output(backend, network)

    def probabilities(theta: Any, state: Any, x: Any) -> Any:
        return loss.probabilities(output(theta, state, x), xp=backend.xp)

    return probabilities


def _padded(backend: Any, a: Any, low: int, *, fill: bool = True) -> tuple[Any, int]:
    """Rows low ... low + CHUNK of a, and how many they are.

    Where every new number of rows costs a compilation they are filled up to a power of
    two: with the first row, or with zeros. Host arrays are filled up on the host.
    """
    part = a[low : min(low + CHUNK, a.shape[0]), ...]
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


def outputs(
    backend: Any, weights: tuple[Any, Any], x: Any, build: Any, *key: Any
) -> Any:
    """Apply the function that ``build(backend, *key)`` makes to x in chunks; join them.

    x may be a host array where the backend `pads`; the result is then one, too.
    """
    run = backend.compile(build, *key)
    host = backend.pads and isinstance(x, np.ndarray)
    parts = []
    for low in range(0, max(1, x.shape[0]), CHUNK):
        part, rows = _padded(backend, x, low)
        z = run(*weights, part)
        if host:
            z = backend.to_numpy(z)
        parts.append(z if z.shape[0] == rows else z[:rows, ...])
    xp = np if host else backend.xp
    return parts[0] if len(parts) == 1 else xp.concat(parts, axis=0)


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
        x, t = (_padded(backend, a, low)[0] for a in (data.x, data.t))
        w, _ = _padded(backend, weight, low, fill=False)  # what is filled up has none
        value, share = run(*weights, x, t, w)
        total = value * share if total is None else total + value * share
        mass = share if mass is None else mass + share
    return total / xp.where(mass > 0, mass, xp.ones_like(mass))
