"""A model's snapshot as the contents of a file, and back.

How a file is laid out and checked is in `chainrule.files.container`; what may stand in
its configuration, in `chainrule.files.codec`. Reading executes nothing, and draws no
weights.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from chainrule.config import checks
from chainrule.errors import ChainruleError, SerializationError
from chainrule.files import container, durable
from chainrule.files.codec import decode, encode
from chainrule.files.container import Contents
from chainrule.layers import Layer
from chainrule.losses import Loss
from chainrule.network import Entry, Network
from chainrule.optimizers import Optimizer, ProblemOptimizer
from chainrule.state.snapshot import ModelSnapshot
from chainrule.state.training import TrainingState

__all__ = [
    "check_counters",
    "from_contents",
    "json_object",
    "read",
    "to_contents",
    "write",
]

# Members of a network without parameters, which no array of a file counts.
_MEMBERS = 1 << 16
# Counts stay below what a float64 holds exactly.
_MAX_COUNT = 2**53
_COUNTS = ("step", "begun", "epoch")
_KINDS: dict[str, Any] = {
    "network": Layer,
    "loss": Loss,
    "optimizer": (Optimizer, ProblemOptimizer),
}


def write(path: str | os.PathLike[str], snapshot: ModelSnapshot) -> None:
    """Write a model's file, whole or not at all."""
    path = durable.check_path(path)
    with container.naming(path):
        config, tensors = to_contents(snapshot)
    container.write_file(path, {"kind": "model", "model": config}, tensors)


def read(path: str | os.PathLike[str]) -> ModelSnapshot:
    """Return the snapshot that a model file, or a checkpoint, holds.

    Raises
    ------
    SerializationError
        If the file is damaged, is not a model's, or needs a class that is not known.
    FileError
        If it cannot be read.
    """
    config, tensors = container.read_file(path)
    with container.naming(path):
        found = from_contents(Contents(_entry(config, "model", dict), tensors))
        if tensors and config.get("kind") == "model":
            msg = f"the file has an array {next(iter(tensors))[:80]!r} too many."
            raise SerializationError(msg)
    return found


def to_contents(snapshot: ModelSnapshot) -> Contents:
    """Return what a file of this model has: configuration and host arrays.

    Arrays are the parameters, under their own names; the state, under ``state/``; and
    the optimizer's slots, under ``optimizer/``.

    Raises
    ------
    SerializationError
        If a part of it cannot be saved, or would not come back as it is.
    """
    parts, training = snapshot.parts, snapshot.training
    assert snapshot.input_shape is not None
    assert training is not None
    network = Network(parts["network"], snapshot.input_shape)
    config = _describe(parts, network)
    tensors: dict[str, Any] = {}
    for prefix, vector, entries in _vectors(network, training):
        for e in entries:
            if prefix + e.name in tensors or e.name == "__metadata__":
                msg = f"two arrays of the network are called {prefix + e.name!r}."
                raise SerializationError(msg)
            piece = vector[..., e.start : e.stop]
            tensors[prefix + e.name] = piece.reshape(*vector.shape[:-1], *e.shape)
    if snapshot.columns is not None:
        config["columns"] = list(snapshot.columns)
    config["training"] = None
    if snapshot.has_optimizer:
        slots: Any = training.slots
        if names := getattr(parts["optimizer"], "slots", ()):
            slots = dict(zip(names, slots, strict=True))
        config["training"] = {
            **{name: getattr(training, name) for name in _COUNTS},
            # A list where each member has its own.
            "rate": encode(np.asarray(training.rate).tolist(), "rate"),
            "factor": encode(np.asarray(training.rate_scale).tolist(), "factor"),
            "slots": encode(slots, "optimizer", tensors),
        }
    return Contents(config, tensors)


def _vectors(
    network: Network, training: TrainingState
) -> tuple[tuple[str, Any, tuple[Entry, ...]], ...]:
    """Return the vectors of a state, each with its names' prefix and its layout."""
    return (
        ("", training.theta, network.entries),
        ("state/", training.state, network.state_entries),
    )


