"""Losses of classes: cross entropies and their like, from logits; hinge.

Arguments, weights and pullbacks are those of `chainrule.rules.regression`; a label may
be a whole number. For finite logits E and its gradient are finite wherever the
formula's numbers fit the dtype. Where nothing cancels in exact arithmetic, values and
gradients of one row are right to 4 units in the last place in float32, to 1e-13 in
float64: nothing is subtracted that a sure and right answer would lose.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chainrule.arrays.types import Array, ArrayNamespace, Pullback
from chainrule.rules.call import call_rule
from chainrule.rules.logits import exponentials, labels, ratios
from chainrule.rules.weighting import average, check_same_shape, counted, scaled_to_one

__all__ = ["binary_cross_entropy", "cross_entropy", "hinge", "kullback_leibler"]


def binary_cross_entropy(
    z: Array,
    t: Array,
    weight: Array | None = None,
    *,
    class_weight: Sequence[float] | None = None,
    label_smoothing: float = 0.0,
    xp: ArrayNamespace | None = None,
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
    The losses of z with target 1 and of -z with target 0 are the same number, their
    gradients each other's negative, bit for bit. An infinite z is certain: its loss is
    0 where it is right, infinite where it is wrong.
    """
    if xp is None:
        options: dict[str, Any] = {"class_weight": class_weight}
        options["label_smoothing"] = label_smoothing
        return call_rule(binary_cross_entropy, z, t, weight, **options)
    check_same_shape(z, t, "binary_cross_entropy")
    # What speaks for and against class 1, each from t itself: 1 - s would lose a small
    # rest of class 0.
    yes, no = t, 1.0 - t
    if label_smoothing:
        keep, more = 1.0 - label_smoothing, 0.5 * label_smoothing
        yes, no = keep * yes + more, keep * no + more
    mass = None
    if class_weight is not None:
        c0, c1 = ratios(class_weight)
        yes, no = c1 * yes, c0 * no
        mass = c1 * t + c0 * (1.0 - t)  # without smoothing: how much an entry counts
        mass = xp.sum(mass, axis=-1, keepdims=True)
    # With a = |z|, what speaks against z's own sign is wrong, the rest right:
    #   l = wrong (a + log(1 + e⁻ᵃ)) + right log(1 + e⁻ᵃ).
    # Nothing is subtracted, and both signs of z are one formula. (`where` for |z|: at 0
    # all of it then has the slope of the same side, and their sum is the right one.)
    up = z >= 0
    a = xp.where(up, z, -z)
    e = xp.exp(-a)
    wrong = xp.where(up, no, yes)
    rest = xp.log1p(e)
    if mass is not None:
        rest = (yes + no) * rest
    l = wrong * xp.where(wrong == 0, 0.0, a) + rest  # noqa: E741 - the math's name

    def slope(share: Any) -> Any:
        g = (wrong - xp.where(up, yes, no) * e) / (1.0 + e)
        return xp.where(up, g, -g) * share

    return average(lambda share: counted(l, share, xp), slope, z, weight, xp, mass=mass)


