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
    "ExponentialMovingAverage",
    "LambdaCallback",
    "ReduceLROnPlateau",
    "StochasticWeightAveraging",
]

# Loaded when they are asked for: with files, paths and digests a log is a tenth of an
# import.
_LATER = {
    "CSVLogger": "csv_logger",
    "ExponentialMovingAverage": "averages",
    "StochasticWeightAveraging": "averages",
}

# Pickles, and what is shown, know them by the package, whichever file they stand in.
for _name in set(__all__) - _LATER.keys():
    globals()[_name].__module__ = __name__


if TYPE_CHECKING:
    from chainrule.callbacks.averages import (
        ExponentialMovingAverage,
        StochasticWeightAveraging,
    )
    from chainrule.callbacks.csv_logger import CSVLogger
else:
    _absent = explain_missing(__name__, __all__)

    def __getattr__(name: str) -> Any:
        if name not in _LATER:
            return _absent(name)
        value = getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
        value.__module__ = __name__
        globals()[name] = value
        return value
