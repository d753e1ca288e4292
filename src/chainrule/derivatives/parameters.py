"""Derivatives by the parameters, ready for `Backend.compile`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from chainrule.arrays.dual import DualNamespace
from chainrule.arrays.types import Array
from chainrule.derivatives.directions import basis
from chainrule.network import Network
from chainrule.network.forward import run

if TYPE_CHECKING:
    from chainrule.backends import Backend
    from chainrule.losses import Loss

__all__ = [
    "build_parameter_curve",
    "build_parameter_jacobian",
    "build_sample_gradients",
]


def build_sample_gradients(
    backend: Backend, network: Network, loss: Loss
) -> Callable[..., Any]:
    """Return ``f(theta, state, x, t) -> G`` of shape (batch, P).

    Row i is the gradient of the loss of sample i, as a batch of its own.
    """
    xp = backend.xp

    def sample_gradients(theta: Array, state: Array, x: Array, t: Array) -> Any:
        # Leading axes are never summed: the batch moves there, and rows are one.
        x, t = x[:, None, ...], t[:, None, ...]
        z, pullback = run(network, theta, state, x, xp)
        _, loss_pullback = loss(z, t, None, network.output_shape, xp=xp)
        _, dparams = pullback(loss_pullback()[0], dx=False)
        return network.gradient(dparams, xp)

    return sample_gradients


def build_parameter_jacobian(backend: Backend, network: Network) -> Callable[..., Any]:
    """Return ``f(theta, state, x) -> ∂Z/∂θ`` of shape (batch, m, P).

    m counts the entries of an output, row-major; frozen parameters have zeros.
    """
    xp = backend.xp
    out = network.output_shape

    def parameter_jacobian(theta: Array, state: Array, x: Array) -> Any:
        # Every sample is a batch of one, behind an axis for the outputs.
        z, pullback = run(network, theta, state, x[:, None, None, ...], xp)
        eye = basis(out, z.dtype, xp)
        _, dparams = pullback(xp.broadcast_to(eye, (x.shape[0], *eye.shape)), dx=False)
        return network.gradient(dparams, xp)

    return parameter_jacobian


def build_parameter_curve(backend: Backend, network: Network) -> Callable[..., Any]:
    """Return ``f(theta, state, x, direction) -> (ż, z̈)``, each of Z's shape.

    The first and second derivative of Z(θ + s·direction) by s at s = 0, direction (P,):
    the network runs on dual arrays of dual arrays.
    """
    inner = DualNamespace(backend.xp)
    outer = DualNamespace(inner)

    def curve(theta: Array, state: Array, x: Array, direction: Array) -> Any:
        moving = outer.dual(inner.dual(theta, direction), inner.dual(direction))
        fixed, at = (outer.dual(inner.dual(a)) for a in (state, x))
        # Indices have no derivative, and stay as they are.
        where = at if network.input_dtype is None else x
        z, _ = run(network, moving, fixed, where, outer)
        return inner.parts(outer.parts(z)[1])

    return curve
