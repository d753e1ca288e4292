"""Activation functions F and their derivatives: equation (1), and the F' of (4)-(8).

All but `softmax` and `log_softmax` work element by element (core rank 0). Every
pullback is ``pullback(dz) -> (dx,)``; where the output gives the stabler derivative, it
is written with the output z.
"""

from __future__ import annotations

import math
from typing import Any

from chainrule._typing import Array, Pullback
from chainrule.rules._call import call_rule

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


def identity(x: Array, *, xp: Any = None) -> tuple[Any, Pullback]:
    """z = x;  dx = dz."""
    if xp is None:
        return call_rule(identity, x)
    return x, lambda dz: (dz,)


def relu(x: Array, *, xp: Any = None) -> tuple[Any, Pullback]:
    """z = max(x, 0);  dx = dz where x > 0, else 0 (at 0 too).

    Source: Nair, Hinton 2010.
    """
    if xp is None:
        return call_rule(relu, x)
    z = xp.maximum(x, 0.0)
    # A product, not `where`: on NumPy that is ten times slower where the signs are mixed.
    return z, lambda dz: (dz * xp.astype(z > 0, z.dtype),)


def leaky_relu(
    x: Array, *, slope: float = 0.01, xp: Any = None
) -> tuple[Any, Pullback]:
    """z = x where x > 0, else slope x;  dx = dz or slope dz.

    Source: Maas, Hannun, Ng 2013.
    """
    if xp is None:
        return call_rule(leaky_relu, x, slope=slope)
    up = x > 0
    z = xp.where(up, x, slope * x)
    return z, lambda dz: (xp.where(up, dz, slope * dz),)


def elu(x: Array, *, alpha: float = 1.0, xp: Any = None) -> tuple[Any, Pullback]:
    """z = x where x > 0, else α (eˣ - 1);  dx = dz or dz α eˣ = dz (z + α).

    Source: Clevert, Unterthiner, Hochreiter 2015 (arXiv:1511.07289).
    """
    if xp is None:
        return call_rule(elu, x, alpha=alpha)
    up = x > 0
    # expm1 sees no positive x: it would overflow there, in a branch nobody takes.
    z = xp.where(up, x, alpha * xp.expm1(xp.minimum(x, 0.0)))
    return z, lambda dz: (xp.where(up, dz, dz * (z + alpha)),)


# Klambauer et al. 2017, equation (14): the fixed point of zero mean, unit variance.
_SELU_ALPHA = 1.6732632423543772848170429916717
_SELU_SCALE = 1.0507009873554804934193349852946


def selu(x: Array, *, xp: Any = None) -> tuple[Any, Pullback]:
    """z = λ elu(x, α) with the self-normalising λ = 1.0507..., α = 1.6732...

    Source: Klambauer et al. 2017 (arXiv:1706.02515).
    """
    if xp is None:
        return call_rule(selu, x)
    z, pullback = elu(x, alpha=_SELU_ALPHA, xp=xp)
    return _SELU_SCALE * z, lambda dz: pullback(_SELU_SCALE * dz)


def celu(x: Array, *, alpha: float = 1.0, xp: Any = None) -> tuple[Any, Pullback]:
    """z = x where x > 0, else α (exp(x/α) - 1);  dx = dz or dz exp(x/α) = dz (z/α + 1).

    Source: Barron 2017 (arXiv:1704.07483).
    """
    if xp is None:
        return call_rule(celu, x, alpha=alpha)
    up = x > 0
    z = xp.where(up, x, alpha * xp.expm1(xp.minimum(x, 0.0) / alpha))
    return z, lambda dz: (xp.where(up, dz, dz * (z / alpha + 1.0)),)


def sigmoid(x: Array, *, xp: Any = None) -> tuple[Any, Pullback]:
    """z = 1 / (1 + e⁻ˣ);  dx = dz z (1 - z)."""
    if xp is None:
        return call_rule(sigmoid, x)
    z = _sigmoid(x, xp)
    return z, lambda dz: (dz * z * (1.0 - z),)


