"""Optimizers: updates of the flat parameter vector.

There are two kinds. An `Optimizer` turns each batch's gradient into an elementwise
update. A `ProblemOptimizer` is given the whole problem and makes iterations of its own.

An update is written once, with augmented assignment: in place where arrays can be
written (NumPy, block by block), rebinding where they cannot (JAX). Its scalars ``s``
(learning rate, bias corrections, decay) are computed on the host in float64, step by
step, so any schedule works and nothing is compiled anew when a number changes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from chainrule import _checks, schedules
from chainrule._record import Record
from chainrule.errors import ArgumentError

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Iteration",
    "Lion",
    "NAdam",
    "Optimizer",
    "ProblemOptimizer",
    "RMSprop",
    "get",
]


# Stands for an epsilon of 0, so that a parameter without a gradient has the step 0 / TINY
# and not 0 / 0: the smallest normal float32, which is nothing beside any root of v.
TINY = 2.0**-126


class Optimizer(Record):
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
            clip_norm = _checks.real(
                f"{name}: clip_norm", clip_norm, 0.0, open_low=True
            )
        self._set(
            learning_rate=learning_rate,
            **values,
            weight_decay=_checks.real(f"{name}: weight_decay", weight_decay, 0.0),
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


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum if wished.

    m <- d m + g;  theta <- theta - lr m, or with Nesterov theta - lr (g + mu m)

    Parameters
    ----------
    learning_rate : float or callable
    momentum : float in [0, 1)
        mu. Without it there is no m.
    nesterov : bool
        Look ahead along the velocity.
    rate_in_velocity : bool
        False: d = mu (torch, optax). True: d = mu lr_k-1 / lr_k, so that lr m is the
        velocity that carries each step's own rate (scikit-learn). The two differ only
        where the learning rate changes.
    weight_decay, clip_norm : float
        See `Optimizer`; the decay is L2.

    Notes
    -----
    torch.optim.SGD. Source: Sutskever et al. 2013.
    """

    momentum: float
    nesterov: bool
    rate_in_velocity: bool

    def __init__(
        self,
        learning_rate: Any = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        *,
        rate_in_velocity: bool = False,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
    ) -> None:
        mu = _checks.real("SGD: momentum", momentum, 0.0, 1.0, open_high=True)
        nesterov = _checks.boolean("SGD: nesterov", nesterov)
        if nesterov and not mu:
            msg = f"SGD: nesterov needs a momentum above 0; got {momentum!r}."
            raise ArgumentError(msg)
        self._configure(
            learning_rate,
            weight_decay,
            clip_norm,
            momentum=mu,
            nesterov=nesterov,
            rate_in_velocity=_checks.boolean("SGD: rate_in_velocity", rate_in_velocity),
        )

    @property
    def slots(self) -> tuple[str, ...]:  # type: ignore[override]
        """The velocity m, if there is momentum."""
        return ("m",) if self.momentum else ()

    def _own_scalars(self, first: int, rates: Any, previous: float) -> dict[str, Any]:
        scalars: dict[str, Any] = {"rate": rates}
        if self.momentum:
            mu = scalars["mu"] = self.momentum
            scalars["d"] = mu
            if self.rate_in_velocity:
                last = np.broadcast_to(previous, rates.shape[:-1])[..., None]
                before = np.concatenate((last, rates[..., :-1]), axis=-1)
                safe = np.where(rates > 0.0, rates, 1.0)
                scalars["d"] = np.where(rates > 0.0, mu * before / safe, mu)
        return scalars

    def update(
        self, xp: Any, s: Any, g: Any, decay: Any, theta: Any, *slots: Any
    ) -> Any:
        """See `Optimizer.update`."""
        if decay is not None:
            g = g + s.decay * decay * theta
        if not slots:
            theta -= s.rate * g
            return (theta,)
        (m,) = slots
        m *= s.d
        m += g
        if self.nesterov:
            theta -= s.rate * (g + s.mu * m)
        else:
            theta -= s.rate * m
        return theta, m


