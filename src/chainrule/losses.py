"""A loss's configuration: its options, what targets it takes, and its link.

The formulas are in `chainrule.rules.losses`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import _checks, rules
from chainrule._record import Record
from chainrule._typing import Shape
from chainrule.errors import ArgumentError, ShapeError

__all__ = [
    "AbsoluteError",
    "BinaryCrossEntropy",
    "CrossEntropy",
    "Huber",
    "Loss",
    "Poisson",
    "Quantile",
    "SquaredError",
    "get",
]


class Loss(Record):
    """Base of the losses: a rule, its options, and the targets that it takes.

    A loss of one's own sets `rule` to a function ``(z, t, weight=None, *, xp=None) ->
    (value, pullback)`` as in `chainrule.rules`, and `options` to the names of its own
    attributes that the rule takes as keywords. Its value has the axes of z before the
    last two, rows and outputs: a scalar, or one for each member of an ensemble.

    Attributes
    ----------
    link : {"identity", "log", "logit", "softmax"}
        Which function of a target's mean the network's outputs are: what turns outputs
        into probabilities, and what metrics take them for.
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

    def __call__(self, z: Any, t: Any, weight: Any, shape: Shape, *, xp: Any) -> Any:
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
        own = (rows,) if labels else (rows, m)
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
        self, answer: Any, z: Any, t: Any, weight: Any, xp: Any, core: int = 2
    ) -> None:
        """Raise an error unless a rule's answer has one value for each member.

        z (..., rows, m), or with so many axes after the members': a mean over all axes
        would train each member on the mean.
        """
        if not isinstance(answer, tuple) or len(answer) != 2 or not callable(answer[1]):
            msg = (
                f"loss: {self._own_name} must return (value, pullback), as the functions of "
                f"chainrule.rules do; got {type(answer).__name__}."
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
                f"loss: {self._own_name} must return {what}, of shape {tuple(lead)}; got "
                f"{found}. Sum over axis=(-2, -1), samples and outputs, alone."
            )
            raise ShapeError(msg)

    def target(self, y: Any, shape: Shape, *, xp: Any) -> Any:
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

    def labels(self, t: Any, shape: Shape) -> bool:
        """Whether a checked target holds labels, which stay integers."""
        return False

    def mass(self, t: Any, weight: Any, dtype: Any, *, xp: Any) -> Any:
        """Return what the loss's sum is divided by, up to a constant factor.

        None stands for the number of samples. Losses of parts are joined with it. It has
        the leading axes of weight (..., samples).
        `dtype` is the model's.
        """
        return None if weight is None else xp.sum(weight, axis=-1)

    def residuals(
        self, z: Any, t: Any, weight: Any, shape: Shape, *, xp: Any
    ) -> tuple[Any, Any]:
        """Return residuals r and their slopes ∂r/∂z, both (batch, size of a sample).

        The sum of all r² is what `mass` divides. Only sums of squares have them.
        """
        raise NotImplementedError

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

    def probabilities(self, z: Any, *, xp: Any) -> Any:
        """Turn the network's output into probabilities, if the loss has such a link."""
        msg = (
            f"predict_proba needs a loss whose outputs are logits, cross_entropy or "
            f"binary_cross_entropy; this model's loss is {self.name}. Use predict."
        )
        raise ArgumentError(msg)


def _checked(call: Callable[..., Any]) -> Callable[..., Any]:
    """Return a loss's own ``__call__``, whose answers are checked as a rule's are."""

    @functools.wraps(call)
    def checked(
        self: Loss, z: Any, t: Any, weight: Any, shape: Shape, *, xp: Any
    ) -> Any:
        answer = call(self, z, t, weight, shape, xp=xp)
        self._check(answer, z, t, weight, xp, len(shape) + 1)
        return answer

    return checked


class SquaredError(Loss):
    """Mean of (z - t)², without a ½."""

    rule = staticmethod(rules.squared_error)

    def residuals(
        self, z: Any, t: Any, weight: Any, shape: Shape, *, xp: Any
    ) -> tuple[Any, Any]:
        """As `Loss.residuals`: r = s (z - t) with s = sqrt(weight / size)."""
        size = math.prod(shape)
        d = xp.reshape(z - t, (z.shape[0], size))
        s = xp.ones_like(d) * size**-0.5
        if weight is not None:
            s = s * xp.sqrt(weight)[:, None]
        return s * d, s


class AbsoluteError(Loss):
    """Mean of |z - t|."""

    rule = staticmethod(rules.absolute_error)