def _sigmoid(x: Any, xp: Any) -> Any:
    # exp sees no positive argument, so it cannot overflow. The form by tanh is
    # exactly 0 below -38 already (float32: -18). On dual arrays the derivative at 0 is
    # right as well: there minimum follows x, as the branch taken does; -|x| has a kink.
    e = xp.exp(xp.minimum(x, -x))
    return xp.where(x > 0, 1.0, e) / (1.0 + e)


def tanh(x: Array, *, xp: Any = None) -> tuple[Any, Pullback]:
    """z = tanh(x);  dx = dz (1 - z²)."""
    if xp is None:
        return call_rule(tanh, x)
    z = xp.tanh(x)
    return z, lambda dz: (dz * (1.0 - z * z),)


def softplus(x: Array, *, xp: Any = None) -> tuple[Any, Pullback]:
    """z = log(1 + eˣ);  dx = dz sigmoid(x)."""
    if xp is None:
        return call_rule(softplus, x)
    z = xp.logaddexp(x, xp.zeros_like(x))
    return z, lambda dz: (dz * _sigmoid(x, xp),)


def softsign(x: Array, *, xp: Any = None) -> tuple[Any, Pullback]:
    """z = x / (1 + |x|);  dx = dz / (1 + |x|)²."""
    if xp is None:
        return call_rule(softsign, x)
    r = 1.0 / (1.0 + xp.abs(x))
    return x * r, lambda dz: (dz * r * r,)


def silu(x: Array, *, xp: Any = None) -> tuple[Any, Pullback]:
    """z = x s with s = sigmoid(x);  dx = dz (s + z (1 - s)). Also called swish.

    Source: Hendrycks, Gimpel 2016 (arXiv:1606.08415); Elfwing et al. 2017.
    """
    if xp is None:
        return call_rule(silu, x)
    s = _sigmoid(x, xp)
    z = x * s
    return z, lambda dz: (dz * (s + z * (1.0 - s)),)


def mish(x: Array, *, xp: Any = None) -> tuple[Any, Pullback]:
    """z = x t with t = tanh(softplus(x));  dx = dz (t + x (1 - t²) sigmoid(x)).

    Source: Misra 2019 (arXiv:1908.08681).
    """
    if xp is None:
        return call_rule(mish, x)
    t = xp.tanh(xp.logaddexp(x, xp.zeros_like(x)))

    def pullback(dz: Any) -> tuple[Any]:
        return (dz * (t + x * (1.0 - t * t) * _sigmoid(x, xp)),)

    return x * t, pullback


def gelu(x: Array, *, xp: Any = None) -> tuple[Any, Pullback]:
    """z = x Φ(x), Φ the normal distribution's function;  dx = dz (Φ(x) + x φ(x)).

    Exact, by erf: Φ(x) = (1 + erf(x/√2)) / 2 and φ(x) = exp(-x²/2) / √(2π).
    Source: Hendrycks, Gimpel 2016 (arXiv:1606.08415).
    """
    if xp is None:
        return call_rule(gelu, x)
    cdf = 0.5 * (1.0 + xp.erf(x * math.sqrt(0.5)))

    def pullback(dz: Any) -> tuple[Any]:
        # Beyond 40 the density is 0 in float64 as well; x² must not overflow there.
        a = xp.clip(x, -40.0, 40.0)
        pdf = xp.exp(-0.5 * a * a) * (1.0 / math.sqrt(2.0 * math.pi))
        return (dz * (cdf + a * pdf),)

    return x * cdf, pullback


