"""A loss's configuration: its options, what targets it takes, and its link.

The formulas are in `chainrule.rules.regression`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.arrays.types import Array, ArrayNamespace, Shape
from chainrule.config.record import Config
from chainrule.errors import ArgumentError, ShapeError

__all__ = ["Loss"]


class Loss(Config):
    """Base of the losses: a rule, its options, and the targets that it takes.

    A loss of one's own sets `rule` to a function ``(z, t, weight=None, *, xp=None) ->
    (value, pullback)`` as in `chainrule.rules`, and `options` to the names of its own
    attributes that the rule takes as keywords. Its value has the axes of z before the
    last two, rows and outputs: a scalar, or one for each member of an ensemble.

    Attributes
    ----------
    link : {"identity", "heads", "log", "logit", "margin", "softmax"}
        Which function of a target's mean the network's outputs are: what turns outputs
        into probabilities, and what metrics take them for. "margin" is none: the sign
        of an output is the answer. "heads": the outputs are several numbers for each
        target; `mean` has its mean.
    """

    rule: Callable[..., Any]
    options: tuple[str, ...] = ()
    link = "identity"

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__call__" in cls.__dict__:  # a loss of one's own that needs no rule
            cls.__call__ = _checked(cls.__call__)  # type: ignore[method-assign]

    @property
    def name(self) -> str:
        """The name under which `get` knows it."""
        return getattr(self.rule, "__name__", type(self).__name__)

    def __call__(
        self,
        z: Array,
        t: Array,
        weight: Array | None,
        shape: Shape,
        *,
        xp: ArrayNamespace,
    ) -> Any:
        """Return ``(value, pullback)`` for outputs whose samples have `shape`.

        z (..., batch, *shape) -> value (...). Middle axes (a sequence's time) count as
        rows, each with its sample's weight.
        """
        options = {name: getattr(self, name) for name in self.options}
        rule = type(self).rule
        if len(shape) == 1:
            answer = rule(z, t, weight, **options, xp=xp)
            self._check(answer, z, t, weight, xp)
            return answer
        core = len(shape) + 1
        batch = z.shape[-core]
        m, middle = (shape[-1], math.prod(shape[:-1])) if shape else (1, 1)
        rows = batch * middle
        lead = z.shape[: z.ndim - core]
        flat = xp.reshape(z, (*lead, rows, m))
        labels = xp.isdtype(t.dtype, "integral")
        # Targets may have fewer columns than the outputs that say how they scatter.
        own = (rows,) if labels else (rows, t.shape[-1] if shape else 1)
        t = xp.reshape(t, (*t.shape[: t.ndim - core + labels], *own))
        if weight is not None:
            weight = xp.broadcast_to(weight[..., None], (*weight.shape, middle))
            weight = xp.reshape(weight, (*weight.shape[:-2], rows))
        answer = rule(flat, t, weight, **options, xp=xp)
        self._check(answer, flat, t, weight, xp)
        value, pull = answer

        def pullback(dvalue: Any = 1.0) -> tuple[Any]:
            (dz,) = pull(dvalue)
            return (xp.reshape(dz, (*dz.shape[:-2], batch, *shape)),)

        return value, pullback

    @property
    def _own_name(self) -> str:
        """The name of a loss of one's own, whose rule may be just called "rule"."""
        return type(self).__name__ if self.name == "rule" else self.name

    def _check(
        self,
        answer: Any,
        z: Array,
        t: Array,
        weight: Array | None,
        xp: ArrayNamespace,
        core: int = 2,
    ) -> None:
        """Raise an error unless a rule's answer has one value for each member.

        z (..., rows, m), or with so many axes after the members': a mean over all axes
        would train each member on the mean.
        """
        if not isinstance(answer, tuple) or len(answer) != 2 or not callable(answer[1]):
            msg = (
                f"loss: {self._own_name} must return (value, pullback), as the "
                f"functions of chainrule.rules do; got {type(answer).__name__}."
            )
            raise ArgumentError(msg)
        lead = z.shape[: z.ndim - core]
        if getattr(answer[0], "shape", ()) == lead:
            return
        if weight is not None:
            lead = np.broadcast_shapes(lead, weight.shape[:-1])
        axes = core - bool(xp.isdtype(t.dtype, "integral"))
        lead = np.broadcast_shapes(lead, t.shape[: t.ndim - axes])
        found = tuple(getattr(answer[0], "shape", ()))
        if found != tuple(lead):
            what = "one value for each member of the ensemble" if lead else "a scalar"
            msg = (
                f"loss: {self._own_name} must return {what}, of shape {tuple(lead)}; "
                f"got {found}. Sum over axis=(-2, -1), samples and outputs, alone."
            )
            raise ShapeError(msg)

    def target(self, y: Any, shape: Shape, *, xp: ArrayNamespace) -> Any:
        """Check y against outputs of `shape`; return it, reshaped, in y's own library.

        The caller casts it: labels to int32, all else to the model's dtype.
        """
        if y.ndim == 1 and shape == (1,):
            y = xp.reshape(y, (y.shape[0], 1))  # one column; never broadcast
        if tuple(y.shape[1:]) != shape:
            msg = (
                f"y must have samples of shape {shape}, the network's output; got y of "
                f"shape {tuple(y.shape)}. Change y, or the last layer's units."
            )
            raise ShapeError(msg)
        return xp.astype(y, xp.int32) if xp.isdtype(y.dtype, "bool") else y

    def labels(self, t: Array, shape: Shape) -> bool:
        """Whether a checked target holds labels, which stay integers."""
        return False

    def mass(
        self, t: Array, weight: Array | None, dtype: Any, *, xp: ArrayNamespace
    ) -> Any:
        """Return what the loss's sum is divided by, up to a constant factor.

        None stands for the number of samples. Losses of parts are joined with it. It
        has the leading axes of weight (..., samples). `dtype` is the model's.
        """
        return None if weight is None else xp.sum(weight, axis=-1)

    def residuals(
        self,
        z: Array,
        t: Array,
        weight: Array | None,
        shape: Shape,
        *,
        xp: ArrayNamespace,
    ) -> tuple[Any, Any]:
        """Return residuals r and their slopes ∂r/∂z, both (batch, size of a sample).

        The sum of all r² is what `mass` divides. Only sums of squares have them.
        """
        raise NotImplementedError

    @property
    def has_slope(self) -> bool:
        """Whether the pullback is the slope of the value."""
        return True

    @property
    def has_residuals(self) -> bool:
        """Whether the loss is a sum of squares."""
        return type(self).residuals is not Loss.residuals

    def check_residuals(self, who: str) -> None:
        """Raise an error if the loss is not a sum of squares."""
        if not self.has_residuals:
            msg = (
                f"{who} needs a loss that is a sum of squares, squared_error; this "
                f"model's loss is {self.name}."
            )
            raise ArgumentError(msg)

    @property
    def has_probabilities(self) -> bool:
        """Whether its outputs mean probabilities, through its link."""
        return type(self).probabilities is not Loss.probabilities

    def probabilities(self, z: Any, *, xp: ArrayNamespace) -> Any:
        """Turn the network's output into probabilities, if the loss has such a link."""
        msg = (
            f"predict_proba needs a loss whose outputs are logits, cross_entropy or "
            f"binary_cross_entropy, say; this model's loss is {self.name}. Use predict."
        )
        raise ArgumentError(msg)

    def units(self, columns: int) -> int:
        """Return how wide the network's output is for targets of so many columns."""
        return columns

    @property
    def has_spread(self) -> bool:
        """Whether its outputs mean a distribution: `mean`, `spread` and `draw`."""
        return type(self).spread is not Loss.spread

    def mean(self, z: Any, *, xp: ArrayNamespace) -> Any:
        """Return the mean of the target that outputs (..., units) stand for."""
        raise NotImplementedError

    def spread(self, z: Any, *, xp: ArrayNamespace) -> tuple[Any, Any]:
        """Return the mean and the variance of the target, each (..., columns)."""
        raise NotImplementedError

    def draw(self, z: Any, generator: np.random.Generator) -> Any:
        """Draw a target for each output, of NumPy arrays in float64."""
        raise NotImplementedError


def _checked(call: Callable[..., Any]) -> Callable[..., Any]:
    """Return a loss's own ``__call__``, whose answers are checked as a rule's are."""

    @functools.wraps(call)
    def checked(
        self: Loss,
        z: Array,
        t: Array,
        weight: Array | None,
        shape: Shape,
        *,
        xp: ArrayNamespace,
    ) -> Any:
        answer = call(self, z, t, weight, shape, xp=xp)
        self._check(answer, z, t, weight, xp, len(shape) + 1)
        return answer

    return checked
