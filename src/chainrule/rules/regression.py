"""Losses of numbers: the paper's E, and ∂E/∂Z of the last layer, where (4)-(8) begin.

Every loss takes the output z and the target t, both of core shape (rows, m), and
optional weights of core shape (rows,), not negative. Its value is one scalar per
leading axis,

    E = Σᵢ wᵢ lᵢ / Σᵢ wᵢ,   lᵢ the mean of sample i's m entries,

the plain mean when no weights are given. Where the weights sum to zero, and where there
are no rows, E is 0 and so is its gradient. A row of weight 0 counts as no row, whatever
it holds. ``pullback(dvalue=1.0) -> (dz,)``; targets and weights are data and have no
gradient.

For finite arguments E and its gradient are finite wherever the formula's numbers fit
the dtype: each term is multiplied with its share before terms are added up, and a
difference of two numbers is computed as half of it, which cannot overflow. So what lies
below about `rows` times the smallest normal number may be lost. Where nothing cancels
in exact arithmetic (in z - t, or in the sum of a gradient near its root), values and
gradients of one row are right to 4 units in the last place in float32, to 1e-13 in
float64.
"""

from __future__ import annotations

from typing import Any

from chainrule.arrays.types import Array, ArrayNamespace, Pullback
from chainrule.rules.call import call_rule
from chainrule.rules.weighting import (
    average,
    check_same_shape,
    counted,
    half_difference,
)

__all__ = [
    "absolute_error",
    "cosine_distance",
    "huber",
    "log_cosh",
    "poisson",
    "quantile",
    "squared_error",
]

_LOG_2 = 0.6931471805599453


def squared_error(
    z: Array, t: Array, weight: Array | None = None, *, xp: ArrayNamespace | None = None
) -> tuple[Any, Pullback]:
    """Mean of (z - t)², without a ½.

    z, t (..., rows, m), weight (..., rows) -> E (...)
    Forward   l = (z - t)²
    Pullback  dl/dz = 2 (z - t)
    """
    if xp is None:
        return call_rule(squared_error, z, t, weight)
    h = half_difference(z, t, "squared_error")  # l = 4 h², dl/dz = 4 h
    return average(
        lambda share: h * share * h, lambda share: h * share, h, weight, xp, 4.0
    )


def absolute_error(
    z: Array, t: Array, weight: Array | None = None, *, xp: ArrayNamespace | None = None
) -> tuple[Any, Pullback]:
    """Mean of |z - t|.

    z, t (..., rows, m), weight (..., rows) -> E (...)
    Forward   l = |z - t|
    Pullback  dl/dz = sign(z - t), 0 at 0
    """
    if xp is None:
        return call_rule(absolute_error, z, t, weight)
    h = half_difference(z, t, "absolute_error")
    # Compared, not subtracted: half of a small difference may be lost. The value takes
    # it, too: a library that differentiates abs may have 1 at 0.
    sign = xp.astype(z > t, h.dtype) - xp.astype(z < t, h.dtype)

    def slope(share: Any) -> Any:
        return sign * (0.5 * share)

    return average(lambda share: h * sign * share, slope, h, weight, xp, 2.0)


def huber(
    z: Array,
    t: Array,
    weight: Array | None = None,
    *,
    delta: float = 1.0,
    xp: ArrayNamespace | None = None,
) -> tuple[Any, Pullback]:
    """Squared error near the target, absolute error beyond `delta`.

    z, t (..., rows, m), weight (..., rows) -> E (...)
    Forward   d = z - t;  l = d²/2 where |d| <= δ, else δ (|d| - δ/2)
    Pullback  dl/dz = clip(d, -δ, δ)
    Source: Huber 1964.
    """
    if xp is None:
        return call_rule(huber, z, t, weight, delta=delta)
    h = half_difference(z, t, "huber")
    bound = 0.5 * delta
    if bound > 1e38:  # a number that float32 does not have
        bound = min(bound, float(xp.finfo(h.dtype).max))
    # With c = clip(d, -δ, δ) both branches are one: l = c (d - c/2). Here c is half.
    c = xp.clip(h, -bound, bound)

    def value(share: Any) -> Any:
        return c * share * (h - 0.5 * c)

    return average(value, lambda share: c * (0.5 * share), h, weight, xp, 4.0)


def quantile(
    z: Array,
    t: Array,
    weight: Array | None = None,
    *,
    q: float = 0.5,
    xp: ArrayNamespace | None = None,
) -> tuple[Any, Pullback]:
    """Pinball loss, least where z is the q-quantile of t.

    z, t (..., rows, m), weight (..., rows) -> E (...)
    Forward   d = t - z;  l = q d where d >= 0, else (q - 1) d
    Pullback  dl/dz = -q where d > 0, 1 - q where d < 0, 0 at 0
    Source: Koenker, Bassett 1978.
    """
    if xp is None:
        return call_rule(quantile, z, t, weight, q=q)
    h = half_difference(z, t, "quantile")
    # The value takes it, too, so that a library that differentiates it has 0 at 0.
    sign = xp.where(t > z, -q, xp.where(t < z, 1.0 - q, 0.0 * h))

    def slope(share: Any) -> Any:
        return sign * (0.5 * share)

    return average(lambda share: h * sign * share, slope, h, weight, xp, 2.0)


