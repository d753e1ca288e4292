"""Between lists of weights and the flat vector; scikit-learn's draws."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.network import Network
from chainrule.sklearn.network import each

if TYPE_CHECKING:
    from chainrule.arrays.types import Array
    from chainrule.backends import Backend

__all__ = ["draw", "pack", "unpack"]


def draw(estimator: Any, units: Sequence[int], dtype: str) -> tuple[list[Any], Any]:
    """Draw initial weights as scikit-learn does: per layer, weights then intercepts.

    Of an ensemble, member 0 draws what the lone network does and leaves the generator
    as that does; the others' generators are seeded from a copy of it.
    """
    generator, members = estimator._random_state, estimator.members
    if members is None:
        return _drawn(estimator, generator, units, dtype)
    others = copy.deepcopy(generator)
    seeds = others.randint(np.iinfo(np.int32).max, size=members)[1:]
    generators = [generator, *(np.random.RandomState(seed) for seed in seeds)]
    drawn = [_drawn(estimator, each, units, dtype) for each in generators]
    coefs, intercepts = (
        [np.stack(group) for group in zip(*lists, strict=True)]
        for lists in zip(*drawn, strict=True)
    )
    return coefs, intercepts


def _drawn(
    estimator: Any, generator: Any, units: Sequence[int], dtype: str
) -> tuple[list[Any], list[Any]]:
    specs = each("activation", estimator.activation, len(units) - 2)
    specs = [*specs, specs[-1]] if specs else [estimator.activation]
    coefs, intercepts = [], []
    for fan_in, fan_out, spec in zip(units[:-1], units[1:], specs, strict=True):
        factor = 2.0 if spec in ("logistic", "sigmoid") else 6.0
        bound = np.sqrt(factor / (fan_in + fan_out))
        uniform = generator.uniform
        coefs.append(uniform(-bound, bound, (fan_in, fan_out)).astype(dtype))
        intercepts.append(uniform(-bound, bound, fan_out).astype(dtype))
    return coefs, intercepts


def pack(network: Network, coefs: Any, intercepts: Any, backend: Backend) -> Any:
    """Join the lists into one vector (..., P), on the host unless all lie here."""
    arrays = [*coefs, *intercepts]
    matrices, rest = iter(coefs), iter(intercepts)
    ordered = [
        next(matrices) if len(e.shape) == 2 else next(rest) for e in network.entries
    ]
    here = all(backend.owns(a) for a in arrays)
    xp = backend.xp if here else np
    pieces = []
    for a, e in zip(ordered, network.entries, strict=True):
        w = a if here else np.asarray(a)
        pieces.append(w.mT if len(e.shape) == 2 else w)
    return network.layout.join(pieces, xp)


def unpack(network: Network, theta: Array) -> tuple[list[Any], list[Any]]:
    """Split a host vector (..., P) into scikit-learn's two lists, copies."""
    coefs: list[Any] = []
    intercepts: list[Any] = []
    for e, a in zip(network.entries, network.views(theta, np), strict=True):
        matrix = len(e.shape) == 2
        (coefs if matrix else intercepts).append(np.array(a.mT if matrix else a))
    coefs = [np.ascontiguousarray(c) for c in coefs]
    return coefs, intercepts
