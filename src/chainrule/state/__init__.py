"""Values that travel: what training carries, what an epoch leaves, what files hold."""

from __future__ import annotations

from chainrule.state.epochs import EpochResult, PartialEpoch
from chainrule.state.history import History
from chainrule.state.snapshot import ModelSnapshot
from chainrule.state.training import TrainingState

__all__ = ["EpochResult", "History", "ModelSnapshot", "PartialEpoch", "TrainingState"]
