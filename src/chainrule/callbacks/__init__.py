"""Callbacks: what happens between epochs. The hooks are those of Keras."""

import importlib
from typing import TYPE_CHECKING, Any

from chainrule.callbacks.base import Callback, CallbackList, Cut, LambdaCallback
from chainrule.callbacks.checkpoint import Checkpoint
from chainrule.callbacks.early_stopping import EarlyStopping
from chainrule.callbacks.plateau import ReduceLROnPlateau
from chainrule.config.explain import explain_missing

__all__ = [
    "CSVLogger",
    "Callback",
    "CallbackList",
    "Checkpoint",
    "Cut",
    "EarlyStopping",
    "LambdaCallback",
    "ReduceLROnPlateau",
]

# Pickles, and what is shown, know them by the package, whichever file they stand in.
for _name in set(__all__) - {"CSVLogger"}:
    globals()[_name].__module__ = __name__


if TYPE_CHECKING:
    from chainrule.callbacks.csv_logger import CSVLogger
else:
    _absent = explain_missing(__name__, __all__)

    def __getattr__(name: str) -> Any:
        if name != "CSVLogger":
            return _absent(name)
        # Loaded when asked for: with files, paths and digests it is a tenth of an
        # import.
        value = importlib.import_module("chainrule.callbacks.csv_logger").CSVLogger
        value.__module__ = __name__
        globals()[name] = value
        return value
