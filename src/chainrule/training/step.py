"""One batch: gradient, clipping, update."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

from chainrule.network import Network
from chainrule.training.objective import Objective

__all__ = []


def build_steps(
    backend: Any,
    network: Network,
    objective: Objective,
    kind: Any,
    names: tuple[str, ...],
) -> Any:
    """Return some steps of an epoch as a pure function, ready for `Backend.compile`.

    Parameters
    ----------
    backend : Backend
    network : Network
    objective : Objective
    kind : Optimizer
        What `Optimizer.kind` returned: the structure, without the numbers.
    names : tuple of str
        Names of the columns of the scalars; "penalty" among them is the strength of
        the objective's penalty, step by step.

    Returns
    -------
    steps : function
        ``steps(carry, data, part) -> (carry, (values, masses))`` with carry = (theta,
        state, slots) and part = (order, rows, keys), batches of one size.
    """
    xp = backend.xp
    Scalars = namedtuple("Scalars", names)  # type: ignore[misc]  # noqa: PYI024
    unflatten = backend.memoize(lambda theta: network.unflatten(theta, xp))
    value_and_gradient = objective.build(backend, network, train=True)
    decays = bool(kind.weight_decay)
    optimize = backend.fuse(kind)
    penalised = "penalty" in names

    def step(carry: Any, batch: Any, row: Any, key: Any) -> Any:
        theta, state, slots = carry
        s: Any = Scalars(*row)
        penalty: Any = s.penalty if penalised else None
        if getattr(penalty, "ndim", 0):
            penalty = penalty[..., 0]  # (members, 1), as it meets theta, to (members,)
        value, gradient, state, mass = value_and_gradient(
            unflatten(theta),
            state,
            batch,
            key,
            penalty=penalty,
        )
        limit: Any = s.clip_norm if kind.clip_norm else None
        if getattr(limit, "ndim", 0):
            limit = limit[..., 0]  # likewise
        scales = None
        if limit is not None:
            scales = _clipping(gradient, network, limit, xp)

        def update(g: Any, decay: Any, theta: Any, *slots: Any) -> Any:
            if scales is not None:
                top, factor = scales
                g = g / top[..., None] * factor[..., None]
            return optimize(xp, s, g, decay, theta, *slots)

        theta, *slots = backend.elementwise(
            update, (theta, *slots), gradient, network.layout, decays
        )
        return (theta, state, tuple(slots)), (value, mass)

    def steps(carry: Any, data: Any, part: Any) -> Any:
        return backend.scan(step, carry, data, *part)

    return steps


def _clipping(gradient: Any, network: Network, limit: Any, xp: Any) -> Any:
    """Return (top, factor) for the clipped gradient g / top · factor.

    The norm is over all pieces, one per leading axis: top · root, with top the largest
    of all magnitudes, so that no square overflows and none that counts underflows.
    Within the limit both are 1.
    """
    pieces = [
        (g, tuple(range(-len(entry.shape), 0)))
        for g, entry in zip(gradient, network.entries, strict=True)
        if g is not None
    ]
    top: Any = None
    for g, axes in pieces:
        most = xp.max(xp.abs(g), axis=axes)
        top = most if top is None else xp.maximum(top, most)
    one = xp.ones_like(top)
    top = xp.where(top == 0.0, one, top)
    total: Any = 0.0
    for g, axes in pieces:
        part = g / top[(..., *[None] * len(axes))]
        total = total + xp.sum(part * part, axis=axes)
    root = xp.sqrt(total)
    within = top * root <= limit
    # What is not finite is not within, and stays so.
    return xp.where(within, one, top), xp.where(within, one, limit / root)
