"""Callbacks: what happens between epochs. The hooks are those of Keras."""

from typing import TYPE_CHECKING

from chainrule import _checks
from chainrule.callbacks.base import Callback, LambdaCallback
from chainrule.callbacks.checkpoint import Checkpoint
from chainrule.callbacks.csv_logger import CSVLogger
from chainrule.callbacks.early_stopping import EarlyStopping
from chainrule.callbacks.plateau import ReduceLROnPlateau

__all__ = [
    "CSVLogger",
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "LambdaCallback",
    "ReduceLROnPlateau",
]

# Pickles, and what is shown, know them by the package, whichever file they stand in.
for _name in __all__:
    globals()[_name].__module__ = __name__


if not TYPE_CHECKING:
    __getattr__ = _checks.absent(__name__, __all__)
