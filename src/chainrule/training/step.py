"""One batch: the gradient, its norm where it is clipped, the optimizer's update."""

from __future__ import annotations

import functools
from collections import namedtuple
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from chainrule.arrays.namespace import Namespace
from chainrule.arrays.share import WHOLE, Share
from chainrule.arrays.types import Array
from chainrule.network import Network
from chainrule.training.objective import Objective

if TYPE_CHECKING:
    from chainrule.backends import Backend
    from chainrule.optimizers import Optimizer

__all__ = ["build_steps"]

# Scalars that a step finds itself: see `Optimizer.apply`.
_CLIPPING = ("clip_top", "clip_factor")


@functools.lru_cache(maxsize=128)
def _scalars(names: tuple[str, ...], clips: bool) -> Any:
    """Return the class of a step's scalars; to make one takes longer than a step."""
    fields = (*names, *_CLIPPING) if clips else names
    unset = [None] * (len(fields) - len(names))
    return namedtuple("Scalars", fields, defaults=unset)  # type: ignore[misc]  # noqa: PYI024


def build_steps(
    backend: Backend,
    network: Network,
    objective: Objective,
    structure: Optimizer,
    names: tuple[str, ...],
) -> Callable[..., Any]:
    """Return the training steps over several batches as a pure function.

    Parameters
    ----------
    backend : Backend
    network : Network
    objective : Objective
    structure : Optimizer
        What `Optimizer.structure` returned.
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
    clips, decays = bool(structure.clip_norm), bool(structure.weight_decay)
    bounds = bool(structure.clip_value)
    make_scalars = _scalars(names, clips)
    unflatten = backend.memoize(lambda theta: network.unflatten(theta, xp))
    value_and_gradient = objective.build(backend, network, train=True)
    optimize = backend.fuse(structure)
    penalised = "penalty" in names
    checked = False

    def step(carry: Any, batch: Any, row: Any, key: Any, share: Share = WHOLE) -> Any:
        nonlocal checked
        theta, state, slots = carry
        s: Any = make_scalars(*row)
        value, gradient, state, mass = value_and_gradient(
            unflatten(share.gathered(theta)),
            state,
            batch,
            key,
            penalty=_by_member(s.penalty) if penalised else None,
            share=share,
        )
        gradient = share.reduced(gradient, network.layout)
        if clips:
            bound = _by_member(s.clip_value) if bounds else None
            top, factor = _clipping(
                gradient, value.ndim, _by_member(s.clip_norm), bound, share, xp
            )
            s = make_scalars(*s[: len(names)], top, factor)
        update: Callable[..., Any] = functools.partial(optimize, xp, s)
        if not checked:
            update = structure.checked(update)
        theta, *slots = share.updated(
            backend, update, (theta, *slots), gradient, network.layout, decays
        )
        checked = backend.eager  # else a step is traced, for each sort of arrays anew
        return (theta, state, tuple(slots)), (value, mass)

    def steps(carry: Any, data: Any, part: Any) -> Any:
        return backend.scan(step, carry, data, *part)

    return steps


def _by_member(scalar: Any) -> Any:
    """Return a scalar, or from (members, 1), as it meets theta, one of (members,)."""
    return scalar[..., 0] if getattr(scalar, "ndim", 0) else scalar


def _clipping(
    gradient: list[Array | None],
    lead: int,
    limit: Any,
    bound: Any,
    share: Share,
    xp: Namespace,
) -> tuple[Array, Array]:
    """Return (top, factor), both (..., 1), of the clipped gradient g / top · factor.

    The norm is over all pieces, one for each entry of their `lead` leading axes:
    top · root, with top the largest of all magnitudes, so that no square overflows and
    none that counts underflows.
    Within the limit both are 1. With a bound the norm is that of the gradient whose
    entries are clipped to it.
    """
    pieces = [(g, tuple(range(lead, g.ndim))) for g in gradient if g is not None]
    top: Any = None
    for g, axes in pieces:
        most = xp.max(xp.abs(g), axis=axes)
        top = most if top is None else xp.maximum(top, most)
    one = xp.ones_like(top)
    if bound is not None:
        top = xp.minimum(top, bound)
    top = xp.where(top == 0.0, one, top)
    total: Any = 0.0
    for g, axes in pieces:
        beside = (..., *[None] * len(axes))
        part = g
        if bound is not None:
            most = bound[beside] if getattr(bound, "ndim", 0) else bound
            part = xp.maximum(xp.minimum(g, most), -most)
        part = part / top[beside]
        total = total + xp.sum(part * part, axis=axes)
    top, root = share.norm(top, xp.sqrt(total))
    within = top * root <= limit
    # What is not finite is not within, and stays so.
    top, factor = xp.where(within, one, top), xp.where(within, one, limit / root)
    return top[..., None], factor[..., None]