def cross_entropy(
    z: Array,
    t: Array,
    weight: Array | None = None,
    *,
    class_weight: Sequence[float] | None = None,
    label_smoothing: float = 0.0,
    xp: ArrayNamespace | None = None,
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
    A logit of -inf masks its class: p is 0 there, and the loss infinite if s is not. A
    row needs a logit that is not -inf, and none that is +inf.
    """
    if xp is None:
        options: dict[str, Any] = {"class_weight": class_weight}
        options["label_smoothing"] = label_smoothing
        return call_rule(cross_entropy, z, t, weight, integral=(1,), **options)
    integral = xp.isdtype(t.dtype, "integral")
    c = None
    if class_weight is not None:
        # Of the targets' rank: JAX can be told to refuse other ranks.
        c = xp.asarray(ratios(class_weight), dtype=z.dtype)
        c = xp.reshape(c, (*[1] * (min(z.ndim, t.ndim + integral) - 1), c.shape[0]))
    if integral:
        t = labels(z, t, "cross_entropy", xp)
        classes = xp.arange(z.shape[-1], dtype=t.dtype)
        hot = t[..., None] == classes[(*[None] * t.ndim, ...)]
        if not label_smoothing:
            return _certain(z, hot, c, weight, xp)
        t = xp.astype(hot, z.dtype)
    check_same_shape(z, t, "cross_entropy")
    return _uncertain(z, t, c, label_smoothing, weight, xp)


def _certain(
    z: Array, hot: Any, c: Any, weight: Array | None, xp: ArrayNamespace
) -> tuple[Any, Pullback]:
    """Cross entropy of labels: l = log(1 + Σₖ e^(zₖ - z_y)), k all but the label y.

    p_y - 1 is -Σₖ pₖ, and the sum leaves y out: of a sure and right answer, whose p_y
    is 1 in the dtype, nothing is lost.
    """
    h, e = exponentials(z, xp)
    own = xp.sum(xp.where(hot, h, 0.0), axis=-1, keepdims=True)  # a masked h is -inf
    hot = xp.astype(hot, z.dtype)
    known = xp.sum(hot, axis=-1, keepdims=True)  # 0 for a label of no class, else 1
    half = 0.5 * known
    own_e = e * hot
    e = e - own_e
    own_e = xp.sum(own_e, axis=-1, keepdims=True)
    others = xp.sum(e, axis=-1, keepdims=True)
    # Σₖ eₖ is 1 + more, and where the label has the maximum, more is exactly `others`.
    more = others + (own_e - known)
    l = half * xp.log1p(more) - own  # noqa: E741 - the math's name
    if c is not None:  # a row counts as often as its class
        counts = xp.sum(c * hot, axis=-1)
        weight = counts if weight is None else counts * scaled_to_one(weight, l, xp)

    def slope(share: Any) -> Any:
        return (e - others * hot) * (half * share / (others + own_e))

    return average(lambda share: counted(l, share, xp), slope, l, weight, xp, 2.0)


def _uncertain(
    z: Array,
    t: Array,
    c: Any,
    smoothing: float,
    weight: Array | None,
    xp: ArrayNamespace,
    *,
    divergence: bool = False,
) -> tuple[Any, Pullback]:
    """Cross entropy of probabilities t; as a divergence, less what t has of its own."""
    s, mass = t, None
    if smoothing:
        s = (1.0 - smoothing) * t + smoothing / z.shape[-1]
    if c is not None:
        s = c * s
        mass = xp.sum(c * t, axis=-1, keepdims=True)
    h, e = exponentials(z, xp)
    s_sum = xp.sum(s, axis=-1, keepdims=True)
    # Σₖ eₖ is 1 + more: more leaves out one of those that have the maximum.
    first = xp.astype(h == 0, z.dtype)
    more = xp.sum(e - first, axis=-1, keepdims=True)
    more = more + (xp.sum(first, axis=-1, keepdims=True) - 1.0)
    fall = xp.sum(s * xp.where(s == 0, 0.0, h), axis=-1, keepdims=True)
    l = 0.5 * s_sum * xp.log1p(more) - fall  # noqa: E741 - the math's name
    if divergence:
        own = 0.5 * s * xp.log(xp.where(s > 0, s, 1.0))
        l = l + xp.sum(own, axis=-1, keepdims=True)  # noqa: E741

    def slope(share: Any) -> Any:
        # p Σs - s is Σₖ (p sₖ - pₖ s), k all others: only what is equal cancels. A sum
        # without an entry is the sum less the entry, but where the entry is most of it.
        total = 1.0 + more
        without = (total - e) + first * (more - (total - 1.0))
        most = xp.astype(s > 0.5 * s_sum, z.dtype)
        rest = xp.sum((1.0 - most) * s, axis=-1, keepdims=True)
        others = (s_sum - s) * (1.0 - most) + most * rest
        return (e * others - s * without) * (0.5 * share / total)

    return average(lambda share: counted(l, share, xp), slope, l, weight, xp, 2.0, mass)


def kullback_leibler(
    z: Array, t: Array, weight: Array | None = None, *, xp: ArrayNamespace | None = None
) -> tuple[Any, Pullback]:
    """Kullback-Leibler divergence of softmax(z) from rows of probabilities t.

    z, t (..., rows, m), weight (..., rows) -> E (...)
    Forward   l = Σⱼ tⱼ (log tⱼ - log p_j),  p = softmax(z);  0 log 0 = 0
    Pullback  dl/dz = p Σⱼ tⱼ - t
    `cross_entropy` of the same rows, less their entropy: 0 where p is t, to rounding.
    torch's `KLDivLoss(reduction="batchmean")` of log_softmax(z).
    Source: Kullback, Leibler 1951.
    """
    if xp is None:
        return call_rule(kullback_leibler, z, t, weight)
    check_same_shape(z, t, "kullback_leibler")
    return _uncertain(z, t, None, 0.0, weight, xp, divergence=True)


def hinge(
    z: Array,
    t: Array,
    weight: Array | None = None,
    *,
    squared: bool = False,
    xp: ArrayNamespace | None = None,
) -> tuple[Any, Pullback]:
    """Hinge loss of yes/no outputs; each of the m outputs is its own.

    z, t (..., rows, m) with t 0 or 1, weight (..., rows) -> E (...)
    Forward   s = 2 t - 1;  l = max(0, 1 - s z), or its square
    Pullback  dl/dz = -s where s z < 1, 0 elsewhere;  of the square, -2 s (1 - s z)
    z is no logit: its sign is the answer, and there is no probability.
    Source: Cortes, Vapnik 1995 (a support vector machine's slack).
    """
    if xp is None:
        return call_rule(hinge, z, t, weight, squared=squared)
    check_same_shape(z, t, "hinge")
    side = 2.0 * t - 1.0
    gap = 1.0 - side * z
    # What is beyond the margin is cut off, not multiplied: there it may be infinite.
    inside = xp.where(gap > 0, side, 0.0 * side)
    gap = xp.where(gap > 0, gap, 0.0 * side)
    if squared:

        def value(share: Any) -> Any:
            g = counted(gap, share, xp)
            return g * xp.where(g == 0, 0.0, gap)

        def slope(share: Any) -> Any:
            return inside * (-2.0 * counted(gap, share, xp))

        return average(value, slope, z, weight, xp)

    def fall(share: Any) -> Any:
        return inside * (-share)

    return average(lambda share: counted(gap, share, xp), fall, z, weight, xp)
