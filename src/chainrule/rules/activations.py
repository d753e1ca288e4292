"""Activation functions F and their derivatives: equation (1), and the F' of (4)-(8).

All but `softmax` and `log_softmax` work element by element (core rank 0). Every
pullback is ``pullback(dz) -> (dx,)``.

Value and slope are within 4 units in the last place (ulp) of the exact ones in float32
and within 1e-13 of them in float64, over the whole range, but for

- the slope of `tanh`, 1 - z²: its error is below 4 ulp of 1, which is much of it where
  it is small itself (float32: from |x| = 1.5 on; float64: from 5 on), and it is 0 where
  z rounds to ±1. A slope from x would cost a second exponential;
- the roots of the slopes of `silu`, `mish`, `gelu` and `gelu_tanh`, around which the
  error is below half an ulp of 1 (float64: 2 ulp of 1);
- float32 on NumPy, whose exp is off by 2.5 ulp: 6 ulp for `silu`, `mish` and
  `gelu_tanh`, 7 for `gelu` (5 elsewhere); on JAX, whose expm1 is off by 5 ulp: 6 for
  `elu`, `selu` and `celu`;
- results below the least normal number, which have the spacing of subnormal numbers
  times |x|; JAX sets them to 0;
- what the docstrings of `celu`, `softmax` and `log_softmax` say.

`tests/rules/test_accuracy.py` has the table.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from chainrule.arrays.types import ArrayNamespace, ArrayT, Pullback, RuleResult
from chainrule.rules.call import call_rule

__all__ = [
    "celu",
    "elu",
    "exp",
    "gelu",
    "gelu_tanh",
    "hard_sigmoid",
    "hard_silu",
    "hard_tanh",
    "identity",
    "leaky_relu",
    "log_softmax",
    "mish",
    "relu",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "softsign",
    "tanh",
]


def identity(x: ArrayT, *, xp: ArrayNamespace | None = None) -> RuleResult[ArrayT]:
    """z = x;  dx = dz."""
    if xp is None:
        return call_rule(identity, x)
    return x, lambda dz: (dz,)


def relu(x: ArrayT, *, xp: ArrayNamespace | None = None) -> RuleResult[ArrayT]:
    """z = max(x, 0);  dx = dz where x > 0, else 0 (at 0 too).

    Source: Nair, Hinton 2010.
    """
    if xp is None:
        return call_rule(relu, x)
    z = xp.positive_part(x)
    # A product, not `where`: on NumPy that is ten times slower where the signs are
    # mixed.
    return z, lambda dz: (dz * xp.astype(z > 0, z.dtype),)


def leaky_relu(
    x: ArrayT, *, slope: float = 0.01, xp: ArrayNamespace | None = None
) -> RuleResult[ArrayT]:
    """z = x where x > 0, else slope x;  dx = dz where x > 0, else slope dz.

    Source: Maas, Hannun, Ng 2013.
    """
    if xp is None:
        return call_rule(leaky_relu, x, slope=slope)
    up = x > 0
    z = xp.where(up, x, slope * x)
    return z, lambda dz: (xp.where(up, dz, slope * dz),)


def elu(
    x: ArrayT, *, alpha: float = 1.0, xp: ArrayNamespace | None = None
) -> RuleResult[ArrayT]:
    """z = x where x > 0, else α (eˣ - 1);  dx = dz where x > 0, else dz α eˣ.

    Source: Clevert, Unterthiner, Hochreiter 2015 (arXiv:1511.07289).
    """
    if xp is None:
        return call_rule(elu, x, alpha=alpha)
    return _exponential(x, 1.0, alpha, xp)


def _exponential(
    x: Any, up: float, down: float, xp: ArrayNamespace
) -> tuple[Any, Pullback]:
    """z = up x where x > 0, else down (eˣ - 1);  dx = dz up or dz down eˣ."""
    # expm1 and exp see no positive x: they would overflow there, in a branch nobody
    # takes. The slope is not z + down, which is 0 where eˣ is small.
    n = xp.minus_abs(x)
    right = x > 0
    z = xp.where(right, x if up == 1.0 else up * xp.maximum(x, 0.0), down * xp.expm1(n))
    return z, lambda dz: (dz * xp.where(right, up, down * xp.exp(n)),)


# Klambauer et al. 2017, equation (14): the fixed point of zero mean, unit variance.
_SELU_ALPHA = 1.6732632423543772848170429916717
_SELU_SCALE = 1.0507009873554804934193349852946


def selu(x: ArrayT, *, xp: ArrayNamespace | None = None) -> RuleResult[ArrayT]:
    """ELU, scaled so that it normalises itself: λ = 1.0507..., α = 1.6732...

    Forward   z = λ x where x > 0, else λ α (eˣ - 1)
    Pullback  dx = λ dz where x > 0, else λ α eˣ dz
    Source: Klambauer et al. 2017 (arXiv:1706.02515).
    """
    if xp is None:
        return call_rule(selu, x)
    return _exponential(x, _SELU_SCALE, _SELU_SCALE * _SELU_ALPHA, xp)


def celu(
    x: ArrayT, *, alpha: float = 1.0, xp: ArrayNamespace | None = None
) -> RuleResult[ArrayT]:
    """ELU with a slope that is continuous at 0 for every α.

    Forward   z = x where x > 0, else α (exp(x/α) - 1)
    Pullback  dx = dz where x > 0, else dz exp(x/α)

    For α other than 1 the slope has the rounding of x/α: |x/α| / 2 ulp more.
    Source: Barron 2017 (arXiv:1704.07483).
    """
    if xp is None:
        return call_rule(celu, x, alpha=alpha)
    n = xp.minus_abs(x) / alpha
    right = x > 0
    z = xp.where(right, x, alpha * xp.expm1(n))
    return z, lambda dz: (dz * xp.where(right, 1.0, xp.exp(n)),)


def sigmoid(x: ArrayT, *, xp: ArrayNamespace | None = None) -> RuleResult[ArrayT]:
    """z = 1 / (1 + e⁻ˣ);  dx = dz e / (1 + e)² with e = exp(-|x|): dz z (1 - z)."""
    if xp is None:
        return call_rule(sigmoid, x)
    e = xp.exp(xp.minus_abs(x))
    z = xp.one_where_positive(x, e) / (1.0 + e)
    # Not z (1 - z), which is 0 where z rounds to 1.
    return z, lambda dz: (dz * (e / (1.0 + e * (2.0 + e))),)


def _sigmoid(x: Any, xp: ArrayNamespace) -> Any:
    # exp sees no positive argument, so it cannot overflow. The form by tanh is
    # exactly 0 below -38 already (float32: -18).
    e = xp.exp(xp.minus_abs(x))
    return xp.one_where_positive(x, e) / (1.0 + e)


def tanh(x: ArrayT, *, xp: ArrayNamespace | None = None) -> RuleResult[ArrayT]:
    """z = tanh(x);  dx = dz (1 - z²)."""
    if xp is None:
        return call_rule(tanh, x)
    z = xp.tanh(x)
    return z, lambda dz: (dz * (1.0 - z * z),)


def softplus(x: ArrayT, *, xp: ArrayNamespace | None = None) -> RuleResult[ArrayT]:
    """z = log(1 + eˣ) = max(x, 0) + log(1 + e⁻ᵃ), a = |x|;  dx = dz sigmoid(x)."""
    if xp is None:
        return call_rule(softplus, x)
    e = xp.exp(xp.minus_abs(x))
    z = xp.where(x > 0, x, 0.0) + xp.log1p(e)
    return z, lambda dz: (dz * (xp.one_where_positive(x, e) / (1.0 + e)),)


def softsign(x: ArrayT, *, xp: ArrayNamespace | None = None) -> RuleResult[ArrayT]:
    """z = x / (1 + |x|);  dx = dz / (1 + |x|)²."""
    if xp is None:
        return call_rule(softsign, x)
    d = 1.0 + xp.abs(x)

    def pullback(dz: Any) -> tuple[Any]:
        r = 1.0 / d  # d² may overflow
        return (dz * (r * r),)

    return x / d, pullback


def silu(x: ArrayT, *, xp: ArrayNamespace | None = None) -> RuleResult[ArrayT]:
    """z = x sigmoid(x);  dx = dz (s + x s (1 - s)). Also called swish.

    With e = exp(-|x|), d = 1 + e, p = min(eˣ, 1), 1 or e:  z = x p / d, and the slope
    is (p d + e x) / d². It has its root at -1.278; around it, an absolute error.
    Source: Hendrycks, Gimpel 2016 (arXiv:1606.08415); Elfwing et al. 2017.
    """
    if xp is None:
        return call_rule(silu, x)
    return _gated(x, xp.exp(xp.minus_abs(x)), lambda: x, xp)


def _gated(
    x: Any, e: Any, growth: Callable[[], Any], xp: ArrayNamespace
) -> tuple[Any, Pullback]:
    """z = x / (1 + exp(-v(x))), v odd, from e = exp(-|v(x)|) and growth() = x v'(x)."""
    d = 1.0 + e
    p = xp.one_where_positive(x, e)

    def pullback(dz: Any) -> tuple[Any]:
        return (dz * ((p * d + e * growth()) / (d * d)),)

    return x * p / d, pullback


