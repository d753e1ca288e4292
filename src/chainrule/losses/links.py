"""Links that would be applied twice: by a network's last layer, and by its loss.

binary_cross_entropy, cross_entropy and poisson take what stands *before* sigmoid,
softmax and exp: any real number. A network that ends in one of these trains without an
error and learns badly: sigmoid of a sigmoid lies between 0.5 and 0.73.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from chainrule import rules
from chainrule.errors import ArgumentError
from chainrule.losses.base import Loss

if TYPE_CHECKING:
    from chainrule.layers import Layer

__all__ = ["check", "twice"]

# Rule of the last layer -> what its values are.
_GIVES: dict[Callable[..., Any], str] = {
    rules.sigmoid: "probabilities",
    rules.hard_sigmoid: "probabilities",
    rules.softmax: "probabilities",
    rules.log_softmax: "logarithms of probabilities",
    rules.exp: "positive numbers",
    rules.softplus: "positive numbers",
}
# Link of a loss -> what it takes, what it applies, how to have that after training, and
# what it must not be given. Softmax of log-softmax is softmax: that is right.
_TAKES: dict[str, tuple[str, str, str, set[str]]] = {
    "logit": (
        "logits",
        "sigmoid",
        "predict_proba gives probabilities",
        {*_GIVES.values()},
    ),
    "softmax": (
        "logits",
        "softmax",
        "predict_proba gives probabilities",
        {"probabilities"},
    ),
    "heads": (
        "heads that may be any real numbers",
        "the exponential where one must be positive",
        "predict gives the mean, predict(x, return_std=True) its spread",
        {*_GIVES.values()},
    ),
    "margin": (
        "numbers whose sign is the answer",
        "the margin",
        "the sign of what predict returns is the answer",
        {*_GIVES.values()},
    ),
    "log": (
        "the logarithm of a rate",
        "exp",
        "exp of what predict returns is the rate",
        {"probabilities", "positive numbers"},
    ),
}


def twice(loss: Loss, network: Layer) -> str:
    """Return what is wrong with this loss behind this network, or ""."""
    end = network.ending
    rule = getattr(end, "rule", None) or getattr(end, "function", None)
    gives = _GIVES.get(rule) if callable(rule) else None  # type: ignore[arg-type]
    takes, applies, after, wrong = _TAKES.get(loss.link, ("", "", "", set()))
    if gives not in wrong:
        return ""
    return (
        f"loss: {loss.name} takes {takes} and applies {applies} itself, but the "
        f"network ends in {end!r}, which gives {gives}. Leave that layer out: {after}. "
        f"Or keep it, with a loss of such values: 'squared_error'."
    )


def check(loss: Loss, network: Layer) -> None:
    """Raise an error if the loss applies a link to what is one's outcome already."""
    if msg := twice(loss, network):
        raise ArgumentError(msg)
