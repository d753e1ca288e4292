"""One epoch, its end, and several epochs as one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from chainrule.arrays.means import join_means
from chainrule.arrays.types import Shape
from chainrule.network import Network
from chainrule.training.objective import Objective
from chainrule.training.step import build_steps

if TYPE_CHECKING:
    from chainrule.backends import Backend
    from chainrule.optimizers import Optimizer

__all__ = ["build_close", "build_epoch", "build_group"]


def build_epoch(
    backend: Backend,
    network: Network,
    objective: Objective,
    structure: Optimizer,
    names: tuple[str, ...],
) -> Callable[..., Any]:
    """Return an epoch as a pure function: the steps of each part, and its end.

    ``epoch(carry, weights, data, parts) -> (carry, weights, loss, finite)``; the parts
    are the full batches, then the remainder as a smaller step of its own. The other
    arguments are those of `build_steps`.
    """
    steps = build_steps(backend, network, objective, structure, names)

    def epoch(carry: Any, weights: Any, data: Any, parts: Any) -> Any:
        tallies = []
        for part in parts:
            carry, tally = steps(carry, data, part)
            tallies.append(tally)
        shapes = [part[0].shape for part in parts]
        return _close(backend, network, carry, weights, tallies, shapes)

    return epoch


def build_group(
    backend: Backend,
    network: Network,
    objective: Objective,
    structure: Optimizer,
    names: tuple[str, ...],
) -> Callable[..., Any]:
    """Return several epochs as one function, for a backend whose calls are dear.

    ``group(carry, weights, data, parts, count) -> (carry, weights, losses, finite)``:
    as an epoch, but parts, losses and finite have a first axis of epochs, of which the
    first `count` are computed; the others are padding.
    """
    epoch = build_epoch(backend, network, objective, structure, names)

    def group(carry: Any, weights: Any, data: Any, parts: Any, count: Any) -> Any:
        def body(before: Any, parts: Any) -> Any:
            *after, mean, finite = epoch(*before, data, parts)
            return tuple(after), (mean, finite)

        after, results = backend.repeat(body, (carry, weights), parts, count)
        return *after, *results

    return group


def build_close(
    backend: Backend, network: Network, shapes: tuple[Shape, ...]
) -> Callable[..., Any]:
    """Return the end of an epoch that was cut: ``close(carry, weights, tallies)``."""

    def close(carry: Any, weights: Any, tallies: Any) -> Any:
        return _close(backend, network, carry, weights, tallies, shapes)

    return close


def _close(
    backend: Backend,
    network: Network,
    carry: Any,
    weights: Any,
    tallies: Sequence[tuple[Any, Any]],
    shapes: Sequence[Shape],
) -> Any:
    """End an epoch: its mean loss, and the weights, or the old ones if not finite.

    tallies are the parts' (losses, masses), shapes their (steps, batch). Each sum is
    over all steps of a part, so that it is the same whether an epoch was cut or not.
    """
    xp = backend.xp
    sums, masses = [], []
    for (values, mass), (steps, size) in zip(tallies, shapes, strict=True):
        if mass is None:
            sums.append(xp.sum(values, axis=0) * size)
            masses.append(steps * size)
        else:
            each = mass[(..., *[None] * (values.ndim - mass.ndim))]
            sums.append(xp.sum(values * each, axis=0))
            masses.append(xp.sum(each, axis=0))
    mean = join_means(sums, masses, xp)
    theta, state, slots = carry
    finite = xp.isfinite(mean)
    # Slots and state, too: a moment that has overflowed stops its parameter for ever.
    for vector in (theta, *slots, *((state,) if network.state_size else ())):
        finite = finite & xp.all(xp.isfinite(vector), axis=-1)
    mean, finite = backend.replicated(mean), backend.replicated(finite)
    # All members or none: what is kept is the state of one epoch.
    keep = xp.all(finite)
    weights = (
        xp.where(keep, theta, weights[0]),
        xp.where(keep, state, weights[1]) if network.state_size else state,
    )
    return (theta, state, backend.flush(slots)), weights, mean, finite
