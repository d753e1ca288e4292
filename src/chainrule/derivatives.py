"""Derivatives of a network: by inputs and by parameters, of first and second order.

Each ``build_...(backend, network)`` returns a pure function of arrays, ready for
`Backend.compile`. All are of the network in inference. Forward and second derivatives
run the rules on dual arrays; there is no second copy of any.
"""

from __future__ import annotations

import math
from typing import Any

from chainrule.context import Context
from chainrule.dual import DualNamespace
from chainrule.network import Network

__all__ = [
    "build_parameter_curve",
    "build_parameter_jacobian",
]


def _forward(network: Network, theta: Any, state: Any, x: Any, xp: Any) -> Any:
    """Return ``(z, pullback)`` of the network in inference."""
    pieces = network.unflatten_state(state, xp) if network.state_size else ()
    context = Context(xp, state=pieces)
    return network.forward(network.unflatten(theta, xp), x, context)


def build_parameter_jacobian(backend: Any, network: Network) -> Any:
    """Return ``f(theta, state, x) -> ∂Z/∂θ`` of shape (batch, m, P).

    m counts the entries of an output row-major; frozen parameters count as others.
    """
    xp = backend.xp
    out = network.output_shape
    size = math.prod(out)

    def parameter_jacobian(theta: Any, state: Any, x: Any) -> Any:
        batch = x.shape[0]
        # Every sample is a batch of one, behind an axis for the outputs: leading axes
        # are never summed. One cotangent per output, the rows of the identity.
        alone = xp.reshape(x, (batch, 1, 1, *network.input_shape))
        z, pullback = _forward(network, theta, state, alone, xp)
        eye = xp.reshape(xp.eye(size, dtype=z.dtype), (1, size, 1, *out))
        _, dparams = pullback(xp.broadcast_to(eye, (batch, size, 1, *out)), dx=False)
        return network.flatten(dparams, xp)

    return parameter_jacobian


def build_parameter_curve(backend: Any, network: Network) -> Any:
    """Return ``f(theta, state, x, direction) -> (ż, z̈)``, each of Z's shape.

    The first and second derivative of Z(θ + s·direction) by s at s = 0, direction (P,):
    the network runs on dual arrays of dual arrays.
    """
    inner = DualNamespace(backend.xp)
    outer = DualNamespace(inner)

    def curve(theta: Any, state: Any, x: Any, direction: Any) -> Any:
        moving = outer.dual(inner.dual(theta, direction), inner.dual(direction))
        fixed = [outer.dual(inner.dual(a)) for a in (state, x)]
        z, _ = _forward(network, moving, *fixed, outer)
        return inner.parts(outer.parts(z)[1])

    return curve
