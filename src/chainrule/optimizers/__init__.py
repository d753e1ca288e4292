"""Optimizers: updates of the flat parameter vector.

There are two kinds. An `Optimizer` turns each batch's gradient into an elementwise
update. A `ProblemOptimizer` is given the whole problem and makes iterations of its own.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from chainrule.config.explain import explain_missing
from chainrule.config.names import lookup
from chainrule.optimizers.adam import Adam, AdamW, NAdam
from chainrule.optimizers.adaptive import Adagrad, RMSprop
from chainrule.optimizers.base import BaseOptimizer, Optimizer
from chainrule.optimizers.lion import Lion
from chainrule.optimizers.sgd import SGD
from chainrule.optimizers.whole import Iteration, ProblemOptimizer

if TYPE_CHECKING:
    from chainrule.config.choices import OptimizerAlias, OptimizerName
    from chainrule.optimizers.lbfgs import LBFGS
    from chainrule.optimizers.levenberg_marquardt import LevenbergMarquardt

__all__ = [
    "LBFGS",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "BaseOptimizer",
    "Iteration",
    "LevenbergMarquardt",
    "Lion",
    "NAdam",
    "Optimizer",
    "ProblemOptimizer",
    "RMSprop",
    "get",
]

# Loaded when they are asked for: a first fit does not need them.
_LATER = {"LBFGS": "lbfgs", "LevenbergMarquardt": "levenberg_marquardt"}
_NAMES = {
    cls.__name__.lower(): cls.__name__
    for cls in (SGD, Adam, AdamW, RMSprop, Adagrad, NAdam, Lion)
} | {stem: name for name, stem in _LATER.items()}


def get(
    optimizer: OptimizerName | OptimizerAlias | BaseOptimizer,
) -> Optimizer | ProblemOptimizer:
    """Return an optimizer from its name (lower case), or as it is."""
    if isinstance(optimizer, (Optimizer, ProblemOptimizer)):
        return optimizer
    wanted = "an optimizer such as chainrule.Adam(1e-3), or a name"
    name = lookup("optimizer", optimizer, _NAMES, "optimizer", wanted)
    found: Optimizer | ProblemOptimizer
    found = getattr(importlib.import_module(__name__), name)()
    return found


def __dir__() -> list[str]:
    return __all__


if not TYPE_CHECKING:
    _absent = explain_missing(__name__, __all__)

    def __getattr__(name: str) -> Any:
        if name not in _LATER:
            return _absent(name)
        value = getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
        globals()[name] = value
        return value
