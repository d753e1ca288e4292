"""The arguments of `Model.fit`, checked."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from chainrule.config import checks
from chainrule.data.stream import stored
from chainrule.errors import ArgumentError, ArgumentTypeError

__all__ = ["FitData", "FitOptions", "check_options", "check_validation"]


class FitData(NamedTuple):
    """What a fit is given to learn from, as the user has it."""

    x: Any
    y: Any
    sample_weight: Any
    validation: tuple[Any, Any, Any] | None
    slopes: Any

    @property
    def comes_in_chunks(self) -> bool:
        """Whether any of it may come chunk by chunk: stored rows, or batches."""
        held = self.validation or (None, 0, None)
        missing = self.y is None or held[1] is None
        return missing or any(map(stored, (*self[:3], *held)))


class FitOptions(NamedTuple):
    """The arguments of a fit that are neither data nor callbacks, checked."""

    epochs: int
    batch_size: int
    shuffle: bool | None
    bootstrap: bool
    progress: bool | None
    resume: str | os.PathLike[str] | None
    slope_weight: float
    validation_split: float
    chunk_bytes: int | None
    steps_per_epoch: int | None

    @property
    def comes_in_chunks(self) -> bool:
        """Whether an option says that data come chunk by chunk."""
        return self.chunk_bytes is not None or self.steps_per_epoch is not None


def check_options(**given: Any) -> FitOptions:
    """Return the arguments of `Model.fit` as `FitOptions`; an error names one."""
    for name in ("epochs", "batch_size"):
        given[name] = checks.integer(name, given[name], int(name == "batch_size"))
    for name in ("chunk_bytes", "steps_per_epoch"):
        if given[name] is not None:
            given[name] = checks.integer(name, given[name], 1)
    resume = given["resume"]
    if resume is not None and not isinstance(resume, (str, os.PathLike)):
        checks.refuse("resume", "the path of a checkpoint, or None", resume)
    given["progress"] = checks.boolean("progress", given["progress"], none=True)
    given["shuffle"] = checks.boolean("shuffle", given["shuffle"], none=True)
    given["bootstrap"] = checks.boolean("bootstrap", given["bootstrap"])
    given["slope_weight"] = checks.real("slope_weight", given["slope_weight"], 0.0)
    given["validation_split"] = checks.real(
        "validation_split", given["validation_split"], 0.0, 1.0, open_high=True
    )
    return FitOptions(**given)


def _loads(given: Any) -> bool:
    """Whether it gives batches again and again, and is neither a pair nor an array."""
    if isinstance(given, (tuple, list, dict, str)) or hasattr(given, "shape"):
        return False
    # A data set may have samples by number alone.
    gives = hasattr(given, "__iter__") or hasattr(given, "__getitem__")
    return gives and not hasattr(given, "__next__")


def check_validation(given: Any, share: float) -> tuple[Any, Any, Any] | None:
    """Return x, y and weights (or None) of validation data, if there are any."""
    if given is None:
        return None
    if share:
        msg = "give validation_data or validation_split, not both."
        raise ArgumentError(msg)
    if callable(given) or _loads(given):
        return given, None, None  # batches
    if not isinstance(given, (tuple, list)) or not 2 <= len(given) <= 3:
        msg = (
            "validation_data must be (x, y) or (x, y, sample_weight), or a function "
            "that returns an iterable of batches."
        )
        raise ArgumentTypeError(msg)
    x, y, *weight = given
    return x, y, weight[0] if weight else None
