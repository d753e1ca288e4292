"""Training by batches: each epoch is prepared on the host, then made in one call."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.arrays.types import Array, ArrayNamespace
from chainrule.config.memory import exhausted
from chainrule.errors import DivergenceError
from chainrule.state.epochs import EpochResult, PartialEpoch
from chainrule.state.training import TrainingState
from chainrule.training.epoch import build_close, build_epoch, build_group
from chainrule.training.options import FitPlan, Listener
from chainrule.training.plan import Planner, mask_keys
from chainrule.training.step import build_steps

if TYPE_CHECKING:
    from chainrule.backends import Backend

__all__ = ["BUDGET", "LAG", "MinibatchTraining", "check_finite", "fresh_slots"]

# Epochs that may be under way before anybody looks at them.
LAG = 16
# Products of numbers (two for each parameter and sample, three times) that one call of
# several epochs may make: some 20 ms, so that progress shows and Ctrl-C is heard.
BUDGET = 1_000_000_000


def fresh_slots(backend: Backend, optimizer: Any, theta: Array) -> tuple[Any, ...]:
    """Return the slots with which an optimizer begins: zeros."""
    names = getattr(optimizer, "slots", ())
    return tuple(backend.xp.zeros_like(theta) for _ in names)


class MinibatchTraining:
    """The epochs of an optimizer that goes by batches.

    Parameters
    ----------
    plan : FitPlan
    state : TrainingState
        Where training begins. Its slots are used up from the first epoch on; theta and
        state stay.
    cuts : collection of int
        Numbers n: an epoch is cut after each n whole batches of it. This changes no
        bit of what comes out.

    Attributes
    ----------
    steps : int
        Of one epoch.
    """

    steps: int

    def __init__(
        self,
        plan: FitPlan,
        state: TrainingState,
        cuts: Collection[int],
    ) -> None:
        backend = self._backend = plan.backend
        self._plan, self._state, self._cuts = plan, state, cuts
        self.steps, self._first = plan.steps, state.epoch
        self._last = state.epoch + plan.epochs
        keys = mask_keys(plan.network, plan.seed, state.begun)
        self._planner = Planner(
            backend,
            plan.optimizer,
            plan.order,
            self.steps,
            plan.dtype,
            keys,
            plan.penalty,
        )
        self._key = (
            plan.network,
            plan.objective,
            plan.optimizer.structure(),
            self._planner.names,
        )
        self._largest = _largest_group(backend, state.theta, plan.data.x)
        self._group: Any = None  # compiled when it is first called, as `_run`
        self._run: Any = None
        copies = backend.copy(state.theta), backend.copy(state.state)
        self._carry = (*copies, state.slots)
        self._part = plan.part
        # (epochs of this fit before, whether finite, of how many epochs), unread.
        self._flags: deque[tuple[int, Any, int | None]] = deque()
        self._lag = 0
        self._prepared: tuple[Any, int | None, Any] | None = None

    def prepare(self, ahead: int, rate_scale: Any) -> None:
        """Prepare the next epoch, or a group of at most `ahead`, on the host.

        Nothing of the state is touched: what goes wrong here leaves it whole. At 1 each
        epoch is known to be finite when it is returned; beyond, nothing waits for the
        device.
        """
        state = self._state
        start = state.epoch, state.step, state.rate, rate_scale
        self._lag = LAG if ahead > 1 and not self._backend.eager else 0
        cut = bool(self._cuts or self._part)
        grouped = self._largest > 1 and (ahead > 1 or self._group is not None)
        if cut or not grouped:
            parts, rate = self._planner.epoch(*start)
            self._prepared = parts, None, rate
            return
        # Of a single epoch, too, where the group is compiled already.
        count = min(ahead, self._largest, self._last - state.epoch)
        parts, count, rate = self._planner.group(*start, count, self._largest)
        self._group = self._group or self._backend.compile(
            build_group, *self._key, donate=1
        )
        self._prepared = parts, count, rate

    def advance(self, listener: Listener) -> EpochResult | None:
        """Make what was prepared; None where it was not let go on at a cut.

        Parameters
        ----------
        listener : Listener
            Hears of each cut. It is not kept: it may own this object.

        Raises
        ------
        DivergenceError
            When the loss, the parameters, the slots or the state stop being finite.
        """
        assert self._prepared is not None
        parts, count, rate = self._prepared
        backend, data, before = self._backend, self._plan.data, self._state
        call = self._carry, before.weights, data, parts
        if count is not None:
            found = self._group(*call, count)
        elif self._cuts or self._part:
            found = self._cut_epoch(parts, listener)
            if found is None:
                return None
        else:
            self._run = self._run or backend.compile(build_epoch, *self._key, donate=1)
            found = self._run(*call)
        carry, weights, mean, finite = found
        self._carry = carry
        if self._plan.guarded:
            self._flags.append((before.epoch - self._first + 1, finite, count))
        epochs = count or 1
        theta, state = weights
        self._state = TrainingState(
            theta,
            state,
            carry[2],
            before.step + epochs * self.steps,
            before.epoch + epochs,
            rate,
            begun=before.begun,
        )
        made = self._state.epoch - self._first
        while self._flags and made - self._flags[0][0] >= self._lag:
            check_finite(backend, *self._flags.popleft())
        return EpochResult(mean, self._state, carry[:2], group=count)

    def drain(self) -> None:
        """Wait for all epochs that are under way; a late divergence surfaces here."""
        while self._flags:
            check_finite(self._backend, *self._flags.popleft())

    def exhausted(self, error: Exception) -> Exception:
        """Return the error that says what to make smaller."""
        batch_size = self._plan.batch_size
        advice = f"Try batch_size={batch_size // 2}."
        if batch_size == 1:
            advice = "Use a smaller network."
        advice += (
            " The parameters of the last whole epoch are kept, the optimizer starts "
            "anew."
        )
        what = f"in a training step of batch_size {batch_size}"
        return exhausted(self._backend, what, advice, error)

    def _cut_epoch(self, parts: Any, listener: Listener) -> Any:
        """Make an epoch piece by piece; None where it was not let go on."""
        backend, data = self._backend, self._plan.data
        run = backend.compile(build_steps, *self._key, donate=1)
        (order, rows, keys), *rest = parts
        carry, done, tally = self._carry, 0, None
        if self._part is not None:
            carry, done, *tally = self._part
            self._part = None
        for stop, is_cut in _stops(order.shape[0], done, self._cuts, bool(rest)):
            steps = slice(done, stop)
            drawn = None if keys is None else keys[steps, ...]
            carry, new = run(carry, data, (order[steps, :], rows[steps], drawn))
            tally = new if tally is None else _joined(backend.xp, tally, new)
            done = stop
            part = PartialEpoch(carry, done, *tally)
            if is_cut and not listener.cut_within(part):
                return None
        tallies = [tally]
        for piece in rest:
            carry, new = run(carry, data, piece)
            tallies.append(new)
        shapes = tuple(tuple(piece[0].shape) for piece in parts)
        close = backend.compile(build_close, self._plan.network, shapes, donate=1)
        return close(carry, self._state.weights, tallies)


def _stops(
    total: int, done: int, cuts: Collection[int], rest: bool
) -> list[tuple[int, bool]]:
    """Return after how many of an epoch's whole batches to stop, and where to cut it.

    No piece has but one step: XLA compiles a loop of one as none, to other bits.
    """
    stops = {k for n in cuts for k in range(n, total - 1, n)}
    if rest and any(total % n == 0 for n in cuts):
        stops.add(total)
    found = []
    for stop in sorted(stops | {total}):
        if stop > done and (stop == total or stop != done + 1):
            found.append((stop, stop in stops))
            done = stop
    return found


def _largest_group(backend: Backend, theta: Array, x: Any) -> int:
    """How many epochs one call may make: fewer, the longer they are."""
    work = (6 * math.prod(theta.shape) + 512) * math.prod(x.shape[:-1])
    largest: int = max(1, min(backend.group, BUDGET // work))
    return largest


def _joined(xp: ArrayNamespace, *tallies: Any) -> Any:
    """One (values, masses) of several."""
    columns = zip(*tallies, strict=True)
    return tuple(None if c[0] is None else xp.concat(c, axis=0) for c in columns)


def check_finite(
    backend: Backend, number: int, finite: Any, count: int | None = None
) -> None:
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
        "training diverged: the loss, the parameters, the optimizer's slots or the "
        f"running statistics{whose} stopped being finite in epoch {number} of this "
        "fit. The parameters of the last finite epoch are kept, the optimizer starts "
        "anew. Lower the learning rate, set clip_norm, or scale x and y."
    )
    raise DivergenceError(msg, epochs=number - 1, members=members)
