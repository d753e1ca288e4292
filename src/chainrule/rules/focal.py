"""Focal losses: cross entropies in which sure and right answers count less.

Arguments, weights and pullbacks are those of `chainrule.rules.classification`. With
gamma = 0 they are the cross entropies. For finite logits E and its gradient are finite
wherever the formula's numbers fit the dtype.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chainrule.arrays.types import Array, ArrayNamespace, Pullback
from chainrule.rules.call import call_rule
from chainrule.rules.logits import exponentials, labels, ratios
from chainrule.rules.weighting import average, check_same_shape, counted

__all__ = ["binary_focal", "focal"]

# Where e^-a is 0 in every dtype: beyond it, a times e^-a is 0 and not infinity times 0.
_FAR = 800.0


def binary_focal(
    z: Array,
    t: Array,
    weight: Array | None = None,
    *,
    gamma: float = 2.0,
    class_weight: Sequence[float] | None = None,
    xp: ArrayNamespace | None = None,
) -> tuple[Any, Pullback]:
    """Focal loss of yes/no outputs, from logits; each of the m outputs is its own.

    z, t (..., rows, m) with t in [0, 1], weight (..., rows) -> E (...)

    Parameters
    ----------
    gamma : float, not negative
        How little an answer counts that is nearly right.
    class_weight : (float, float), optional
        Weights (c₀, c₁) of the two classes, as in `binary_cross_entropy`: entry ij
        counts with c = c₁ t + c₀ (1 - t), in the sum and in what it is divided by. The
        paper's α is c₁ = α, c₀ = 1 - α, but for that division.

    Notes
    -----
    Forward   l = c₁ t f(p) + c₀ (1 - t) f(1 - p),  p = sigmoid(z),
              f(p) = -(1 - p)^γ log p
    Pullback  with q = 1 - p and g(p) = p q f'(p) = -q^γ (q - γ p log p):
              dl/dz = c₁ t g(p) - c₀ (1 - t) g(q)
    Source: Lin, Goyal, Girshick, He, Dollár 2017 (arXiv:1708.02002).
    """
    if xp is None:
        options: dict[str, Any] = {"gamma": gamma, "class_weight": class_weight}
        return call_rule(binary_focal, z, t, weight, **options)
    check_same_shape(z, t, "binary_focal")
    yes, no = t, 1.0 - t
    mass = None
    if class_weight is not None:
        c0, c1 = ratios(class_weight)
        yes, no = c1 * yes, c0 * no
        mass = xp.sum(yes + no, axis=-1, keepdims=True)
    # With a = |z|, both signs of z are one formula: what speaks against z's own sign
    # is wrong, the rest right.
    up = z >= 0
    a = xp.where(up, z, -z)
    e = xp.exp(-a)
    rest = xp.log1p(e)  # -log of the greater probability
    near, far = 1.0 / (1.0 + e), e / (1.0 + e)  # of the two answers
    wrong, right = xp.where(up, no, yes), xp.where(up, yes, no)
    much, little = wrong * near**gamma, right * far**gamma
    l = much * (xp.where(wrong == 0, 0.0, a) + rest) + little * rest  # noqa: E741

    def slope(share: Any) -> Any:
        reach = xp.minimum(a, _FAR)
        g = much * (near + gamma * far * (reach + rest))
        g = g - little * (far + gamma * near * rest)
        return xp.where(up, g, -g) * share

    return average(lambda share: counted(l, share, xp), slope, z, weight, xp, mass=mass)


def focal(
    z: Array,
    t: Array,
    weight: Array | None = None,
    *,
    gamma: float = 2.0,
    class_weight: Sequence[float] | None = None,
    xp: ArrayNamespace | None = None,
) -> tuple[Any, Pullback]:
    """Focal loss of m exclusive classes, from logits.

    z (..., rows, m), weight (..., rows) -> E (...)

    Parameters
    ----------
    t : array
        Integer labels of core shape (rows,) or probabilities of core shape (rows, m),
        as in `cross_entropy`.
    gamma : float, not negative
        How little an answer counts that is nearly right.
    class_weight : sequence of m floats, optional
        Weight c of each class, as in `cross_entropy`.

    Notes
    -----
    Forward   l = Σⱼ cⱼ tⱼ f(p_j),  p = softmax(z),  f(p) = -(1 - p)^γ log p
    Pullback  with q = 1 - p and g(p) = p f'(p) = -q^γ (1 - γ p log(p) / q):
              dl/dzₖ = cₖ tₖ g(pₖ) - pₖ Σⱼ cⱼ tⱼ g(p_j)
    Source: Lin, Goyal, Girshick, He, Dollár 2017 (arXiv:1708.02002).
    """
    if xp is None:
        options: dict[str, Any] = {"gamma": gamma, "class_weight": class_weight}
        return call_rule(focal, z, t, weight, integral=(1,), **options)
    if xp.isdtype(t.dtype, "integral"):
        t = labels(z, t, "focal", xp)
        classes = xp.arange(z.shape[-1], dtype=t.dtype)
        t = xp.astype(t[..., None] == classes[(*[None] * t.ndim, ...)], z.dtype)
    check_same_shape(z, t, "focal")
    s, mass = t, None
    if class_weight is not None:
        c = xp.asarray(ratios(class_weight), dtype=z.dtype)
        s = t * xp.reshape(c, (*[1] * (t.ndim - 1), c.shape[0]))
        mass = xp.sum(s, axis=-1, keepdims=True)
    h, e = exponentials(z, xp)
    # The sum is 1 + more: more leaves out one of those that have the maximum, so that
    # 1 - p of a sure answer keeps its digits.
    first = xp.astype(h == 0, z.dtype)
    more = xp.sum(e - first, axis=-1, keepdims=True)
    more = more + (xp.sum(first, axis=-1, keepdims=True) - 1.0)
    total = 1.0 + more
    p = e / total
    q = ((total - e) + first * (more - (total - 1.0))) / total
    focus = s * q**gamma
    minus_log = 0.5 * xp.log1p(more) - xp.where(s == 0, 0.0, h)  # half of it
    l = xp.sum(focus * minus_log, axis=-1, keepdims=True)  # noqa: E741

    def slope(share: Any) -> Any:
        # -log(p) / q is 1 where q is 0, and p times it 0 where p is.
        high = 2.0 * xp.minimum(minus_log, 0.5 * _FAR)
        ratio = xp.where(q == 0, 1.0, high / xp.where(q == 0, 1.0, q))
        g = -focus * (1.0 + gamma * p * ratio)
        # Without its own entry, which stands with q: only what is equal cancels.
        others = xp.sum(g, axis=-1, keepdims=True) - g
        return (g * q - p * others) * (0.5 * share)

    return average(lambda share: counted(l, share, xp), slope, l, weight, xp, 2.0, mass)
