"""Training on slopes as well as values (Sobolev training).

    E = loss(Z, T) + slope_weight · Σᵢ wᵢ sᵢ / Σᵢ wᵢ,   sᵢ = mean over k, d of (Jᵢₖ_d - Sᵢₖ_d)²

with J = ∂Z/∂X and S what it shall be. The gradient by θ takes one pass on dual arrays:
docs/derivatives.md. Source: Czarnecki et al. 2017 (arXiv:1706.04859).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from chainrule.arrays.dual import DualArray, DualNamespace
from chainrule.arrays.types import Shape
from chainrule.config.record import Config
from chainrule.data.samples import SlopeData
from chainrule.derivatives.inputs import build_jacobian
from chainrule.errors import ArgumentError, ShapeError
from chainrule.layers.context import Context
from chainrule.network import Network, chunks

__all__ = ["SlopeLoss", "build_slope_objective", "check", "evaluate"]


class SlopeLoss(Config):
    """A loss of the values, and what the slopes' error is multiplied with."""

    loss: Any
    weight: float

    def __init__(self, loss: Any, weight: float) -> None:
        self._set(loss=loss, weight=weight)


def check(network: Network, slopes: Any, samples: int, *, xp: Any) -> Any:
    """Return slopes in their full shape (n, *out, *in), in their own library.

    Raises
    ------
    ShapeError, ArgumentError
        If they have another shape, or if the network does in training what it does not
        do in inference.
    """
    if network.draws or network.state_size:
        msg = (
            "slopes need a network whose training pass is that of inference: Dropout "
            "draws another function at every step, and BatchNorm mixes the samples of "
            "a batch. Leave them out (LayerNorm may stay)."
        )
        raise ArgumentError(msg)
    inside, out = network.input_shape, network.output_shape
    # One output, or one input, needs no axis.
    outs = [out, ()] if math.prod(out) == 1 else [out]
    ins = [inside, ()] if math.prod(inside) == 1 else [inside]
    allowed = [(samples, *o, *i) for o in outs for i in ins]
    if tuple(slopes.shape) not in allowed:
        msg = (
            f"slopes must have the shape {allowed[0]}, ∂y/∂x of each sample"
            f"{', or ' + str(allowed[-1]) if len(allowed) > 1 else ''}; "
            f"got {tuple(slopes.shape)}."
        )
        raise ShapeError(msg)
    return xp.reshape(slopes, allowed[0])


def build_slope_objective(
    backend: Any, network: Network, loss: SlopeLoss
) -> Callable[..., tuple[Any, list[Any], Any, Any]]:
    """Return ``f(params, state, batch, dvalue) -> (value, pieces, state, mass)``.

    They are those of `chainrule.training.objective.Objective`, batch is one of `SlopeData`.

    Every sample stands in n rows, one for each of its n inputs, and moves along that
    input there. On these rows one forward pass gives z and ż = ∂z/∂x_d. A pullback
    whose cotangent has the value c and the tangent e gives, as its tangent, the gradient
    by θ of Σ c ż + Σ e z: with c = ∂E/∂ż and e = ∂E/∂z, the gradient of E.
    """
    xp = backend.xp
    dual: Any = DualNamespace(xp)
    inside, out = network.input_shape, network.output_shape
    n, m = math.prod(inside), math.prod(out)

    def rows(a: Any, batch: int, sample_shape: Shape) -> Any:
        """Join the axes of inputs and samples: (..., n, batch, *) to (..., rows, *)."""
        lead = a.shape[: a.ndim - len(sample_shape) - 2]
        return xp.reshape(a, (*lead, n * batch, *sample_shape))

    def objective(
        params: Any, state: Any, batch: Any, dvalue: Any
    ) -> tuple[Any, list[Any], Any, Any]:
        x, t, weight, slopes = batch
        if weight is not None and weight.ndim > 1:
            weight = weight.mT  # one for each member: a leading axis, like theta's
        size = x.shape[0]
        full = (n, size, *inside)
        u = xp.reshape(xp.eye(n, dtype=x.dtype), (n, 1, *inside))
        x, u = (rows(xp.broadcast_to(a, full), size, inside) for a in (x, u))
        z, pullback = network.forward(
            _constants(params, dual), dual.dual(x, u), Context(dual)
        )
        lead = z.shape[: z.ndim - len(out) - 1]
        values, j = (xp.reshape(a, (*lead, n, size, m)) for a in dual.parts(z))
        first = xp.reshape(values[..., 0, :, :], (*lead, size, *out))
        value, loss_pullback = loss.loss(first, t, weight, out, xp=xp)
        (dz,) = loss_pullback(dvalue)

        r = j - xp.moveaxis(xp.reshape(slopes, (size, m, n)), -1, 0)
        share = 1.0 / (size * m * n)
        if weight is not None:
            total = xp.sum(weight, axis=-1, keepdims=True)
            each = weight / xp.where(total > 0, total, 1.0)
            share = (1.0 / (m * n)) * each[..., None, :, None]
        error = xp.sum(r * r * share, axis=(-3, -2, -1))
        c = rows(r * share * (2.0 * loss.weight * dvalue), size, (m,))
        # The values stand in the rows of each input; those of the first are asked.
        dz = xp.reshape(dz, (*lead, 1, size, m))
        others = [xp.broadcast_to(xp.zeros_like(dz), (*lead, n - 1, size, m))]
        e = rows(xp.concat([dz, *others[: n - 1]], axis=-3), size, (m,))
        shape = (*lead, n * size, *out)
        cotangent = dual.dual(xp.reshape(c, shape), xp.reshape(e, shape))
        _, dparams = pullback(cotangent, dx=False)
        pieces = [
            None if g is None else dual.parts(g)[1] for g in network.pieces(dparams)
        ]
        mass = loss.loss.mass(t, weight, x.dtype, xp=xp)
        return value + loss.weight * error, pieces, state, mass

    return objective


def _constants(tree: Any, dual: DualNamespace) -> Any:
    if isinstance(tree, tuple):
        return tuple(_constants(branch, dual) for branch in tree)
    return DualArray(tree, None, dual)


def build_errors(backend: Any, network: Network) -> Any:
    """Return ``f(theta, state, x, slopes) -> s`` of shape (batch,)."""
    xp = backend.xp
    jacobian = build_jacobian(backend, network)

    def errors(theta: Any, state: Any, x: Any, slopes: Any) -> Any:
        r = jacobian(theta, state, x) - slopes
        return xp.mean(r * r, axis=tuple(range(1, r.ndim)))

    return errors


def evaluate(
    backend: Any, network: Network, weights: tuple[Any, Any], data: SlopeData
) -> float:
    """Return the slopes' error over all samples."""
    s = chunks.outputs(
        backend, weights, data.x, build_errors, network, also=(data.slopes,)
    )
    errors = backend.to_numpy(s)
    if data.weight is None:
        return float(errors.mean())
    weight = backend.to_numpy(data.weight)
    counts = weight > 0  # an infinite error of a row that does not count is no NaN
    return float(errors[counts] @ weight[counts] / (weight.sum() or 1.0))
