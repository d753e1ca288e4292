"""Training on slopes as well as values (Sobolev training).

    E = loss(Z, T) + slope_weight · Σᵢ wᵢ sᵢ / Σᵢ wᵢ
    sᵢ = mean over k, d of (Jᵢₖ_d - Sᵢₖ_d)²

with J = ∂Z/∂X and S its target. The gradient by θ takes one pass on dual arrays: see
docs/derivatives.md. Source: Czarnecki et al. 2017 (arXiv:1706.04859).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from chainrule.arrays import trees
from chainrule.arrays.dual import DualArray, DualNamespace
from chainrule.arrays.means import divisor
from chainrule.arrays.share import WHOLE, Share
from chainrule.arrays.types import Array, ArrayNamespace, Params, Shape
from chainrule.data import intake
from chainrule.data.samples import Data, SlopeData
from chainrule.derivatives.inputs import build_jacobian
from chainrule.errors import ArgumentError, ShapeError
from chainrule.network import Network, chunks
from chainrule.network.forward import begin_pass
from chainrule.optimizers import Optimizer, ProblemOptimizer
from chainrule.training.objective import (
    Objective,
    ValueAndGradient,
    build_penalty,
    weigh,
)

if TYPE_CHECKING:
    from chainrule.backends import Backend
    from chainrule.losses import Loss

__all__ = ["SlopeObjective", "receive"]


class SlopeObjective(Objective):
    """A loss of the values and an error of the slopes, on `SlopeData`.

    Parameters
    ----------
    loss : Loss
        Of the values.
    slope_weight : float
        What the slopes' error is multiplied with.
    """

    slope_weight: float
    terms: tuple[str, ...] = ("slope_loss",)

    def __init__(self, loss: Loss, slope_weight: float) -> None:
        self._set(loss=loss, slope_weight=slope_weight)

    def build(
        self, backend: Backend, network: Network, *, train: bool
    ) -> Callable[..., ValueAndGradient]:
        """As `Objective.build`; a batch is (x, t, weight, slopes)."""
        return _build(backend, network, self.loss, self.slope_weight)

    def check(
        self,
        network: Network,
        optimizer: Optimizer | ProblemOptimizer,
        members: int | None,
    ) -> None:
        """Raise an error unless these can be trained on slopes.

        The network must do in training what it does in inference.
        """
        if not isinstance(optimizer, Optimizer):
            name = type(optimizer).__name__
            msg = f"slopes need an optimizer that goes by batches, as Adam; got {name}."
            raise ArgumentError(msg)
        if self.loss.has_spread:
            msg = (
                f"slopes are those of one output for each target, and {self.loss.name} "
                f"has several. Take squared_error, or leave slopes out."
            )
            raise ArgumentError(msg)
        if members is not None:
            msg = (
                f"slopes are fitted by one network; this model has {members} "
                f"members. Fit each model.member(k) with them."
            )
            raise ArgumentError(msg)
        if network.input_dtype is not None:
            msg = (
                "slopes are derivatives by x, and the network's first layer takes "
                "indices, which have none. Leave slopes out."
            )
            raise ArgumentError(msg)
        if network.draws or network.state_size:
            msg = (
                "slopes need a network whose training pass is that of inference: "
                "Dropout draws another function at every step, and BatchNorm mixes the "
                "samples of a batch. Leave them out (LayerNorm may stay)."
            )
            raise ArgumentError(msg)

    def evaluate_terms(
        self,
        backend: Backend,
        network: Network,
        weights: tuple[Any, Any],
        data: SlopeData,
    ) -> dict[str, float]:
        """Return the error of the slopes over all samples."""
        s = chunks.outputs(
            backend, weights, data.x, _build_errors, network, also=(data.slopes,)
        )
        errors = backend.to_numpy(s)
        if data.weight is None:
            return {"slope_loss": float(errors.mean())}
        weight = backend.to_numpy(data.weight)
        counts = weight > 0  # an infinite error of a row that does not count is no NaN
        error = float(errors[counts] @ weight[counts] / (weight.sum() or 1.0))
        return {"slope_loss": error}

    def total(self, loss: Any, terms: dict[str, float]) -> Any:
        """Return both terms together."""
        return loss + self.slope_weight * terms["slope_loss"]


def receive(
    network: Network, data: Data, slopes: Array, backend: Backend, dtype: str
) -> SlopeData:
    """Return data with a user's slopes, checked, in the shape (n, *out, *in).

    Raises
    ------
    ShapeError, ArgumentTypeError, ArgumentError
        If they have another shape, or are not finite numbers.
    """
    slopes, origin = intake.receive("slopes", slopes)
    slopes = _full(network, slopes, data.x.shape[0], origin.xp)
    return SlopeData(*data, intake.place("slopes", slopes, origin, backend, dtype))


def _full(network: Network, slopes: Array, samples: int, xp: ArrayNamespace) -> Any:
    """Return slopes with the axes of one output or one input that were left out."""
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


def _build(
    backend: Backend, network: Network, loss: Loss, slope_weight: float
) -> Callable[..., ValueAndGradient]:
    """Return the function of `SlopeObjective.build`.

    Every sample stands in n rows, one for each of its n inputs, and moves along that
    input there. On these rows one forward pass gives z and ż = ∂z/∂x_d. A pullback
    whose cotangent has the value c and the tangent e gives, as its tangent, the
    gradient by θ of Σ c ż + Σ e z: with c = ∂E/∂ż and e = ∂E/∂z, the gradient of E.
    """
    xp = backend.xp
    dual: Any = DualNamespace(xp)
    inside, out = network.input_shape, network.output_shape
    n, m = math.prod(inside), math.prod(out)

    def rows(a: Array, batch: int, sample_shape: Shape) -> Any:
        """Join the axes of inputs and samples: (..., n, batch, *) to (..., rows, *)."""
        lead = a.shape[: a.ndim - len(sample_shape) - 2]
        return xp.reshape(a, (*lead, n * batch, *sample_shape))

    penalise = build_penalty(backend, network)

    def value_and_gradient(
        params: Params,
        state: Array,
        batch: SlopeData,
        key: Array | None = None,
        penalty: Array | float | None = None,
        share: Share = WHOLE,
    ) -> ValueAndGradient:
        x, t, weight, slopes = batch
        if weight is not None and weight.ndim > 1:
            weight = weight.mT  # one for each member: a leading axis, like theta's
        size = x.shape[0]
        full = (n, size, *inside)
        u = xp.reshape(xp.eye(n, dtype=x.dtype), (n, 1, *inside))
        x, u = (rows(xp.broadcast_to(a, full), size, inside) for a in (x, u))
        constants = (DualArray(w, None, dual) for w in trees.leaves(params))
        z, pullback = network.forward(
            trees.filled(params, constants),
            dual.dual(x, u),
            begin_pass(network, state, dual),
        )
        lead = z.shape[: z.ndim - len(out) - 1]
        values, j = (xp.reshape(a, (*lead, n, size, m)) for a in dual.parts(z))
        first = xp.reshape(values[..., 0, :, :], (*lead, size, *out))
        weighted = weight is not None
        weight, fraction, mass = weigh(share, loss, t, weight, first, xp)
        dvalue = 1.0 if fraction is None else fraction
        value, loss_pullback = loss(first, t, weight, out, xp=xp)
        (dz,) = loss_pullback(dvalue)

        r = j - xp.moveaxis(xp.reshape(slopes, (size, m, n)), -1, 0)
        each: Any = 1.0 / (size * m * n)
        if weight is not None:
            total = xp.sum(weight, axis=-1, keepdims=True)
            each = weight / divisor(total, xp)
            each = (1.0 / (m * n)) * each[..., None, :, None]
        # The slopes' mean is by the weights, whatever the loss's mass is.
        weighs = xp.sum(weight, axis=-1) if weighted else None
        of_slopes, _ = share.fraction(weighs)
        each = each if of_slopes is None else of_slopes * each
        error = xp.sum(r * r * each, axis=(-3, -2, -1))
        c = rows(r * each * (2.0 * slope_weight), size, (m,))
        # Each input's rows have the same values; the loss takes those of the first.
        dz = xp.reshape(dz, (*lead, 1, size, m))
        others = [xp.broadcast_to(xp.zeros_like(dz), (*lead, n - 1, size, m))]
        e = rows(xp.concat([dz, *others[: n - 1]], axis=-3), size, (m,))
        shape = (*lead, n * size, *out)
        cotangent = dual.dual(xp.reshape(c, shape), xp.reshape(e, shape))
        _, dparams = pullback(cotangent, dx=False)
        pieces = [
            None if g is None else dual.parts(g)[1] for g in network.pieces(dparams)
        ]
        if penalty is not None:
            value = penalise(params, penalty, fraction, value, pieces)
        if fraction is not None:
            value = fraction * value
        value = value + slope_weight * error
        return ValueAndGradient(value, pieces, state, mass)

    return value_and_gradient


def _build_errors(backend: Backend, network: Network) -> Callable[..., Any]:
    """Return ``f(theta, state, x, slopes) -> s`` of shape (batch,)."""
    xp = backend.xp
    jacobian = build_jacobian(backend, network)

    def errors(theta: Array, state: Array, x: Array, slopes: Array) -> Any:
        r = jacobian(theta, state, x) - slopes
        return xp.mean(r * r, axis=tuple(range(1, r.ndim)))

    return errors
