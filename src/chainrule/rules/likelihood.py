"""Negative log-likelihoods: losses of a whole distribution, of several heads a target.

The output z is wider than the target t: a mean and what says how far targets scatter
around it. Its last axis holds one head after the other, each with a column for each of
the m targets: (mean₁ ... meanₘ, raw₁ ... rawₘ). Scales are exponentials of raw heads:
a raw head is any real number, a change of t's units adds a constant to it, and the
slopes need neither a quotient nor a floor.

Weights and pullbacks are those of `chainrule.rules.regression`, and every value is the
whole -log p(t), constants too. For finite arguments E and its gradient are finite
wherever the formula's numbers fit the dtype, for a mixture as far as its own docstring
says. Rounding is absolute, of the size of the terms: the values may cancel.
"""

from __future__ import annotations

import math
from typing import Any

from chainrule.arrays.types import Array, ArrayNamespace, Pullback
from chainrule.errors import ShapeError
from chainrule.rules.call import call_rule
from chainrule.rules.weighting import average, counted

__all__ = ["gaussian_nll", "mixture_density", "negative_binomial", "student_t"]

_LOG_2, _LOG_PI = math.log(2.0), math.log(math.pi)
_LOG_2_PI = _LOG_2 + _LOG_PI
# Raw heads whose exponentials are added to others are held within ± this.
_LIMIT = 30.0


def gaussian_nll(
    z: Array,
    t: Array,
    weight: Array | None = None,
    *,
    beta: float = 0.0,
    xp: ArrayNamespace | None = None,
) -> tuple[Any, Pullback]:
    """Gaussian negative log-likelihood, of a mean and a log-variance for each target.

    z (..., rows, 2m) = (μ, a), t (..., rows, m), weight (..., rows) -> E (...)

    Parameters
    ----------
    beta : float in [0, 1]
        β: each entry is weighed with its variance to this power, which the gradient
        takes for a constant. 0 is the likelihood, 1 has the means' gradient of the
        squared error.

    Notes
    -----
    Forward   v = eᵃ, d = μ - t;  l = v^β ½ (log 2π + a + d²/v)
    Pullback  dl/dμ = v^β d/v,  dl/da = v^β ½ (1 - d²/v)
    torch's `gaussian_nll_loss(full=True)` at β = 0. With β > 0 the pullback is not the
    slope of the value.
    Source: Nix, Weigend 1994; β: Seitzer, Tavakoli, Antic, Martius 2022
    (arXiv:2203.09168), their equation 5.
    """
    if xp is None:
        return call_rule(gaussian_nll, z, t, weight, beta=beta)
    m = _targets(z, t, "gaussian_nll", 2)
    a = z[..., m:]
    half = 0.5 * z[..., :m] - 0.5 * t
    # e^(-a/2) in two steps: a small difference may have a product that fits.
    top = math.log(float(xp.finfo(z.dtype).max)) - 1.0
    root = xp.exp(xp.minimum(-0.25 * a, top))
    r = 2.0 * (half * root * root)
    plain = 0.5 * (a + _LOG_2_PI)

    def weighed(share: Any) -> Any:
        return share * xp.exp(xp.minimum(beta * a, top)) if beta else share

    def value(share: Any) -> Any:
        live, share = counted(r, share, xp), weighed(share)
        far = xp.where(live == 0, 0.0, r)
        if beta:
            live = far * share
        return counted(plain, share, xp) + 0.5 * live * far

    def slope(share: Any) -> Any:
        far = r if isinstance(share, (int, float)) else xp.where(share == 0, 0.0, r)
        share = weighed(share)
        live = far * share
        one = xp.ones_like(r) * (0.5 * share)
        return xp.concat([live * root * root, one - 0.5 * live * far], axis=-1)

    return average(value, slope, half, weight, xp)