def mish(x: ArrayT, *, xp: ArrayNamespace | None = None) -> RuleResult[ArrayT]:
    """z = x t with t = tanh(softplus(x));  dx = dz (t + x t').

    With g = min(eˣ, 1), h = min(e⁻ˣ, 1), p = g (g + 2h), q = p + 2h²:
    t = p / q,  t' = 4 g h² (g + h) / q²: nothing cancels, nothing overflows.
    Source: Misra 2019 (arXiv:1908.08681).
    """
    if xp is None:
        return call_rule(mish, x)
    e = xp.exp(xp.minus_abs(x))
    g, h = xp.one_where_positive(x, e), xp.where(x > 0, e, 1.0)
    p = g * (g + 2.0 * h)
    q = p + 2.0 * (h * h)

    def pullback(dz: Any) -> tuple[Any]:
        rise = 4.0 * e * h * (1.0 + e) / (q * q)
        return (dz * (p / q + x * rise),)

    return x * p / q, pullback


def gelu(x: ArrayT, *, xp: ArrayNamespace | None = None) -> RuleResult[ArrayT]:
    """z = x Φ(x), Φ the normal distribution's function;  dx = dz (Φ(x) + x φ(x)).

    Exact, by erfc: with n = -|x|, φ(n) = exp(-n²/2) / √(2π) and
    Φ(n) = erfc(-n/√2) / 2 = exp(-n²/2) w, w = erfcx(-n/√2) / 2:
    z = n Φ(n) + max(x, 0);  the slope is g = exp(-n²/2) (w + n/√(2π)) where x <= 0,
    else 1 - g. 1 + erf(x/√2) would be 0 from -6 (float32: -4) on.
    Source: Hendrycks, Gimpel 2016 (arXiv:1606.08415).
    """
    if xp is None:
        return call_rule(gelu, x)
    # Beyond 40 the density is 0 in float64 as well; n² must not overflow there.
    n = xp.maximum(xp.minus_abs(x), -40.0)
    right = x > 0
    bell = _bell(n, xp)
    w = 0.5 * xp.erfcx(n * -math.sqrt(0.5))

    def pullback(dz: Any) -> tuple[Any]:
        g = bell * (w + n * (1.0 / math.sqrt(2.0 * math.pi)))
        return (dz * xp.where(right, 1.0 - g, g),)

    return xp.where(right, x, 0.0) + bell * (n * w), pullback


