"""Training: the step, the epoch as a scan; a generator of epoch records.

Everything here is a function of what it is given. Whoever calls `epochs` hands over a
`State` of copies: while it runs, its arrays are overwritten or given away.
"""

from __future__ import annotations

from collections import deque, namedtuple
from collections.abc import Callable, Generator
from typing import Any, NamedTuple

import numpy as np

from chainrule import random
from chainrule._typing import Shape
from chainrule.context import Context
from chainrule.errors import DivergenceError
from chainrule.inference import Data
from chainrule.network import Network
from chainrule.slopes import SlopeLoss, build_slope_objective

__all__ = [
    "Objective",
    "Problem",
    "Record",
    "State",
    "build_objective",
    "epochs",
    "sample_shape",
    "tree_map",
]

# Epochs that may be under way before their finiteness is asked for, if nobody listens.
LAG = 8


class State(NamedTuple):
    """All that training carries from one epoch to the next.

    theta (..., P), state (..., S) and the slots (..., P) live on the backend; step and
    epoch count from the model's birth; rate is the last step's learning rate.
    """

    theta: Any
    state: Any
    slots: tuple[Any, ...]
    step: int
    epoch: int
    rate: float


class Record(NamedTuple):
    """What one epoch leaves: its loss, the state to go on with, and a safe copy.

    `loss` is a scalar of the backend (one value per member, for an ensemble), which
    costs a synchronisation to read. `weights` is ``(theta, state)`` as they last were
    finite, in memory that nobody overwrites.
    """

    loss: Any
    weights: tuple[Any, Any]
    state: State


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
    """Return ``f(params, state, batch, key=None, dvalue=1.0) -> Objective``.

    params is the tree of `Network.unflatten`, batch the (x, t, weight) of `Data`, key
    the pass's random keys; the gradient is that of dvalue times the loss.
    """
    if isinstance(loss, SlopeLoss):
        with_slopes = build_slope_objective(backend, network, loss)
        return lambda *args, **options: Objective(*with_slopes(*args, **options))
    xp = backend.xp

    def objective(
        params: Any, state: Any, batch: Any, key: Any = None, dvalue: Any = 1.0
    ) -> Objective:
        x, t, weight = batch
        kept = network.unflatten_state(state, xp) if network.state_size else ()
        context = Context(xp, train=train, state=kept, key=key)
        z, pullback = network.forward(params, x, context)
        value, loss_pullback = loss(z, t, weight, network.output_shape, xp=xp)
        (dz,) = loss_pullback(dvalue)
        _, dparams = pullback(dz, dx=False)
        if train and network.state_size:
            state = network.flatten_state(context.kept, xp)
        mass = loss.mass(t, weight, z.dtype, xp=xp)
        return Objective(value, network.pieces(dparams), state, mass)

    return objective


