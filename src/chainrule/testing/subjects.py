"""One view of all that has a pullback: rules, layers, networks, models, losses."""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.arrays import random
from chainrule.arrays.namespace import namespace
from chainrule.arrays.types import Array, ArrayNamespace
from chainrule.errors import ArgumentError, ArgumentTypeError, GradientError, ShapeError
from chainrule.layers import Layer
from chainrule.layers.context import Context
from chainrule.losses import Loss
from chainrule.model import Model
from chainrule.network import Network

if TYPE_CHECKING:
    from chainrule.backends import Backend

__all__ = ["Subject", "subject"]

# What the rules call the arguments that have no gradient.
_TARGETS = {"t", "target", "targets", "labels", "bits", "y_true"}
_WEIGHTS = {"weight", "sample_weight"}  # beside a target; alone it is a parameter


class Subject:
    """A function of arrays with a pullback.

    Attributes
    ----------
    name : str
    names : tuple of str
        Of the inputs.
    inputs : tuple of host arrays or None
        float64 where they are real numbers.
    active : tuple of int
        Numbers of the inputs that have a gradient.
    rows : tuple of int
        Numbers of the inputs whose first axis runs over samples.
    subsets : list of tuples, or None
        Sets of inputs that the pullback can be asked for; None: it cannot be asked.
    """

    name: str
    names: tuple[str, ...]
    inputs: tuple[Any, ...]
    active: tuple[int, ...]
    rows: tuple[int, ...]
    subsets: list[tuple[int, ...]] | None

    def run(self, backend: Backend, arrays: Sequence[Any], dtype: str) -> Any:
        """Return ``(value, pull)``; ``pull(dz, wrt=None)`` lists gradients by input."""
        raise NotImplementedError

    def label(self, k: int) -> str:
        """Name input k in a message."""
        return f"argument {k} ({self.names[k]})"


class _Rule(Subject):
    def __init__(
        self,
        rule: Callable[..., Any],
        inputs: Any,
        data: Any,
        name: str,
        backend: Backend,
    ) -> None:
        self.rule, self.name = rule, name
        parameters = _parameters(rule)
        self._takes_xp = "xp" in parameters
        plain = [
            n
            for n, p in parameters.items()
            if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and n != "xp"
        ]
        count = len(inputs)
        plain += [f"input {k}" for k in range(len(plain), count)]
        self.names = tuple(plain[:count])
        self.inputs = tuple(inputs)
        passive = {*_numbers("data", data, self.names)}
        passive |= {k for k, a in enumerate(inputs) if a is None or a.dtype.kind != "f"}
        self.active = tuple(k for k in range(count) if k not in passive)
        if not self.active:
            msg = f"{name}: no input is left that could have a gradient."
            raise ArgumentError(msg)
        self._settle(backend)

    def _settle(self, backend: Backend) -> None:
        """Ask the pullback how many gradients it gives, and for whom."""
        with backend.scope("float64"):
            arrays = [
                a if a is None else backend.copy(backend.asarray(a))
                for a in self.inputs
            ]
            value, pullback = self._forward(backend.xp, arrays)
            grads = pullback(backend.xp.ones_like(value))
        takes_wrt = "wrt" in _parameters(pullback)
        if not isinstance(grads, tuple):
            msg = (
                f"{self.name}: a pullback returns a tuple, one gradient for each array "
                f"argument; got {type(grads).__name__}."
            )
            raise GradientError(msg, check="shape")
        there = [k for k, a in enumerate(self.inputs) if a is not None]
        self._positions = self.active
        given = len(grads)
        if given == len(there):
            self._positions = tuple(there)  # None, it may be, where there is data
        elif given != len(self.active):
            missing = self.active[given:]
            names = {self.names[k] for k in missing}
            if _TARGETS.isdisjoint(self.names) or not names <= _TARGETS | _WEIGHTS:
                every = ", ".join(self.label(k) for k in self.active)
                msg = (
                    f"{self.name}: the pullback returned {given} gradients for the "
                    f"{len(self.active)} arguments {every}. Say data=(...) for those "
                    f"that are data and have none."
                )
                raise GradientError(msg, check="shape")
            self.active = self._positions = self.active[:given]
        first = self.inputs[self.active[0]]
        self.rows = (self.active[0],) if first.ndim else ()
        if self.rows:
            self.rows += tuple(
                k
                for k, a in enumerate(self.inputs)
                if k not in self.active
                and a is not None
                and a.ndim
                and a.shape[0] == first.shape[0]
            )
        self.subsets = None
        if takes_wrt:
            self.subsets = [
                some
                for size in range(len(self.active) + 1)
                for some in itertools.combinations(self.active, size)
            ]

    def _forward(self, xp: ArrayNamespace, arrays: Any) -> Any:
        answer = self.rule(*arrays, **({"xp": xp} if self._takes_xp else {}))
        if not isinstance(answer, tuple) or len(answer) != 2 or not callable(answer[1]):
            msg = (
                f"{self.name}: a rule returns (value, pullback), the second a "
                f"function; got {type(answer).__name__}."
            )
            raise GradientError(msg, check="shape")
        return answer

    def run(self, backend: Backend, arrays: Sequence[Any], dtype: str) -> Any:
        value, pullback = self._forward(backend.xp, arrays)

        def pull(dz: Any, wrt: tuple[int, ...] | None = None) -> list[Any]:
            if wrt is None:
                grads = pullback(dz)
            else:
                asked = tuple(self._positions.index(k) for k in wrt)
                grads = pullback(dz, wrt=asked)
            found: list[Any] = [None] * len(arrays)
            for k, g in zip(self._positions, grads, strict=True):
                found[k] = g
            return found

        return value, pull