class Huber(Loss):
    """Squared near the target, absolute beyond `delta`."""

    rule = staticmethod(rules.huber)
    options = ("delta",)
    delta: float

    def __init__(self, delta: float = 1.0) -> None:
        self._set(delta=_checks.real("Huber: delta", delta, 0.0, open_low=True))


class Quantile(Loss):
    """Pinball loss of the quantile `q`."""

    rule = staticmethod(rules.quantile)
    options = ("q",)
    q: float

    def __init__(self, q: float = 0.5) -> None:
        value = _checks.real("Quantile: q", q, 0.0, 1.0, open_low=True, open_high=True)
        self._set(q=value)


class Poisson(Loss):
    """Counts, with the network's output as the logarithm of the rate."""

    rule = staticmethod(rules.poisson)
    link = "log"

    def target(self, y: Any, shape: Shape, *, xp: Any) -> Any:
        """As `Loss.target`; counts must not be negative."""
        y = super().target(y, shape, xp=xp)
        if y.shape[0] and bool(xp.any(y < 0)):
            msg = "y must not be negative for the poisson loss; got a negative value."
            raise ArgumentError(msg)
        return y


def _class_weight(name: str, value: Any) -> tuple[float, ...] | None:
    if value is None:
        return None
    if isinstance(value, dict):
        if set(value) != set(range(len(value))):
            msg = f"{name}: class_weight's keys must be 0 ... m - 1; got {list(value)}."
            raise ArgumentError(msg)
        value = [value[k] for k in range(len(value))]
    if isinstance(value, str) or not isinstance(value, Iterable):
        _checks.refuse(f"{name}: class_weight", "a sequence of numbers", value)
    return tuple(
        _checks.real(
            f"{name}: class_weight[{k}]", getattr(v, "item", lambda v=v: v)(), 0.0
        )
        for k, v in enumerate(value)
    )


def _total(counts: Any, weight: Any, xp: Any) -> Any:
    """Sum over samples and their axes of weight times counts."""
    if weight is None:
        return xp.sum(counts)
    axes = tuple(range(1, counts.ndim))
    each = xp.sum(counts, axis=axes) if axes else counts
    return xp.sum(each * weight, axis=-1)


def _smoothing(name: str, value: Any) -> float:
    return _checks.real(f"{name}: label_smoothing", value, 0.0, 1.0, open_high=True)


class BinaryCrossEntropy(Loss):
    """Yes/no outputs, from logits.

    Parameters
    ----------
    class_weight : (float, float), optional
        Weights of class 0 and class 1.
    label_smoothing : float in [0, 1)
    """

    rule = staticmethod(rules.binary_cross_entropy)
    link = "logit"
    options = ("class_weight", "label_smoothing")
    class_weight: tuple[float, ...] | None
    label_smoothing: float

    def __init__(self, class_weight: Any = None, label_smoothing: float = 0.0) -> None:
        weights = _class_weight("BinaryCrossEntropy", class_weight)
        if weights is not None and len(weights) != 2:
            msg = (
                f"BinaryCrossEntropy: class_weight needs 2 values; got {len(weights)}."
            )
            raise ArgumentError(msg)
        self._set(
            class_weight=weights,
            label_smoothing=_smoothing("BinaryCrossEntropy", label_smoothing),
        )

    def target(self, y: Any, shape: Shape, *, xp: Any) -> Any:
        """As `Loss.target`; entries must lie in [0, 1]."""
        y = super().target(y, shape, xp=xp)
        if y.shape[0] and bool(xp.any((y < 0) | (y > 1))):
            msg = (
                "y must lie in [0, 1] for binary_cross_entropy; got a value outside. "
                "Labels of more than two classes need cross_entropy."
            )
            raise ArgumentError(msg)
        return y

    def mass(self, t: Any, weight: Any, dtype: Any, *, xp: Any) -> Any:
        """As `Loss.mass`; class weights count."""
        if self.class_weight is None:
            return super().mass(t, weight, dtype, xp=xp)
        c0, c1 = self.class_weight
        return _total(c1 * t + c0 * (1.0 - t), weight, xp)

    def probabilities(self, z: Any, *, xp: Any) -> Any:
        """Return sigmoid(z): the probability of class 1, output by output."""
        return rules.sigmoid(z, xp=xp)[0]


