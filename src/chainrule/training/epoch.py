"""One epoch, its end, and a group of epochs as one call."""

from __future__ import annotations

from typing import Any

from chainrule.network import Network
from chainrule.training.objective import Objective
from chainrule.training.step import build_steps

__all__ = []


def build_close(backend: Any, network: Network, shapes: tuple[Any, ...]) -> Any:
    """Return what ends an epoch that was cut: ``close(carry, weights, tallies)``."""

    def close(carry: Any, weights: Any, tallies: Any) -> Any:
        return _close(backend, network, carry, weights, tallies, shapes)

    return close


def build_epoch(
    backend: Any,
    network: Network,
    objective: Objective,
    kind: Any,
    names: tuple[str, ...],
) -> Any:
    """Return a whole epoch: the steps of each part, and its end.

    ``epoch(carry, weights, data, parts) -> (carry, weights, loss, finite)``; the parts
    are the whole batches, then the remainder as a smaller step of its own.
    """
    steps = build_steps(backend, network, objective, kind, names)

    def epoch(carry: Any, weights: Any, data: Any, parts: Any) -> Any:
        tallies = []
        for part in parts:
            carry, tally = steps(carry, data, part)
            tallies.append(tally)
        shapes = [part[0].shape for part in parts]
        return _close(backend, network, carry, weights, tallies, shapes)

    return epoch


def build_stretch(
    backend: Any,
    network: Network,
    objective: Objective,
    kind: Any,
    names: tuple[str, ...],
) -> Any:
    """Return several epochs as one function, for a backend whose calls are dear.

    ``stretch(carry, weights, data, parts, count) -> (carry, weights, losses, finite)``:
    as an epoch, but parts, losses and finite have a first axis of epochs, of which the
    first `count` are made.
    """
    epoch = build_epoch(backend, network, objective, kind, names)

    def stretch(carry: Any, weights: Any, data: Any, parts: Any, count: Any) -> Any:
        def one(before: Any, parts: Any) -> Any:
            *after, mean, finite = epoch(*before, data, parts)
            return tuple(after), (mean, finite)

        after, told = backend.repeat(one, (carry, weights), parts, count)
        return *after, *told

    return stretch


def _close(
    backend: Any, network: Network, carry: Any, weights: Any, tallies: Any, shapes: Any
) -> Any:
    """End an epoch: its mean loss, and the weights, or the old ones if not finite.

    tallies are the parts' (losses, masses), shapes their (steps, batch). Each sum is
    over all steps of a part, so that it is the same whether an epoch was cut or not.
    """
    xp = backend.xp
    total = masses = 0.0
    for (values, mass), (steps, size) in zip(tallies, shapes, strict=True):
        if mass is None:
            total = total + xp.sum(values, axis=0) * size
            masses += steps * size
        else:
            share = mass[(..., *[None] * (values.ndim - mass.ndim))]
            total = total + xp.sum(values * share, axis=0)
            masses = masses + xp.sum(share, axis=0)
    theta, state, slots = carry
    if mass is not None:
        masses = xp.where(masses > 0, masses, 1.0)
    mean = total / masses
    finite = xp.isfinite(mean)
    # Slots and state, too: a moment that has overflowed stops its parameter for ever.
    for vector in (theta, *slots, *((state,) if network.state_size else ())):
        finite = finite & xp.all(xp.isfinite(vector), axis=-1)
    # All members or none: what is kept is the state of one epoch.
    keep = xp.all(finite)
    weights = (
        xp.where(keep, theta, weights[0]),
        xp.where(keep, state, weights[1]) if network.state_size else state,
    )
    return (theta, state, backend.flush(slots)), weights, mean, finite
