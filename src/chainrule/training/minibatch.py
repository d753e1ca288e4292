"""Training by batches: a generator of epochs' results."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Collection, Generator
from typing import Any

import numpy as np

from chainrule.data.samples import Data
from chainrule.errors import DivergenceError
from chainrule.network import Network
from chainrule.state.epochs import EpochResult, PartialEpoch
from chainrule.state.training import TrainingState
from chainrule.training.epoch import build_close, build_epoch, build_stretch
from chainrule.training.objective import Objective
from chainrule.training.plan import Planner, mask_keys
from chainrule.training.step import build_steps

__all__ = ["ask", "epochs"]


# Epochs that may be under way before anybody looks at them.
LAG = 16


# Products of numbers (two for each parameter and sample, three times) that one call of
# several epochs may make: some 20 ms, so that progress shows and Ctrl-C is heard.
BUDGET = 1_000_000_000


def epochs(
    backend: Any,
    network: Network,
    objective: Objective,
    optimizer: Any,
    state: TrainingState,
    data: Data,
    *,
    epochs: int,
    batch_size: int,
    order: Callable[[int], tuple[Any, Any]],
    seed: int,
    dtype: str,
    factor: Callable[[], Any],
    ahead: Callable[[], int],
    cuts: Collection[int] = (),
    resumed: PartialEpoch | None = None,
    penalty: Callable[[Any], Any] | None = None,
    guard: bool = True,
    weights: tuple[Any, Any] | None = None,
    begin: Callable[[], None] = lambda: None,
) -> Generator[EpochResult | PartialEpoch, None, None]:
    """Train, yielding a `EpochResult` after each epoch or stretch, a `PartialEpoch` at each cut.

    Parameters
    ----------
    backend : Backend
        Entered by the caller through its `scope`.
    network : Network
    objective : Objective
    optimizer : Optimizer
    state : TrainingState
        Given away by the caller, from the first `begin` on.
    data : Data
    epochs, batch_size : int
    order, seed, dtype, penalty
        See `Planner`, which calls `order` once for each epoch, and `mask_keys`.
    factor : function
        Returns what the learning rates are multiplied with, a float or an array
        (members,), asked before each record.
    ahead : function
        Returns how many epochs may be begun before somebody looks at them, asked before
        each record. At 1 each epoch has a record of its own, whose loss is known to be
        finite; beyond, nothing waits for the device, and a record may tell of as many.
    cuts : collection of int
        Numbers n: an epoch is cut after each n whole batches of it. This changes no
        bit of what comes out.
    resumed : PartialEpoch, optional
        How far the first epoch is already; `state` is then that of its beginning.
    guard : bool
        Whether training that stops being finite ends; if not, it goes on.
    weights : tuple of arrays, optional
        (theta, state) as `state` has them, in memory that nobody overwrites; copies are
        made if there are none.
    begin : function
        Called whenever an epoch has been planned and its first step is next: from here
        on, and not before, the arrays of the state are overwritten or given away.

    Raises
    ------
    DivergenceError
        When the loss, the parameters, the slots or the state stop being finite.
    """
    steps = -(-data.x.shape[0] // batch_size)
    keys = mask_keys(network, seed, state.begun)
    planner = Planner(backend, optimizer, order, steps, dtype, keys, penalty)
    key = (network, objective, optimizer.structure(), planner.names)
    room = _room(backend, state.theta, data.x)
    run: Any = None
    stretch: Any = None
    carry = (state.theta, state.state, state.slots)
    if weights is None:
        weights = (backend.copy(state.theta), backend.copy(state.state))
    step, epoch, rate = state.step, state.epoch, state.rate
    last = epoch + epochs
    pending: deque[tuple[int, Any, int | None]] = deque()
    while epoch < last:
        free = ahead()
        count: int | None = None
        start = epoch, step, rate, factor()
        if cuts or resumed:
            parts, rate = planner.epoch(*start)
            begin()
            carry, weights, mean, finite = yield from _cut_epoch(
                backend, key, carry, weights, data, parts, cuts, resumed
            )
            resumed = None
        elif room > 1 and (free > 1 or stretch is not None):
            # Of a single epoch, too, where the stretch is there already.
            count = min(free, room, last - epoch)
            parts, count, rate = planner.group(*start, count, room)
            stretch = stretch or backend.compile(build_stretch, *key, donate=1)
            begin()
            carry, weights, mean, finite = stretch(carry, weights, data, parts, count)
        else:
            run = run or backend.compile(build_epoch, *key, donate=1)
            parts, rate = planner.epoch(*start)
            begin()
            carry, weights, mean, finite = run(carry, weights, data, parts)
        if guard:
            pending.append((epoch - state.epoch + 1, finite, count))
        made = count or 1
        step, epoch = step + made * steps, epoch + made
        lag = LAG if free > 1 and not backend.eager else 0
        while pending and epoch - state.epoch - pending[0][0] >= lag:
            ask(backend, *pending.popleft())
        theta, running, slots = carry
        after = TrainingState(theta, running, slots, step, epoch, rate, state.begun)
        yield EpochResult(mean, weights, after, stretch=count)
    while pending:
        ask(backend, *pending.popleft())


def _room(backend: Any, theta: Any, x: Any) -> int:
    """How many epochs one call may make: fewer, the longer they are."""
    work = (6 * math.prod(theta.shape) + 512) * math.prod(x.shape[:-1])
    room: int = max(1, min(backend.stretch, BUDGET // work))
    return room


def _cut_epoch(
    backend: Any,
    key: tuple[Any, ...],
    carry: Any,
    weights: Any,
    data: Any,
    parts: list[Any],
    cuts: Collection[int],
    resumed: PartialEpoch | None,
) -> Generator[PartialEpoch, None, Any]:
    """Make an epoch piece by piece, yielding between them; return what `epoch` does."""
    run = backend.compile(build_steps, *key, donate=1)
    (order, rows, keys), *rest = parts
    total, done = order.shape[0], 0
    tally: Any = None
    if resumed is not None:
        carry, done, *tally = resumed
    # No piece has but one step: XLA compiles a loop of one as none, to other bits.
    stops = {k for n in cuts for k in range(n, total - 1, n)}
    if rest and any(total % n == 0 for n in cuts):
        stops.add(total)
    for stop in sorted(stops | {total}):
        if stop <= done or (stop < total and stop == done + 1):
            continue
        some = slice(done, stop)
        part = order[some, :], rows[some], None if keys is None else keys[some, ...]
        carry, new = run(carry, data, part)
        tally = new if tally is None else _joined(backend.xp, tally, new)
        done = stop
        if stop in stops:
            yield PartialEpoch(carry, done, *tally)
    tallies = [tally]
    for part in rest:
        carry, new = run(carry, data, part)
        tallies.append(new)
    shapes = tuple(tuple(part[0].shape) for part in parts)
    close = backend.compile(build_close, key[0], shapes, donate=1)
    return close(carry, weights, tallies)


def _joined(xp: Any, *tallies: Any) -> Any:
    """One (values, masses) of several."""
    columns = zip(*tallies, strict=True)
    return tuple(None if c[0] is None else xp.concat(c, axis=0) for c in columns)


def ask(backend: Any, number: int, finite: Any, count: int | None = None) -> None:
    """Wait for an epoch's flag; raise a `DivergenceError` if it is not finite.

    With a count, `finite` has the flags of so many epochs, or more; `number` is the
    first one's.
    """
    host = backend.to_numpy(finite)
    if count is not None:
        each = host[:count].reshape(count, -1).all(axis=1)
        first = int(np.argmin(each))
        number, host = number + first, host[first]
    if host.all():
        return
    members = tuple(np.flatnonzero(~host).tolist()) if host.ndim else ()
    whose = ""
    if members:
        plural = "s" if len(members) > 1 else ""
        whose = f" of member{plural} {', '.join(map(str, members))}"
    msg = (
        f"training diverged: the loss, the parameters, the optimizer's slots or the "
        f"running statistics{whose} stopped being finite in epoch {number} of this fit. "
        f"The parameters of the last finite epoch are kept, the optimizer starts anew. "
        f"Lower the learning rate, set clip_norm, or scale x and y."
    )
    raise DivergenceError(msg, epochs=number - 1, members=members)