def _bell(n: Any, xp: ArrayNamespace) -> Any:
    """exp(-n²/2) to the last digits: n² rounded would be off by n²/2 ulp, after exp."""
    # h has so few digits that its square is exact: n² = h² + (n - h)(n + h).
    h = xp.round(n * 64.0) * (1.0 / 64.0)
    return xp.exp(-0.5 * h * h) * xp.exp(-0.5 * (n - h) * (n + h))


def gelu_tanh(x: ArrayT, *, xp: ArrayNamespace | None = None) -> RuleResult[ArrayT]:
    """GELU, approximated by tanh.

    Forward   z = x (1 + tanh(u)) / 2,  u = c (x + 0.044715 x³),  c = √(2/π)
    Pullback  dx = dz (1 + tanh(u) + x u' (1 - tanh(u)²)) / 2

    By the logistic function, (1 + tanh u) / 2 = 1 / (1 + exp(-2u)): silu's formulas
    with e = exp(-|2u|) and p, 1 or e; the slope is (p d + 2 x u' e) / d², d = 1 + e.
    Source: Hendrycks, Gimpel 2016 (arXiv:1606.08415), the approximation.
    """
    if xp is None:
        return call_rule(gelu_tanh, x)
    # From |x| = 22 on, e is 0 in float64 too, and x³ must not overflow.
    a = xp.clip(x, -22.0, 22.0)
    e = _exp_twice_u(xp.minus_abs(a), xp)
    return _gated(x, e, lambda: a * (_C1 + 3.0 * _C3 * (a * a)), xp)


