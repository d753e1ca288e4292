"""The registry: every public rule, layer, loss and optimizer, with inputs to try it on.

`python -m chainrule.testing` and the tests take from here what they check, so a new rule
joins both by being listed once; `unlisted` says what is public and not listed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule import layers, losses, optimizers, rules, schedules
from chainrule.layers import Layer
from chainrule.losses import Loss
from chainrule.optimizers import Optimizer, ProblemOptimizer
from chainrule.testing.cases.cases import ROWS, LayerCase, LossCase, RuleCase

__all__ = ["LAYERS", "LOSSES", "OPTIMIZERS", "RULES", "unlisted"]


def _fixed(a: Any) -> Any:
    a = np.array(a)
    a.flags.writeable = False
    return a


_RNG = np.random.default_rng(0)


def _normal(*shape: int, scale: float = 1.0, mean: float = 0.0) -> Any:
    return _fixed(_RNG.normal(mean, scale, size=shape))


def _uniform(low: float, high: float, *shape: int) -> Any:
    return _fixed(_RNG.uniform(low, high, size=shape))


# Rules ---------------------------------------------------------------------------------

_X = _normal(ROWS, 4, scale=2.0)


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


_DX, _W, _B = _normal(ROWS, 3), _normal(4, 3), _normal(4)


_DENSE = {
    "dense": RuleCase(rules.dense, (_DX, _W, _B), ranks=(2, 2, 1)),
    "dense, no bias": RuleCase(rules.dense, (_DX, _W), ranks=(2, 2)),
    "dense, one row": RuleCase(rules.dense, (_DX[:1], _W, _B), ranks=(2, 2, 1)),
}


# Spread evenly, so that every rate drops some elements and keeps some.
_BITS = _fixed(
    _RNG.permutation(np.linspace(-(2**31), 2**31 - 1, 3 * ROWS))
    .astype(np.int32)
    .reshape(ROWS, 3)
)


_DROPOUT = {
    f"dropout, {rate}": RuleCase(
        rules.dropout, (_DX,), (_BITS,), {"rate": rate}, ranks=(0, 0), rows=(0, 1)
    )
    for rate in (0.0, 0.4, 0.5, 0.9)
}


_NX = _normal(ROWS, 3, scale=2.0, mean=1.0)


_GAIN, _SHIFT, _MEAN = _normal(3), _normal(3), _normal(3)


_VAR = _uniform(0.5, 2.0, 3)


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


_Z, _T = _normal(ROWS, 3, scale=2.0), _normal(ROWS, 3, scale=2.0)


_COUNTS = _fixed(_RNG.integers(0, 5, size=(ROWS, 3)).astype(float))


_CHANCES = _uniform(0.0, 0.8, ROWS, 3)


_LABELS = _fixed(np.array([0, 2, 1, 1, 0], dtype=np.int32))


_SOFT = _fixed(0.7 * np.eye(3)[_LABELS] + 0.1)


_WEIGHT = _fixed(np.array([0.5, 2.0, 0.0, 1.0, 3.0]))


_SMOOTHED: dict[str, Any] = {"class_weight": (0.5, 3.0), "label_smoothing": 0.2}


_CLASSES: dict[str, Any] = {"class_weight": (0.5, 3.0, 1.0), "label_smoothing": 0.2}


def _losses() -> dict[str, RuleCase]:
    listed: tuple[tuple[str, Any, Any, dict[str, Any], bool], ...] = (
        ("squared_error", rules.squared_error, _T, {}, False),
        ("absolute_error", rules.absolute_error, _T, {}, True),
        ("huber", rules.huber, _T, {}, False),
        ("huber, options", rules.huber, _T, {"delta": 0.8}, False),
        ("quantile", rules.quantile, _T, {}, True),
        ("quantile, options", rules.quantile, _T, {"q": 0.2}, True),
        ("poisson", rules.poisson, _COUNTS, {}, False),
        ("binary_cross_entropy", rules.binary_cross_entropy, _CHANCES, {}, False),
        (
            "binary_cross_entropy, options",
            rules.binary_cross_entropy,
            _CHANCES,
            _SMOOTHED,
            False,
        ),
        ("cross_entropy", rules.cross_entropy, _LABELS, {}, False),
        ("cross_entropy, options", rules.cross_entropy, _SOFT, _CLASSES, False),
        (
            "cross_entropy, labels, options",
            rules.cross_entropy,
            _LABELS,
            _CLASSES,
            False,
        ),
    )
    found = {}
    for weight, more in ((None, ""), (_WEIGHT, ", weighted")):
        for name, rule, t, options, kinks in listed:
            found[name + more] = RuleCase(
                rule,
                (_Z,),
                (t, weight),
                options,
                ranks=(2, t.ndim, 1),
                rows=(0, 1) if weight is None else (0, 1, 2),
                kinks=kinks,
            )
    return found


RULES: dict[str, RuleCase] = {
    **_ACTIVATIONS,
    **_DENSE,
    **_DROPOUT,
    **_NORMALIZATION,
    **_losses(),
}


# Layers --------------------------------------------------------------------------------

_KINKED = (
    layers.ReLU,
    layers.LeakyReLU,
    layers.SELU,
    layers.HardSigmoid,
    layers.HardTanh,
    layers.HardSiLU,
)


_NESTED = layers.Sequential(
    layers.Dense(4),
    layers.Residual(
        layers.Sequential(layers.LayerNorm(), layers.Dense(4), layers.Tanh())
    ),
    layers.Sequential(layers.Dropout(0.25), layers.BatchNorm()),
    layers.Dense(2),
)


LAYERS: dict[str, LayerCase] = {
    **{
        cls.__name__: LayerCase(cls(), kinks=cls in _KINKED)
        for cls in (
            layers.CELU,
            layers.ELU,
            layers.Exp,
            layers.GELU,
            layers.GELUTanh,
            layers.HardSigmoid,
            layers.HardSiLU,
            layers.HardTanh,
            layers.Identity,
            layers.LeakyReLU,
            layers.LogSoftmax,
            layers.Mish,
            layers.ReLU,
            layers.SELU,
            layers.Sigmoid,
            layers.SiLU,
            layers.Softmax,
            layers.Softplus,
            layers.Softsign,
            layers.Tanh,
        )
    },
    "Dense": LayerCase(layers.Dense(4)),
    "Dense, no bias": LayerCase(layers.Dense(4, bias=False)),
    "Dense, square": LayerCase(layers.Dense(3)),
    "Dense, sequences": LayerCase(layers.Dense(4), (2, 3)),
    "Dense, frozen": LayerCase(layers.Dense(4, trainable=False)),
    "Flatten": LayerCase(layers.Flatten(), (2, 3)),
    "Dropout": LayerCase(layers.Dropout(0.4)),
    "Dropout, sequences": LayerCase(layers.Dropout(0.4), (2, 3)),
    "Dropout, inference": LayerCase(layers.Dropout(0.4), train=False),
    "BatchNorm": LayerCase(layers.BatchNorm()),
    "BatchNorm, sequences": LayerCase(layers.BatchNorm(), (2, 3)),
    "BatchNorm, inference": LayerCase(layers.BatchNorm(), train=False),
    "BatchNorm, frozen": LayerCase(layers.BatchNorm(trainable=False)),
    "LayerNorm": LayerCase(layers.LayerNorm()),
    "LayerNorm, sequences": LayerCase(layers.LayerNorm(), (2, 3)),
    "Residual": LayerCase(layers.Residual(layers.Dense(3))),
    "Sequential": LayerCase(_NESTED),
    "Sequential, sequences": LayerCase(_NESTED, (2, 3)),
    "Sequential, inference": LayerCase(_NESTED, train=False),
    "Sequential, partly frozen": LayerCase(
        layers.Sequential(
            layers.Dense(4), layers.Tanh(), layers.Dense(3, trainable=False)
        )
    ),
    "MLP": LayerCase(layers.MLP((4, 4, 2), activation="relu"), kinks=True),
}


# Bases, and what is no layer by itself.
_ABSTRACT = {"Layer", "Activation", "Variable"}


# Losses --------------------------------------------------------------------------------

LOSSES: dict[str, LossCase] = {
    "SquaredError": LossCase(losses.SquaredError(), _Z, _T),
    "SquaredError, weighted": LossCase(losses.SquaredError(), _Z, _T, _WEIGHT),
    "SquaredError, sequences": LossCase(
        losses.SquaredError(), _normal(ROWS, 2, 3), _normal(ROWS, 2, 3), _WEIGHT
    ),
    "AbsoluteError": LossCase(losses.AbsoluteError(), _Z, _T, kinks=True),
    "Huber": LossCase(losses.Huber(0.8), _Z, _T, _WEIGHT),
    "Quantile": LossCase(losses.Quantile(0.2), _Z, _T, kinks=True),
    "Poisson": LossCase(losses.Poisson(), _Z, _COUNTS, _WEIGHT),
    "BinaryCrossEntropy": LossCase(
        losses.BinaryCrossEntropy(**_SMOOTHED), _Z, _CHANCES, _WEIGHT
    ),
    "CrossEntropy": LossCase(losses.CrossEntropy(**_CLASSES), _Z, _LABELS, _WEIGHT),
    "CrossEntropy, sequences": LossCase(
        losses.CrossEntropy(),
        _normal(ROWS, 2, 3),
        _fixed(_RNG.integers(0, 3, size=(ROWS, 2)).astype(np.int32)),
        _WEIGHT,
    ),
}


# Optimizers ----------------------------------------------------------------------------

OPTIMIZERS: dict[str, Any] = {
    "SGD": optimizers.SGD(0.1),
    "SGD, momentum": optimizers.SGD(0.05, momentum=0.9),
    "SGD, Nesterov": optimizers.SGD(0.05, momentum=0.9, nesterov=True),
    "SGD, schedule": optimizers.SGD(
        schedules.CosineDecay(0.1, 20), momentum=0.9, rate_in_velocity=True
    ),
    "Adam": optimizers.Adam(1e-2),
    "Adam, epsilon_hat": optimizers.Adam(1e-2, epsilon_hat=True),
    "Adam, clip_norm": optimizers.Adam(1e-2, clip_norm=0.1, weight_decay=1e-3),
    "AdamW": optimizers.AdamW(1e-2),
    "RMSprop": optimizers.RMSprop(1e-2),
    "Adagrad": optimizers.Adagrad(1e-1),
    "NAdam": optimizers.NAdam(1e-2),
    "Lion": optimizers.Lion(1e-3, weight_decay=1e-2),
    "LBFGS": optimizers.LBFGS(),
    "LevenbergMarquardt": optimizers.LevenbergMarquardt(),
}


def unlisted() -> dict[str, list[str]]:
    """Say which public rules, layers, losses and optimizers have no entry here.

    Returns
    -------
    dict
        "rules", "layers", "losses", "optimizers" -> names, empty where all are listed.
    """

    def classes(module: Any, *bases: type) -> set[str]:
        public = {name: getattr(module, name) for name in module.__all__}
        return {
            name
            for name, value in public.items()
            if isinstance(value, type) and issubclass(value, bases)
        } - {base.__name__ for base in bases}

    wanted = {
        "rules": (set(rules.__all__), {case.name for case in RULES.values()}),
        "layers": (
            (classes(layers, Layer) | {"MLP"}) - _ABSTRACT,
            {type(case.layer).__name__ for case in LAYERS.values()}
            | (LAYERS.keys() & {"MLP"}),
        ),
        "losses": (
            classes(losses, Loss),
            {type(case.loss).__name__ for case in LOSSES.values()},
        ),
        "optimizers": (
            classes(optimizers, Optimizer, ProblemOptimizer),
            {type(optimizer).__name__ for optimizer in OPTIMIZERS.values()},
        ),
    }
    return {kind: sorted(public - found) for kind, (public, found) in wanted.items()}