class Adam(Optimizer):
    """Adam: steps scaled by running moments of the gradient.

    m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g²;  theta <- theta - a m / (sqrt(v) + e)
    with a = lr sqrt(1 - b2^t) / (1 - b1^t) and t = 1, 2, ... the step

    Parameters
    ----------
    learning_rate : float or callable
    beta_1, beta_2 : float in [0, 1)
    epsilon : float
    epsilon_hat : bool
        False: e = epsilon sqrt(1 - b2^t), that is epsilon stands beside the corrected
        moment (the paper's algorithm 1, torch, optax). True: e = epsilon (the end of
        the paper's section 2, scikit-learn).
    weight_decay, clip_norm : float
        See `Optimizer`; the decay is L2.

    Notes
    -----
    torch.optim.Adam. Source: Kingma, Ba 2014 (arXiv:1412.6980).
    """

    beta_1: float
    beta_2: float
    epsilon: float
    epsilon_hat: bool
    slots = ("m", "v")

    def __init__(
        self,
        learning_rate: Any = 1e-3,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        *,
        epsilon_hat: bool = False,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
    ) -> None:
        name = type(self).__name__
        self._configure(
            learning_rate,
            weight_decay,
            clip_norm,
            beta_1=_checks.real(f"{name}: beta_1", beta_1, 0.0, 1.0, open_high=True),
            beta_2=_checks.real(f"{name}: beta_2", beta_2, 0.0, 1.0, open_high=True),
            epsilon=_checks.real(f"{name}: epsilon", epsilon, 0.0),
            epsilon_hat=_checks.boolean(f"{name}: epsilon_hat", epsilon_hat),
        )

    def _own_scalars(self, first: int, rates: Any, previous: float) -> dict[str, Any]:
        steps = rates.shape[-1]
        t = np.arange(first + 1, first + 1 + steps, dtype=np.float64)
        # 1 - b^t, without cancellation where b^t is close to 1.
        c1, c2 = _one_minus_power(self.beta_1, t), _one_minus_power(self.beta_2, t)
        root = np.sqrt(c2)
        return {
            "b1": self.beta_1,
            "b2": self.beta_2,
            "c1": 1.0 - self.beta_1,
            "c2": 1.0 - self.beta_2,
            "a": rates * root / c1,
            "e": max(self.epsilon, TINY)
            if self.epsilon_hat
            else np.maximum(self.epsilon * root, TINY),
        }

    def update(
        self, xp: Any, s: Any, g: Any, decay: Any, theta: Any, *slots: Any
    ) -> Any:
        """See `Optimizer.update`."""
        if decay is not None:
            g = g + s.decay * decay * theta
        return _adam(xp, s, g, theta, *slots)


def _one_minus_power(beta: float, t: Any) -> Any:
    return -np.expm1(t * math.log(beta)) if beta else np.ones_like(t)


def _one_minus_product(beta: float, decay: float, t: Any) -> Any:
    """Return 1 - p_t of NAdam, p_t = Π_k≤t beta (1 - q^k / 2) with q = 0.96^decay.

    log p_t = t log beta + Σ_k log(1 - q^k / 2); the logarithm's series gives geometric
    sums over k, so that no step before t is gone through:
    Σ_k log(1 - q^k / 2) = -Σ_j q^j (1 - q^jt) / ((1 - q^j) j 2^j).
    """
    rest = np.ones_like(t)
    if not beta:
        return rest
    # Beyond, 1 - p is 1 to the last bit: p is at most beta^t.
    counts = -t * math.log(beta) < 45.0
    for low in range(0, int(counts.sum()), 4096):  # they are the first ones
        some = slice(low, min(low + 4096, int(counts.sum())))
        rest[some] = -np.expm1(t[some] * math.log(beta) - _halvings(decay, t[some]))
    return rest


def _halvings(decay: float, t: Any) -> Any:
    """Return Σ_j q^j (1 - q^jt) / ((1 - q^j) j 2^j), q = 0.96^decay, of each t."""
    j = np.arange(1.0, 60.0)[:, None]  # the sum of the others is below 2^-60 of it
    log = j * (decay * math.log(0.96))
    small = -np.expm1(log)  # 1 - q^j
    sums = np.broadcast_to(t, (j.size, t.size))
    if small.all():
        sums = np.exp(log) * np.expm1(log * t) / -small
    # Added one after the other, so that each t has the same bits in any company.
    return np.add.accumulate(sums / (j * 2.0**j), axis=0)[-1]