class _Network(Subject):
    def __init__(self, network: Network, x: Any, train: bool, seed: int) -> None:
        self.network, self.train = network, train
        self.name = type(network.layer).__name__
        rng = np.random.default_rng([seed, 1])
        theta, state = network.initial(seed)
        # Off the initial values: zeros and ones would hide a factor or a term.
        self._adopt(theta + 0.1 * rng.normal(size=theta.shape), state, x, seed)
        if network.state_size:
            self._state = self._after_a_pass()

    def _adopt(self, theta: Array, state: Array, x: Any, seed: int) -> None:
        network = self.network
        parts = network.views(theta, np)
        self.inputs = (x, *parts)
        self.names = ("x", *[e.name for e in network.entries])
        learning = [k for k, e in enumerate(network.entries, 1) if e.trainable]
        self.active = (0, *learning)
        self.rows = (0,)
        self.subsets = [(), (0,)]
        if learning:
            self.subsets += [tuple(learning), self.active]
        self._state = state
        self._key = random.step_keys(seed, 0, 1, max(1, network.draws))[0]

    def _after_a_pass(self) -> Any:
        from chainrule import backends

        numpy = backends.get("numpy")
        context = self._context(numpy, "float64", train=True)
        leaves = list(self.inputs[1:])
        self.network.forward(self.network.tree(leaves), self.inputs[0], context)
        return self.network.flatten_state(context.kept, np)

    def _context(self, backend: Backend, dtype: str, *, train: bool) -> Context:
        network = self.network
        pieces: Sequence[Any] = ()
        if network.state_size:
            state = backend.asarray(self._state, dtype)
            pieces = network.unflatten_state(state, backend.xp)
        key = backend.asarray(self._key, "int32")
        return Context(backend.xp, train=train, state=pieces, key=key)

    def run(self, backend: Backend, arrays: Sequence[Any], dtype: str) -> Any:
        x, *leaves = arrays
        context = self._context(backend, dtype, train=self.train)
        value, pullback = self.network.forward(self.network.tree(leaves), x, context)

        def pull(dz: Any, wrt: tuple[int, ...] | None = None) -> list[Any]:
            if wrt is None:
                dx, dparams = pullback(dz)
            else:
                dx, dparams = pullback(dz, dx=0 in wrt, dp=any(k > 0 for k in wrt))
            return [dx, *self.network.pieces(dparams)]

        return value, pull

    def label(self, k: int) -> str:
        return "the input x" if k == 0 else f"parameter {self.names[k]!r}"


