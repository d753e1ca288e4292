"""What the host prepares for epochs to come: their order, scalars and keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.arrays import random
from chainrule.errors import ArgumentError

__all__ = ["Planner"]


class Planner:
    """Prepares what an epoch, or a stretch of several, is called with.

    Parameters
    ----------
    backend : Backend
    network : Network
    optimizer : Optimizer
    order : function
        ``order(epoch)`` returns the epoch's sample numbers as `batches.order` does; the
        same object again means the same order.
    steps : int
        Of one epoch.
    seed : int
        Of the dropout masks.
    dtype : str
    penalty : function, optional
        ``penalty(part) -> (steps,)``: how strong the objective's penalty is in each
        step, for a part of what `order` returned.
    begun : int
        Steps of the model before the optimizer's first.

    Attributes
    ----------
    names : tuple of str
        Names of the columns of the scalars.
    """

    def __init__(
        self,
        backend: Any,
        network: Any,
        optimizer: Any,
        order: Callable[[int], tuple[Any, Any]],
        steps: int,
        seed: int,
        dtype: str,
        penalty: Callable[[Any], Any] | None = None,
        begun: int = 0,
    ) -> None:
        self._backend, self._network = backend, network
        self._optimizer, self._order = optimizer, order
        self._seed, self._dtype, self._penalty = seed, dtype, penalty
        self._steps, self._begun = steps, begun
        self._last: tuple[Any, list[Any]] = (None, [])
        self.names = tuple(optimizer.scalars(0, np.ones(1), 1.0))
        self.names += () if penalty is None else ("penalty",)

    def epoch(self, epoch: int, step: int, rate: Any, factor: Any) -> Any:
        """Plan one epoch, that begins at this step of the optimizer, after this rate.

        Returns
        -------
        parts : tuple of (order, rows, keys)
            What `Backend.scan` takes: the whole batches, then the remainder.
        rate : float or array (members,)
            The last step's learning rate.
        """
        rates = self._optimizer.rates(step, self._steps, factor)
        numbers = self._order(epoch)
        hosts = [part for part in numbers if part is not None]
        if numbers is not self._last[0]:
            self._last = numbers, [self._backend.indices(part) for part in hosts]
        rows, keys = self._numbers(hosts, step, rates, rate)
        parts, start = [], 0
        for index in self._last[1]:
            some = slice(start, start + index.shape[0])
            drawn = None if keys is None else self._backend.indices(keys[some])
            parts.append((index, self._scalars(rows[some]), drawn))
            start = some.stop
        return tuple(parts), rates[..., -1][()]

    def stretch(
        self, epoch: int, step: int, rate: Any, factor: Any, count: int, room: int
    ) -> Any:
        """Plan `count` epochs, in arrays with room for more.

        Returns
        -------
        parts : tuple of (order, rows, keys)
            As `epoch` returns, with a first axis of `room` epochs.
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
            return self.stretch(epoch, step, rate, factor, 1, room)
        numbers = [self._order(epoch + i) for i in range(count)]
        columns = [c for c in zip(*numbers, strict=True) if c[0] is not None]
        sizes = [column[0].shape[0] for column in columns]
        hosts = [part for one in numbers for part in one if part is not None]
        rows, keys = self._numbers(hosts, step, rates, rate)

        def spread(a: Any) -> Any:
            """Cut the steps into epochs, and fill up with epochs that nobody makes."""
            whole = np.zeros((room, steps, *a.shape[1:]), a.dtype)
            whole[:count] = a.reshape(count, steps, *a.shape[1:])
            return whole

        rows = spread(self._scalars(rows))
        keys = None if keys is None else spread(keys)
        parts, start = [], 0
        for column, size in zip(columns, sizes, strict=True):
            index = np.zeros((room, *column[0].shape), column[0].dtype)
            np.stack(column, out=index[:count])
            some = slice(start, start + size)
            drawn = None if keys is None else keys[:, some]
            parts.append((index, rows[:, some], drawn))
            start = some.stop
        return tuple(parts), count, rates[..., -1][()]

    def _scalars(self, matrix: Any) -> Any:
        """Turn a matrix of scalars into what the optimizer's `update` computes with."""
        own = str(self._optimizer.update.__module__).startswith("chainrule.")
        return self._backend.rows(matrix, self._dtype, own=own)

    def _numbers(
        self, hosts: list[Any], step: int, rates: Any, rate: Any
    ) -> tuple[Any, Any]:
        """Return the scalars and keys of all steps."""
        steps = rates.shape[-1]
        scalars = self._optimizer.scalars(step, rates, rate)
        if self._penalty is not None:
            each = [self._penalty(part) for part in hosts]
            scalars["penalty"] = each[0] if len(each) == 1 else np.concatenate(each)
        keys = None
        if self._network.draws:
            # Masks go on where the optimizer began anew.
            made = self._begun + step
            keys = random.step_keys(self._seed, made, steps, self._network.draws)
        return _rows(scalars, steps), keys


def _rows(scalars: dict[str, Any], steps: int) -> Any:
    """Stack scalars into a float64 matrix (steps, k), or (steps, k, members, 1)."""
    wide = [a.shape[:-1] for a in scalars.values() if getattr(a, "ndim", 0) > 1]
    lead = np.broadcast_shapes(*wide) if wide else ()
    rows = np.empty((*lead, steps, len(scalars)))
    for k, value in enumerate(scalars.values()):
        rows[..., k] = value
    return np.moveaxis(rows, 0, -1)[..., None] if lead else rows
