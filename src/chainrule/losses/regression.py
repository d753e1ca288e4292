"""Losses of numbers: their options, and what targets they take."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from chainrule import rules
from chainrule.arrays.types import Array, ArrayNamespace, Rule, Shape
from chainrule.config import checks
from chainrule.errors import ArgumentError, ShapeError
from chainrule.losses.base import Loss

if TYPE_CHECKING:
    from chainrule.config.choices import Real

__all__ = [
    "AbsoluteError",
    "CosineDistance",
    "Huber",
    "LogCosh",
    "Poisson",
    "Quantile",
    "SquaredError",
]


class SquaredError(Loss):
    """Mean of (z - t)², without a ½."""

    rule: Rule = staticmethod(rules.squared_error)

    def residuals(
        self,
        z: Array,
        t: Array,
        weight: Array | None,
        shape: Shape,
        *,
        xp: ArrayNamespace,
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

    rule: Rule = staticmethod(rules.absolute_error)


class Huber(Loss):
    """Squared near the target, absolute beyond `delta`."""

    rule: Rule = staticmethod(rules.huber)
    options: tuple[str, ...] = ("delta",)
    delta: float

    def __init__(self, delta: Real = 1.0) -> None:
        self._set(delta=checks.real("Huber: delta", delta, 0.0, open_low=True))


class Quantile(Loss):
    """Pinball loss of the quantile `q`."""

    rule: Rule = staticmethod(rules.quantile)
    options: tuple[str, ...] = ("q",)
    q: float

    def __init__(self, q: Real = 0.5) -> None:
        value = checks.real("Quantile: q", q, 0.0, 1.0, open_low=True, open_high=True)
        self._set(q=value)


class Poisson(Loss):
    """Counts, with the network's output as the logarithm of the rate."""

    rule: Rule = staticmethod(rules.poisson)
    link = "log"

    def target(self, y: Any, shape: Shape, *, xp: ArrayNamespace) -> Any:
        """As `Loss.target`; counts must not be negative."""
        y = super().target(y, shape, xp=xp)
        if y.shape[0] and bool(xp.any(y < 0)):
            msg = "y must not be negative for the poisson loss; got a negative value."
            raise ArgumentError(msg)
        return y


class LogCosh(Loss):
    """Squared near the target, absolute far from it, with all derivatives."""

    rule: Rule = staticmethod(rules.log_cosh)


class CosineDistance(Loss):
    """1 - cos of the angle between output and target; lengths do not count.

    Parameters
    ----------
    eps : float
        The least length that a row is divided by.
    """

    rule: Rule = staticmethod(rules.cosine_distance)
    options: tuple[str, ...] = ("eps",)
    eps: float

    def __init__(self, eps: Real = 1e-8) -> None:
        self._set(eps=checks.real("CosineDistance: eps", eps, 1e-30))

    def target(self, y: Any, shape: Shape, *, xp: ArrayNamespace) -> Any:
        """As `Loss.target`; a single output has no direction."""
        if (shape[-1] if shape else 1) < 2:
            msg = (
                f"cosine_distance needs an output of at least 2 units, a direction; "
                f"the network's is {shape}. Give the last layer more, or take "
                f"squared_error."
            )
            raise ShapeError(msg)
        return super().target(y, shape, xp=xp)
