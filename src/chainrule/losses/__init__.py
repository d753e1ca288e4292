"""A loss's configuration: its options, what targets it takes, and its link.

The formulas are in `chainrule.rules`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainrule.config.explain import explain_missing
from chainrule.config.names import lookup, resolve_with
from chainrule.losses.base import Loss
from chainrule.losses.classification import (
    BinaryCrossEntropy,
    BinaryFocal,
    CrossEntropy,
    Focal,
    Hinge,
    KullbackLeibler,
)
from chainrule.losses.likelihood import (
    GaussianNLL,
    MixtureDensity,
    NegativeBinomial,
    StudentT,
)
from chainrule.losses.regression import (
    AbsoluteError,
    CosineDistance,
    Huber,
    LogCosh,
    Poisson,
    Quantile,
    SquaredError,
)

if TYPE_CHECKING:
    from chainrule.config.choices import LossAlias, LossName

__all__ = [
    "AbsoluteError",
    "BinaryCrossEntropy",
    "BinaryFocal",
    "CosineDistance",
    "CrossEntropy",
    "Focal",
    "GaussianNLL",
    "Hinge",
    "Huber",
    "KullbackLeibler",
    "LogCosh",
    "Loss",
    "MixtureDensity",
    "NegativeBinomial",
    "Poisson",
    "Quantile",
    "SquaredError",
    "StudentT",
    "get",
]

_NAMES: dict[str, type[Loss]] = {
    cls.rule.__name__: cls
    for cls in (
        BinaryCrossEntropy,
        BinaryFocal,
        CrossEntropy,
        Focal,
        Hinge,
        KullbackLeibler,
        AbsoluteError,
        CosineDistance,
        Huber,
        LogCosh,
        Poisson,
        Quantile,
        SquaredError,
        GaussianNLL,
        MixtureDensity,
        NegativeBinomial,
        StudentT,
    )
}


def get(loss: LossName | LossAlias | Loss) -> Loss:
    """Return a loss from its name, or as it is."""
    if isinstance(loss, Loss):
        return loss
    wanted = "a name or an object such as chainrule.losses.Huber()"
    if callable(loss) and not isinstance(loss, type):
        wanted += (
            "; a function (z, t, weight=None, *, xp) -> (value, pullback) is the "
            "rule of one: class Mine(Loss): rule = staticmethod(function)"
        )
    return lookup("loss", loss, _NAMES, "loss", wanted)()


resolve_with("loss", get)


if not TYPE_CHECKING:
    __getattr__ = explain_missing(__name__, __all__)
