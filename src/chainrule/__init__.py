"""Neural networks: the math written once, by hand, on the arrays that you already have.

>>> import numpy as np
>>> import chainrule as cr
>>> x = np.linspace(-1, 1, 256)[:, None]
>>> model = cr.Model(cr.MLP((32, 32, 1), activation="tanh"), seed=0)
>>> history = model.fit(x, x**2, epochs=10)
>>> model.predict(x).shape
(256, 1)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from chainrule import (
    backends,
    callbacks,
    initializers,
    layers,
    losses,
    metrics,
    optimizers,
    rules,
    schedules,
)
from chainrule.callbacks import Checkpoint, EarlyStopping
from chainrule.config.version import VERSION
from chainrule.errors import (
    ArgumentError,
    ArgumentTypeError,
    BackendError,
    BusyError,
    ChainruleError,
    ChainruleWarning,
    DeviceError,
    DivergenceError,
    FileError,
    GradientError,
    MissingFileError,
    MissingLibraryError,
    NotBuiltError,
    OutOfMemoryError,
    PeerError,
    ResumeError,
    SerializationError,
    ShapeError,
    SourceError,
)
from chainrule.layers import (
    CELU,
    ELU,
    GELU,
    MLP,
    SELU,
    BatchNorm,
    Dense,
    Dropout,
    Exp,
    Flatten,
    GELUTanh,
    HardSigmoid,
    HardSiLU,
    HardTanh,
    Identity,
    Layer,
    LayerNorm,
    LeakyReLU,
    LogSoftmax,
    Mish,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Softsign,
    Tanh,
)
from chainrule.model import Model
from chainrule.optimizers import SGD, Adagrad, Adam, AdamW, Lion, NAdam, RMSprop
from chainrule.state.history import History, draw_with

if TYPE_CHECKING:
    from chainrule import serialization, testing
    from chainrule.optimizers import LBFGS, LevenbergMarquardt
    from chainrule.serialization import load

__version__: str = VERSION

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "LBFGS",
    "MLP",
    "SELU",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "ArgumentError",
    "ArgumentTypeError",
    "BackendError",
    "BatchNorm",
    "BusyError",
    "ChainruleError",
    "ChainruleWarning",
    "Checkpoint",
    "Dense",
    "DeviceError",
    "DivergenceError",
    "Dropout",
    "EarlyStopping",
    "Exp",
    "FileError",
    "Flatten",
    "GELUTanh",
    "GradientError",
    "HardSiLU",
    "HardSigmoid",
    "HardTanh",
    "History",
    "Identity",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "LevenbergMarquardt",
    "Lion",
    "LogSoftmax",
    "Mish",
    "MissingFileError",
    "MissingLibraryError",
    "Model",
    "NAdam",
    "NotBuiltError",
    "OutOfMemoryError",
    "PeerError",
    "RMSprop",
    "ReLU",
    "Residual",
    "ResumeError",
    "Sequential",
    "SerializationError",
    "ShapeError",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Softsign",
    "SourceError",
    "Tanh",
    "backends",
    "callbacks",
    "initializers",
    "layers",
    "load",
    "losses",
    "metrics",
    "optimizers",
    "rules",
    "schedules",
    "serialization",
    "testing",
]


_LATER = {
    "LBFGS": "optimizers",
    "LevenbergMarquardt": "optimizers",
    "load": "serialization",
    "serialization": "serialization",
    "testing": "testing",
}


def _draw(history: History, ax: Any) -> Any:
    from chainrule import plotting

    return plotting.history(history, ax)


draw_with(_draw)


def __getattr__(name: str) -> Any:
    # Loaded when it is asked for: a first fit does not need it.
    if name in _LATER:
        module = importlib.import_module(f"chainrule.{_LATER[name]}")
        value = module if name == _LATER[name] else getattr(module, name)
        globals()[name] = value
        return value
    msg = f"module {__name__!r} has no attribute {name!r}"
    if not name.startswith("_"):  # a submodule is asked for before it is imported
        from chainrule.config import hints

        msg = hints.explain_attribute(f"module {__name__!r}", name, __all__)
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return __all__
