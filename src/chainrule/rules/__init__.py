"""The paper: every function of a network beside its pullback.

A rule is called on arrays and returns ``(value, pullback)``; ``pullback`` takes the
gradient of a scalar E with respect to the value and returns a tuple, the gradients of E
with respect to the rule's array arguments. The cotangent has at least the value's axes.
Rules hold no state, write nothing, and use only functions of the array API standard
(2024.12), so that they run on whatever array they are given.

Each argument has a *core rank*. Axes before the core broadcast, as in NumPy, and are
never summed in a pullback: a gradient has the broadcast leading shape followed by the
argument's own core shape. So one rule serves a batch, an ensemble (a leading axis on
the parameters), a Jacobian (a leading axis on the cotangent) and per-sample gradients.
"""

from __future__ import annotations

from chainrule.rules.activations import (
    celu,
    elu,
    exp,
    gelu,
    gelu_tanh,
    hard_sigmoid,
    hard_silu,
    hard_tanh,
    identity,
    leaky_relu,
    log_softmax,
    mish,
    relu,
    selu,
    sigmoid,
    silu,
    softmax,
    softplus,
    softsign,
    tanh,
)
from chainrule.rules.classification import (
    binary_cross_entropy,
    cross_entropy,
    hinge,
    kullback_leibler,
)
from chainrule.rules.dense import dense
from chainrule.rules.dropout import dropout
from chainrule.rules.focal import binary_focal, focal
from chainrule.rules.likelihood import (
    gaussian_nll,
    mixture_density,
    negative_binomial,
    student_t,
)
from chainrule.rules.normalization import batch_norm, batch_norm_inference, layer_norm
from chainrule.rules.regression import (
    absolute_error,
    cosine_distance,
    huber,
    log_cosh,
    poisson,
    quantile,
    squared_error,
)

__all__ = [
    "absolute_error",
    "batch_norm",
    "batch_norm_inference",
    "binary_cross_entropy",
    "binary_focal",
    "celu",
    "cosine_distance",
    "cross_entropy",
    "dense",
    "dropout",
    "elu",
    "exp",
    "focal",
    "gaussian_nll",
    "gelu",
    "gelu_tanh",
    "hard_sigmoid",
    "hard_silu",
    "hard_tanh",
    "hinge",
    "huber",
    "identity",
    "kullback_leibler",
    "layer_norm",
    "leaky_relu",
    "log_cosh",
    "log_softmax",
    "mish",
    "mixture_density",
    "negative_binomial",
    "poisson",
    "quantile",
    "relu",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "softsign",
    "squared_error",
    "student_t",
    "tanh",
]


def __dir__() -> list[str]:
    return __all__