def _describe(parts: dict[str, Any], network: Network) -> dict[str, Any]:
    """Return the configuration of a model as what JSON can hold."""
    coded = {name: parts[name] for name in _KINDS}
    coded["metrics"] = list(parts["metrics"])
    config = {name: encode(part, name) for name, part in coded.items()}
    for name, part in coded.items():
        back = decode(config[name], name)
        same = (
            Network(back, network.input_shape) == network
            if name == "network"
            else back == part
        )
        if not same:
            msg = (
                f"{name} cannot be saved: {part!r} would come back as {back!r}. The "
                f"constructor of each part must keep its arguments as attributes."
            )
            raise SerializationError(msg)
    names = ("dtype", "precision", "seed", "members", "member")
    config |= {name: parts[name] for name in names}
    return {**config, "input_shape": list(network.input_shape)}


def from_contents(contents: Contents) -> ModelSnapshot:
    """Return the snapshot that `to_contents` was given, from what may be hostile.

    The arrays that belong to it are taken out of ``contents.tensors``.

    Raises
    ------
    ChainruleError
        If the contents are not those of a model. Nothing of a size that the
        configuration claims is allocated before an array of that size was there.
    """
    config, tensors = contents
    parts: dict[str, Any] = {}
    for name, kind in _KINDS.items():
        parts[name] = decode(_entry(config, name, dict), name)
        if not isinstance(parts[name], kind):
            msg = f"{name} is not what its name says; got {type(parts[name]).__name__}."
            raise SerializationError(msg)
    parts["metrics"] = tuple(decode(_entry(config, "metrics", list), "metrics"))
    parts |= {name: config.get(name) for name in ("dtype", "precision", "seed")}
    parts["dtype"] = checks.choice("dtype", parts["dtype"], ("float32", "float64"))
    members = config.get("members")
    members = None if members is None else checks.integer("members", members, 1)
    parts["members"] = members
    parts["member"] = checks.integer("member", config.get("member", 0), 0)
    network = _network(config, parts["network"])
    if not network.size and not network.state_size and (members or 0) > _MEMBERS:
        msg = (
            f"members must be at most {_MEMBERS} for a network without parameters; got "
            f"{members}."
        )
        raise SerializationError(msg)
    lead = () if members is None else (members,)
    theta, state = (
        _vector(tensors, prefix, entries, lead, parts["dtype"])
        for prefix, entries in (
            ("", network.entries),
            ("state/", network.state_entries),
        )
    )
    training = TrainingState(theta, state)
    has_optimizer = config.get("training") is not None
    columns = _columns(config, network.input_shape)
    if has_optimizer:
        training = _training(config["training"], tensors, parts, network, training)
    return ModelSnapshot(parts, network.input_shape, training, has_optimizer, columns)


def _network(config: dict[str, Any], layer: Layer) -> Network:
    """Return the network of a file, bound to its shape."""
    given = _entry(config, "input_shape", list)
    if len(given) > 32:
        msg = f"input_shape has {len(given)} axes; at most 32 are taken."
        raise SerializationError(msg)
    shape = tuple(checks.integer("input_shape", n, 1) for n in given)
    try:
        return Network(layer, shape)
    except ChainruleError:
        raise
    except Exception as error:
        # A layer, perhaps a user's, that never expected such sizes.
        msg = f"the network does not fit its input_shape: {error}"
        raise SerializationError(msg) from error


def _columns(config: dict[str, Any], shape: tuple[int, ...]) -> tuple[str, ...] | None:
    """Return the names of the columns that the model was fitted to, None without."""
    if "columns" not in config:
        return None
    names = _entry(config, "columns", list)
    if not all(isinstance(name, str) for name in names) or (len(names),) != shape:
        msg = f"columns must be names, one for each of the features {shape}."
        raise SerializationError(msg)
    return tuple(names)


def json_object(value: Any) -> dict[str, Any]:
    """Return an entry that must be a JSON object."""
    if not isinstance(value, dict):
        msg = f"an entry must be a JSON object; got {type(value).__name__}."
        raise SerializationError(msg)
    return value


def _entry(config: dict[str, Any], name: str, kind: type) -> Any:
    found = config.get(name)
    if not isinstance(found, kind):
        msg = (
            f"the configuration must have {name!r}, a JSON "
            f"{'object' if kind is dict else 'array'}; got {type(found).__name__}."
        )
        raise SerializationError(msg)
    return found


