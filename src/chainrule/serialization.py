"""Models in files: saved, and loaded without anything but the file.

How a file is laid out and checked is in `chainrule.files.container`; what may stand in its
configuration, in `chainrule.files.codec`; how it is written, in `chainrule.files.durable`.
Loading executes nothing, and draws no weights.
"""

from __future__ import annotations

from typing import Any

from chainrule.config.explain import explain_call
from chainrule.errors import SerializationError
from chainrule.files.container import Contents, naming, read_file
from chainrule.files.models import _entry, restore, save
from chainrule.files.registry import register

__all__ = ["load", "register", "save"]


@explain_call(0)
def load(path: Any, backend: Any = None, device: Any = None) -> Any:
    """Return the model that a file holds, as it was saved.

    Parameters
    ----------
    path : str or PathLike
        A file of `Model.save`, or a checkpoint.
    backend : {"numpy", "jax", "cupy", "torch"}, Backend or module, optional
        Where the model shall work, whatever backend saved it; None: on NumPy, as for
        `Model.build`.
    device : object, optional
        A device of the backend, or its name.

    Returns
    -------
    Model

    Raises
    ------
    SerializationError
        If the file is damaged, is not a model's, or needs a class that is not known;
        see `register`.
    FileError
        If the file cannot be read; `MissingFileError` if it is not there.
    BackendError, ArgumentError
        If the backend cannot be had.

    Notes
    -----
    Loading executes nothing from the file, imports nothing that it names, and never
    draws weights. On the backend that saved the model, predictions are equal bit for
    bit; a file that was saved with its optimizer also trains on as the model would.
    """
    from chainrule import backends

    target = backends.get("numpy" if backend is None else backend, device)
    config, tensors = read_file(path)
    with naming(path):
        model = restore(Contents(_entry(config, "model", dict), tensors), target)
        if tensors and config.get("kind") == "model":
            msg = f"the file has an array {next(iter(tensors))[:80]!r} too many."
            raise SerializationError(msg)
    return model
