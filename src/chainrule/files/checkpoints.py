"""What a checkpoint file holds beside the model, and what a resumed fit must agree in.

The file is a model file (`chainrule.files.models`) with one entry more: "fit" has the
history, the callbacks' own states, how far an epoch is, and two descriptions of what
was trained on what. `wanted` must agree, or the fit is refused; where `around` differs
(library versions, threads, device), bits may, and a warning says so.
"""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from chainrule.config import checks
from chainrule.errors import ChainruleError, ResumeError, SerializationError
from chainrule.files import codec, container, models
from chainrule.files.container import Contents
from chainrule.files.digest import fingerprint
from chainrule.files.models import json_object
from chainrule.network import Network
from chainrule.state.epochs import PartialEpoch
from chainrule.state.history import History
from chainrule.state.snapshot import ModelSnapshot

if TYPE_CHECKING:
    from chainrule.backends import Backend

__all__ = [
    "Circumstances",
    "FitRecord",
    "check_parts",
    "compare",
    "describe",
    "differences",
    "number",
    "owns",
    "read",
    "write",
]

# Parts of a model that a resumed fit must agree in, beside its network.
_AGREED = ("dtype", "loss", "optimizer", "precision", "seed")


class Circumstances(NamedTuple):
    """What a resumed fit must, and what it should, agree in: plain values by name."""

    wanted: dict[str, Any]
    around: dict[str, Any]


class FitRecord(NamedTuple):
    """What a checkpoint holds of the fit itself.

    Attributes
    ----------
    first : int
        The epoch with which the fit began.
    history, before : History
        Of the fit so far, and of the model before it.
    callbacks : list of (name, state, whether the fit depends on it)
    circumstances : Circumstances
    part : PartialEpoch or None
        How far the epoch is that is under way, on the host.
    """

    first: int
    history: History
    before: History
    callbacks: list[tuple[str, dict[str, Any], bool]]
    circumstances: Circumstances
    part: PartialEpoch | None = None


def describe(
    parts: dict[str, Any], backend: Backend, data: Any, validation: Any, **how: Any
) -> Circumstances:
    """Return what a fit of a model with these parts is made of.

    Data are compared by their SHA-256 as they are trained on: in the model's dtype.
    `how` are the other arguments of the fit: batch_size, shuffle, bootstrap,
    slope_weight, and how samples are cut into chunks, if they are.
    """
    wanted = {**how, "members": parts["members"], "member": parts["member"]}
    names = ("x", "y", "sample_weight", "slopes")
    for prefix, arrays in (("", data), ("validation ", validation or ())):
        filled = (*arrays, *[None] * (len(names) - len(arrays)))
        for name, a in zip(names, filled, strict=True):
            wanted[prefix + name] = None if a is None else fingerprint(backend, a)
    around = {
        "backend": backend.name,
        "device": backend.device_name or "cpu",
        "machine": platform.machine(),
        "threads": backend.threads(),
        **backend.versions(),
    }
    return Circumstances(wanted, around)


def check_parts(parts: dict[str, Any]) -> None:
    """Raise an error if a model has a part that no file can hold.

    Raises
    ------
    SerializationError
    """
    for name in ("network", "loss", "optimizer", "metrics"):
        codec.encode(parts[name], name)


