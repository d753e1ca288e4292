"""What is public and has no example."""

from __future__ import annotations

from typing import Any

from chainrule import layers, losses, optimizers, rules
from chainrule.layers import Layer
from chainrule.losses import Loss
from chainrule.optimizers import Optimizer, ProblemOptimizer
from chainrule.testing.cases.layers import LAYERS
from chainrule.testing.cases.losses import LOSSES
from chainrule.testing.cases.optimizers import OPTIMIZERS
from chainrule.testing.cases.rules import RULES

__all__ = ["unlisted"]

# Bases, and what is no layer by itself.
_ABSTRACT = {"Layer", "Activation", "Variable"}


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