def build_epoch(
    backend: Any, network: Network, loss: Any, kind: Any, names: tuple[str, ...]
) -> Any:
    """Return the epoch as a pure function of arrays, ready for `Backend.compile`.

    Parameters
    ----------
    backend : Backend
    network : Network
    loss : Loss
    kind : Optimizer
        What `Optimizer.kind` returned: the structure, without the numbers.
    names : tuple of str
        Names of the columns of the scalars.

    Returns
    -------
    epoch : function
        ``epoch(carry, weights, data, parts) -> (carry, weights, loss, finite)`` with
        carry = (theta, state, slots) and parts = ((order, rows, keys), ...): the whole
        batches, then the remainder as a smaller step of its own.
    """
    xp = backend.xp
    Scalars = namedtuple("Scalars", names)  # type: ignore[misc]  # noqa: PYI024
    columns = range(len(names))
    unflatten = backend.memoize(lambda theta: network.unflatten(theta, xp))
    objective = build_objective(backend, network, loss, train=True)
    decays = bool(kind.weight_decay)

    def step(carry: Any, batch: Any, row: Any, key: Any) -> Any:
        theta, state, slots = carry
        s: Any = Scalars(*[row[i] for i in columns])
        value, gradient, state, mass = objective(unflatten(theta), state, batch, key)
        scale = (
            _clipping(gradient, network, s.clip_norm, xp) if kind.clip_norm else None
        )

        def update(g: Any, decay: Any, theta: Any, *slots: Any) -> Any:
            if scale is not None:
                g = g * scale[..., None]
            return kind.update(xp, s, g, decay, theta, *slots)

        theta, *slots = backend.elementwise(
            update, (theta, *slots), gradient, network, decays
        )
        return (theta, state, tuple(slots)), (value, mass)

    def epoch(carry: Any, weights: Any, data: Any, parts: Any) -> Any:
        total = masses = 0.0
        for index, rows, keys in parts:
            carry, (values, mass) = backend.scan(step, carry, data, index, rows, keys)
            if mass is None:
                total = total + xp.sum(values, axis=0) * index.shape[1]
                masses += index.shape[0] * index.shape[1]
            else:
                mass = mass[(..., *[None] * (values.ndim - 1))]
                total = total + xp.sum(values * mass, axis=0)
                masses = masses + xp.sum(mass, axis=0)
        theta, state, slots = carry
        if mass is not None:
            masses = xp.where(masses > 0, masses, 1.0)
        mean = total / masses
        finite = xp.isfinite(mean) & xp.all(xp.isfinite(theta), axis=-1)
        keep = finite[..., None]
        weights = (
            xp.where(keep, theta, weights[0]),
            xp.where(keep, state, weights[1]) if network.state_size else state,
        )
        return (theta, state, backend.flush(slots)), weights, mean, xp.all(finite)

    return epoch


def _clipping(gradient: Any, network: Network, limit: Any, xp: Any) -> Any:
    """min(1, limit / norm) over all pieces, one per leading axis."""
    total: Any = 0.0
    for g, entry in zip(gradient, network.entries, strict=True):
        if g is not None:
            axes = tuple(range(-len(entry.shape), 0))
            total = total + xp.sum(g * g, axis=axes)
    norm = xp.sqrt(total)
    # Where the norm is within the limit the quotient is at least 1, and 0 / 0 is not met.
    return limit / xp.where(norm > limit, norm, xp.ones_like(norm) * limit)


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
    factor: Callable[[], float],
    listening: bool,
) -> Generator[Record, None, None]:
    """Train, yielding a `Record` after each epoch.

    Parameters
    ----------
    backend : Backend
        Entered by the caller through its `scope`.
    network : Network
    loss : Loss
    optimizer : Optimizer or ProblemOptimizer
    state : State
        Given away by the caller.
    data : Data
    epochs, batch_size : int
    order : function
        ``order(epoch)`` returns the epoch's sample numbers as `batches.order` does; the
        same object again means the same order.
    seed : int
        Of the dropout masks.
    dtype : str
    factor : function
        Returns what the learning rates are multiplied with, asked at each epoch.
    listening : bool
        Whether somebody reads each loss; if not, nothing waits for the device.

    Raises
    ------
    DivergenceError
        When the loss or the parameters stop being finite.
    """
    if not hasattr(optimizer, "update"):
        yield from _problem_epochs(
            backend, network, loss, optimizer, state, data, epochs, batch_size
        )
        return
    kind = optimizer.kind()
    names = tuple(optimizer.scalars(0, np.ones(1), 1.0))
    run = backend.compile(build_epoch, network, loss, kind, names, donate=1)
    carry = (state.theta, state.state, state.slots)
    weights = (backend.copy(state.theta), backend.copy(state.state))
    step, first, rate = state.step, state.epoch, state.rate
    pending: deque[tuple[int, Any]] = deque()
    lag = 0 if backend.eager or listening else LAG
    numbers: Any = None
    indices: list[Any] = []
    for epoch in range(first, first + epochs):
        last, numbers = numbers, order(epoch)
        if numbers is not last:
            indices = [backend.indices(part) for part in numbers if part is not None]
        parts = []
        for index in indices:
            steps = index.shape[0]
            rates = optimizer.rates(step, steps, factor())
            rows = _rows(optimizer.scalars(step, rates, rate), steps)
            keys = None
            if network.draws:
                host = random.step_keys(seed, step, steps, network.draws)
                keys = backend.indices(host)
            parts.append((index, backend.rows(rows, dtype), keys))
            step, rate = step + steps, float(rates[-1])
        carry, weights, mean, finite = run(carry, weights, data, tuple(parts))
        pending.append((epoch - first + 1, finite))
        while len(pending) > lag:
            _ask(backend, *pending.popleft())
        theta, running, slots = carry
        yield Record(mean, weights, State(theta, running, slots, step, epoch + 1, rate))
    for number, flag in pending:
        _ask(backend, number, flag)


