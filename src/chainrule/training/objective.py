"""Value and gradient of a batch, with the penalty on weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from chainrule.layers.context import Context
from chainrule.network import Network
from chainrule.training.slopes import SlopeLoss, build_slope_objective

__all__ = ["Objective", "build_objective"]


class Objective(NamedTuple):
    """What one pass forward and back over a batch gives.

    value is a scalar per leading axis; pieces is its gradient, entry by entry in layout
    order, None where frozen; state is what the pass leaves of the network's state; mass
    is what the loss's sum was divided by (`Loss.mass`).
    """

    value: Any
    pieces: list[Any]
    state: Any
    mass: Any


def build_objective(
    backend: Any, network: Network, loss: Any, *, train: bool
) -> Callable[..., Objective]:
    """Return ``f(params, state, batch, key=None, dvalue=1.0, penalty=None)``.

    It gives an `Objective`. params is the tree of `Network.unflatten`, batch the
    (x, t, weight) of `Data`, key the pass's random keys. The value is the loss, plus
    penalty / 2 (a scalar, or one for each member) times the sum of squares of the weights
    that learn; the gradient is that of dvalue times the value.
    """
    xp = backend.xp
    sloped = isinstance(loss, SlopeLoss)
    with_slopes = build_slope_objective(backend, network, loss) if sloped else None

    def penalised(params: Any) -> list[tuple[int, Any, Any]]:
        """Return the weights that learn: their numbers, they, and they as vectors."""
        leaves = network.pieces(params)
        return [
            (i, w, xp.reshape(w, (*w.shape[: w.ndim - len(e.shape)], e.stop - e.start)))
            for i, (w, e) in enumerate(zip(leaves, network.entries, strict=True))
            if e.decay and e.trainable
        ]

    weights = backend.memoize(penalised)

    def objective(
        params: Any,
        state: Any,
        batch: Any,
        key: Any = None,
        dvalue: Any = 1.0,
        penalty: Any = None,
    ) -> Objective:
        if with_slopes is not None:
            value, pieces, state, mass = with_slopes(params, state, batch, dvalue)
        else:
            x, t, weight = batch
            if weight is not None and weight.ndim > 1:
                weight = weight.mT  # one for each member: a leading axis, like theta's
            kept = network.unflatten_state(state, xp) if network.state_size else ()
            context = Context(xp, train=train, state=kept, key=key)
            z, pullback = network.forward(params, x, context)
            value, loss_pullback = loss(z, t, weight, network.output_shape, xp=xp)
            (dz,) = loss_pullback(dvalue)
            _, dparams = pullback(dz, dx=False)
            if train and network.state_size:
                state = network.flatten_state(context.kept, xp)
            mass = loss.mass(t, weight, z.dtype, xp=xp)
            pieces = network.pieces(dparams)
        if penalty is not None:
            each = bool(getattr(penalty, "ndim", 0))
            for i, w, flat in weights(params):
                value = value + (0.5 * penalty) * xp.vecdot(flat, flat)
                by = dvalue * penalty
                by = by[(..., *[None] * len(network.entries[i].shape))] if each else by
                pieces[i] = pieces[i] + by * w
        return Objective(value, pieces, state, mass)

    return objective
