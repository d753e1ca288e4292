"""What the host prepares for epochs to come: their order, scalars and keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.arrays import random
from chainrule.errors import ArgumentError
from chainrule.network import Network

if TYPE_CHECKING:
    from chainrule.backends import Backend
    from chainrule.optimizers import Optimizer

__all__ = ["Host", "Keys", "Order", "Planner", "mask_keys"]

Host = np.ndarray[Any, Any]  # an array on the host

# The sample numbers of an epoch: those of the full batches, (steps, batch), and those
# of the remainder, (1, rest), or None.
Order = Callable[[int], tuple[Host, Host | None]]
Keys = Callable[[int, int], Host | None]


def mask_keys(network: Network, seed: int, begun: int) -> Keys:
    """Return ``keys(step, steps)``: host keys of dropout masks; None without any.

    An optimizer that begins anew counts its steps from 0, after `begun` steps of the
    model; masks go on.
    """
    draws = network.draws
    if not draws:
        return lambda _step, _steps: None
    return lambda step, steps: random.step_keys(seed, begun + step, steps, draws)


class Planner:
    """Prepares what an epoch, or a group of several, is called with.

    Parameters
    ----------
    backend : Backend
    optimizer : Optimizer
    order : function
        ``order(epoch)`` returns the epoch's sample numbers as `data.order.order` does;
        the same object again means the same order.
    steps : int
        Of one epoch.
    dtype : str
    keys : function
        What `mask_keys` returned.
    penalty : function, optional
        ``penalty(part) -> (steps,)``: how strong the objective's penalty is in each
        step, for a part of what `order` returned.

    Attributes
    ----------
    names : tuple of str
        Names of the columns of the scalars.
    """

    names: tuple[str, ...]

    def __init__(
        self,
        backend: Backend,
        optimizer: Optimizer,
        order: Order,
        steps: int,
        dtype: str,
        keys: Keys,
        penalty: Callable[[Any], Any] | None = None,
    ) -> None:
        self._backend, self._optimizer = backend, optimizer
        self._order, self._steps, self._dtype = order, steps, dtype
        self._keys, self._penalty = keys, penalty
        self._last: tuple[Any, list[Any]] = (None, [])
        self.names = tuple(optimizer.scalars(0, np.ones(1), 1.0))
        self.names += () if penalty is None else ("penalty",)
        # Scalars of a kind that code of others might write into are for ours alone.
        code = (optimizer.update, optimizer.step)
        self._own = all(str(f.__module__).startswith("chainrule.") for f in code)

    def epoch(self, epoch: int, step: int, rate: Any, factor: Any) -> Any:
        """Plan one epoch, that begins at this step of the optimizer, after this rate.

        Returns
        -------
        parts : tuple of (order, rows, keys)
            What `Backend.scan` takes: the full batches, then the remainder.
        rate : float or array (members,)
            The last step's learning rate.
        """
        rates = self._optimizer.rates(step, self._steps, factor)
        numbers = self._order(epoch)
        hosts = [part for part in numbers if part is not None]
        if numbers is not self._last[0]:
            self._last = numbers, [self._backend.indices(part) for part in hosts]
        rows = self._scalars(hosts, step, rates, rate)
        keys = self._keys(step, self._steps)
        parts, start = [], 0
        for index in self._last[1]:
            place = slice(start, start + index.shape[0])
            drawn = None if keys is None else self._backend.indices(keys[place])
            parts.append((index, self._rows(rows[place]), drawn))
            start = place.stop
        return tuple(parts), rates[..., -1][()]

    def group(
        self, epoch: int, step: int, rate: Any, factor: Any, count: int, capacity: int
    ) -> Any:
        """Plan `count` epochs, in arrays that are padded to `capacity` epochs.

        Returns
        -------
        parts : tuple of (order, rows, keys)
            As `epoch` returns, with a first axis of `capacity` epochs.
        count : int
            1 where a schedule has a bad value later on: epochs before it count.
        rate : float or array (members,)
        """
        steps = self._steps
        try:
            rates = self._optimizer.rates(step, count * steps, factor)
        except ArgumentError:
            if count == 1:
                raise
            return self.group(epoch, step, rate, factor, 1, capacity)
        numbers = [self._order(epoch + i) for i in range(count)]
        columns = [c for c in zip(*numbers, strict=True) if c[0] is not None]
        hosts = [part for each in numbers for part in each if part is not None]

        def pad(a: Host) -> Host:
            """Cut steps into epochs, and pad those with zeros."""
            padded = np.zeros((capacity, steps, *a.shape[1:]), a.dtype)
            padded[:count] = a.reshape(count, steps, *a.shape[1:])
            return padded

        rows = pad(self._rows(self._scalars(hosts, step, rates, rate)))
        keys = self._keys(step, count * steps)
        keys = None if keys is None else pad(keys)
        parts, start = [], 0
        for column in columns:
            index = np.zeros((capacity, *column[0].shape), column[0].dtype)
            np.stack(column, out=index[:count])
            place = slice(start, start + column[0].shape[0])
            drawn = None if keys is None else keys[:, place]
            parts.append((index, rows[:, place], drawn))
            start = place.stop
        return tuple(parts), count, rates[..., -1][()]

    def _rows(self, matrix: Host) -> Any:
        """Turn a matrix of scalars into what the optimizer's update computes with."""
        return self._backend.rows(matrix, self._dtype, own=self._own)

    def _scalars(self, hosts: list[Host], step: int, rates: Host, rate: Any) -> Host:
        """Return the scalars of all steps: (steps, k) or (steps, k, members, 1)."""
        scalars = self._optimizer.scalars(step, rates, rate)
        if self._penalty is not None:
            each = [self._penalty(part) for part in hosts]
            scalars["penalty"] = each[0] if len(each) == 1 else np.concatenate(each)
        wide = [a.shape[:-1] for a in scalars.values() if getattr(a, "ndim", 0) > 1]
        lead = np.broadcast_shapes(*wide) if wide else ()
        rows = np.empty((*lead, rates.shape[-1], len(scalars)))
        for k, value in enumerate(scalars.values()):
            rows[..., k] = value
        return np.moveaxis(rows, 0, -1)[..., None] if lead else rows
