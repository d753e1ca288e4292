"""Training: the step, the epoch as a scan; a generator of epoch records.

Everything here is a function of what it is given. Whoever calls `epochs` hands over a
`State` that nobody else looks at: its arrays are overwritten or given away.
"""

from __future__ import annotations

import math
from collections import deque, namedtuple
from collections.abc import Callable, Collection, Generator, Mapping
from typing import Any, NamedTuple

import numpy as np

from chainrule._typing import Shape
from chainrule.context import Context
from chainrule.errors import DivergenceError
from chainrule.inference import Data
from chainrule.network import Network
from chainrule.plans import Planner
from chainrule.slopes import SlopeLoss, build_slope_objective

__all__ = [
    "Objective",
    "Part",
    "Record",
    "State",
    "ask",
    "build_objective",
    "epochs",
    "read",
    "sample_shape",
    "tree_map",
]

# Epochs that may be under way before anybody looks at them.
LAG = 16
# Products of numbers (two for each parameter and sample, three times) that one call of
# several epochs may make: some 20 ms, so that progress shows and Ctrl-C is heard.
BUDGET = 1_000_000_000


class State(NamedTuple):
    """All that training carries from one epoch to the next.

    theta (..., P), state (..., S) and the slots (..., P) live on the backend. step counts
    the steps since the slots began, and is what schedules and bias corrections are
    functions of; rate is the last of these steps' learning rate, or one for each member
    (members,). begun is how many steps had been made before; begun + step and epoch
    count from the model's birth, and decide the dropout masks and the order of batches.
    """

    theta: Any
    state: Any
    slots: tuple[Any, ...]
    step: int
    epoch: int
    rate: Any
    begun: int = 0


class Record(NamedTuple):
    """What an epoch leaves: its loss, the state to go on with, and a safe copy.

    `loss` is a scalar of the backend (one value per member, for an ensemble); that of a
    `stretch` of several epochs has a first axis of at least as many. `weights` is
    ``(theta, state)`` as they last were finite, in memory that nobody overwrites; `logs`
    holds further numbers of the epoch.
    """

    loss: Any
    weights: tuple[Any, Any]
    state: State
    logs: Mapping[str, float] = {}
    stretch: int | None = None

    @property
    def epochs(self) -> int:
        """How many epochs it tells of."""
        return self.stretch or 1

    def losses(self, backend: Any) -> list[Any]:
        """Return each epoch's loss on the host; this waits for the device."""
        return read(backend, self.loss, self.stretch)


def read(backend: Any, loss: Any, stretch: int | None) -> list[Any]:
    """Return what `Record.losses` does, of its loss and stretch alone."""
    host = backend.to_numpy(loss)
    return [host] if stretch is None else list(host[:stretch])


class Part(NamedTuple):
    """An epoch that is under way.

    Attributes
    ----------
    carry : tuple
        (theta, state, slots) after `done` steps: live arrays, that the next step
        overwrites or gives away.
    done : int
        Steps of this epoch that are made, all of them whole batches.
    values, masses : array, shape (done, ...)
        Losses of those steps, and what their sums were divided by (or None).
    """

    carry: Any
    done: int
    values: Any
    masses: Any


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


def build_steps(
    backend: Any, network: Network, loss: Any, kind: Any, names: tuple[str, ...]
) -> Any:
    """Return some steps of an epoch as a pure function, ready for `Backend.compile`.

    Parameters
    ----------
    backend : Backend
    network : Network
    loss : Loss
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
    objective = build_objective(backend, network, loss, train=True)
    decays = bool(kind.weight_decay)
    optimize = backend.fuse(kind)
    penalised = "penalty" in names

    def step(carry: Any, batch: Any, row: Any, key: Any) -> Any:
        theta, state, slots = carry
        s: Any = Scalars(*row)
        penalty: Any = s.penalty if penalised else None
        if getattr(penalty, "ndim", 0):
            penalty = penalty[..., 0]  # (members, 1), as it meets theta, to (members,)
        value, gradient, state, mass = objective(
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
            update, (theta, *slots), gradient, network, decays
        )
        return (theta, state, tuple(slots)), (value, mass)

    def steps(carry: Any, data: Any, part: Any) -> Any:
        return backend.scan(step, carry, data, *part)

    return steps


def build_close(backend: Any, network: Network, shapes: tuple[Any, ...]) -> Any:
    """Return what ends an epoch that was cut: ``close(carry, weights, tallies)``."""

    def close(carry: Any, weights: Any, tallies: Any) -> Any:
        return _close(backend, network, carry, weights, tallies, shapes)

    return close


def build_epoch(
    backend: Any, network: Network, loss: Any, kind: Any, names: tuple[str, ...]
) -> Any:
    """Return a whole epoch: the steps of each part, and its end.

    ``epoch(carry, weights, data, parts) -> (carry, weights, loss, finite)``; the parts
    are the whole batches, then the remainder as a smaller step of its own.
    """
    steps = build_steps(backend, network, loss, kind, names)

    def epoch(carry: Any, weights: Any, data: Any, parts: Any) -> Any:
        tallies = []
        for part in parts:
            carry, tally = steps(carry, data, part)
            tallies.append(tally)
        shapes = [part[0].shape for part in parts]
        return _close(backend, network, carry, weights, tallies, shapes)

    return epoch


def build_stretch(
    backend: Any, network: Network, loss: Any, kind: Any, names: tuple[str, ...]
) -> Any:
    """Return several epochs as one function, for a backend whose calls are dear.

    ``stretch(carry, weights, data, parts, count) -> (carry, weights, losses, finite)``:
    as an epoch, but parts, losses and finite have a first axis of epochs, of which the
    first `count` are made.
    """
    epoch = build_epoch(backend, network, loss, kind, names)

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


def epochs(
    backend: Any,
    network: Network,
    loss: Any,
    optimizer: Any,
    state: State,
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
    resumed: Part | None = None,
    penalty: Callable[[Any], Any] | None = None,
    guard: bool = True,
    weights: tuple[Any, Any] | None = None,
    begin: Callable[[], None] = lambda: None,
) -> Generator[Record | Part, None, None]:
    """Train, yielding a `Record` after each epoch or stretch, a `Part` at each cut.

    Parameters
    ----------
    backend : Backend
        Entered by the caller through its `scope`.
    network : Network
    loss : Loss
    optimizer : Optimizer
    state : State
        Given away by the caller, from the first `begin` on.
    data : Data
    epochs, batch_size : int
    order, seed, dtype, penalty
        See `Planner`; it asks for the order of each epoch once.
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
    resumed : Part, optional
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
    planner = Planner(
        backend, network, optimizer, order, steps, seed, dtype, penalty, state.begun
    )
    key = (network, loss, optimizer.kind(), planner.names)
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
            parts, count, rate = planner.stretch(*start, count, room)
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
        after = State(theta, running, slots, step, epoch, rate, state.begun)
        yield Record(mean, weights, after, stretch=count)
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
    resumed: Part | None,
) -> Generator[Part, None, Any]:
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
            yield Part(carry, done, *tally)
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


def sample_shape(x: Any) -> Shape:
    """Shape of one sample of x (n, ...)."""
    return tuple(x.shape[1:])


def tree_map(f: Any, tree: Any) -> Any:
    """Apply f to the arrays of a tree of tuples, lists and dicts; keep the rest."""
    if isinstance(tree, dict):
        return {k: tree_map(f, v) for k, v in tree.items()}
    if isinstance(tree, (tuple, list)):
        return type(tree)(tree_map(f, v) for v in tree)
    return f(tree) if hasattr(tree, "shape") else tree
