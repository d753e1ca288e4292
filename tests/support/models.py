"""Where a model stands, for tests of models that have weights."""

from __future__ import annotations

from typing import Any

from chainrule.model import Model
from chainrule.network import Network
from chainrule.state.training import TrainingState

__all__ = ["bound", "host_slots", "standing"]


def standing(model: Model) -> TrainingState:
    """Return the state of a model that has weights."""
    assert model.training is not None
    return model.training


def bound(model: Model) -> Network:
    """Return the bound network of a model that has weights."""
    assert model.bound is not None
    return model.bound


def host_slots(model: Model) -> tuple[Any, ...]:
    """Return the optimizer's slots, on the host."""
    training = model.snapshot().training
    assert training is not None
    return training.slots