def _adam(xp: Any, s: Any, g: Any, theta: Any, m: Any, v: Any) -> Any:
    m *= s.b1
    m += s.c1 * g
    v *= s.b2
    v += s.c2 * (g * g)
    theta -= s.a * m / (xp.sqrt(v) + s.e)
    return theta, m, v


class AdamW(Adam):
    """Adam with decoupled decay: first theta <- theta (1 - lr weight_decay).

    Notes
    -----
    torch.optim.AdamW. Source: Loshchilov, Hutter 2017 (arXiv:1711.05101).
    """

    def __init__(
        self,
        learning_rate: Any = 1e-3,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.01,
        *,
        epsilon_hat: bool = False,
        clip_norm: float | None = None,
    ) -> None:
        super().__init__(
            learning_rate,
            beta_1,
            beta_2,
            epsilon,
            epsilon_hat=epsilon_hat,
            weight_decay=weight_decay,
            clip_norm=clip_norm,
        )

    def update(
        self, xp: Any, s: Any, g: Any, decay: Any, theta: Any, *slots: Any
    ) -> Any:
        """See `Optimizer.update`."""
        if decay is not None:
            theta -= s.shrink * decay * theta
        return _adam(xp, s, g, theta, *slots)


class RMSprop(Optimizer):
    """v <- rho v + (1 - rho) g²;  theta <- theta - lr g / (sqrt(v) + epsilon).

    Parameters
    ----------
    learning_rate : float or callable
    rho : float in [0, 1)
    epsilon : float
    weight_decay, clip_norm : float
        See `Optimizer`; the decay is L2.

    Notes
    -----
    torch.optim.RMSprop. Source: Tieleman, Hinton 2012.
    """

    rho: float
    epsilon: float
    slots = ("v",)

    def __init__(
        self,
        learning_rate: Any = 0.01,
        rho: float = 0.99,
        epsilon: float = 1e-8,
        *,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
    ) -> None:
        self._configure(
            learning_rate,
            weight_decay,
            clip_norm,
            rho=_checks.real("RMSprop: rho", rho, 0.0, 1.0, open_high=True),
            epsilon=_checks.real("RMSprop: epsilon", epsilon, 0.0),
        )

    def _own_scalars(self, first: int, rates: Any, previous: float) -> dict[str, Any]:
        return {
            "rate": rates,
            "rho": self.rho,
            "c": 1.0 - self.rho,
            "e": max(self.epsilon, TINY),
        }

    def update(
        self, xp: Any, s: Any, g: Any, decay: Any, theta: Any, *slots: Any
    ) -> Any:
        """See `Optimizer.update`."""
        (v,) = slots
        if decay is not None:
            g = g + s.decay * decay * theta
        v *= s.rho
        v += s.c * (g * g)
        theta -= s.rate * g / (xp.sqrt(v) + s.e)
        return theta, v


class Adagrad(Optimizer):
    """v <- v + g²;  theta <- theta - lr g / (sqrt(v) + epsilon).

    Parameters
    ----------
    learning_rate : float or callable
    epsilon : float
    weight_decay, clip_norm : float
        See `Optimizer`; the decay is L2.

    Notes
    -----
    torch.optim.Adagrad. Source: Duchi, Hazan, Singer 2011.
    """

    epsilon: float
    slots = ("v",)

    def __init__(
        self,
        learning_rate: Any = 0.01,
        epsilon: float = 1e-10,
        *,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
    ) -> None:
        self._configure(
            learning_rate,
            weight_decay,
            clip_norm,
            epsilon=_checks.real("Adagrad: epsilon", epsilon, 0.0),
        )

    def _own_scalars(self, first: int, rates: Any, previous: float) -> dict[str, Any]:
        return {"rate": rates, "e": max(self.epsilon, TINY)}

    def update(
        self, xp: Any, s: Any, g: Any, decay: Any, theta: Any, *slots: Any
    ) -> Any:
        """See `Optimizer.update`."""
        (v,) = slots
        if decay is not None:
            g = g + s.decay * decay * theta
        v += g * g
        theta -= s.rate * g / (xp.sqrt(v) + s.e)
        return theta, v