def student_t(
    z: Array,
    t: Array,
    weight: Array | None = None,
    *,
    df: float | None = 5.0,
    xp: ArrayNamespace | None = None,
) -> tuple[Any, Pullback]:
    """Student's t negative log-likelihood: targets with heavy tails.

    z (..., rows, 2m) = (μ, s), or (..., rows, 3m) = (μ, s, n) where the degrees of
    freedom are learned; t (..., rows, m), weight (..., rows) -> E (...)

    Parameters
    ----------
    df : float above 0, or None
        Degrees of freedom ν. None: ν = 2 + eⁿ, of a third head n within ±30, so that
        mean and variance exist.

    Notes
    -----
    Forward   q = (μ - t)² e^(-2s) / ν;
              l = log Γ(ν/2) - log Γ((ν+1)/2) + ½ log(πν) + s + (ν+1)/2 log(1 + q)
    Pullback  k = (ν+1) q / (1+q);  dl/dμ = k / (μ - t),  dl/ds = 1 - k,
              dl/dν = ½ (ψ(ν/2) - ψ((ν+1)/2) + log(1 + q) + (1 - k) / ν)
    """
    if xp is None:
        return call_rule(student_t, z, t, weight, df=df)
    m = _targets(z, t, "student_t", 2 if df is not None else 3)
    half = 0.5 * z[..., :m] - 0.5 * t
    s, zero = z[..., m : 2 * m], half == 0
    rises: Any = 0.0
    if df is not None:
        nu, log_nu = df, math.log(df)
        start = math.lgamma(0.5 * df) - math.lgamma(0.5 * df + 0.5)
    else:
        raw = z[..., 2 * m :]
        more = xp.exp(xp.clip(raw, -_LIMIT, _LIMIT))
        nu = 2.0 + more
        log_nu = xp.log(nu)
        ratio, rises = _log_rising(0.5 * nu, 0.5, xp)
        start = -ratio
    # Of log q, which fits where q does not.
    size = xp.where(half > 0, half, -half)
    log_q = 2.0 * (xp.log(xp.where(zero, 1.0, size)) + _LOG_2 - s) - log_nu
    log_q = xp.where(zero, -1e4, log_q)
    e = xp.exp(xp.where(log_q > 0, -log_q, log_q))
    rest = xp.where(log_q > 0, log_q, 0.0) + xp.log1p(e)  # log(1 + q)
    k = (nu + 1.0) * xp.where(log_q > 0, 1.0, e) / (1.0 + e)
    l = (start + 0.5 * (log_nu + _LOG_PI)) + s + 0.5 * (nu + 1.0) * rest  # noqa: E741

    def slope(share: Any) -> Any:
        heads = [0.5 * k / xp.where(zero, 1.0, half) * share, (1.0 - k) * share]
        if df is None:
            inside = xp.astype((raw > -_LIMIT) & (raw < _LIMIT), z.dtype)
            by_nu = 0.5 * (rest - rises + (1.0 - k) / nu)
            heads.append(by_nu * more * inside * share)
        return xp.concat(heads, axis=-1)

    return average(lambda share: counted(l, share, xp), slope, half, weight, xp)


def negative_binomial(
    z: Array,
    t: Array,
    weight: Array | None = None,
    *,
    dispersion: float | None = None,
    xp: ArrayNamespace | None = None,
) -> tuple[Any, Pullback]:
    """Negative log-likelihood of counts that scatter more than Poisson's.

    z (..., rows, 2m) = (η, s), or (..., rows, m) = η where the dispersion is given;
    t (..., rows, m), not negative; weight (..., rows) -> E (...)

    Parameters
    ----------
    dispersion : float above 0, or None
        φ: the variance is μ + φ μ². None: φ = eˢ, of a second head s within ±30, where
        it is Poisson's to rounding.

    Notes
    -----
    Forward   μ = e^η, α = 1/φ, c = η + log φ;
              l = log Γ(t+1) + log Γ(α) - log Γ(α+t) + α log(1 + eᶜ) + t log(1 + e⁻ᶜ)
    Pullback  dl/dη = (μ - t) / (1 + φμ),
              dl/ds = dl/dη + α (ψ(α+t) - ψ(α) - log(1 + eᶜ))
    Infinite where μ is. Source: Lawless 1987, "Negative binomial and mixed Poisson
    regression"; scipy's `nbinom(1/φ, 1 / (1 + φμ))`.
    """
    if xp is None:
        return call_rule(negative_binomial, z, t, weight, dispersion=dispersion)
    m = _targets(z, t, "negative_binomial", 2 if dispersion is None else 1)
    eta = z[..., :m]
    if dispersion is None:
        raw = z[..., m:]
        s = xp.clip(raw, -_LIMIT, _LIMIT)
    else:
        s = xp.zeros_like(eta) + math.log(dispersion)
    alpha = xp.exp(-s)
    c = eta + s
    up = c > 0
    e = xp.exp(xp.where(up, -c, c))
    rest = xp.log1p(e)
    more = xp.where(up, c, 0.0) + rest  # log(1 + eᶜ)
    less = xp.where(up, 0.0, -c) + rest  # log(1 + e⁻ᶜ)
    rising, rises = _log_rising(alpha, t, xp)
    factorial, _ = _log_rising(xp.ones_like(t), t, xp)
    l = factorial - rising + alpha * more + t * less  # noqa: E741 - the math's name

    def slope(share: Any) -> Any:
        g = (alpha * xp.where(up, 1.0, e) - t * xp.where(up, e, 1.0)) / (1.0 + e)
        if dispersion is not None:
            return g * share
        inside = xp.astype((raw > -_LIMIT) & (raw < _LIMIT), z.dtype)
        by_s = (g + alpha * (rises - more)) * inside
        return xp.concat([g * share, by_s * share], axis=-1)

    return average(lambda share: counted(l, share, xp), slope, eta, weight, xp)


