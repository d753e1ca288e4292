"""What a checkpoint file holds beside the model, and how a fit goes on from it.

The file is a model file (`chainrule.serialization`) with one entry more: "fit" has the
history, the callbacks' own states, how far an epoch is, and two descriptions of what
was trained on what. `wanted` must agree, or the fit is refused; where `around` differs
(library versions, threads, device), bits may, and a warning says so.
"""

from __future__ import annotations

import platform
from typing import Any, NamedTuple

import numpy as np

from chainrule.arrays.trees import tree_map
from chainrule.config import checks
from chainrule.errors import (
    ChainruleError,
    MissingFileError,
    ResumeError,
    SerializationError,
)
from chainrule.files import codec, container, models
from chainrule.files.digest import _digest
from chainrule.state import epochs
from chainrule.state.history import History

__all__ = ["Resumed", "describe", "number", "owns", "read", "write"]


# What a model counts, beside its arrays.
_COUNTERS = ("step", "begun", "epoch", "rate", "factor")


def describe(
    model: Any, backend: Any, data: Any, check: Any, **how: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (wanted, around): what a resumed fit must, and what it should, agree in.

    Data are compared by their SHA-256 as they are trained on: in the model's dtype.
    `how` are the other arguments of the fit: batch_size, shuffle, bootstrap, slope_weight.

    Raises
    ------
    SerializationError
        If the model has a part that no file can hold: now, not after an epoch.
    """
    for name in ("network", "loss", "optimizer", "_given_metrics"):
        codec.encode(getattr(model, name), name.removeprefix("_given_"))
    wanted: dict[str, Any] = {**how, "members": model.members, "member": model._member}
    names = ("x", "y", "sample_weight", "slopes")
    for prefix, arrays in (("", data), ("validation ", check or ())):
        filled = (*arrays, *[None] * (len(names) - len(arrays)))
        for name, a in zip(names, filled, strict=True):
            wanted[prefix + name] = None if a is None else _digest(backend, a)
    around = {
        "backend": backend.name,
        "device": str(backend.device or "cpu"),
        "machine": platform.machine(),
        "threads": backend.threads(),
        **backend.versions(),
    }
    return wanted, around


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
    part: epochs.PartialEpoch | None


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
    config, tensors = models.snapshot(model, include_optimizer=part is None)
    host: dict[str, Any] | None = None
    if part is not None:
        host = tree_map(model.backend.to_numpy, part._asdict())
        numbers = {name: getattr(model, f"_{name}") for name in _COUNTERS}
        host = {**host, **numbers}
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
        if part is not None:  # the epoch's end will tell
            return False
        msg = (
            f"no checkpoint is written to {path} after epoch {model._epoch}: the model or "
            f"the optimizer has numbers that are not finite. What was there is kept."
        )
        checks.warn(msg)
        return False
    fit = codec.encode(fit, "fit", tensors)
    config = {"kind": "checkpoint", "model": config, "fit": fit}
    container.write_file(path, config, tensors)
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
        name: np.array(values) if _alike(values) else values
        for name, values in history.items()
    }


def _alike(values: list[Any]) -> bool:
    """Whether a column is of floats alone, or of arrays of one shape (members,)."""
    shapes = {v.shape if isinstance(v, np.ndarray) else type(v) for v in values}
    return len(shapes) <= 1 and shapes <= {float, np.shape(values)[1:]}


def _history(columns: Any, where: str) -> History:
    """Return the history of a file's columns, which may be hostile."""
    found: dict[str, list[Any]] = {}
    for name, column in _dict(columns).items():
        arrays = isinstance(column, np.ndarray) and column.ndim > 1
        values = column.tolist() if hasattr(column, "tolist") else column
        if not isinstance(values, list):
            msg = f"{where}: the column {name[:80]!r} must be a list."
            raise SerializationError(msg)
        found[name] = list(column) if arrays else values
    kinds = (bool, int, float, np.ndarray)
    if not all(isinstance(v, kinds) for column in found.values() for v in column):
        msg = f"{where} must hold numbers."
        raise SerializationError(msg)
    if len({len(column) for column in found.values()}) > 1:
        msg = f"{where} must have columns of one length, one value for each epoch."
        raise SerializationError(msg)
    return History(found)


def read(
    path: Any,
    model: Any,
    network: Any,
    backend: Any,
    about: tuple[dict[str, Any], dict[str, Any]],
    hooks: list[Any],
) -> Resumed | None:
    """Make the model that of a checkpoint; return the fit, or None without a file.

    The callbacks get their states back, too.

    Raises
    ------
    ResumeError
        If the checkpoint is that of another fit. The model is then as it was.
    SerializationError, FileError
        If the file is damaged, or cannot be read.
    """
    try:
        config, tensors = container.read_file(path)
    except MissingFileError:
        return None
    with container.naming(path):
        if config.get("kind") != "checkpoint":
            msg = (
                "this is a model file, not a checkpoint; chainrule.load it and fit "
                "again, or resume from what callbacks.Checkpoint wrote."
            )
            raise SerializationError(msg)
        contents = container.Contents(_dict(config.get("model")), tensors)
        saved = models.restore(contents, backend)
        fit = _dict(codec.decode(config.get("fit"), "fit", tensors))
        wanted, around = (_plain(fit.get(name)) for name in ("wanted", "around"))
    _compare(path, model, network, saved, about[0], wanted)
    with container.naming(path):
        before = _history(fit.get("before"), "the history before the fit")
        resumed = _resumed(fit, saved, backend)
        warning = _restore_callbacks(hooks, resumed, saved)
    differ = [k for k in {**around, **about[1]} if around.get(k) != about[1].get(k)]
    if differ:
        listed = ", ".join(f"{k} {around.get(k)} -> {about[1].get(k)}" for k in differ)
        warning.append(f"it was written with other surroundings ({listed})")
    if not saved._slots and not hasattr(model.optimizer, "update"):
        name = type(model.optimizer).__name__
        warning.append(f"{name} keeps no memory that a file could hold: it begins anew")
    if warning:
        msg = (
            f"resume: {path}: {'; '.join(warning)}. The fit goes on, but bits may "
            f"differ from those of the fit left alone."
        )
        checks.warn(msg)
    model.__dict__["backend"], model._bound = backend, network
    model._weights, model._slots = saved._weights, saved._slots
    for name in _COUNTERS:
        setattr(model, f"_{name}", getattr(saved, f"_{name}"))
    model.history = before
    return resumed


def owns(about: tuple[dict[str, Any], dict[str, Any]], path: Any, what: str) -> bool:
    """Say whether a file is the checkpoint `what` of a fit that `describe` described."""
    if number(path) != what:
        return False
    try:
        config, tensors = container.read_file(path)
        fit = _dict(codec.decode(config.get("fit"), "fit", tensors))
        return bool(_plain(fit.get("wanted")) == about[0])
    except ChainruleError:
        return False


def number(path: Any) -> str | None:
    """Say of which epoch, or epoch and step, a checkpoint is; None if it is none."""
    try:
        config, _ = container.read_file(path)
        if (part := config["fit"]["part"]) is not None:
            return f"{int(part['epoch'])}-{int(part['done'])}"
        return str(int(config["model"]["training"]["epoch"]))
    except (ChainruleError, KeyError, TypeError, ValueError):
        return None


def _dict(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        msg = f"an entry must be a JSON object; got {type(value).__name__}."
        raise SerializationError(msg)
    return value


def _plain(value: Any) -> dict[str, Any]:
    """Return an entry that describes something: numbers and words, by name."""
    kinds = (type(None), bool, int, float, str)
    if not all(isinstance(v, kinds) for v in _dict(value).values()):
        msg = "what describes the fit must be numbers and words."
        raise SerializationError(msg)
    return _dict(value)


def _resumed(fit: dict[str, Any], saved: Any, backend: Any) -> Resumed:
    """Return the fit of a file; within an epoch, `saved` gets its counters."""
    part = fit.get("part")
    if part is not None:
        part = _part(_dict(part), saved, backend)
    first = checks.integer("the first epoch of the fit", fit.get("first"), 0)
    if first > saved._epoch:
        msg = f"the fit began with epoch {first}, and the model is at {saved._epoch}."
        raise SerializationError(msg)
    callbacks = fit.get("callbacks")
    if not isinstance(callbacks, list) or not all(
        isinstance(entry, tuple) and [type(v) for v in entry] == [str, dict, bool]
        for entry in callbacks
    ):
        msg = "callbacks must be a list of their names, states and whether they steer."
        raise SerializationError(msg)
    history = _history(fit.get("history"), "the history of the fit")
    return Resumed(first, history, callbacks, part)


def _part(part: dict[str, Any], saved: Any, backend: Any) -> epochs.PartialEpoch:
    """Return the epoch that is under way, on the backend; `saved` gets its counters."""
    lead = () if saved.members is None else (saved.members,)
    models.check_counters(part, lead)
    for name in _COUNTERS:
        setattr(saved, f"_{name}", part[name])
    done = checks.integer("the steps of the epoch", part.get("done"), 1)
    carry, values, masses = (part.get(name) for name in ("carry", "values", "masses"))
    each = ((done, *lead), saved.dtype)
    found = tree_map(_form, (carry, values, masses))
    same = tree_map(_form, (*saved._weights, saved._slots))
    if found[:2] != (same, each) or found[2] not in (
        None,
        ((done,), saved.dtype),
        each,
    ):
        msg = "the arrays of the epoch under way are not such as the model's."
        raise SerializationError(msg)
    placed = tree_map(
        lambda a: backend.copy(backend.asarray(a)), (carry, values, masses)
    )
    return epochs.PartialEpoch(placed[0], done, *placed[1:])


def _form(a: Any) -> tuple[tuple[int, ...], str]:
    """Return the shape of an array and the name of its dtype."""
    return tuple(a.shape), str(a.dtype).rpartition(".")[2]


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


def _restore_callbacks(hooks: list[Any], resumed: Resumed, saved: Any) -> list[str]:
    """Give each callback its state: its own, or the n-th of a class that of the n-th then.

    Returns what does not fit. `saved` is the model of the file, whose shapes states have.
    """
    left, pairs = list(resumed.callbacks), []
    stateful = _stateful(hooks)
    new, before = list(stateful), [dict(vars(hook)) for hook in stateful]
    hook: Any = None
    try:
        for rank in (2, 1):
            for hook in list(new):
                fits = getattr(hook, "matches", lambda _: 1)
                same = (
                    i
                    for i, (theirs, state, _) in enumerate(left)
                    if theirs == _name(hook) and fits(state) >= rank
                )
                if (mine := next(same, None)) is not None:
                    new.remove(hook)
                    pairs.append((hook, left.pop(mine)[1]))
        for hook, state in pairs:
            model, hook.model = getattr(hook, "model", None), saved
            hook.restore(state)
            hook.model = model
    except Exception as error:
        # Whatever a callback, perhaps a user's, says to a state that it never had.
        for each, values in zip(stateful, before, strict=True):
            vars(each).clear()
            vars(each).update(values)
        if isinstance(error, ChainruleError):
            raise  # it says itself what to do
        msg = f"the callback {_name(hook)} refuses its state ({error!r})."
        raise SerializationError(msg) from error
    found = [f"the callback {_name(each)} is new" for each in new if _steers(each)]
    gone = [name for name, _, steers in left if steers]
    return found + [f"the callback {name} is gone" for name in gone]
