"""Examples of every rule."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule import rules
from chainrule.testing.cases.base import RNG, ROWS, RuleCase, fixed, normal, uniform

__all__ = [
    "ANSWERS",
    "CHANCES",
    "CLASSES",
    "COLUMN",
    "COUNTS",
    "HEADS",
    "LABELS",
    "RULES",
    "SHARES",
    "SMOOTHED",
    "WEIGHT",
    "T",
    "Z",
]

_X = normal(ROWS, 4, scale=2.0)


def _elementwise(rule: Any, kinks: bool = False, **options: Any) -> RuleCase:
    return RuleCase(rule, (_X,), options=options, kinks=kinks)


def _rowwise(rule: Any) -> RuleCase:
    return RuleCase(rule, (_X,), ranks=(1,))


_ACTIVATIONS = {
    "identity": _elementwise(rules.identity),
    "relu": _elementwise(rules.relu, kinks=True),
    "leaky_relu": _elementwise(rules.leaky_relu, kinks=True),
    "leaky_relu, slope": _elementwise(rules.leaky_relu, kinks=True, slope=0.3),
    "elu": _elementwise(rules.elu),
    "elu, alpha": _elementwise(rules.elu, kinks=True, alpha=0.7),
    "selu": _elementwise(rules.selu, kinks=True),
    "celu": _elementwise(rules.celu),
    "celu, alpha": _elementwise(rules.celu, alpha=1.7),
    "sigmoid": _elementwise(rules.sigmoid),
    "tanh": _elementwise(rules.tanh),
    "softplus": _elementwise(rules.softplus),
    "softsign": _elementwise(rules.softsign),
    "silu": _elementwise(rules.silu),
    "mish": _elementwise(rules.mish),
    "gelu": _elementwise(rules.gelu),
    "gelu_tanh": _elementwise(rules.gelu_tanh),
    "hard_sigmoid": _elementwise(rules.hard_sigmoid, kinks=True),
    "hard_tanh": _elementwise(rules.hard_tanh, kinks=True),
    "hard_silu": _elementwise(rules.hard_silu, kinks=True),
    "exp": _elementwise(rules.exp),
    "softmax": _rowwise(rules.softmax),
    "log_softmax": _rowwise(rules.log_softmax),
}

_DX, _W, _B = normal(ROWS, 3), normal(4, 3), normal(4)

_DENSE = {
    "dense": RuleCase(rules.dense, (_DX, _W, _B), ranks=(2, 2, 1)),
    "dense, no bias": RuleCase(rules.dense, (_DX, _W), ranks=(2, 2)),
    "dense, one row": RuleCase(rules.dense, (_DX[:1], _W, _B), ranks=(2, 2, 1)),
}


# Spread evenly, so that every rate drops some elements and keeps some.
_BITS = fixed(
    RNG.permutation(np.linspace(-(2**31), 2**31 - 1, 3 * ROWS))
    .astype(np.int32)
    .reshape(ROWS, 3)
)

_DROPOUT = {
    f"dropout, {rate}": RuleCase(
        rules.dropout, (_DX,), (_BITS,), {"rate": rate}, ranks=(0, 0), rows=(0, 1)
    )
    for rate in (0.0, 0.4, 0.5, 0.9)
}

_NX = normal(ROWS, 3, scale=2.0, mean=1.0)

_GAIN, _SHIFT, _MEAN = normal(3), normal(3), normal(3)

_VAR = uniform(0.5, 2.0, 3)

_NORMALIZATION = {
    name + more: RuleCase(
        rule, arguments, options=options, ranks=(2, *[1] * (len(arguments) - 1))
    )
    for more, options in (("", {}), (", eps", {"eps": 0.1}))
    for name, rule, arguments in (
        ("layer_norm", rules.layer_norm, (_NX, _GAIN, _SHIFT)),
        ("batch_norm", rules.batch_norm, (_NX, _GAIN, _SHIFT)),
        (
            "batch_norm_inference",
            rules.batch_norm_inference,
            (_NX, _GAIN, _SHIFT, _MEAN, _VAR),
        ),
    )
}

Z, T = normal(ROWS, 3, scale=2.0), normal(ROWS, 3, scale=2.0)

COUNTS = fixed(RNG.integers(0, 5, size=(ROWS, 3)).astype(float))

CHANCES = uniform(0.0, 0.8, ROWS, 3)

LABELS = fixed(np.array([0, 2, 1, 1, 0], dtype=np.int32))

ANSWERS = fixed(np.eye(3)[LABELS])

SHARES = fixed(0.7 * ANSWERS + 0.1)

WEIGHT = fixed(np.array([0.5, 2.0, 0.0, 1.0, 3.0]))

SMOOTHED: dict[str, Any] = {"class_weight": (0.5, 3.0), "label_smoothing": 0.2}

CLASSES: dict[str, Any] = {"class_weight": (0.5, 3.0, 1.0), "label_smoothing": 0.2}

_FOCUS: dict[str, Any] = {"gamma": 0.7, "class_weight": (0.5, 3.0)}

_FOCI: dict[str, Any] = {"gamma": 1.5, "class_weight": (0.5, 3.0, 1.0)}


def _losses() -> dict[str, RuleCase]:
    listed: tuple[tuple[str, Any, Any, dict[str, Any], bool], ...] = (
        ("squared_error", rules.squared_error, T, {}, False),
        ("absolute_error", rules.absolute_error, T, {}, True),
        ("huber", rules.huber, T, {}, False),
        ("huber, options", rules.huber, T, {"delta": 0.8}, False),
        ("quantile", rules.quantile, T, {}, True),
        ("quantile, options", rules.quantile, T, {"q": 0.2}, True),
        ("poisson", rules.poisson, COUNTS, {}, False),
        ("binary_cross_entropy", rules.binary_cross_entropy, CHANCES, {}, False),
        (
            "binary_cross_entropy, options",
            rules.binary_cross_entropy,
            CHANCES,
            SMOOTHED,
            False,
        ),
        ("cross_entropy", rules.cross_entropy, LABELS, {}, False),
        ("cross_entropy, options", rules.cross_entropy, SHARES, CLASSES, False),
        (
            "cross_entropy, labels, options",
            rules.cross_entropy,
            LABELS,
            CLASSES,
            False,
        ),
        ("log_cosh", rules.log_cosh, T, {}, False),
        ("cosine_distance", rules.cosine_distance, T, {}, False),
        ("cosine_distance, options", rules.cosine_distance, T, {"eps": 4.0}, False),
        ("hinge", rules.hinge, ANSWERS, {}, True),
        ("hinge, options", rules.hinge, ANSWERS, {"squared": True}, False),
        ("kullback_leibler", rules.kullback_leibler, SHARES, {}, False),
        ("binary_focal", rules.binary_focal, CHANCES, {}, False),
        ("binary_focal, options", rules.binary_focal, CHANCES, _FOCUS, False),
        ("focal", rules.focal, LABELS, {}, False),
        ("focal, options", rules.focal, SHARES, _FOCI, False),
    )
    found = {}
    for weight, more in ((None, ""), (WEIGHT, ", weighted")):
        for name, rule, t, options, kinks in listed:
            found[name + more] = RuleCase(
                rule,
                (Z,),
                (t, weight),
                options,
                ranks=(2, t.ndim, 1),
                rows=(0, 1) if weight is None else (0, 1, 2),
                kinks=kinks,
            )
    return found


# Outputs of several heads, drawn after all else so that other draws stay as they are.
HEADS = {width: normal(ROWS, width) for width in (2, 4, 6, 10, 9)}

COLUMN = fixed(T[:, :2])


def _likelihoods() -> dict[str, RuleCase]:
    two, counts = COLUMN, fixed(COUNTS[:, :2])
    listed: tuple[tuple[str, Any, Any, int, dict[str, Any]], ...] = (
        ("gaussian_nll", rules.gaussian_nll, two, 4, {}),
        ("student_t", rules.student_t, two, 4, {}),
        ("student_t, learned", rules.student_t, two, 6, {"df": None}),
        ("negative_binomial", rules.negative_binomial, counts, 4, {}),
        (
            "negative_binomial, options",
            rules.negative_binomial,
            counts,
            2,
            {"dispersion": 0.3},
        ),
        ("mixture_density", rules.mixture_density, two[:, :1], 9, {}),
        (
            "mixture_density, options",
            rules.mixture_density,
            two,
            10,
            {"components": 2},
        ),
    )
    return {
        name + more: RuleCase(
            rule,
            (HEADS[width],),
            (t, weight),
            options,
            ranks=(2, 2, 1),
            rows=(0, 1) if weight is None else (0, 1, 2),
        )
        for weight, more in ((None, ""), (WEIGHT, ", weighted"))
        for name, rule, t, width, options in listed
    }


RULES: dict[str, RuleCase] = {
    **_ACTIVATIONS,
    **_DENSE,
    **_DROPOUT,
    **_NORMALIZATION,
    **_losses(),
    **_likelihoods(),
}
