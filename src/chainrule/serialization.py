"""Models in files: saved, and loaded without anything but the file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from chainrule import backends
from chainrule.config.explain import explain_call
from chainrule.files import container, models
from chainrule.files.registry import register
from chainrule.model import Model

if TYPE_CHECKING:
    from types import ModuleType

    from chainrule.backends import Backend
    from chainrule.config.choices import BackendName

__all__ = ["load", "register", "save"]


def save(
    model: Model, path: str | os.PathLike[str], *, include_optimizer: bool = False
) -> None:
    """Write a model's file; see `Model.save`."""
    model.save(path, include_optimizer=include_optimizer)


@explain_call(0)
def load(
    path: str | os.PathLike[str],
    backend: BackendName | Backend | ModuleType | None = None,
    device: Any = None,
) -> Model:
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
    target = backends.get("numpy" if backend is None else backend, device)
    snapshot = models.read(path)
    with container.naming(path):
        return Model.from_snapshot(snapshot, target)
