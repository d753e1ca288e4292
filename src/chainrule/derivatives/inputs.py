"""Derivatives of a network: by inputs and by parameters, of first and second order.

Each ``build_...(backend, network)`` returns a pure function of arrays, ready for
`Backend.compile`. All are of the network in inference. Forward and second derivatives
run the rules on dual arrays; there is no second copy of any. The formulas are derived
in docs/derivatives.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from chainrule.arrays.dual import DualNamespace
from chainrule.arrays.types import Array
from chainrule.derivatives.cost import forward_is_cheaper
from chainrule.derivatives.directions import basis, run_dual, tangent
from chainrule.network import Network
from chainrule.network.forward import run

if TYPE_CHECKING:
    from chainrule.backends import Backend

__all__ = ["build_hessian", "build_hvp", "build_jacobian", "build_jvp", "build_vjp"]


def build_jacobian(backend: Backend, network: Network) -> Callable[..., Any]:
    """Return ``f(theta, state, x) -> ∂Z/∂X`` of shape (batch, *out, *in)."""
    xp = backend.xp
    inside, out = network.input_shape, network.output_shape
    dual = DualNamespace(xp)

    def forward(theta: Array, state: Array, x: Array) -> Any:
        eye = basis(inside, x.dtype, xp)
        z, _ = run_dual(network, theta, state, x, eye, dual)
        columns = tangent(z, eye.shape[:1], dual)
        shape = (x.shape[0], *out, *inside)
        return xp.reshape(xp.moveaxis(columns, 0, -1), shape)

    def reverse(theta: Array, state: Array, x: Array) -> Any:
        z, pullback = run(network, theta, state, x, xp)
        # A leading axis on dz, fed with the identity: one cotangent per output.
        eye = basis(out, z.dtype, xp)
        rows, _ = pullback(xp.broadcast_to(eye, (*eye.shape[:1], *z.shape)), dp=False)
        return xp.reshape(xp.moveaxis(rows, 0, 1), (x.shape[0], *out, *inside))

    return forward if forward_is_cheaper(network) else reverse


def build_vjp(backend: Backend, network: Network) -> Callable[..., Any]:
    """Return ``f(theta, state, x, v) -> vᵀ ∂Z/∂X``, sample by sample, of x's shape."""
    xp = backend.xp

    def vjp(theta: Array, state: Array, x: Array, v: Array) -> Any:
        _, pullback = run(network, theta, state, x, xp)
        return pullback(v, dp=False)[0]

    return vjp


def build_jvp(backend: Backend, network: Network) -> Callable[..., Any]:
    """Return ``f(theta, state, x, u) -> ∂Z/∂X u``, sample by sample, of Z's shape."""
    dual = DualNamespace(backend.xp)

    def jvp(theta: Array, state: Array, x: Array, u: Array) -> Any:
        z, _ = run_dual(network, theta, state, x, u, dual)
        return tangent(z, (), dual)

    return jvp


def build_hvp(backend: Backend, network: Network) -> Callable[..., Any]:
    """Return ``f(theta, state, x, u) -> H u``, sample by sample, of x's shape.

    The derivative along u of the gradient of the sum of a sample's outputs.
    """
    xp = backend.xp
    dual = DualNamespace(xp)

    def hvp(theta: Array, state: Array, x: Array, u: Array) -> Any:
        z, pullback = run_dual(network, theta, state, x, u, dual)
        dx, _ = pullback(dual.ones_like(z), dp=False)
        return tangent(dx, u.shape[: u.ndim - x.ndim], dual)

    return hvp


def build_hessian(backend: Backend, network: Network) -> Callable[..., Any]:
    """Return ``f(theta, state, x) -> H`` of shape (batch, *in, *in)."""
    xp = backend.xp
    inside = network.input_shape
    hvp = build_hvp(backend, network)

    def hessian(theta: Array, state: Array, x: Array) -> Any:
        columns = hvp(theta, state, x, basis(inside, x.dtype, xp))
        columns = xp.moveaxis(columns, 0, -1)
        return xp.reshape(columns, (x.shape[0], *inside, *inside))

    return hessian