def poisson(
    z: Array, t: Array, weight: Array | None = None, *, xp: ArrayNamespace | None = None
) -> tuple[Any, Pullback]:
    """Negative log-likelihood of counts t with rate e^z, less the term of t alone.

    z, t (..., rows, m), weight (..., rows) -> E (...)
    Forward   l = e^z - t z
    Pullback  dl/dz = e^z - t
    Infinite where e^z is. z is the log of the rate, as in torch's `poisson_nll_loss`.
    """
    if xp is None:
        return call_rule(poisson, z, t, weight)
    check_same_shape(z, t, "poisson")
    counts: Any = t
    e = xp.exp(z)

    def value(share: Any) -> Any:
        # Of no count no rate is too small, not even e^-inf.
        return counted(e, share, xp) - t * share * xp.where(counts == 0, 0.0, z)

    return average(value, lambda share: counted(e - t, share, xp), z, weight, xp)


def log_cosh(
    z: Array, t: Array, weight: Array | None = None, *, xp: ArrayNamespace | None = None
) -> tuple[Any, Pullback]:
    """Squared error near the target, absolute error far from it, smooth everywhere.

    z, t (..., rows, m), weight (..., rows) -> E (...)
    Forward   l = log cosh(z - t): d²/2 for small d = z - t, |d| - log 2 for great
    Pullback  dl/dz = tanh(z - t)
    """
    if xp is None:
        return call_rule(log_cosh, z, t, weight)
    h = half_difference(z, t, "log_cosh")
    a = xp.where(h > 0, h, -h)
    # Near 0, cosh d - 1 = u² / (2 + 2u) with u = e^|d| - 1: log cosh itself would lose
    # it. Far from 0 it overflows where |d| + log((1 + e^-2|d|) / 2) does not.
    u = xp.expm1(2.0 * xp.minimum(a, 1.5))
    near = 0.5 * xp.log1p(u * u / (2.0 + 2.0 * u))
    far = a + 0.5 * (xp.log1p(xp.exp(-4.0 * xp.clip(a, 1.0, 200.0))) - _LOG_2)
    l = xp.where(a < 1.5, near, far)  # noqa: E741 - half of the math's l

    def slope(share: Any) -> Any:
        return xp.tanh(2.0 * xp.clip(h, -50.0, 50.0)) * (0.5 * share)

    return average(lambda share: l * share, slope, h, weight, xp, 2.0)


def cosine_distance(
    z: Array,
    t: Array,
    weight: Array | None = None,
    *,
    eps: float = 1e-8,
    xp: ArrayNamespace | None = None,
) -> tuple[Any, Pullback]:
    """1 - cos of the angle between the rows of z and t: their lengths do not count.

    z, t (..., rows, m), weight (..., rows) -> E (...)
    Forward   u = z / max(‖z‖, ε),  v = t / max(‖t‖, ε);  l = 1 - u·v
    Pullback  dl/dz = -(v - (u·v) u) / ‖z‖, or -v / ε where ‖z‖ <= ε
    A row of zeros has l = 1. The loss of a row is one number, not the mean of m.
    torch's `1 - cosine_similarity(z, t)`, and its `cosine_embedding_loss` of label 1.
    """
    if xp is None:
        return call_rule(cosine_distance, z, t, weight, eps=eps)
    check_same_shape(z, t, "cosine_distance")
    u, length, least, long = _direction(z, eps, xp)
    v, _, _, full = _direction(t, eps, xp)
    # ½ |u - v|² + ½ (1 - |u|²) + ½ (1 - |v|²): of rows of length 1 the last two are 0,
    # and nothing cancels between rows that nearly agree.
    d = u - v
    l = xp.sum(d * d, axis=-1, keepdims=True)  # noqa: E741 - twice the math's l
    for a, whole in ((u, long), (v, full)):
        own = 1.0 - xp.sum(a * a, axis=-1, keepdims=True)
        l = l + xp.where(whole, 0.0, own)  # noqa: E741

    def slope(share: Any) -> Any:
        # v - (u·v) u = (v - u) + l u for a row of length 1.
        turn = xp.where(long, d - 0.5 * l * u, -v)
        return turn * (2.0 * share) / length / least

    return average(lambda share: l * share, slope, l, weight, xp, 0.5)


def _direction(a: Any, eps: float, xp: ArrayNamespace) -> tuple[Any, Any, Any, Any]:
    """Return a / max(‖a‖, ε), two factors of that divisor, and whether it is ‖a‖."""
    size = xp.where(a > 0, a, -a)
    # Scaled by the greatest entry, for squares overflow where the length does not.
    most = xp.maximum(xp.max(size, axis=-1, keepdims=True), eps)
    b = a / most
    squares = xp.sum(b * b, axis=-1, keepdims=True)
    long = squares > (eps / most) ** 2
    length = xp.sqrt(xp.where(long, squares, 1.0))
    # ε / most is 1 where no entry is above ε; elsewhere ‖a‖ is.
    return b / length, length, most, long