def write(
    path: str | os.PathLike[str],
    snapshot: ModelSnapshot,
    record: FitRecord,
    *,
    leads: bool = True,
) -> bool:
    """Write a checkpoint; return False, and write none, if it is not finite.

    Parameters
    ----------
    path : str or PathLike
    snapshot : ModelSnapshot
        The model as it is at the end of its last whole epoch.
    record : FitRecord
    leads : bool
        Whether to write; if not, only the answer is returned.
    """
    training = snapshot.training
    assert training is not None
    part: dict[str, Any] | None = None
    if record.part is not None:
        part = {
            **record.part._asdict(),
            "step": training.step,
            "begun": training.begun,
            "epoch": training.epoch,
            "rate": training.rate,
            "factor": training.rate_scale,
        }
    config, tensors = models.to_contents(snapshot)
    coded_part = codec.encode(part, "fit/part", tensors)
    finite = list(tensors.values())
    fit = {
        "first": record.first,
        "history": _columns(record.history),
        "before": _columns(record.before),
        "callbacks": record.callbacks,
        "part": None,
        "wanted": record.circumstances.wanted,
        "around": record.circumstances.around,
    }
    if not all(np.isfinite(a).all() for a in finite if a.dtype.kind == "f"):
        if part is not None:  # the epoch's end will tell
            return False
        if not leads:
            return False
        checks.warn(
            f"no checkpoint is written to {path} after epoch {training.epoch}: the "
            f"model or the optimizer has numbers that are not finite. What was there "
            f"is kept."
        )
        return False
    if not leads:
        return True
    coded = {**codec.encode(fit, "fit", tensors), "part": coded_part}
    config = {"kind": "checkpoint", "model": config, "fit": coded}
    container.write_file(path, config, tensors)
    return True


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
    for name, column in json_object(columns).items():
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


def read(path: str | os.PathLike[str]) -> tuple[ModelSnapshot, FitRecord]:
    """Return the model and the fit that a checkpoint holds, on the host.

    Within an epoch, the model's counters are those of that epoch's beginning.

    Raises
    ------
    MissingFileError
        If there is no file.
    SerializationError, FileError
        If the file is damaged, is a model file, or cannot be read.
    """
    config, tensors = container.read_file(path)
    with container.naming(path):
        if config.get("kind") != "checkpoint":
            msg = (
                "this is a model file, not a checkpoint; chainrule.load it and fit "
                "again, or resume from what callbacks.Checkpoint wrote."
            )
            raise SerializationError(msg)
        contents = Contents(json_object(config.get("model")), tensors)
        snapshot = models.from_contents(contents)
        fit = json_object(codec.decode(config.get("fit"), "fit", tensors))
        wanted, around = (_plain(fit.get(name)) for name in ("wanted", "around"))
        part = fit.get("part")
        if part is not None:
            snapshot, part = _part(json_object(part), snapshot)
        assert snapshot.training is not None
        record = FitRecord(
            checks.integer("the first epoch of the fit", fit.get("first"), 0),
            _history(fit.get("history"), "the history of the fit"),
            _history(fit.get("before"), "the history before the fit"),
            _callbacks(fit.get("callbacks")),
            Circumstances(wanted, around),
            part,
        )
        if record.first > (epoch := snapshot.training.epoch):
            msg = (
                f"the fit began with epoch {record.first}, and the model is at {epoch}."
            )
            raise SerializationError(msg)
    return snapshot, record


def owns(circumstances: Circumstances, path: str | os.PathLike[str], what: str) -> bool:
    """Say whether a file is the checkpoint `what` of a fit of these circumstances."""
    if number(path) != what:
        return False
    try:
        config, tensors = container.read_file(path)
        fit = json_object(codec.decode(config.get("fit"), "fit", tensors))
        return bool(_plain(fit.get("wanted")) == circumstances.wanted)
    except ChainruleError:
        return False


def number(path: str | os.PathLike[str]) -> str | None:
    """Say of which epoch, or epoch and step, a checkpoint is; None if it is none."""
    try:
        config, _ = container.read_file(path)
        if (part := config["fit"]["part"]) is not None:
            return f"{int(part['epoch'])}-{int(part['done'])}"
        return str(int(config["model"]["training"]["epoch"]))
    except (ChainruleError, KeyError, TypeError, ValueError):
        return None


def _plain(value: Any) -> dict[str, Any]:
    """Return an entry that describes something: numbers and words, by name."""
    kinds = (type(None), bool, int, float, str)
    if not all(isinstance(v, kinds) for v in json_object(value).values()):
        msg = "what describes the fit must be numbers and words."
        raise SerializationError(msg)
    return json_object(value)


