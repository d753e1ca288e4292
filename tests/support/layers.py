"""What tests of layers share: a pass through a network, and central differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import chainrule as cr
from chainrule.arrays.namespace import Namespace
from chainrule.layers.context import Context
from chainrule.network import Network

from tests.support.libraries import Library

NUMPY = Library("numpy", Namespace(np))


class Pass(NamedTuple):
    """What a forward pass and its pullback give, on the host."""

    z: Any
    dtheta: Any
    dx: Any
    kept: Any


def through(
    network: Network,
    theta: Any,
    x: Any,
    dz: Any = 1.0,
    *,
    train: bool = True,
    state: Any = None,
    key: Any = None,
    lib: Library = NUMPY,
) -> Pass:
    """Run the network forward and its pullback, on any library."""
    xp = lib.xp
    theta, x = lib.array(theta), lib.array(x)
    pieces: Any = ()
    if network.state_size:
        state = network.initial(0)[1] if state is None else state
        pieces = network.unflatten_state(lib.array(state), xp)
    key = None if key is None else lib.array(key)
    context = Context(xp, train=train, state=pieces, key=key)
    z, pullback = network.forward(network.unflatten(theta, xp), x, context)
    dz = lib.array(np.broadcast_to(dz, z.shape))
    dx, dparams = pullback(dz)
    some = any(g is not None for g in network.pieces(dparams))
    dtheta = lib.host(network.flatten(dparams, xp)) if some else None
    kept = None
    if network.state_size:
        kept = lib.host(network.flatten_state(context.kept, xp))
    dx = None if dx is None else lib.host(dx)  # indices have none
    return Pass(lib.host(z), dtheta, dx, kept)


def differences(f: Callable[[Any], float], a: Any, step: float = 1e-6) -> Any:
    """Central differences of f at a."""
    grad = np.empty(a.size)
    for i in range(a.size):
        shift = np.zeros(a.size)
        shift[i] = step
        shift = shift.reshape(a.shape)
        grad[i] = (f(a + shift) - f(a - shift)) / (2 * step)
    return grad.reshape(a.shape)


def check_gradients(layer: cr.Layer, shape: tuple[int, ...], **given: Any) -> None:
    """Compare the pullback of a network with central differences, in float64."""
    network = Network(layer, shape)
    rng = np.random.default_rng(5)
    theta = rng.normal(size=network.size) * 0.7
    x = rng.normal(size=(4, *shape))
    dz = rng.normal(size=(4, *network.output_shape))

    def value(theta: Any, x: Any) -> float:
        return float(np.sum(dz * through(network, theta, x, **given).z))

    got = through(network, theta, x, dz, **given)
    want = differences(lambda a: value(theta, a), x)
    np.testing.assert_allclose(got.dx, want, rtol=1e-6, atol=1e-7)
    want = differences(lambda a: value(a, x), theta)
    for e in network.entries:
        part = slice(e.start, e.stop)
        if e.trainable:
            np.testing.assert_allclose(got.dtheta[part], want[part], 1e-6, 1e-7)
        else:
            assert not got.dtheta[part].any()