class NAdam(Optimizer):
    """Adam with Nesterov momentum.

    mu_t = b1 (1 - 0.5 · 0.96^(t momentum_decay)), p_t = mu_1 ... mu_t;
    m, v as Adam's;  w = sqrt(v / (1 - b2^t)) + epsilon;
    theta <- theta - lr ((1 - mu_t) / (1 - p_t) g + mu_t+1 / (1 - p_t+1) m) / w

    Parameters
    ----------
    learning_rate : float or callable
    beta_1, beta_2 : float in [0, 1)
    epsilon : float
    momentum_decay : float
    weight_decay, clip_norm : float
        See `Optimizer`; the decay is L2.

    Notes
    -----
    torch.optim.NAdam. Source: Dozat 2016.
    """

    beta_1: float
    beta_2: float
    epsilon: float
    momentum_decay: float
    slots = ("m", "v")

    def __init__(
        self,
        learning_rate: Any = 2e-3,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        momentum_decay: float = 4e-3,
        *,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
    ) -> None:
        self._configure(
            learning_rate,
            weight_decay,
            clip_norm,
            beta_1=_checks.real("NAdam: beta_1", beta_1, 0.0, 1.0, open_high=True),
            beta_2=_checks.real("NAdam: beta_2", beta_2, 0.0, 1.0, open_high=True),
            epsilon=_checks.real("NAdam: epsilon", epsilon, 0.0),
            momentum_decay=_checks.real("NAdam: momentum_decay", momentum_decay, 0.0),
        )

    def _own_scalars(self, first: int, rates: Any, previous: float) -> dict[str, Any]:
        steps = rates.shape[-1]  # mu is needed one further
        t = np.arange(first + 1, first + steps + 2, dtype=np.float64)
        mu = self.beta_1 * (1.0 - 0.5 * 0.96 ** (t * self.momentum_decay))
        rest = _one_minus_product(self.beta_1, self.momentum_decay, t)
        root = np.sqrt(_one_minus_power(self.beta_2, t[:-1]))
        return {
            "b1": self.beta_1,
            "b2": self.beta_2,
            "c1": 1.0 - self.beta_1,
            "c2": 1.0 - self.beta_2,
            "ag": rates * root * (1.0 - mu[:-1]) / rest[:-1],
            "am": rates * root * mu[1:] / rest[1:],
            "e": np.maximum(self.epsilon * root, TINY),
        }

    def update(
        self, xp: Any, s: Any, g: Any, decay: Any, theta: Any, *slots: Any
    ) -> Any:
        """See `Optimizer.update`."""
        m, v = slots
        if decay is not None:
            g = g + s.decay * decay * theta
        m *= s.b1
        m += s.c1 * g
        v *= s.b2
        v += s.c2 * (g * g)
        theta -= (s.ag * g + s.am * m) / (xp.sqrt(v) + s.e)
        return theta, m, v


class Lion(Optimizer):
    """Steps of the sign of a momentum; weight decay is decoupled.

    theta <- theta - lr (sign(b1 m + (1 - b1) g) + weight_decay theta);
    m <- b2 m + (1 - b2) g

    Parameters
    ----------
    learning_rate : float or callable
    beta_1, beta_2 : float in [0, 1)
    weight_decay, clip_norm : float
        See `Optimizer`.

    Notes
    -----
    optax.lion. Source: Chen et al. 2023 (arXiv:2302.06675).
    """

    beta_1: float
    beta_2: float
    slots = ("m",)

    def __init__(
        self,
        learning_rate: Any = 1e-4,
        beta_1: float = 0.9,
        beta_2: float = 0.99,
        *,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
    ) -> None:
        self._configure(
            learning_rate,
            weight_decay,
            clip_norm,
            beta_1=_checks.real("Lion: beta_1", beta_1, 0.0, 1.0, open_high=True),
            beta_2=_checks.real("Lion: beta_2", beta_2, 0.0, 1.0, open_high=True),
        )

    def _own_scalars(self, first: int, rates: Any, previous: float) -> dict[str, Any]:
        return {
            "rate": rates,
            "b1": self.beta_1,
            "b2": self.beta_2,
            "c1": 1.0 - self.beta_1,
            "c2": 1.0 - self.beta_2,
        }

    def update(
        self, xp: Any, s: Any, g: Any, decay: Any, theta: Any, *slots: Any
    ) -> Any:
        """See `Optimizer.update`."""
        (m,) = slots
        step = s.rate * xp.sign(s.b1 * m + s.c1 * g)
        if decay is not None:
            theta -= s.shrink * decay * theta
        theta -= step
        m *= s.b2
        m += s.c2 * g
        return theta, m