def subject(
    target: Any,
    inputs: Sequence[Any],
    data: Any,
    train: bool,
    seed: int,
    backend: Backend,
) -> Subject:
    """View a rule, layer, network, model or loss on host inputs as a `Subject`."""
    inputs = tuple(_host(k, a) for k, a in enumerate(inputs))
    if not inputs:
        msg = "check_gradients needs inputs: the arrays to call the rule or layer on."
        raise ArgumentError(msg)
    if isinstance(target, type):
        msg = (
            f"got the class {target.__name__}; hand in an object, {target.__name__}()."
        )
        raise ArgumentTypeError(msg)
    if isinstance(target, Loss):
        return _loss(target, inputs, data, backend)
    if isinstance(target, (Layer, Network, Model)):
        if len(inputs) != 1 or inputs[0] is None or inputs[0].dtype.kind != "f":
            msg = (
                f"a {type(target).__name__} is checked on one input, a batch x of real "
                f"numbers; got {len(inputs)}."
            )
            raise ArgumentError(msg)
        return _layered(target, inputs[0], train, seed)
    if not callable(target):
        msg = (
            f"check_gradients takes a rule, a layer, a network, a model or a loss; "
            f"got {target!r} ({type(target).__name__})."
        )
        raise ArgumentTypeError(msg)
    name = getattr(target, "__name__", None)
    if isinstance(target, functools.partial):
        name = getattr(target.func, "__name__", None)
    return _Rule(target, inputs, data, name or type(target).__name__, backend)


def _loss(loss: Loss, inputs: Any, data: Any, backend: Backend) -> Subject:
    shape = inputs[0].shape[1:]

    def rule(
        z: Any, t: Any, weight: Any = None, *, xp: ArrayNamespace | None = None
    ) -> Any:
        return loss(z, t, weight, shape, xp=xp or namespace(z))

    data = data or range(1, len(inputs))
    return _Rule(rule, inputs, data, type(loss).__name__, backend)


def _layered(target: Any, x: Any, train: bool, seed: int) -> Subject:
    model = target if isinstance(target, Model) else None
    network = target
    if model is not None:
        network = model.bound or model.network
    if isinstance(network, Layer):
        bound = network.input_shape
        network = Network(network, x.shape[1:] if bound is None else bound)
    if not x.ndim or x.shape[1:] != network.input_shape:
        wanted = ", ".join(map(str, ("batch", *network.input_shape)))
        msg = f"x must have the shape ({wanted}); got {x.shape}."
        raise ShapeError(msg)
    found = _Network(network, x, train, seed)
    if model is not None and model.built:
        theta, state = (a.astype(np.float64) for a in model.get_weights())
        found._adopt(theta, state, x, seed)
    return found


def _host(k: int, a: Any) -> Any:
    """Copy an input to the host: float64 where it is real; None stays."""
    from chainrule import backends

    if a is None:
        return None

    a = backends.of(a).to_numpy(a) if hasattr(a, "shape") else a
    a = np.array(a)
    if a.dtype.kind == "b" or a.dtype.kind in "iu":
        return a
    if a.dtype.kind != "f":
        msg = f"input {k} must be an array of real numbers; got dtype {a.dtype}."
        raise ArgumentTypeError(msg)
    if not np.isfinite(a).all():
        msg = f"input {k} must be finite; got inf or nan."
        raise ArgumentError(msg)
    return a.astype(np.float64)


def _numbers(what: str, given: Any, names: Sequence[str]) -> list[int]:
    """Turn numbers or names of inputs into numbers."""
    if isinstance(given, (str, int)):
        given = (given,)
    if not isinstance(given, Iterable):
        msg = f"{what} must be numbers or names of inputs; got {given!r}."
        raise ArgumentTypeError(msg)
    found = []
    for one in given:
        k = names.index(one) if one in names else one
        if not isinstance(k, int) or not 0 <= k < len(names):
            msg = (
                f"{what} must be numbers or names of the inputs {', '.join(names)}; "
                f"got {one!r}."
            )
            raise ArgumentError(msg)
        found.append(k)
    return found


def _parameters(function: Any) -> Any:
    """Return the parameters of a function, none where it does not tell them."""
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}