def gelu_tanh(x: Array, *, xp: Any = None) -> tuple[Any, Pullback]:
    """z = x (1 + t) / 2 with t = tanh(c (a + 0.044715 a³)), c = √(2/π), a = x.

    Pullback  dx = dz ((1 + t) / 2 + a (1 - t²) c (1 + 3·0.044715 a²) / 2)
    Source: Hendrycks, Gimpel 2016 (arXiv:1606.08415), the approximation.
    """
    if xp is None:
        return call_rule(gelu_tanh, x)
    c = math.sqrt(2.0 / math.pi)
    # From |x| = 20 on, t is ±1 exactly in float64 too, and x³ must not overflow.
    a = xp.clip(x, -20.0, 20.0)
    a2 = a * a
    t = xp.tanh(c * a * (1.0 + 0.044715 * a2))
    half = 0.5 * (1.0 + t)

    def pullback(dz: Any) -> tuple[Any]:
        slope = c * (1.0 + 3.0 * 0.044715 * a2)
        return (dz * (half + 0.5 * a * (1.0 - t * t) * slope),)

    return x * half, pullback


def hard_sigmoid(x: Array, *, xp: Any = None) -> tuple[Any, Pullback]:
    """z = clip(x + 3, 0, 6) / 6;  dx = dz / 6 where -3 < x < 3, else 0."""
    if xp is None:
        return call_rule(hard_sigmoid, x)
    z = xp.clip(x + 3.0, 0.0, 6.0) / 6.0
    return z, lambda dz: (dz * (xp.astype(xp.abs(x) < 3.0, x.dtype) / 6.0),)


def hard_tanh(x: Array, *, xp: Any = None) -> tuple[Any, Pullback]:
    """z = clip(x, -1, 1);  dx = dz where -1 < x < 1, else 0."""
    if xp is None:
        return call_rule(hard_tanh, x)
    z = xp.clip(x, -1.0, 1.0)
    return z, lambda dz: (dz * xp.astype(xp.abs(x) < 1.0, x.dtype),)


def hard_silu(x: Array, *, xp: Any = None) -> tuple[Any, Pullback]:
    """z = x hard_sigmoid(x);  dx = 0, dz (2x + 3) / 6 or dz, split at -3 and 3.

    Source: Howard et al. 2019 (arXiv:1905.02244), as h-swish.
    """
    if xp is None:
        return call_rule(hard_silu, x)
    s = xp.clip(x + 3.0, 0.0, 6.0) / 6.0
    inside = xp.abs(x) < 3.0

    def pullback(dz: Any) -> tuple[Any]:
        return (dz * (s + xp.where(inside, x / 6.0, 0.0)),)

    return x * s, pullback


def exp(x: Array, *, xp: Any = None) -> tuple[Any, Pullback]:
    """z = eˣ;  dx = dz z. Infinite where eˣ is (x above 88.7 in float32)."""
    if xp is None:
        return call_rule(exp, x)
    z = xp.exp(x)
    return z, lambda dz: (dz * z,)


def softmax(x: Array, *, xp: Any = None) -> tuple[Any, Pullback]:
    """Probabilities along the last axis: core shape (n,).

    Forward   z = eˣ / sum(eˣ)
    Pullback  dx = z (dz - sum(dz z))
    """
    if xp is None:
        return call_rule(softmax, x)
    # Subtract the row's maximum: exp overflows float32 above 88. It cancels.
    e = xp.exp(x - xp.max(x, axis=-1, keepdims=True))
    z = e / xp.sum(e, axis=-1, keepdims=True)
    return z, lambda dz: (z * (dz - xp.sum(dz * z, axis=-1, keepdims=True)),)


def log_softmax(x: Array, *, xp: Any = None) -> tuple[Any, Pullback]:
    """Log-probabilities along the last axis: core shape (n,).

    Forward   z = x - log(sum(eˣ))
    Pullback  dx = dz - eᶻ sum(dz)
    """
    if xp is None:
        return call_rule(log_softmax, x)
    d = x - xp.max(x, axis=-1, keepdims=True)
    z = d - xp.log(xp.sum(xp.exp(d), axis=-1, keepdims=True))
    return z, lambda dz: (dz - xp.exp(z) * xp.sum(dz, axis=-1, keepdims=True),)