class Iteration(NamedTuple):
    """What one iteration of a `ProblemOptimizer` leaves.

    memory is an array, or None; logs are numbers for the history.
    """

    theta: Any
    loss: Any
    memory: Any = None
    logs: Mapping[str, float] = {}


class ProblemOptimizer(Record):
    """Base of the kind that takes the whole problem; one iteration is one epoch.

    A subclass has `minimise`, a generator. Batches only bound memory for it, and all
    its passes are those of inference.

    Attributes
    ----------
    least_squares : bool
        Whether a fit ends where the covariance of its parameters is worth keeping.
    """

    least_squares = False

    def check(self, loss: Any) -> None:
        """Raise an error, before training, for a loss that does not fit."""

    def check_network(self, network: Any, who: str | None = None) -> None:
        """Raise an error, before training, for layers of which a part would be ignored."""
        ignored = network.layer.training_only
        if ignored:
            msg = (
                f"{who or type(self).__name__} makes all passes as in inference, so that "
                f"what {', '.join(dict.fromkeys(ignored))} does in training alone would "
                f"be ignored (a dropout that drops nothing, running statistics that "
                f"never learn). Leave it out, freeze BatchNorm (trainable=False), or "
                f"take an optimizer that goes by batches, such as Adam."
            )
            raise ArgumentError(msg)

    def check_memory(self, memory: Any, network: Any, dtype: str) -> None:
        """Raise an error if memory (host arrays, from a file) is none of this optimizer.

        Parameters
        ----------
        memory : array, tree of arrays, or None
            What an `Iteration` left.
        network : Network
        dtype : str
            The model's.
        """

    def too_large(self, network: Any, itemsize: int) -> str:
        """Return what is too large where memory does not suffice, and what to do.

        "" where it is the rows that are worked on at a time: fewer may do.
        """
        return ""

    def conclude(self, problem: Any, loss: float, made: int, *, ended: bool) -> None:
        """Look at a fit that made its iterations, or all that it could; it may warn.

        `ended` says that there was no further iteration to make.
        """

    def minimise(self, problem: Any, theta: Any, memory: Any) -> Iterator[Any]:
        """Yield an `Iteration` as long as it is asked, or as there is one.

        Parameters
        ----------
        problem : chainrule.problem.Problem
            ``problem.value_and_gradient(theta)`` over all samples, for example.
        theta : array, shape (P,)
            Where to start.
        memory : array or None
            What the last iteration left; None the first time.
        """
        raise NotImplementedError


_NAMES: dict[str, type[Optimizer]] = {
    cls.__name__.lower(): cls
    for cls in (SGD, Adam, AdamW, RMSprop, Adagrad, NAdam, Lion)
}


def get(optimizer: Any) -> Any:
    """Return an optimizer from its name (lower case), or as it is."""
    if isinstance(optimizer, (Optimizer, ProblemOptimizer)):
        return optimizer
    if not isinstance(optimizer, str):
        wanted = "an optimizer such as chainrule.Adam(1e-3), or a name"
        _checks.refuse("optimizer", wanted, optimizer)
    return _NAMES[_checks.choice("optimizer", optimizer, _NAMES, "optimizer")]()


if not TYPE_CHECKING:
    __getattr__ = _checks.absent(__name__, __all__)
