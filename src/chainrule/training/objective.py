"""What training lowers: value and gradient of a batch, with their mass."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from chainrule.arrays.share import WHOLE, Share
from chainrule.arrays.types import Array, ArrayNamespace, Params
from chainrule.config.record import Config
from chainrule.data.samples import Data
from chainrule.network import Network
from chainrule.network.forward import begin_pass

if TYPE_CHECKING:
    from chainrule.backends import Backend
    from chainrule.losses import Loss
    from chainrule.optimizers import Optimizer, ProblemOptimizer

__all__ = [
    "LossObjective",
    "Objective",
    "ValueAndGradient",
    "build_penalty",
    "weigh",
]


class ValueAndGradient(NamedTuple):
    """What one pass forward and back over a batch gives.

    value is a scalar per leading axis; pieces is its gradient, entry by entry in layout
    order, None where frozen; state is what the pass leaves of the network's state; mass
    is what the loss's sum was divided by (`Loss.mass`), None for the number of samples.
    """

    value: Array
    pieces: list[Array | None]
    state: Array
    mass: Array | None


class Objective(Config):
    """What training lowers: a loss of the outputs, and terms of its own besides.

    Compiled functions are kept by it: it is frozen and compares by what it holds.

    Attributes
    ----------
    loss : Loss
        Of the outputs: it says which targets there are, and what a mean is taken over.
    terms : tuple of str
        Names in the logs of the terms that it adds to the loss.
    """

    loss: Loss
    terms: tuple[str, ...] = ()

    def build(
        self, backend: Backend, network: Network, *, train: bool
    ) -> Callable[..., ValueAndGradient]:
        """Return ``f(params, state, batch, key, penalty, share)``.

        It gives a `ValueAndGradient`. params is the tree of `Network.unflatten`, batch
        the arrays of the samples, key the pass's random keys or None. The value is
        normalised: a mean over the batch, plus penalty / 2 (a scalar, or one for each
        member; None for 0) times the sum of squares of the weights that learn. Value
        and gradient are multiplied with the `share`'s fraction of the whole, so that
        those of all shares add up; mass is that of the whole.
        """
        raise NotImplementedError

    def check(
        self,
        network: Network,
        optimizer: Optimizer | ProblemOptimizer,
        members: int | None,
    ) -> None:
        """Raise an error unless these can be trained on it."""

    def evaluate_terms(
        self, backend: Backend, network: Network, weights: tuple[Any, Any], data: Any
    ) -> dict[str, float]:
        """Return `terms` over all samples, in inference."""
        return {}

    def total(self, loss: Any, terms: dict[str, float]) -> Any:
        """Return the value of the objective: the loss over all samples, and `terms`."""
        return loss


class LossObjective(Objective):
    """A loss of the outputs alone, on `Data`."""

    def __init__(self, loss: Loss) -> None:
        self._set(loss=loss)

    def build(
        self, backend: Backend, network: Network, *, train: bool
    ) -> Callable[..., ValueAndGradient]:
        """As `Objective.build`; a batch is (x, t, weight)."""
        xp, loss, forward = backend.xp, self.loss, network.layer.forward
        penalise = build_penalty(backend, network)
        declared = len(network.state_entries)

        def value_and_gradient(
            params: Params,
            state: Array,
            batch: Data,
            key: Array | None = None,
            penalty: Array | float | None = None,
            share: Share = WHOLE,
        ) -> ValueAndGradient:
            x, t, weight = batch
            if weight is not None and weight.ndim > 1:
                weight = weight.mT  # one for each member: a leading axis, like theta's
            context = begin_pass(network, state, xp, train=train, key=key, share=share)
            z, pullback = forward(params, x, context)
            weight, fraction, mass = weigh(share, loss, t, weight, z, xp)
            value, loss_pullback = loss(z, t, weight, network.output_shape, xp=xp)
            (dz,) = loss_pullback(1.0 if fraction is None else fraction)
            _, dparams = pullback(dz, dx=False)
            if train and (declared or context.kept):
                if len(context.kept) != declared:
                    again = begin_pass(
                        network, state, xp, train=train, key=key, share=share
                    )
                    network.refuse_state(params, x, again)
                state = network.flatten_state(context.kept, xp)
            pieces = network.pieces(dparams)
            if penalty is not None:
                value = penalise(params, penalty, fraction, value, pieces)
            if fraction is not None:
                value = fraction * value
            return ValueAndGradient(value, pieces, state, mass)

        return value_and_gradient


def weigh(
    share: Share,
    loss: Loss,
    t: Array,
    weight: Array | None,
    z: Array,
    xp: ArrayNamespace,
) -> tuple[Any, Any, Any]:
    """Return the weights of a share's samples, its fraction, and the mass of all.

    The fraction is None for 1, the mass None for the number of samples.
    """
    counted = share.weight(weight, z)
    mass = loss.mass(t, weight, z.dtype, xp=xp)
    if counted is not weight and mass is not None:
        mass = loss.mass(t, counted, z.dtype, xp=xp)
    return counted, *share.fraction(mass)


def build_penalty(backend: Backend, network: Network) -> Callable[..., Any]:
    """Return ``f(params, penalty, fraction, value, pieces) -> value``.

    It adds penalty / 2 times the sum of squares of the weights that learn to the value,
    and the gradient of fraction times that to the pieces, in place.
    """
    xp = backend.xp

    def penalised(params: Params) -> list[tuple[int, Any, Any]]:
        """Return (index of the entry, weight, weight as a vector) of what learns."""
        leaves = network.pieces(params)
        return [
            (i, w, e.flat(w, xp))
            for i, (w, e) in enumerate(zip(leaves, network.entries, strict=True))
            if e.decay and e.trainable
        ]

    weights = backend.memoize(penalised)

    def penalise(
        params: Params,
        penalty: Any,
        fraction: Array | float | None,
        value: Array,
        pieces: list[Any],
    ) -> Array:
        each = bool(getattr(penalty, "ndim", 0))
        for i, w, flat in weights(params):
            value = value + (0.5 * penalty) * xp.vecdot(flat, flat)
            by = penalty if fraction is None else fraction * penalty
            by = by[(..., *[None] * len(network.entries[i].shape))] if each else by
            pieces[i] = pieces[i] + by * w
        return value

    return penalise
