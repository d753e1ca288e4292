"""Optimizers that go by batches: an elementwise update of the flat parameter vector.

A step is written once, with augmented assignment: in place where arrays can be written
(NumPy, block by block), rebinding where they cannot (JAX). Its scalars ``s`` (learning
rate, bias corrections, decay) are computed on the host in float64, step by step, so any
schedule works and nothing is compiled anew when a number changes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, Self, final

import numpy as np

from chainrule import schedules
from chainrule.arrays.types import Array, ArrayNamespace
from chainrule.config import checks
from chainrule.config.record import Config
from chainrule.errors import ArgumentError, ArgumentTypeError

if TYPE_CHECKING:
    from chainrule.config.choices import Rate, Real

__all__ = ["TINY", "BaseOptimizer", "Host", "Optimizer", "Placeholder"]


# Stands for an epsilon of 0, so that a parameter without a gradient has the step 0 /
# TINY and not 0 / 0: the smallest normal float32, which is nothing beside any root of
# v.
TINY = 2.0**-126

# A `Rate` that is checked.
_Kept = float | Callable[[int], Any]
Host = np.ndarray[Any, Any]  # an array on the host


class Placeholder(Config):
    """Stands for a number in a structure: true where it is not 0, but no number.

    Parameters
    ----------
    name : str
        Of the class and its attribute, for the error.
    nonzero : bool
    """

    name: str
    nonzero: bool
    __array_ufunc__ = None  # so that NumPy's arrays leave arithmetic with it to it

    def __init__(self, name: str, nonzero: bool) -> None:
        self._set(name=name, nonzero=nonzero)

    def __bool__(self) -> bool:
        return self.nonzero

    def _refuse(self, *_: Any) -> NoReturn:
        msg = (
            f"{self.name} travels as a scalar and has no value in `step`: read it from "
            f"s, not from self, or take its name out of `numbers`."
        )
        raise ArgumentTypeError(msg)

    __add__: Callable[..., NoReturn] = _refuse
    __sub__: Callable[..., NoReturn] = _refuse
    __mul__: Callable[..., NoReturn] = _refuse
    __truediv__: Callable[..., NoReturn] = _refuse
    __pow__: Callable[..., NoReturn] = _refuse
    __neg__: Callable[..., NoReturn] = _refuse
    __radd__: Callable[..., NoReturn] = _refuse
    __rsub__: Callable[..., NoReturn] = _refuse
    __rmul__: Callable[..., NoReturn] = _refuse
    __rtruediv__: Callable[..., NoReturn] = _refuse
    __rpow__: Callable[..., NoReturn] = _refuse


# The same ones for each fit, without the costs of a constructor.
_placeholder = functools.lru_cache(maxsize=256)(Placeholder)


class BaseOptimizer(Config):
    """Base of both kinds, `Optimizer` and `ProblemOptimizer`: what a model takes."""


class Optimizer(BaseOptimizer):
    """Base of the optimizers that go by batches.

    Parameters
    ----------
    learning_rate : float or callable, or a sequence of them
        A number above 0, or a function of the step's number (see `schedules`). For an
        ensemble also a sequence, one for each member.
    weight_decay : float
        Strength of the decay of weights; biases, gains and shifts never decay. It is
        added to the gradient (L2) unless the optimizer's decay is decoupled.
    clip_norm : float, optional
        Scale the gradient down when its norm over all parameters exceeds this (in
        Keras `global_clipnorm`).
    clip_value : float, optional
        Clip each entry of the gradient to [-clip_value, clip_value], before its norm is
        taken (in Keras `clipvalue`, in PyTorch `clip_grad_value_`). It changes the
        gradient's direction, and makes an infinite entry a finite one.

    Attributes
    ----------
    slots : tuple of str
        Names of the vectors that `step` carries along, all zero at first.
    decoupled : bool
        Whether weights shrink by learning_rate · weight_decay before the step, in place
        of the L2 term in the gradient.
    numbers : tuple of str
        Names of the attributes that reach `step` as scalars alone: a new value of one,
        or of learning_rate, weight_decay, clip_norm or clip_value, compiles nothing.
        Without them, and in a subclass with a `step` or `update` of its own, `step` may
        read every attribute of self, and what is compiled serves an equal optimizer
        alone.

    Notes
    -----
    An optimizer of one's own has a `step`; clipping and decay stand around it. Where it
    has numbers of its own, it keeps them as attributes, and either reads them from self
    or, as here, declares them and hands them out as scalars::

        class SignDescent(chainrule.optimizers.Optimizer):
            slots = ("m",)
            numbers = ("beta",)

            def __init__(self, learning_rate=1e-3, beta=0.9, *, weight_decay=0.0):
                super().__init__(learning_rate, weight_decay=weight_decay)
                self.beta = beta

            def own_scalars(self, first, rates, previous):
                return {"rate": rates, "beta": self.beta}

            def step(self, xp, s, g, theta, m):
                m *= s.beta
                m += g
                theta -= s.rate * xp.sign(m)
                return theta, m

    One that overrides `update` decays by itself; its gradient is clipped all the same.
    """

    learning_rate: _Kept | tuple[_Kept, ...]
    weight_decay: float = 0.0
    clip_norm: float | None = None
    clip_value: float | None = None
    slots: tuple[str, ...] = ()
    decoupled: bool = False
    numbers: tuple[str, ...]

    def __init__(
        self,
        learning_rate: Rate | Sequence[Rate] | Array,
        *,
        weight_decay: Real = 0.0,
        clip_norm: Real | None = None,
        clip_value: Real | None = None,
    ) -> None:
        self._configure(learning_rate, weight_decay, clip_norm, clip_value)

    def _configure(
        self,
        learning_rate: Any,
        weight_decay: Any,
        clip_norm: Any,
        clip_value: Any = None,
        **values: Any,
    ) -> None:
        name = type(self).__name__
        learning_rate = _rates(learning_rate)
        clipping = {"clip_norm": clip_norm, "clip_value": clip_value}
        for each, bound in clipping.items():
            if bound is not None:
                clipping[each] = checks.real(
                    f"{name}: {each}", bound, 0.0, open_low=True
                )
        self._set(
            learning_rate=learning_rate,
            **values,
            weight_decay=checks.real(f"{name}: weight_decay", weight_decay, 0.0),
            **clipping,
        )

    def structure(self) -> Self:
        """Return what a compiled step depends on: equal where the code is the same.

        Numbers that reach the step as scalars become a `Placeholder`, which says only
        whether they are 0. Of a class that declares no `numbers` for its own code, it
        is the optimizer itself.
        """
        for base in type(self).__mro__:
            if "numbers" in vars(base):
                break
            if "step" in vars(base) or "update" in vars(base):
                return self
        common = ("learning_rate", "weight_decay", "clip_norm", "clip_value")
        names = (*common, *self.numbers)
        cls = type(self)
        return self.replace(
            **{
                name: _placeholder(f"{cls.__name__}.{name}", bool(getattr(self, name)))
                for name in names
            }
        )

    # Numbers, on the host.

    @property
    def members(self) -> int | None:
        """How many learning rates there are, one for each member; None for one."""
        rate = self.learning_rate
        return len(rate) if isinstance(rate, tuple) else None

    def member(self, k: int) -> Self:
        """Return the optimizer of member k, with its own learning rate."""
        rate = self.learning_rate
        return self.replace(learning_rate=rate[k]) if isinstance(rate, tuple) else self

    def rates(self, first: int, steps: int, factor: Any = 1.0) -> Host:
        """Learning rates of `steps` steps from `first`, times `factor`.

        Returns
        -------
        array, float64, shape (steps,), or (members, steps)
            The latter where there is a rate for each member, or a factor: (members,).
        """
        rates: Host
        scale: Host = np.asarray(factor)[..., None]
        if self.members is not None:
            each = [self.member(k).rates(first, steps) for k in range(self.members)]
            rates = np.stack(each) * scale
            return rates
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
        rates = rates * scale
        return rates

    def scalars(self, first: int, rates: Host, previous: Any) -> dict[str, Any]:
        """Return the scalars of steps first, first + 1, ...: name -> float or (steps,).

        `rates` is what `rates` returned, and `previous` the learning rate of the step
        before `first`. Where the rates have an axis of members before that of the
        steps, so have the scalars that depend on them.
        """
        common: dict[str, Any] = {}
        if self.weight_decay:
            common["decay"] = self.weight_decay
            common["shrink"] = rates * self.weight_decay
        if self.clip_norm:
            common["clip_norm"] = self.clip_norm
        if self.clip_value:
            common["clip_value"] = self.clip_value
        return {**self.own_scalars(first, rates, previous), **common}

    def own_scalars(self, first: int, rates: Host, previous: Any) -> dict[str, Any]:
        """Return those of `scalars` that `step` reads; by default "rate"."""
        return {"rate": rates}

    # The update, on a backend's arrays.

    @final
    def apply(
        self,
        xp: ArrayNamespace,
        s: Any,
        g: Array,
        decay: Any,
        theta: Array,
        *slots: Any,
    ) -> tuple[Array, ...]:
        """Return ``(theta, *slots)`` after clipping and `update`.

        Where there is a clip_norm, s has `clip_top` and `clip_factor`, both (..., 1):
        the clipped gradient is g / clip_top · clip_factor. They are of the gradient
        whose entries are clipped already, if there is a clip_value.
        """
        if self.clip_value:
            g = xp.maximum(xp.minimum(g, s.clip_value), -s.clip_value)
        if self.clip_norm:
            g = g / s.clip_top * s.clip_factor
        return self.update(xp, s, g, decay, theta, *slots)

    def update(
        self,
        xp: ArrayNamespace,
        s: Any,
        g: Array,
        decay: Any,
        theta: Array,
        *slots: Any,
    ) -> tuple[Array, ...]:
        """Return ``(theta, *slots)`` after decay and `step`, all (..., size).

        s holds the scalars by name: numbers or, where members differ, arrays
        (members, 1), which must not be written into. decay is 1 where weights decay and
        0 elsewhere, or None where nothing does.
        """
        if decay is not None:
            if self.decoupled:
                theta -= s.shrink * decay * theta
            else:
                g = g + s.decay * decay * theta
        return self.step(xp, s, g, theta, *slots)

    # With these arguments a subclass may name its slots.
    def step(self, *_: Any, **__: Any) -> tuple[Array, ...]:
        """Return ``(theta, *slots)``: ``step(xp, s, g, theta, *slots)``.

        All are (..., size), and computed elementwise; what comes in may be overwritten.
        """
        name = type(self).__name__
        msg = (
            f"{name} has no step; write def step(self, xp, s, g, theta, *slots), which "
            f"returns (theta, *slots)."
        )
        raise ArgumentError(msg)

    def checked(
        self, update: Callable[..., tuple[Array, ...]]
    ) -> Callable[..., tuple[Array, ...]]:
        """Return ``update(g, decay, *arrays)``, which raises an error for a bad answer.

        Raises
        ------
        ArgumentError
            If it is no tuple of as many arrays, of the same shapes.
        """

        def checked(g: Array, decay: Any, *arrays: Array) -> tuple[Array, ...]:
            new = update(g, decay, *arrays)
            self._check_answer(arrays, new)
            return new

        return checked

    def _check_answer(self, arrays: tuple[Array, ...], new: Any) -> None:
        names = ("theta", *self.slots)
        got = ""
        if not isinstance(new, (tuple, list)):
            shape = getattr(new, "shape", None)
            got = (
                checks.show(new)
                if shape is None
                else f"an array of shape {tuple(shape)}"
            )
        elif len(new) != len(names):
            got = f"{len(new)} array{'s' * (len(new) != 1)}"
        else:
            for name, before, after in zip(names, arrays, new, strict=True):
                shape = getattr(after, "shape", None)
                if shape is None:
                    got = f"{checks.show(after)} for {name}"
                elif shape != before.shape:
                    got = f"shape {tuple(shape)} for {name}, not {tuple(before.shape)}"
        if not got:
            return
        own = "step" if type(self).update is Optimizer.update else "update"
        msg = (
            f"{type(self).__name__}.{own} must return the tuple "
            f"({', '.join(names)}{',' * (len(names) == 1)}), the parameters and each "
            f"slot in the shape that it came in; got {got}. Return every slot, also "
            f"one that has not changed."
        )
        raise ArgumentError(msg)


def _rates(given: Any) -> _Kept | tuple[_Kept, ...]:
    """Check learning rates: a float or a schedule, or a tuple of them."""
    if hasattr(given, "tolist") and getattr(given, "ndim", 0) == 1:
        given = given.tolist()
    if isinstance(given, (tuple, list)):
        if not given:
            msg = "learning_rate must have one rate for each member; got none."
            raise ArgumentError(msg)
        return tuple(_one_rate(f"learning_rate[{k}]", r) for k, r in enumerate(given))
    return _one_rate("learning_rate", given)


def _one_rate(name: str, given: Any) -> _Kept:
    schedules.get(given, name)
    return given if callable(given) else float(given)