# 2u = c₁ x + c₃ x³. Of each constant the digits down to 2⁻¹² stand apart.
_C1 = 2.0 * math.sqrt(2.0 / math.pi)
_C3 = 0.044715 * _C1
_C1_HIGH, _C3_HIGH = round(_C1 * 4096) / 4096, round(_C3 * 4096) / 4096


def _exp_twice_u(n: Any, xp: ArrayNamespace) -> Any:
    """exp(2u(n)) to the last digits: 2u rounded would be off by |2u|/2 ulp, after exp.

    With h, n rounded to 2⁻⁴, and k, 2u(h)/h rounded to 2⁻¹², the product h k is exact
    in float32, and so are h² and c₃'s first digits times h²; the rest of 2u(n) is
    small.
    """
    h = xp.round(n * 16.0) * (1.0 / 16.0)
    q = h * h
    k = xp.round(4096.0 * _C3 * q + 4096.0 * _C1) * (1.0 / 4096.0)
    left = _C3_HIGH * q - (k - _C1_HIGH) + ((_C3 - _C3_HIGH) * q + (_C1 - _C1_HIGH))
    # 2u(n) - 2u(h) = (n - h) (c₁ + c₃ (n² + n h + h²))
    rest = h * left + (n - h) * (_C1 + _C3 * (n * (n + h) + q))
    return xp.exp(h * k) * xp.exp(rest)


def hard_sigmoid(x: ArrayT, *, xp: ArrayNamespace | None = None) -> RuleResult[ArrayT]:
    """z = clip(x + 3, 0, 6) / 6;  dx = dz / 6 where -3 < x < 3, else 0."""
    if xp is None:
        return call_rule(hard_sigmoid, x)
    z = xp.clip(x + 3.0, 0.0, 6.0) / 6.0
    return z, lambda dz: (dz * (xp.astype(xp.abs(x) < 3.0, x.dtype) / 6.0),)


def hard_tanh(x: ArrayT, *, xp: ArrayNamespace | None = None) -> RuleResult[ArrayT]:
    """z = clip(x, -1, 1);  dx = dz where -1 < x < 1, else 0."""
    if xp is None:
        return call_rule(hard_tanh, x)
    z = xp.clip(x, -1.0, 1.0)
    return z, lambda dz: (dz * xp.astype(xp.abs(x) < 1.0, x.dtype),)