def _ask(backend: Any, number: int, finite: Any) -> None:
    if not bool(backend.to_numpy(finite)):
        msg = (
            f"training diverged: the loss or the parameters stopped being finite in "
            f"epoch {number} of this fit. The parameters of the last finite epoch are "
            f"kept, the optimizer starts anew. Lower the learning rate, set clip_norm, "
            f"or scale x and y."
        )
        raise DivergenceError(msg, epochs=number - 1)


def _rows(scalars: dict[str, Any], steps: int) -> Any:
    """Stack scalars into a float64 matrix (steps, k)."""
    rows = np.empty((steps, len(scalars)))
    for k, value in enumerate(scalars.values()):
        rows[:, k] = value
    return rows


class Problem:
    """A whole training problem, for optimizers that make their own iterations.

    Parameters
    ----------
    backend : Backend
    network : Network
    loss : Loss
    data : Data
    batch_size : int
        Rows that are worked on at a time; bounds memory, changes no result.
    state : array, shape (S,)
        The network's state: the passes are those of inference, so that the value is a
        function of theta alone.
    """

    def __init__(
        self,
        backend: Any,
        network: Network,
        loss: Any,
        data: Data,
        batch_size: int,
        state: Any,
    ) -> None:
        self.backend, self.network, self.loss = backend, network, loss
        self.data, self.batch_size, self.state = data, batch_size, state

    def value_and_gradient(self, theta: Any) -> tuple[Any, Any]:
        """Return the loss over all samples (...) and its gradient, shape of theta."""
        backend = self.backend
        run = backend.compile(build_value_and_gradient, self.network, self.loss)
        samples = self.data.x.shape[0]
        value = gradient = None
        xp = backend.xp
        mass = self.loss.mass(*self.data[1:], theta.dtype, xp=xp)
        for low in range(0, samples, self.batch_size):
            some = slice(low, min(low + self.batch_size, samples))
            part = Data(*[None if a is None else a[some, ...] for a in self.data])
            share = part.x.shape[0] / samples
            if mass is not None:
                safe = xp.where(mass > 0, mass, 1.0)
                share = self.loss.mass(*part[1:], theta.dtype, xp=xp) / safe
            v, g = run(theta, self.state, part, share)
            value = v if value is None else value + v
            gradient = g if gradient is None else gradient + g
        return value, gradient


def build_value_and_gradient(backend: Any, network: Network, loss: Any) -> Any:
    """Return ``f(theta, state, data, share) -> (share·loss, its gradient)``."""
    xp = backend.xp
    objective = build_objective(backend, network, loss, train=False)

    def value_and_gradient(theta: Any, state: Any, data: Any, share: Any) -> Any:
        params = network.unflatten(theta, xp)
        value, pieces, *_ = objective(params, state, data, dvalue=share)
        return value * share, network.join(pieces, xp)

    return value_and_gradient


def _problem_epochs(
    backend: Any,
    network: Network,
    loss: Any,
    optimizer: Any,
    state: State,
    data: Data,
    epochs: int,
    batch_size: int,
) -> Generator[Record, None, None]:
    problem = Problem(backend, network, loss, data, batch_size, state.state)
    memory = state.slots[0] if state.slots else None
    step, epoch = state.step, state.epoch
    iterations = optimizer.minimise(problem, state.theta, memory)
    xp = backend.xp
    for number, (theta, value, new) in zip(
        range(1, epochs + 1), iterations, strict=False
    ):
        finite = xp.all(xp.isfinite(theta)) & xp.all(xp.isfinite(value))
        _ask(backend, number, finite)
        weights = (backend.copy(theta), state.state)
        step, epoch = step + 1, epoch + 1
        yield Record(
            value, weights, State(theta, state.state, (new,), step, epoch, state.rate)
        )


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
