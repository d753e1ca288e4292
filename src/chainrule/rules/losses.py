"""Losses: the E of the paper, and ∂E/∂Z for the last layer, where (4)-(8) begin.

Every loss takes the output z and the target t, both of core shape (rows, m), and
optional weights of core shape (rows,), not negative. Its value is one scalar per
leading axis,

    E = Σᵢ wᵢ lᵢ / Σᵢ wᵢ,   lᵢ the mean of sample i's m entries,

the plain mean when no weights are given. Where the weights sum to zero, and where there
are no rows, E is 0 and so is its gradient. ``pullback(dvalue=1.0) -> (dz,)``; targets
and weights are data and have no gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from chainrule._typing import Array, Pullback
from chainrule.errors import ShapeError
from chainrule.namespace import namespace
from chainrule.rules.activations import _sigmoid

__all__ = [
    "absolute_error",
    "binary_cross_entropy",
    "cross_entropy",
    "huber",
    "poisson",
    "quantile",
    "squared_error",
]


def squared_error(
    z: Array, t: Array, weight: Array | None = None, *, xp: Any = None
) -> tuple[Any, Pullback]:
    """Mean of (z - t)², without a ½.

    z, t (..., rows, m), weight (..., rows) -> E (...);  dl/dz = 2 (z - t)
    """
    xp = xp or namespace(z, t, weight)
    d = _difference(z, t, "squared_error")
    return _average(d * d, lambda: 2.0 * d, weight, xp)


def absolute_error(
    z: Array, t: Array, weight: Array | None = None, *, xp: Any = None
) -> tuple[Any, Pullback]:
    """Mean of |z - t|.

    z, t (..., rows, m), weight (..., rows) -> E (...);  dl/dz = sign(z - t), 0 at 0
    """
    xp = xp or namespace(z, t, weight)
    d = _difference(z, t, "absolute_error")
    return _average(xp.abs(d), lambda: xp.sign(d), weight, xp)


def huber(
    z: Array,
    t: Array,
    weight: Array | None = None,
    *,
    delta: float = 1.0,
    xp: Any = None,
) -> tuple[Any, Pullback]:
    """Squared error near the target, absolute error beyond `delta`.

    z, t (..., rows, m), weight (..., rows) -> E (...)
    Forward   d = z - t;  l = d²/2 where |d| <= δ, else δ (|d| - δ/2)
    Pullback  dl/dz = clip(d, -δ, δ)
    Source: Huber 1964.
    """
    xp = xp or namespace(z, t, weight)
    d = _difference(z, t, "huber")
    # With c = clip(d, -δ, δ) both branches are one: l = c (d - c/2).
    c = xp.clip(d, -delta, delta)
    return _average(c * (d - 0.5 * c), lambda: c, weight, xp)


def quantile(
    z: Array,
    t: Array,
    weight: Array | None = None,
    *,
    q: float = 0.5,
    xp: Any = None,
) -> tuple[Any, Pullback]:
    """Pinball loss, least where z is the q-quantile of t.

    z, t (..., rows, m), weight (..., rows) -> E (...)
    Forward   d = t - z;  l = q d where d >= 0, else (q - 1) d
    Pullback  dl/dz = -q where d > 0, 1 - q where d < 0, 0 at 0
    Source: Koenker, Bassett 1978.
    """
    xp = xp or namespace(z, t, weight)
    d = -_difference(z, t, "quantile")

    def slope() -> Any:
        return xp.where(d > 0, -q, xp.where(d < 0, 1.0 - q, xp.zeros_like(d)))

    return _average(xp.where(d >= 0, q * d, (q - 1.0) * d), slope, weight, xp)


def poisson(
    z: Array, t: Array, weight: Array | None = None, *, xp: Any = None
) -> tuple[Any, Pullback]:
    """Negative log-likelihood of counts t with rate e^z, less the term of t alone.

    z, t (..., rows, m), weight (..., rows) -> E (...)
    Forward   l = e^z - t z
    Pullback  dl/dz = e^z - t
    Infinite where e^z is. z is the log of the rate, as in torch's `poisson_nll_loss`.
    """
    xp = xp or namespace(z, t, weight)
    _difference(z, t, "poisson", subtract=False)
    e = xp.exp(z)
    return _average(e - t * z, lambda: e - t, weight, xp)


def binary_cross_entropy(
    z: Array,
    t: Array,
    weight: Array | None = None,
    *,
    class_weight: Sequence[float] | None = None,
    label_smoothing: float = 0.0,
    xp: Any = None,
) -> tuple[Any, Pullback]:
    """Cross entropy of yes/no outputs, from logits; each of the m outputs is its own.

    z, t (..., rows, m) with t in [0, 1], weight (..., rows) -> E (...)

    Parameters
    ----------
    class_weight : (float, float), optional
        Weights (c₀, c₁) of the two classes: entry ij then counts with
        c = c₁ t + c₀ (1 - t), in the sum and in what it is divided by.
    label_smoothing : float in [0, 1)
        ε: the target t becomes s = t (1 - ε) + ε/2.

    Notes
    -----
    Forward   l = c₁ s log(1 + e⁻ᶻ) + c₀ (1 - s) log(1 + eᶻ)
    Pullback  dl/dz = c₀ (1 - s) sigmoid(z) - c₁ s sigmoid(-z)
    """
    xp = xp or namespace(z, t, weight)
    _difference(z, t, "binary_cross_entropy", subtract=False)
    s = t * (1.0 - label_smoothing) + 0.5 * label_smoothing
    if class_weight is None:
        # The two logarithms as one, log(1 + e⁻ᶻ) = log(1 + eᶻ) - z; their small part
        # stands apart, so that a sure and right answer keeps its digits. (minimum for
        # -|z|: at 0 its derivative makes up for the kink of maximum.)
        l = xp.maximum(z, 0.0) - s * z + xp.log1p(xp.exp(xp.minimum(z, -z)))  # noqa: E741 - the math's name
        return _average(l, lambda: _sigmoid(z, xp) - s, weight, xp)
    c0, c1 = (float(c) for c in class_weight)
    zero = xp.zeros_like(z)
    l = c1 * s * xp.logaddexp(-z, zero) + c0 * (1.0 - s) * xp.logaddexp(z, zero)  # noqa: E741
    mass = c1 * t + c0 * (1.0 - t)  # without smoothing: how much the entry counts

    def slope() -> Any:
        return c0 * (1.0 - s) * _sigmoid(z, xp) - c1 * s * _sigmoid(-z, xp)

    return _weigh(l, slope, mass, weight, xp)


def cross_entropy(
    z: Array,
    t: Array,
    weight: Array | None = None,
    *,
    class_weight: Sequence[float] | None = None,
    label_smoothing: float = 0.0,
    xp: Any = None,
) -> tuple[Any, Pullback]:
    """Cross entropy of m exclusive classes, from logits.

    z (..., rows, m), weight (..., rows) -> E (...)

    Parameters
    ----------
    t : array
        Integer labels of core shape (rows,), each in 0 ... m - 1, or probabilities of
        core shape (rows, m), floating, one-hot for certain labels. Labels outside the
        range are not looked for here (that would be a host branch): such a row counts
        as one with no class. `Model.fit` refuses them.
    class_weight : sequence of m floats, optional
        Weight c of each class: sample i then counts with Σⱼ cⱼ tᵢⱼ, in the sum and in
        what it is divided by.
    label_smoothing : float in [0, 1)
        ε: the target t becomes s = t (1 - ε) + ε/m.

    Notes
    -----
    Forward   l = -Σⱼ cⱼ sⱼ log p_j,  p = softmax(z)
    Pullback  dl/dz = p Σⱼ cⱼ sⱼ - c s
    E = Σᵢ wᵢ lᵢ / Σᵢ wᵢ Σⱼ cⱼ tᵢⱼ: torch's `cross_entropy` for integer labels.
    """
    xp = xp or namespace(z, t, weight)
    m = z.shape[-1]
    if xp.isdtype(t.dtype, "integral"):
        if t.ndim == z.ndim and t.shape == z.shape:
            msg = (
                f"cross_entropy: an integer t holds labels, of shape {z.shape[:-1]}; "
                f"got integers of z's own shape {t.shape}. Cast a one-hot target to "
                f"{z.dtype}."
            )
            raise ShapeError(msg)
        t = xp.astype(t[..., None] == xp.arange(m, dtype=t.dtype), z.dtype)
    _difference(z, t, "cross_entropy", subtract=False)
    s = t
    if label_smoothing:
        s = t * (1.0 - label_smoothing) + label_smoothing / m
    # Subtract the row's maximum: exp overflows float32 above 88. It cancels.
    d = z - xp.max(z, axis=-1, keepdims=True)
    e = xp.exp(d)
    total = xp.sum(e, axis=-1, keepdims=True)
    cs = s
    mass = None
    if class_weight is not None:
        c = xp.asarray([float(v) for v in class_weight], dtype=z.dtype)
        cs = c * s
        mass = xp.sum(c * t, axis=-1, keepdims=True)
    l = cs * (xp.log(total) - d)  # noqa: E741

    def slope() -> Any:
        return e / total * xp.sum(cs, axis=-1, keepdims=True) - cs

    if mass is None and weight is None:
        return _average(l, slope, None, xp, entries=1)
    l = xp.sum(l, axis=-1, keepdims=True)  # noqa: E741
    return _weigh(l, slope, mass, weight, xp)


def _difference(z: Any, t: Any, name: str, *, subtract: bool = True) -> Any:
    # (rows, 1) against (rows,) would broadcast to (rows, rows): the oldest trap.
    if t.ndim < 2 or t.shape[-2:] != z.shape[-2:]:
        msg = (
            f"{name}: the target must have the output's shape {z.shape[-2:]} in its "
            f"last two axes; got {t.shape}."
        )
        raise ShapeError(msg)
    return z - t if subtract else None


def _average(
    l: Any,  # noqa: E741 - the math's name
    slope: Callable[[], Any],
    weight: Any,
    xp: Any,
    entries: int = 0,
) -> tuple[Any, Pullback]:
    """Σᵢ wᵢ mean(lᵢ) / Σᵢ wᵢ over the last two axes; `slope()` gives dl/dz.

    A sample counts as so many entries; 0 stands for all of its l's.
    """
    if weight is not None:
        return _weigh(l, slope, None, weight, xp)
    share = 1.0 / max(1, l.shape[-2] * (entries or l.shape[-1]))

    def pullback(dvalue: Any = 1.0) -> tuple[Any]:
        return (slope() * (_spread(dvalue) * share),)

    return xp.sum(l, axis=(-2, -1)) * share, pullback


def _weigh(
    l: Any,  # noqa: E741 - the math's name
    slope: Callable[[], Any],
    mass: Any,
    weight: Any,
    xp: Any,
) -> tuple[Any, Pullback]:
    """Σ wᵢ lᵢⱼ / Σ wᵢ massᵢⱼ, and 0 where that divisor is 0.

    l (..., rows, m); weight (..., rows) or None; mass (..., rows, m) or None, meaning 1.
    """
    if mass is None:
        mass = xp.ones_like(l)
    if weight is not None:
        mass = weight[..., None] * mass
    total = xp.sum(mass, axis=(-2, -1), keepdims=True)
    # Divide before multiplying with the loss: tiny weights would underflow.
    some = total > 0
    each = xp.ones_like(total) if weight is None else weight[..., None]
    share = xp.where(some, each, 0.0) / xp.where(some, total, 1.0)

    def pullback(dvalue: Any = 1.0) -> tuple[Any]:
        return (slope() * (_spread(dvalue) * share),)

    return xp.sum(share * l, axis=(-2, -1)), pullback


def _spread(dvalue: Any) -> Any:
    """Make a scalar per leading axis ready to meet arrays of core rank 2."""
    if isinstance(dvalue, (int, float)):
        return dvalue
    return dvalue[..., None, None]