def mixture_density(
    z: Array,
    t: Array,
    weight: Array | None = None,
    *,
    components: int = 3,
    xp: ArrayNamespace | None = None,
) -> tuple[Any, Pullback]:
    """Negative log-likelihood of a mixture of k Gaussians, of one logit each.

    z (..., rows, k (1 + 2m)) = (a, μ, s), t (..., rows, m), weight (..., rows)
    -> E (...)
    a has k columns; μ and s have k m, those of the first component first.

    Parameters
    ----------
    components : int, at least 1
        k.

    Notes
    -----
    Forward   π = softmax(a), r = (μ - t) e^(-s);
              log Nₖ = -Σⱼ (½ rₖⱼ² + sₖⱼ + ½ log 2π),  l = -log Σₖ πₖ Nₖ
    Pullback  γ = softmax(a + log N);  dl/da = π - γ,  dl/dμ = γ r e^(-s),
              dl/ds = γ (1 - r²)
    A row has one density, so that l is not divided by m. s is held within ±30. A
    distance |r| beyond a quarter of sqrt(largest number / m) counts as that, so that
    some component always has a share in the gradient.
    Source: Bishop 1994, "Mixture density networks"; with a scale for each target.
    """
    if xp is None:
        return call_rule(mixture_density, z, t, weight, components=components)
    m = _targets(z, t, "mixture_density", 2 * components, components)
    k = components
    core = (*z.shape[:-1], k, m)
    logits = z[..., :k]
    logits = logits - xp.max(logits, axis=-1, keepdims=True)
    raw = xp.reshape(z[..., k + k * m :], core)
    s = xp.clip(raw, -_LIMIT, _LIMIT)
    narrow = xp.exp(-s)
    largest = float(xp.finfo(z.dtype).max)
    bound, far = 0.25 * (largest / max(1, m)) ** 0.5, 1e5 * largest**0.5
    half = 0.5 * xp.reshape(z[..., k : k + k * m], core) - 0.5 * t[..., None, :]
    r = xp.clip(2.0 * (xp.clip(half, -far, far) * narrow), -bound, bound)
    density = -xp.sum(0.5 * r * r + s, axis=-1) - 0.5 * m * _LOG_2_PI
    log_sum, pi = _softmax(logits, xp)
    log_joint, gamma = _softmax(logits + density, xp)
    l = log_sum - log_joint  # noqa: E741 - the math's name

    def slope(share: Any) -> Any:
        each = gamma * share
        spread = each[..., None]
        inside = xp.astype((raw > -_LIMIT) & (raw < _LIMIT), z.dtype)
        flat = (*each.shape[:-1], k * m)
        by_mean = xp.reshape(spread * r * narrow, flat)
        by_s = xp.reshape((spread - spread * r * r) * inside, flat)
        return xp.concat([pi * share - each, by_mean, by_s], axis=-1)

    return average(lambda share: counted(l, share, xp), slope, l, weight, xp)


def _targets(z: Any, t: Any, name: str, each: int, shared: int = 0) -> int:
    """Return m, the columns of t, if z has `shared` and `each` times m."""
    rows = t.ndim > 1 and t.shape[-2] == z.shape[-2]
    if not rows or z.shape[-1] != shared + each * t.shape[-1]:
        more = f"{shared} more than " if shared else ""
        msg = (
            f"{name}: the target must have the output's rows, and the output {more}"
            f"{each} times the target's columns; got an output of shape "
            f"{tuple(z.shape[-2:])} and a target of shape {tuple(t.shape[-2:])}."
        )
        raise ShapeError(msg)
    return int(t.shape[-1])


def _softmax(a: Any, xp: ArrayNamespace) -> tuple[Any, Any]:
    """Return log Σ e^a over the last axis, kept, and softmax(a)."""
    most = xp.max(a, axis=-1, keepdims=True)
    e = xp.exp(a - most)
    total = xp.sum(e, axis=-1, keepdims=True)
    return most + xp.log(total), e / total


# Stirling's series of log Γ and ψ in 1/x: B₂ₙ / (2n (2n-1)) and -B₂ₙ / 2n.
_GAMMA = (1.0 / 12.0, -1.0 / 360.0, 1.0 / 1260.0, -1.0 / 1680.0, 1.0 / 1188.0)
_PSI = (-1.0 / 12.0, 1.0 / 120.0, -1.0 / 252.0, 1.0 / 240.0, -1.0 / 132.0)
_STEPS = 10


def _series(coefficients: tuple[float, ...], u: Any) -> Any:
    value = coefficients[-1] * u
    for c in coefficients[-2:0:-1]:
        value = (value + c) * u
    return value + coefficients[0]


def _log_rising(x: Any, y: Any, xp: ArrayNamespace) -> tuple[Any, Any]:
    """Return log Γ(x + y) - log Γ(x) for x > 0, y >= 0, and its derivative by x.

    Each of the two would lose the difference where x is great: what they have in common
    is left out. Below 10, where Stirling's series is not yet exact, Γ(x) = Γ(x + 1) / x
    leads up to it.
    """
    low = x + float(_STEPS)
    high = low + y
    ratio = xp.log1p(y / low)
    u, v = 1.0 / low, 1.0 / high
    value = (low - 0.5) * ratio + y * (xp.log(high) - 1.0)
    value = value + v * _series(_GAMMA, v * v) - u * _series(_GAMMA, u * u)
    by_x = ratio + 0.5 * (y * u * v)
    by_x = by_x + v * v * _series(_PSI, v * v) - u * u * _series(_PSI, u * u)
    for i in range(_STEPS):
        part = y / (x + float(i))
        value = value - xp.log1p(part)
        by_x = by_x + part / (x + float(i) + y)
    return value, by_x
