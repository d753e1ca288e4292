"""What a checkpoint file holds beside the model, and how a fit goes on from it.

The file is a model file (`chainrule.serialization`) with one entry more: "fit" has the
history, the callbacks' own states, how far an epoch is, and two descriptions of what
was trained on what. `wanted` must agree, or the fit is refused; where `around` differs
(library versions, threads, device), bits may, and a warning says so.
"""

from __future__ import annotations

import platform
import warnings
from typing import Any, NamedTuple

import numpy as np

from chainrule import serialization, training
from chainrule.errors import (
    ChainruleWarning,
    MissingFileError,
    ResumeError,
    SerializationError,
)
from chainrule.history import History
from chainrule.training import tree_map

__all__ = ["Resumed", "describe", "read", "restore_callbacks", "write"]

# Bytes of an array up to which all of it is hashed; beyond, evenly spaced blocks of
# rows, which together are as many.
HASHED = 1 << 28
_BLOCK = 1 << 16


def describe(
    model: Any, backend: Any, data: Any, check: Any, batch_size: int, shuffle: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (wanted, around): what a resumed fit must, and what it should, agree in.

    Data are compared by their SHA-256 as they are trained on: in the model's dtype.
    """
    wanted: dict[str, Any] = {"batch_size": batch_size, "shuffle": shuffle}
    names = ("x", "y", "sample_weight")
    for prefix, arrays in (("", data), ("validation ", check or [None] * 3)):
        for name, a in zip(names, arrays, strict=True):
            wanted[prefix + name] = None if a is None else _digest(backend, a)
    around = {
        "backend": backend.name,
        "device": str(backend.device or "cpu"),
        "machine": platform.machine(),
        "threads": backend.threads(),
        **backend.versions(),
    }
    return wanted, around


def _digest(backend: Any, a: Any) -> str:
    """Shape, dtype and SHA-256 of an array, in one line."""
    import hashlib

    samples = int(a.shape[0])
    first = np.ascontiguousarray(backend.to_numpy(a[:1, ...]))
    row = max(1, first.nbytes)
    digest = hashlib.sha256()
    if samples * row <= HASHED:
        step = max(1, (1 << 24) // row)
        starts: Any = range(0, samples, step)
    else:
        step = max(1, _BLOCK // row)
        number = max(2, HASHED // (step * row))
        starts = np.linspace(0, samples - step, number).astype(np.int64).tolist()
    for low in starts:
        part = backend.to_numpy(a[low : min(low + step, samples), ...])
        digest.update(np.ascontiguousarray(part).data)
    return f"{tuple(a.shape)} {first.dtype} {digest.hexdigest()}"


class Resumed(NamedTuple):
    """A fit that goes on.

    Attributes
    ----------
    first : int
        The epoch with which the fit began.
    history : History
        Of the fit so far.
    callbacks : list of (name, state, whether the fit depends on it)
    part : training.Part or None
        How far the epoch is that is under way.
    """

    first: int
    history: History
    callbacks: list[tuple[str, Any, bool]]
    part: training.Part | None


def write(
    path: Any,
    model: Any,
    about: tuple[dict[str, Any], dict[str, Any]],
    hooks: list[Any],
    resumed: Resumed,
    before: History,
) -> bool:
    """Write a checkpoint of `model`; return False, and write none, if it is not finite.

    Parameters
    ----------
    path : str or PathLike
    model : Model
        As it is at the end of its last whole epoch.
    about : what `describe` returned
    hooks : list of Callback
    resumed : Resumed
        What the file shall give back; its `callbacks` are asked of the hooks.
    before : History
        Of the model before the fit.
    """
    part = resumed.part
    config, tensors = serialization.snapshot(model, include_optimizer=part is None)
    host: dict[str, Any] | None = None
    if part is not None:
        host = tree_map(model.backend.to_numpy, part._asdict())
        numbers = {"step": model._step, "epoch": model._epoch, "rate": model._rate}
        host = {**host, **numbers, "factor": model._factor}
    fit = {
        "first": resumed.first,
        "history": _columns(resumed.history),
        "before": _columns(before),
        "callbacks": [
            (_name(hook), hook.state(), _steers(hook)) for hook in _stateful(hooks)
        ],
        "part": host,
        "wanted": about[0],
        "around": about[1],
    }
    finite = [*tensors.values()]
    tree_map(finite.append, host)
    if not all(np.isfinite(a).all() for a in finite if a.dtype.kind == "f"):
        return False
    fit = serialization.encode(fit, "fit", tensors)
    config = {"kind": "checkpoint", "model": config, "fit": fit}
    serialization.write_file(path, config, tensors)
    return True


def _stateful(hooks: list[Any]) -> list[Any]:
    return [hook for hook in hooks if hasattr(hook, "state")]


def _name(hook: Any) -> str:
    return type(hook).__name__


def _steers(hook: Any) -> bool:
    """Whether the fit depends on the callback; what only writes files does not count."""
    return bool(hook.state()) and getattr(hook, "steers", True)


def _columns(history: History) -> dict[str, Any]:
    """Columns of floats become arrays: text of them would fill the header."""
    return {
        name: np.array(values) if all(type(v) is float for v in values) else values
        for name, values in history.items()
    }


def _history(columns: dict[str, Any]) -> History:
    return History(
        {k: v.tolist() if hasattr(v, "tolist") else v for k, v in columns.items()}
    )


def read(
    path: Any,
    model: Any,
    network: Any,
    backend: Any,
    about: tuple[dict[str, Any], dict[str, Any]],
) -> Resumed | None:
    """Make the model that of a checkpoint; return the fit, or None without a file.

    Raises
    ------
    ResumeError
        If the checkpoint is that of another fit. The model is then as it was.
    SerializationError, FileError
        If the file is damaged, or cannot be read.
    """
    try:
        contents = serialization.read_file(path)
    except MissingFileError:
        return None
    config, tensors = contents
    with serialization.naming(path):
        if config.get("kind") != "checkpoint":
            msg = (
                "this is a model file, not a checkpoint; chainrule.load it and fit "
                "again, or resume from what callbacks.Checkpoint wrote."
            )
            raise SerializationError(msg)
        about_model = serialization.Contents(config.get("model", {}), tensors)
        saved = serialization.restore(about_model, backend)
        fit = serialization.decode(config.get("fit"), "fit", tensors)
    _compare(path, model, network, saved, about[0], fit["wanted"])
    _warn(path, about[1], fit["around"])
    part = fit["part"]
    for name in ("step", "epoch", "rate", "factor"):
        value = getattr(saved, f"_{name}") if part is None else part.pop(name)
        setattr(model, f"_{name}", value)
    if part is not None:
        place = backend.asarray
        part = training.Part(**tree_map(lambda a: backend.copy(place(a)), part))
    model.backend, model._bound = backend, network
    model._weights, model._slots = saved._weights, saved._slots
    model.history = _history(fit["before"])
    return Resumed(fit["first"], _history(fit["history"]), fit["callbacks"], part)


def _compare(
    path: Any, model: Any, network: Any, saved: Any, wanted: Any, had: Any
) -> None:
    pairs = {
        name: (getattr(model, name), getattr(saved, name))
        for name in ("dtype", "loss", "optimizer", "precision", "seed")
    }
    pairs["network"] = (network.layer, saved._bound.layer)
    pairs["shape of a sample"] = (network.input_shape, saved._bound.input_shape)
    pairs |= {name: (wanted[name], had.get(name)) for name in wanted}
    other = [name for name, (now, then) in pairs.items() if now != then]
    if other:
        differences = "; ".join(
            f"{name} was {_short(pairs[name][1])} and is {_short(pairs[name][0])}"
            for name in other
        )
        msg = (
            f"resume: {path} is the checkpoint of another fit: {differences}. Resume "
            f"with what it was trained with, or begin anew with another path."
        )
        raise ResumeError(msg)


def _short(value: Any) -> str:
    """Show a value; of a digest, its beginning tells enough."""
    text = "nothing" if value is None else str(value)
    head, _, digest = text.rpartition(" ")
    if len(digest) == 64 and head:
        return f"{head} sha256 {digest[:12]}"
    return text if len(text) <= 200 else text[:200] + "..."


def _warn(path: Any, around: dict[str, Any], had: dict[str, Any]) -> None:
    names = [k for k in {**had, **around} if around.get(k) != had.get(k)]
    if names:
        listed = ", ".join(f"{k} {had.get(k)} -> {around.get(k)}" for k in names)
        msg = (
            f"resume: {path} was written with other surroundings ({listed}): the fit "
            f"goes on, but bits may differ from the fit left alone."
        )
        warnings.warn(msg, ChainruleWarning, stacklevel=5)


def restore_callbacks(hooks: list[Any], resumed: Resumed) -> None:
    """Give each callback its state, the n-th of a class that of the n-th then."""
    left = list(resumed.callbacks)
    anew = []
    for hook in _stateful(hooks):
        name = _name(hook)
        mine = next((i for i, (theirs, *_) in enumerate(left) if theirs == name), None)
        if mine is not None:
            hook.restore(left.pop(mine)[1])
        elif _steers(hook):
            anew.append(name)
    gone = [name for name, _, steers in left if steers]
    if anew or gone:
        listed = [f"{name} is new" for name in anew] + [f"{n} is gone" for n in gone]
        msg = (
            f"resume: the callbacks are not those of the checkpoint: "
            f"{', '.join(listed)}. The fit may not end as it would have."
        )
        warnings.warn(msg, ChainruleWarning, stacklevel=5)
