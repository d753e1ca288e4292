"""The family of errors that the library raises.

Every one is a `ChainruleError`, and also the built-in error that a caller would
expect, so that ``except ValueError`` and ``except ChainruleError`` both work.
"""

from __future__ import annotations

__all__ = [
    "ArgumentError",
    "ArgumentTypeError",
    "BackendError",
    "BusyError",
    "ChainruleError",
    "ChainruleWarning",
    "DeviceError",
    "DivergenceError",
    "FileError",
    "GradientError",
    "MissingFileError",
    "MissingLibraryError",
    "NotBuiltError",
    "OutOfMemoryError",
    "PeerError",
    "ResumeError",
    "SerializationError",
    "ShapeError",
    "SourceError",
]


class ChainruleError(Exception):
    """Base of every error that chainrule raises on purpose."""


class ChainruleWarning(UserWarning):
    """Something works on, but perhaps not as expected; each says what to do."""


class ArgumentError(ChainruleError, ValueError):
    """An argument has a value that it must not have."""


class ArgumentTypeError(ChainruleError, TypeError):
    """An argument has a type or dtype that it must not have."""


class ShapeError(ArgumentError):
    """An array has a shape that does not fit."""


class DeviceError(ArgumentError):
    """An array or a device belongs to somebody else."""


class BackendError(ChainruleError, ImportError):
    """A backend cannot be had on this machine."""


class MissingLibraryError(ChainruleError, ImportError):
    """An optional library is not installed; the message says how to install it."""


class NotBuiltError(ChainruleError, RuntimeError):
    """The model has no weights yet: `Model.build` or `Model.fit` draws them.

    Or a layer, used by itself, is not bound to the shape of its samples: `Layer.bind`.
    """


class BusyError(ChainruleError, RuntimeError):
    """A model is being fitted, and what was asked would disturb that fit."""


class FileError(ChainruleError, OSError):
    """A file cannot be read or written; what was there is as it was.

    `errno` and `filename` are those of the operating system's error.
    """


class MissingFileError(FileError, FileNotFoundError):
    """A file, or the folder that it should be in, is not there."""


class SourceError(ChainruleError, OSError):
    """A source of samples cannot be read, or is not what it was."""


class SerializationError(ChainruleError, ValueError):
    """A file has contents that cannot be used, or a model what no file can hold."""


class ResumeError(ArgumentError):
    """A checkpoint is that of another fit than the one that it is to go on in."""


class OutOfMemoryError(ChainruleError, MemoryError):
    """A device's memory does not suffice; the error says what to make smaller."""


class DivergenceError(ChainruleError, ArithmeticError):
    """The loss, the parameters, slots or state stopped being finite during training.

    Attributes
    ----------
    epochs : int
        How many epochs of the fit were finite.
    members : tuple of int
        Which members of an ensemble did; empty for a lone model.
    """

    def __init__(
        self, message: str, *, epochs: int = 0, members: tuple[int, ...] = ()
    ) -> None:
        super().__init__(message)
        self.epochs = epochs
        self.members = members


class PeerError(ChainruleError, RuntimeError):
    """Another process of this run has ended, or has refused its part.

    A process that has ended cannot come back: start all again, with ``fit(...,
    resume=path)`` where a `Checkpoint` was written.
    """


class GradientError(ChainruleError, AssertionError):
    """A pullback is wrong: `chainrule.testing.check_gradients` says where.

    Attributes
    ----------
    check : str
        Which check failed: "shape", "dtype", "finite", "purity", "wrt", "differences",
        "leads", "compiled" or "vacuous".
    argument : str or None
        The name of the argument or parameter whose gradient is wrong.
    index : tuple of int or None
        Its worst entry.
    got, wanted : float or None
        What the pullback gave for that entry, and what it should have been.
    """

    check: str
    argument: str | None
    index: tuple[int, ...] | None
    got: float | None
    wanted: float | None

    def __init__(
        self,
        message: str,
        *,
        check: str,
        argument: str | None = None,
        index: tuple[int, ...] | None = None,
        got: float | None = None,
        wanted: float | None = None,
    ) -> None:
        super().__init__(message)
        self.check, self.argument, self.index = check, argument, index
        self.got, self.wanted = got, wanted
