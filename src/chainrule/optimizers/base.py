"""Optimizers: updates of the flat parameter vector.

There are two kinds. An `Optimizer` turns each batch's gradient into an elementwise
update. A `ProblemOptimizer` is given the whole problem and makes iterations of its own.

An update is written once, with augmented assignment: in place where arrays can be
written (NumPy, block by block), rebinding where they cannot (JAX). Its scalars ``s``
(learning rate, bias corrections, decay) are computed on the host in float64, step by
step, so any schedule works and nothing is compiled anew when a number changes.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from chainrule import schedules
from chainrule.config import checks
from chainrule.config.record import Config
from chainrule.errors import ArgumentError

__all__ = ["Optimizer"]


# Stands for an epsilon of 0, so that a parameter without a gradient has the step 0 / TINY
# and not 0 / 0: the smallest normal float32, which is nothing beside any root of v.
TINY = 2.0**-126


class Optimizer(Config):
    """Base of the elementwise kind.

    Parameters
    ----------
    learning_rate : float or callable, or a sequence of them
        A number above 0, or a function of the step's number (see `schedules`). For an
        ensemble also a sequence, one for each member.
    weight_decay : float
        Strength of the decay of weights; biases, gains and shifts never decay. It is
        added to the gradient (L2) unless the optimizer says that its decay is decoupled.
    clip_norm : float, optional
        Scale the gradient down when its norm over all parameters exceeds this (in
        Keras `global_clipnorm`).

    Attributes
    ----------
    slots : tuple of str
        Names of the vectors that the update carries along, all zero at first.
    """

    learning_rate: Any
    weight_decay: float = 0.0
    clip_norm: float | None = None
    slots: tuple[str, ...] = ()

    def _configure(
        self, learning_rate: Any, weight_decay: Any, clip_norm: Any, **values: Any
    ) -> None:
        name = type(self).__name__
        learning_rate = _rates(learning_rate)
        if clip_norm is not None:
            clip_norm = checks.real(f"{name}: clip_norm", clip_norm, 0.0, open_low=True)
        self._set(
            learning_rate=learning_rate,
            **values,
            weight_decay=checks.real(f"{name}: weight_decay", weight_decay, 0.0),
            clip_norm=clip_norm,
        )

    def kind(self) -> Self:
        """Return the optimizer without its numbers: what a compiled step depends on.

        Each number becomes whether it is not zero; the numbers travel as scalars. What
        else there is, text or an array of one's own, say, stays.
        """
        return self.replace(
            **{
                name: True if callable(value) else bool(value)
                for name, value in self._values().items()
                if callable(value) or isinstance(value, (int, float, tuple))
            }
        )

    @property
    def members(self) -> int | None:
        """How many learning rates there are, one for each member; None for a single one."""
        rate = self.learning_rate
        return len(rate) if isinstance(rate, tuple) else None

    def member(self, k: int) -> Self:
        """Return the optimizer of member k, with its own learning rate."""
        if self.members is None:
            return self
        return self.replace(learning_rate=self.learning_rate[k])

    def rates(self, first: int, steps: int, factor: Any = 1.0) -> Any:
        """Learning rates of `steps` steps from `first`, times `factor`.

        Returns
        -------
        array, float64, shape (steps,), or (members, steps)
            The latter where there is a rate for each member, or a factor: (members,).
        """
        if self.members is not None:
            each = [self.member(k).rates(first, steps) for k in range(self.members)]
            return np.stack(each) * np.asarray(factor)[..., None]
        if not callable(self.learning_rate) and not np.ndim(factor):
            return np.full(steps, self.learning_rate * factor)
        schedule = schedules.get(self.learning_rate)
        rates = np.empty(steps)
        for i in range(steps):
            rates[i] = schedules.rate(schedule, first + i)
        if not (np.isfinite(rates).all() and (rates >= 0.0).all()):
            msg = (
                f"learning_rate: the schedule {self.learning_rate!r} must return "
                f"finite numbers of at least 0; got {rates.min()} to {rates.max()} in "
                f"steps {first} to {first + steps - 1}."
            )
            raise ArgumentError(msg)
        return rates * (np.asarray(factor)[..., None] if np.ndim(factor) else factor)

    def scalars(self, first: int, rates: Any, previous: Any) -> dict[str, Any]:
        """Return the scalars of steps first, first + 1, ...: name -> float or (steps,).

        `rates` is what `rates` returned, and `previous` the learning rate of the step
        before `first`. Where the rates have an axis of members before that of the steps,
        so have the scalars that depend on them.
        """
        return {**self._own_scalars(first, rates, previous), **self._common(rates)}

    def _common(self, rates: Any) -> dict[str, Any]:
        common: dict[str, Any] = {}
        if self.weight_decay:
            common["decay"] = self.weight_decay
            common["shrink"] = rates * self.weight_decay
        if self.clip_norm:
            common["clip_norm"] = self.clip_norm
        return common

    def _own_scalars(self, first: int, rates: Any, previous: float) -> dict[str, Any]:
        raise NotImplementedError

    def update(
        self, xp: Any, s: Any, g: Any, decay: Any, theta: Any, *slots: Any
    ) -> Any:
        """Return the new ``(theta, *slots)`` from the gradient g, all (..., size).

        s holds the scalars by name: numbers or, where members differ, arrays
        (members, 1), which must not be written into. decay is 1 where weights decay and
        0 elsewhere, or None where nothing does.
        """
        raise NotImplementedError


def _rates(given: Any) -> Any:
    """Check learning rates: a float or a schedule, or a tuple of them."""
    if hasattr(given, "tolist") and getattr(given, "ndim", 0) == 1:
        given = given.tolist()
    if isinstance(given, (tuple, list)):
        if not given:
            msg = "learning_rate must have one rate for each member; got none."
            raise ArgumentError(msg)
        return tuple(_one_rate(f"learning_rate[{k}]", r) for k, r in enumerate(given))
    return _one_rate("learning_rate", given)


def _one_rate(name: str, given: Any) -> Any:
    schedules.get(given, name)
    return given if callable(given) else float(given)
