"""The losses of scikit-learn's perceptrons, and those that its users asked for.

scikit-learn's losses follow a convention of their own, kept here so that every number
agrees: an epoch's loss weighs batches by their samples, not by their sample weights;
and the gradient sums over outputs even where the reported loss is a mean over them. For
one output the two are the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from chainrule import losses, rules
from chainrule.arrays.types import Array, ArrayNamespace, Rule, Shape
from chainrule.errors import ArgumentError, ShapeError

__all__ = [
    "FunctionLoss",
    "HalfPoissonDeviance",
    "HalfSquaredError",
    "LogLoss",
    "MultiQuantile",
    "half_poisson_deviance",
    "half_squared_error",
    "log_loss",
    "multi_quantile",
]


def half_squared_error(
    z: Array, t: Array, weight: Any = None, *, xp: ArrayNamespace
) -> Any:
    """Half of the mean of (z - t)²; the pullback sums over outputs: dl/dz = z - t.

    z, t (..., rows, m), weight (..., rows) -> E (...)
    """
    value, pull = rules.squared_error(z, t, weight, xp=xp)
    half = 0.5 * z.shape[-1]
    return 0.5 * value, lambda dvalue=1.0: pull(dvalue * half)


def half_poisson_deviance(
    z: Array, t: Array, weight: Any = None, *, xp: ArrayNamespace
) -> Any:
    """Half of the Poisson deviance of counts t with rate eᶻ, summed over outputs.

    z, t (..., rows, m), weight (..., rows) -> E (...)
    Forward   l = t log t - t z - t + eᶻ
    Pullback  dl/dz = eᶻ - t
    """
    value, pull = rules.poisson(z, t, weight, xp=xp)
    m = z.shape[-1]
    entropy = t * xp.log(xp.where(t > 0, t, 1.0)) - t  # what depends on t alone
    constant = _total(entropy, _share(z, weight, xp), xp)
    return m * value + constant, lambda dvalue=1.0: pull(dvalue * m)


def log_loss(
    z: Array,
    t: Array,
    weight: Any = None,
    *,
    exclusive: bool = True,
    xp: ArrayNamespace,
) -> Any:
    """Cross entropy from logits, summed over outputs, of probabilities in [ε, 1 - ε].

    z, t (..., rows, m), weight (..., rows) -> E (...)

    With `exclusive` the classes exclude each other (softmax), else each output answers
    yes or no (sigmoid). ε is the dtype's; the clipping is scikit-learn's and touches
    the value alone, never the gradient p - t.
    """
    eps = float(xp.finfo(z.dtype).eps)
    low, high = -math.log1p(-eps), -math.log(eps)
    share = _share(z, weight, xp)
    if exclusive:
        log_p, pull = rules.log_softmax(z, xp=xp)
        value = t * xp.clip(-log_p, low, high)
        # Through log_softmax, -t becomes p - t.
        return _total(value, share, xp), lambda dvalue=1.0: pull(
            -t * _by(share, dvalue)
        )
    zero = xp.zeros_like(z)
    small = xp.log1p(xp.exp(-xp.abs(z)))
    yes = xp.clip(small + xp.maximum(-z, zero), low, high)
    no = xp.clip(small + xp.maximum(z, zero), low, high)
    slope = rules.sigmoid(z, xp=xp)[0] - t
    return _total(t * yes + (1.0 - t) * no, share, xp), lambda dvalue=1.0: (
        slope * _by(share, dvalue),
    )


def _share(z: Array, weight: Array | None, xp: ArrayNamespace) -> Any:
    """Return wᵢ / Σᵢ wᵢ, 0 if all is 0: a float, or (..., rows, 1)."""
    if weight is None:
        return 1.0 / max(1, z.shape[-2])
    total = xp.sum(weight, axis=-1, keepdims=True)
    share = xp.where(total != 0, weight, 0.0) / xp.where(total != 0, total, 1.0)
    return share[..., None]


def _by(share: Any, dvalue: Any) -> Any:
    if not isinstance(dvalue, (int, float)):
        dvalue = dvalue[..., None, None]
    return share * dvalue


def _total(l: Any, share: Any, xp: ArrayNamespace) -> Any:  # noqa: E741 - the math's name
    return xp.sum(l * share, axis=(-2, -1))


def multi_quantile(
    z: Array,
    t: Array,
    weight: Any = None,
    *,
    quantiles: tuple[float, ...],
    xp: ArrayNamespace,
) -> Any:
    """Mean of the pinball losses of several quantiles.

    z (..., rows, k m): m outputs for each of k quantiles, quantile by quantile;
    t (..., rows, m), weight (..., rows) -> E (...)
    """
    m, k = t.shape[-1], len(quantiles)
    parts = [
        rules.quantile(z[..., j * m : (j + 1) * m], t, weight, q=q, xp=xp)
        for j, q in enumerate(quantiles)
    ]
    value: Any = sum(part[0] for part in parts)

    def pullback(dvalue: Any = 1.0) -> tuple[Any]:
        return (xp.concat([pull(dvalue / k)[0] for _, pull in parts], axis=-1),)

    return value / k, pullback


class _ScikitLoss(losses.Loss):
    """Base of those whose epochs weigh batches by their number of samples."""

    def mass(
        self, t: Array, weight: Array | None, dtype: Any, *, xp: ArrayNamespace
    ) -> Any:
        """Return None: the number of samples, whatever they weigh."""
        return None


class HalfSquaredError(_ScikitLoss):
    """scikit-learn's "squared_error"."""

    rule: Rule = staticmethod(half_squared_error)

    def __init__(self) -> None:
        self._set()