def hard_silu(x: ArrayT, *, xp: ArrayNamespace | None = None) -> RuleResult[ArrayT]:
    """SiLU with the hard sigmoid.

    Forward   z = x hard_sigmoid(x)
    Pullback  dx = 0 where x <= -3, dz (2x + 3) / 6 where x < 3, else dz

    Source: Howard et al. 2019 (arXiv:1905.02244), as h-swish.
    """
    if xp is None:
        return call_rule(hard_silu, x)
    y = xp.clip(x + 3.0, 0.0, 6.0)
    s = y / 6.0
    inside = xp.abs(x) < 3.0
    # 2y - 3 is 2x + 3 without an overflow, and exact around its root.
    return x * s, lambda dz: (dz * xp.where(inside, (2.0 * y - 3.0) / 6.0, s),)


def exp(x: ArrayT, *, xp: ArrayNamespace | None = None) -> RuleResult[ArrayT]:
    """z = eˣ;  dx = dz z. Infinite where eˣ is (x above 88.7 in float32)."""
    if xp is None:
        return call_rule(exp, x)
    z = xp.exp(x)
    return z, lambda dz: (dz * z,)


def softmax(x: ArrayT, *, xp: ArrayNamespace | None = None) -> RuleResult[ArrayT]:
    """Probabilities along the last axis: core shape (n,).

    Forward   z = eᵈ / sum(eᵈ),  d = x - max(x)
    Pullback  dx = z (g - sum(g z)),  g = dz - dz at the greatest entry

    Any constant may be taken from dz; this one keeps the digits of a row that is sure
    of its entry. An entry has the rounding of its d: |d| / 2 ulp.
    """
    if xp is None:
        return call_rule(softmax, x)
    # Subtract the row's maximum: exp overflows float32 above 88. It cancels.
    d = x - xp.max(x, axis=-1, keepdims=True)
    e = xp.exp(d)
    z = e / xp.sum(e, axis=-1, keepdims=True)

    def pullback(dz: Any) -> tuple[Any]:
        top = xp.astype(d >= 0, d.dtype)
        count = xp.sum(top, axis=-1, keepdims=True)
        g = dz - xp.sum(dz * top, axis=-1, keepdims=True) / count
        return (z * (g - xp.sum(g * z, axis=-1, keepdims=True)),)

    return z, pullback


def log_softmax(x: ArrayT, *, xp: ArrayNamespace | None = None) -> RuleResult[ArrayT]:
    """Log-probabilities along the last axis: core shape (n,).

    Forward   z = d - log(sum(eᵈ)),  d = x - max(x)
    Pullback  dx = dz - p sum(dz),  p = eᵈ / sum(eᵈ)

    Without the greatest entry's own 1 the sum is s, and its logarithm log1p(s). Of that
    entry, dx = s/(1 + s) sum(dz) - (the sum of the others' dz): its p may round to 1.
    """
    if xp is None:
        return call_rule(log_softmax, x)
    # Subtract the row's maximum: exp overflows float32 above 88. It cancels.
    d = x - xp.max(x, axis=-1, keepdims=True)
    top = xp.astype(d >= 0, d.dtype)  # 1 at the greatest entry, or at several
    low = xp.exp(d) - top
    ties = xp.sum(top, axis=-1, keepdims=True) - 1.0
    s = ties + xp.sum(low, axis=-1, keepdims=True)

    def pullback(dz: Any) -> tuple[Any]:
        mine = dz * top
        rest = dz - mine
        best = xp.sum(mine, axis=-1, keepdims=True)
        others = xp.sum(rest, axis=-1, keepdims=True)
        share = (others + best) / (1.0 + s)
        greatest = top * (s * share - others) - (top * best - mine)
        return (rest - low * share + greatest,)

    return d - xp.log1p(s), pullback
