"""Losses of classes: their options, labels and weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from chainrule import rules
from chainrule.arrays.types import Array, ArrayNamespace, Rule, Shape
from chainrule.config import checks
from chainrule.errors import ArgumentError, ShapeError
from chainrule.losses.base import Loss

if TYPE_CHECKING:
    from chainrule.config.choices import Real

__all__ = [
    "BinaryCrossEntropy",
    "BinaryFocal",
    "CrossEntropy",
    "Focal",
    "Hinge",
    "KullbackLeibler",
]


def _class_weight(name: str, value: Any) -> tuple[float, ...] | None:
    if value is None:
        return None
    if isinstance(value, dict):
        if set(value) != set(range(len(value))):
            msg = f"{name}: class_weight's keys must be 0 ... m - 1; got {list(value)}."
            raise ArgumentError(msg)
        value = [value[k] for k in range(len(value))]
    if isinstance(value, str) or not isinstance(value, Iterable):
        checks.refuse(f"{name}: class_weight", "a sequence of numbers", value)
    return tuple(
        checks.real(
            f"{name}: class_weight[{k}]", getattr(v, "item", lambda v=v: v)(), 0.0
        )
        for k, v in enumerate(value)
    )


def _total(counts: Array, weight: Array | None, xp: ArrayNamespace) -> Any:
    """Sum over samples and their axes of weight times counts."""
    if weight is None:
        return xp.sum(counts)
    axes = tuple(range(1, counts.ndim))
    each = xp.sum(counts, axis=axes) if axes else counts
    return xp.sum(each * weight, axis=-1)


def _smoothing(name: str, value: Any) -> float:
    return checks.real(f"{name}: label_smoothing", value, 0.0, 1.0, open_high=True)


def _pair(name: str, value: Any) -> tuple[float, ...] | None:
    weights = _class_weight(name, value)
    if weights is not None and len(weights) != 2:
        msg = f"{name}: class_weight needs 2 values; got {len(weights)}."
        raise ArgumentError(msg)
    return weights


# Loss of exclusive classes -> of two in one unit.
_IN_ONE_UNIT = {"cross_entropy": "binary_cross_entropy", "focal": "binary_focal"}


def _distribution(name: str, y: Any, xp: ArrayNamespace) -> Any:
    """Check rows of probabilities, and return them as numbers."""
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
                f"for {name}; got a row that is neither."
            )
            raise ArgumentError(msg)
    return y


class _YesNo(Loss):
    """What losses of yes/no outputs share: targets, weights of classes, sigmoid."""

    link = "logit"
    class_weight: tuple[float, ...] | None

    def target(self, y: Any, shape: Shape, *, xp: ArrayNamespace) -> Any:
        """As `Loss.target`; entries must lie in [0, 1]."""
        y = super().target(y, shape, xp=xp)
        if y.shape[0] and bool(xp.any((y < 0) | (y > 1))):
            msg = (
                f"y must lie in [0, 1] for {self.name}; got a value outside. "
                "Labels of more than two classes need cross_entropy."
            )
            raise ArgumentError(msg)
        return y

    def mass(
        self, t: Array, weight: Array | None, dtype: Any, *, xp: ArrayNamespace
    ) -> Any:
        """As `Loss.mass`; class weights count."""
        if self.class_weight is None:
            return super().mass(t, weight, dtype, xp=xp)
        c0, c1 = self.class_weight
        return _total(c1 * t + c0 * (1.0 - t), weight, xp)

    def probabilities(self, z: Any, *, xp: ArrayNamespace) -> Any:
        """Return sigmoid(z): the probability of class 1, output by output."""
        return rules.sigmoid(z, xp=xp)[0]


class BinaryCrossEntropy(_YesNo):
    """Yes/no outputs, from logits.

    Parameters
    ----------
    class_weight : (float, float), optional
        Weights of class 0 and class 1.
    label_smoothing : float in [0, 1)
    """

    rule: Rule = staticmethod(rules.binary_cross_entropy)
    options: tuple[str, ...] = ("class_weight", "label_smoothing")
    label_smoothing: float

    def __init__(
        self,
        class_weight: Iterable[Real] | Mapping[Any, Real] | None = None,
        label_smoothing: Real = 0.0,
    ) -> None:
        self._set(
            class_weight=_pair("BinaryCrossEntropy", class_weight),
            label_smoothing=_smoothing("BinaryCrossEntropy", label_smoothing),
        )


class _Exclusive(Loss):
    """What losses of exclusive classes share: labels, weights of classes, softmax."""

    link = "softmax"
    class_weight: tuple[float, ...] | None

    def target(self, y: Any, shape: Shape, *, xp: ArrayNamespace) -> Any:
        """Labels of shape (batch, ...) or (batch, ..., 1), or rows of probabilities."""
        m = shape[-1] if shape else 1
        if m < 2:
            msg = (
                f"{self.name} needs an output of at least 2 units, one per class; "
                f"the network's is {shape}. Two classes in one unit need "
                f"{_IN_ONE_UNIT[self.name]}."
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
            return _distribution(self.name, y, xp)
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

    def labels(self, t: Array, shape: Shape) -> bool:
        """Whether t has no axis of classes."""
        return bool(t.ndim == len(shape))

    def mass(
        self, t: Array, weight: Array | None, dtype: Any, *, xp: ArrayNamespace
    ) -> Any:
        """As `Loss.mass`; class weights count."""
        if self.class_weight is None:
            return super().mass(t, weight, dtype, xp=xp)
        counts: Any = 0.0
        if xp.isdtype(t.dtype, "integral"):
            labels: Any = t
            for k, c in enumerate(self.class_weight):
                counts = counts + c * xp.astype(labels == k, dtype)
        else:
            for k, c in enumerate(self.class_weight):
                counts = counts + c * t[..., k]
        return _total(counts, weight, xp)

    def probabilities(self, z: Any, *, xp: ArrayNamespace) -> Any:
        """Return softmax(z) along the last axis."""
        return rules.softmax(z, xp=xp)[0]


class CrossEntropy(_Exclusive):
    """Exclusive classes, from logits.

    Parameters
    ----------
    class_weight : sequence of m floats, or dict from label to float, optional
    label_smoothing : float in [0, 1)
    """

    rule: Rule = staticmethod(rules.cross_entropy)
    options: tuple[str, ...] = ("class_weight", "label_smoothing")
    label_smoothing: float

    def __init__(
        self,
        class_weight: Iterable[Real] | Mapping[Any, Real] | None = None,
        label_smoothing: Real = 0.0,
    ) -> None:
        self._set(
            class_weight=_class_weight("CrossEntropy", class_weight),
            label_smoothing=_smoothing("CrossEntropy", label_smoothing),
        )


class BinaryFocal(_YesNo):
    """Yes/no outputs, from logits; sure and right answers count less.

    Parameters
    ----------
    gamma : float, not negative
        How much less; 0 is `BinaryCrossEntropy`.
    class_weight : (float, float), optional
        Weights of class 0 and class 1.
    """

    rule: Rule = staticmethod(rules.binary_focal)
    options: tuple[str, ...] = ("gamma", "class_weight")
    gamma: float

    def __init__(
        self,
        gamma: Real = 2.0,
        class_weight: Iterable[Real] | Mapping[Any, Real] | None = None,
    ) -> None:
        self._set(
            gamma=checks.real("BinaryFocal: gamma", gamma, 0.0),
            class_weight=_pair("BinaryFocal", class_weight),
        )


class Focal(_Exclusive):
    """Exclusive classes, from logits; sure and right answers count less.

    Parameters
    ----------
    gamma : float, not negative
        How much less; 0 is `CrossEntropy`.
    class_weight : sequence of m floats, or dict from label to float, optional
    """

    rule: Rule = staticmethod(rules.focal)
    options: tuple[str, ...] = ("gamma", "class_weight")
    gamma: float

    def __init__(
        self,
        gamma: Real = 2.0,
        class_weight: Iterable[Real] | Mapping[Any, Real] | None = None,
    ) -> None:
        self._set(
            gamma=checks.real("Focal: gamma", gamma, 0.0),
            class_weight=_class_weight("Focal", class_weight),
        )


class KullbackLeibler(Loss):
    """Rows of probabilities as targets, from logits: how far softmax is from them."""

    rule: Rule = staticmethod(rules.kullback_leibler)
    link = "softmax"

    def target(self, y: Any, shape: Shape, *, xp: ArrayNamespace) -> Any:
        """As `Loss.target`; rows must be probabilities."""
        if tuple(y.shape[1:]) != shape or (shape[-1] if shape else 1) < 2:
            msg = (
                f"kullback_leibler needs y with rows of probabilities, one for each of "
                f"at least 2 outputs, of shape {('batch', *shape)}; got y of shape "
                f"{tuple(y.shape)}. Labels need cross_entropy."
            )
            raise ShapeError(msg)
        return _distribution(self.name, y, xp)

    def probabilities(self, z: Any, *, xp: ArrayNamespace) -> Any:
        """Return softmax(z) along the last axis."""
        return rules.softmax(z, xp=xp)[0]


class Hinge(Loss):
    """Yes/no outputs whose sign is the answer, as a support vector machine's.

    Parameters
    ----------
    squared : bool
        Whether what is missing of the margin counts squared.
    """

    rule: Rule = staticmethod(rules.hinge)
    link = "margin"
    options: tuple[str, ...] = ("squared",)
    squared: bool

    def __init__(self, squared: bool = False) -> None:
        self._set(squared=checks.boolean("Hinge: squared", squared))

    def target(self, y: Any, shape: Shape, *, xp: ArrayNamespace) -> Any:
        """As `Loss.target`; entries must be 0 or 1."""
        y = super().target(y, shape, xp=xp)
        if y.shape[0] and bool(xp.any((y != 0) & (y != 1))):
            msg = (
                "y must hold 0 and 1 for hinge; got another value. Write (y + 1) / 2 "
                "for targets -1 and 1."
            )
            raise ArgumentError(msg)
        return y