class CrossEntropy(Loss):
    """Exclusive classes, from logits.

    Parameters
    ----------
    class_weight : sequence of m floats, or dict from label to float, optional
    label_smoothing : float in [0, 1)
    """

    rule = staticmethod(rules.cross_entropy)
    link = "softmax"
    options = ("class_weight", "label_smoothing")
    class_weight: tuple[float, ...] | None
    label_smoothing: float

    def __init__(self, class_weight: Any = None, label_smoothing: float = 0.0) -> None:
        self._set(
            class_weight=_class_weight("CrossEntropy", class_weight),
            label_smoothing=_smoothing("CrossEntropy", label_smoothing),
        )

    def target(self, y: Any, shape: Shape, *, xp: Any) -> Any:
        """Labels of shape (batch, ...) or (batch, ..., 1), or rows of probabilities."""
        m = shape[-1] if shape else 1
        if m < 2:
            msg = (
                f"cross_entropy needs an output of at least 2 units, one per class; the "
                f"network's is {shape}. Two classes in one unit need "
                f"binary_cross_entropy."
            )
            raise ShapeError(msg)
        weights = self.class_weight
        if weights is not None and len(weights) != m:
            msg = (
                f"class_weight must have one value per class, {m}; got {len(weights)}."
            )
            raise ArgumentError(msg)
        if tuple(y.shape[1:]) == (*shape[:-1], 1):
            y = xp.reshape(y, y.shape[:-1])
        if tuple(y.shape[1:]) == shape:
            return self._distribution(y, xp)
        if tuple(y.shape[1:]) != shape[:-1]:
            msg = (
                f"y must hold labels of shape {('batch', *shape[:-1])} or one-hot rows "
                f"of shape {('batch', *shape)}; got y of shape {tuple(y.shape)}."
            )
            raise ShapeError(msg)
        if not y.shape[0]:
            return xp.astype(y, xp.int32)
        if xp.isdtype(y.dtype, "real floating") and bool(xp.any(y != xp.floor(y))):
            msg = "y must hold whole numbers as labels; got a fractional value."
            raise ArgumentError(msg)
        if xp.isdtype(y.dtype, "bool"):
            y = xp.astype(y, xp.int32)
        low, high = int(xp.min(y)), int(xp.max(y))
        if low < 0 or high >= m:
            msg = (
                f"y must hold labels in 0 ... {m - 1}, one for each of the network's "
                f"{m} outputs; got labels from {low} to {high}."
            )
            raise ArgumentError(msg)
        return xp.astype(y, xp.int32)

    @staticmethod
    def _distribution(y: Any, xp: Any) -> Any:
        if xp.isdtype(y.dtype, "bool"):
            y = xp.astype(y, xp.int32)
        if y.shape[0]:
            sums = xp.sum(y, axis=-1)
            if xp.isdtype(y.dtype, "real floating"):
                wrong = xp.abs(sums - 1.0) > 1e-3
            else:
                wrong = sums != 1
            if bool(xp.any(y < 0)) or bool(xp.any(wrong)):
                msg = (
                    "y's rows must be one-hot or probabilities (not negative, sum 1) "
                    "for cross_entropy; got a row that is neither."
                )
                raise ArgumentError(msg)
        return y

    def labels(self, t: Any, shape: Shape) -> bool:
        """Whether t has no axis of classes."""
        return bool(t.ndim == len(shape))

    def mass(self, t: Any, weight: Any, dtype: Any, *, xp: Any) -> Any:
        """As `Loss.mass`; class weights count."""
        if self.class_weight is None:
            return super().mass(t, weight, dtype, xp=xp)
        counts: Any = 0.0
        if xp.isdtype(t.dtype, "integral"):
            for k, c in enumerate(self.class_weight):
                counts = counts + c * xp.astype(t == k, dtype)
        else:
            for k, c in enumerate(self.class_weight):
                counts = counts + c * t[..., k]
        return _total(counts, weight, xp)

    def probabilities(self, z: Any, *, xp: Any) -> Any:
        """Return softmax(z) along the last axis."""
        return rules.softmax(z, xp=xp)[0]


_NAMES: dict[str, type[Loss]] = {
    cls.rule.__name__: cls for cls in Loss.__subclasses__()
}


def get(loss: Any) -> Loss:
    """Return a loss from its name, or as it is."""
    if isinstance(loss, Loss):
        return loss
    if not isinstance(loss, str):
        wanted = "a name or an object such as chainrule.losses.Huber()"
        if callable(loss) and not isinstance(loss, type):
            wanted += (
                "; a function (z, t, weight=None, *, xp) -> (value, pullback) is the "
                "rule of one: class Mine(Loss): rule = staticmethod(function)"
            )
        _checks.refuse("loss", wanted, loss)
    return _NAMES[_checks.choice("loss", loss, _NAMES, "loss")]()


if not TYPE_CHECKING:
    __getattr__ = _checks.absent(__name__, __all__)