def _take(
    tensors: dict[str, Any], name: str, shape: tuple[int, ...], dtype: str
) -> Any:
    if name not in tensors:
        msg = f"the array {name[:80]!r} is missing."
        raise SerializationError(msg)
    a = tensors.pop(name)
    if a.shape != tuple(shape) or a.dtype != dtype:
        msg = (
            f"the array {name[:80]!r} must have the shape {tuple(shape)} and the dtype "
            f"{dtype}; it has {a.shape} and {a.dtype}."
        )
        raise SerializationError(msg)
    return a


def _vector(
    tensors: dict[str, Any],
    prefix: str,
    entries: tuple[Entry, ...],
    lead: tuple[int, ...],
    dtype: str,
) -> Any:
    pieces = [
        _take(tensors, prefix + e.name, (*lead, *e.shape), dtype) for e in entries
    ]
    if not pieces:
        return np.zeros((*lead, 0), dtype)
    flat = [
        a.reshape(*lead, e.stop - e.start) for a, e in zip(pieces, entries, strict=True)
    ]
    return np.concatenate(flat, axis=-1)


def _training(
    config: Any,
    tensors: dict[str, Any],
    parts: dict[str, Any],
    network: Network,
    training: TrainingState,
) -> TrainingState:
    """Check what training has left: counters, rates and the optimizer's slots."""
    lead, dtype, optimizer = (
        training.theta.shape[:-1],
        parts["dtype"],
        parts["optimizer"],
    )
    if not isinstance(config, dict):
        msg = f"training must be a JSON object; got {type(config).__name__}."
        raise SerializationError(msg)
    counters = {name: decode(config.get(name), name) for name in ("rate", "factor")}
    counters |= {name: config.get(name, 0) for name in _COUNTS}
    slots = decode(config.get("slots"), "slots", tensors)
    if names := getattr(optimizer, "slots", ()):
        if not isinstance(slots, dict) or list(slots) != list(names):
            msg = f"slots must be {', '.join(names)}, those of {optimizer!r}."
            raise SerializationError(msg)
        slots = tuple(slots.values())
        if not all(isinstance(a, np.ndarray) for a in slots):
            msg = "slots must be arrays."
            raise SerializationError(msg)
        for name, a in zip(names, slots, strict=True):
            _take({name: a}, name, (*lead, network.size), dtype)
    elif isinstance(optimizer, Optimizer) and slots != ():
        msg = f"slots must be none, as {optimizer!r} has none."
        raise SerializationError(msg)
    if not isinstance(slots, tuple):
        msg = f"slots must be a tuple; got {type(slots).__name__}."
        raise SerializationError(msg)
    if isinstance(optimizer, ProblemOptimizer):
        if len(slots) > 1:
            msg = f"slots must be at most one memory; got {len(slots)}."
            raise SerializationError(msg)
        optimizer.check_memory(slots[0] if slots else None, network, dtype)
    return training._replace(slots=slots, **check_counters(counters, lead))


def check_counters(counters: dict[str, Any], lead: tuple[int, ...]) -> dict[str, Any]:
    """Return what a model counts, checked; rates of members become arrays.

    Without "begun", as in older files, the slots are as old as the model. `lead` is
    (members,), or () for a lone model.
    """
    found: dict[str, Any] = {}
    for name in _COUNTS:
        default = 0 if name == "begun" else None
        found[name] = checks.integer(name, counters.get(name, default), 0)
        if found[name] > _MAX_COUNT:
            msg = f"{name} must be at most 2**53; got {found[name]}."
            raise SerializationError(msg)
    for name, field in (("rate", "rate"), ("factor", "rate_scale")):
        value = counters.get(name)
        value = value.tolist() if isinstance(value, np.ndarray) else value
        found[field] = _rates(name, value, lead)
    return found


def _rates(name: str, value: Any, lead: tuple[int, ...]) -> Any:
    """Check a number, or a list of one for each member."""
    if not isinstance(value, list) or not lead:
        return checks.real(name, value, 0.0)
    if (len(value),) != lead:
        msg = f"{name} must have a number for each of {lead[0]} members."
        raise SerializationError(msg)
    return np.array([checks.real(name, v, 0.0) for v in value])