def _callbacks(given: Any) -> list[tuple[str, dict[str, Any], bool]]:
    if not isinstance(given, list) or not all(
        isinstance(entry, tuple) and [type(v) for v in entry] == [str, dict, bool]
        for entry in given
    ):
        msg = "callbacks must be a list of their names, states and whether they steer."
        raise SerializationError(msg)
    return given


def _part(
    part: dict[str, Any], snapshot: ModelSnapshot
) -> tuple[ModelSnapshot, PartialEpoch]:
    """Return the epoch that is under way, and the model at its beginning."""
    training, parts = snapshot.training, snapshot.parts
    assert training is not None
    lead = training.theta.shape[:-1]
    training = training._replace(**models.check_counters(part, lead))
    done = checks.integer("the steps of the epoch", part.get("done"), 1)
    found = tuple(part.get(name) for name in ("carry", "values", "masses"))
    each = ((done, *lead), parts["dtype"])
    slots = (training.theta,) * len(getattr(parts["optimizer"], "slots", ()))
    like = training._replace(slots=slots).map(_form)
    epoch = PartialEpoch(found[0], done, *found[1:])
    forms = epoch.map(_form)
    if (forms.carry, forms.values) != ((*like.weights, like.slots), each) or (
        forms.masses not in (None, ((done,), parts["dtype"]), each)
    ):
        msg = "the arrays of the epoch under way are not such as the model's."
        raise SerializationError(msg)
    return snapshot._replace(training=training), epoch


def _form(a: Any) -> tuple[tuple[int, ...], str]:
    """Return the shape of an array and the name of its dtype."""
    return tuple(a.shape), str(a.dtype)


def compare(
    path: str | os.PathLike[str],
    parts: dict[str, Any],
    network: Network,
    circumstances: Circumstances,
    snapshot: ModelSnapshot,
    record: FitRecord,
) -> None:
    """Raise a `ResumeError` if a checkpoint is that of another fit.

    Parameters
    ----------
    path : str or PathLike
    parts, network, circumstances
        Of the fit that shall go on from it.
    snapshot, record
        What `read` returned.
    """
    saved, had = snapshot.parts, record.circumstances.wanted
    assert snapshot.input_shape is not None
    layer = Network(saved["network"], snapshot.input_shape).layer
    pairs = {name: (parts[name], saved[name]) for name in _AGREED}
    pairs["network"] = (network.layer, layer)
    pairs["shape of a sample"] = (network.input_shape, snapshot.input_shape)
    pairs |= {k: (value, had.get(k)) for k, value in circumstances.wanted.items()}
    other = [name for name, (now, then) in pairs.items() if now != then]
    if other:
        differ = "; ".join(
            f"{name} was {_short(pairs[name][1])} and is {_short(pairs[name][0])}"
            for name in other
        )
        msg = (
            f"resume: {path} is the checkpoint of another fit: {differ}. Resume "
            f"with what it was trained with, or begin anew with another path."
        )
        raise ResumeError(msg)


def differences(now: Circumstances, record: FitRecord) -> list[str]:
    """Return, in words, in which surroundings a checkpoint was written."""
    then, here = record.circumstances.around, now.around
    differ = [k for k in {**then, **here} if then.get(k) != here.get(k)]
    if not differ:
        return []
    listed = ", ".join(f"{k} {then.get(k)} -> {here.get(k)}" for k in differ)
    return [f"it was written with other surroundings ({listed})"]


def _short(value: Any) -> str:
    """Show a value; of a digest, its beginning tells enough."""
    text = "nothing" if value is None else str(value)
    head, _, code = text.rpartition(" ")
    if len(code) == 64 and head:
        return f"{head} sha256 {code[:12]}"
    return text if len(text) <= 200 else text[:200] + "..."
