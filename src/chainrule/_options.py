"""The arguments of a fit that are neither x nor y: checked before anything begins."""

from __future__ import annotations

import math
import os
from typing import Any, NamedTuple

from chainrule import _checks
from chainrule.callbacks.base import HOOKS, check_hooks
from chainrule.errors import ArgumentError, ArgumentTypeError

__all__ = [
    "Options",
    "check_callbacks",
    "check_options",
    "check_validation",
    "split",
]


class Options(NamedTuple):
    """The arguments of a fit that are neither data nor callbacks, checked."""

    epochs: int
    batch_size: int
    shuffle: bool
    bootstrap: bool
    progress: bool | None
    resume: Any
    slope_weight: float
    validation_split: float


def check_options(**given: Any) -> Options:
    """Return the arguments of `Model.fit` as `Options`, or raise an error naming one."""
    for name in ("epochs", "batch_size"):
        given[name] = _checks.integer(name, given[name], int(name == "batch_size"))
    resume = given["resume"]
    if resume is not None and not isinstance(resume, (str, os.PathLike)):
        _checks.refuse("resume", "the path of a checkpoint, or None", resume)
    given["progress"] = _checks.boolean("progress", given["progress"], none=True)
    for name in ("shuffle", "bootstrap"):
        given[name] = _checks.boolean(name, given[name])
    given["slope_weight"] = _checks.real("slope_weight", given["slope_weight"], 0.0)
    given["validation_split"] = _checks.real(
        "validation_split", given["validation_split"], 0.0, 1.0, open_high=True
    )
    return Options(**given)


def check_validation(given: Any, share: float) -> tuple[Any, Any, Any] | None:
    """Return x, y and weights (or None) of validation data, if there are any."""
    if given is None:
        return None
    if share:
        msg = "give validation_data or validation_split, not both."
        raise ArgumentError(msg)
    if not isinstance(given, (tuple, list)) or not 2 <= len(given) <= 3:
        msg = "validation_data must be (x, y) or (x, y, sample_weight)."
        raise ArgumentTypeError(msg)
    x, y, *weight = given
    return x, y, weight[0] if weight else None


def check_callbacks(given: Any) -> list[Any]:
    """Return the callbacks as a list, or raise an error if one is none."""
    try:
        hooks = list(given)
    except TypeError:  # a single thing; an array without axes says that it is iterable
        hooks = [given]
    for hook in hooks:
        if isinstance(hook, type) or not all(hasattr(hook, name) for name in HOOKS):
            wanted = "objects such as callbacks.EarlyStopping()"
            _checks.refuse("callbacks", wanted, hook)
        check_hooks(hook)
    return hooks


def split(data: Any, share: float) -> tuple[Any, Any]:
    """Cut the last `share` of the samples off, for validation."""
    samples = data.x.shape[0]
    cut = samples - math.ceil(samples * share)
    if not 0 < cut < samples:
        msg = (
            f"validation_split {share} of {samples} samples leaves none for training "
            f"or none for validation."
        )
        raise ArgumentError(msg)
    first, last = (
        type(data)(*[None if a is None else a[some, ...] for a in data])
        for some in (slice(None, cut), slice(cut, None))
    )
    return first, last