class HalfPoissonDeviance(_ScikitLoss):
    """scikit-learn's "poisson": the network's output is the logarithm of the rate."""

    rule: Rule = staticmethod(half_poisson_deviance)
    link = "log"

    def __init__(self) -> None:
        self._set()


class LogLoss(_ScikitLoss):
    """scikit-learn's "log_loss".

    Parameters
    ----------
    exclusive : bool
        Whether the classes exclude each other.
    """

    rule: Rule = staticmethod(log_loss)
    options: tuple[str, ...] = ("exclusive",)
    exclusive: bool

    def __init__(self, exclusive: bool = True) -> None:
        self._set(exclusive=exclusive)

    @property
    def link(self) -> str:  # type: ignore[override]
        """Softmax or logit."""
        return "softmax" if self.exclusive else "logit"

    def probabilities(self, z: Array, *, xp: ArrayNamespace) -> Any:
        """Softmax or sigmoid."""
        return (rules.softmax if self.exclusive else rules.sigmoid)(z, xp=xp)[0]


class MultiQuantile(losses.Loss):
    """Several quantiles of each output, by one network.

    Parameters
    ----------
    quantiles : tuple of float in (0, 1), rising
    """

    rule: Rule = staticmethod(multi_quantile)
    options: tuple[str, ...] = ("quantiles",)
    quantiles: tuple[float, ...]

    def __init__(self, quantiles: tuple[float, ...]) -> None:
        values = tuple(losses.Quantile(q).q for q in quantiles)
        if not values or list(values) != sorted(set(values)):
            msg = f"quantiles must rise strictly, such as (0.05, 0.5); got {quantiles}."
            raise ArgumentError(msg)
        self._set(quantiles=values)

    def target(self, y: Any, shape: Shape, *, xp: ArrayNamespace) -> Any:
        """Check y (batch, m) against the k m outputs."""
        if y.ndim != 2 or shape != (y.shape[1] * len(self.quantiles),):
            msg = (
                f"y must have {shape[-1] // len(self.quantiles)} columns for "
                f"{len(self.quantiles)} quantiles; got shape {tuple(y.shape)}."
            )
            raise ShapeError(msg)
        return y


class FunctionLoss(losses.Loss):
    """A user's function: ``f(z, t, weight=None, *, xp) -> (value, pullback)``.

    As in `chainrule.rules`: z (..., rows, m), t (rows, m), weight (rows,) or None; the
    pullback takes ``dvalue=1.0`` and returns ``(dz,)``. The axes before rows are there
    for an ensemble, whose members have a value each.
    """

    function: Callable[..., Any]

    def __init__(self, function: Callable[..., Any]) -> None:
        self._set(function=function)

    @property
    def name(self) -> str:
        """The function's name."""
        return getattr(self.function, "__name__", type(self.function).__name__)

    def __hash__(self) -> int:
        return hash((type(self), self.function))

    def __call__(
        self,
        z: Array,
        t: Array,
        weight: Array | None,
        shape: Shape,
        *,
        xp: ArrayNamespace,
    ) -> Any:
        """Return the function's answer."""
        return self.function(z, t, weight, xp=xp)
