"""Models in files: saved, and loaded without anything but the file.

How a file is laid out and checked is in `chainrule.files.container`; what may stand in its
configuration, in `chainrule.files.codec`; how it is written, in `chainrule.files.durable`.
Loading executes nothing, and draws no weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.config import checks
from chainrule.errors import ChainruleError, SerializationError
from chainrule.files import durable
from chainrule.files.codec import decode, encode
from chainrule.files.container import Contents, naming, write_file
from chainrule.layers import Layer
from chainrule.losses import Loss, links
from chainrule.network import Network
from chainrule.optimizers import Optimizer, ProblemOptimizer

__all__ = ["check_counters", "describe", "restore", "save", "snapshot"]


# Members of a network without parameters, which no array of a file counts.
MEMBERS = 1 << 16


def describe(model: Any) -> dict[str, Any]:
    """Return the configuration of a built model as what JSON can hold.

    Raises
    ------
    SerializationError
        If a part of it cannot be saved, or would not come back as it is.
    """
    network = model._need()
    parts = {
        "network": model.network,
        "loss": model.loss,
        "optimizer": model.optimizer,
        "metrics": list(model._given_metrics),
    }
    config = {name: encode(part, name) for name, part in parts.items()}
    for name, part in parts.items():
        back = decode(config[name], name)
        same = (
            Network(back, network.input_shape) == network
            if (name == "network")
            else back == part
        )
        if not same:
            msg = (
                f"{name} cannot be saved: {part!r} would come back as {back!r}. The "
                f"constructor of each part must keep its arguments as attributes."
            )
            raise SerializationError(msg)
    return {
        **config,
        "dtype": model.dtype,
        "precision": model.precision,
        "seed": model.seed,
        "members": model.members,
        "member": model._member,
        "input_shape": list(network.input_shape),
    }


def snapshot(model: Any, *, include_optimizer: bool = False) -> Contents:
    """Return what a file of this model has: configuration and host arrays.

    Arrays are the parameters, under their own names; the state, under ``state/``; and
    the optimizer's slots, under ``optimizer/``.
    """
    config = describe(model)
    network = model._need()
    theta, state = model.get_weights()
    tensors: dict[str, Any] = {}
    for prefix, vector, entries in (
        ("", theta, network.entries),
        ("state/", state, network.state_entries),
    ):
        for e in entries:
            if prefix + e.name in tensors or e.name == "__metadata__":
                msg = f"two arrays of the network are called {prefix + e.name!r}."
                raise SerializationError(msg)
            piece = vector[..., e.start : e.stop]
            tensors[prefix + e.name] = piece.reshape(*vector.shape[:-1], *e.shape)
    if model._columns is not None:
        config["columns"] = list(model._columns)
    config["training"] = None
    if include_optimizer:
        slots = model._host_slots()
        names = getattr(model.optimizer, "slots", ())
        if names:
            slots = dict(zip(names, slots, strict=True))
        config["training"] = {
            "step": model._step,
            "begun": model._begun,
            "epoch": model._epoch,
            # A list where each member has its own.
            "rate": encode(np.asarray(model._rate).tolist(), "rate"),
            "factor": encode(np.asarray(model._factor).tolist(), "factor"),
            "slots": encode(slots, "optimizer", tensors),
        }
    return Contents(config, tensors)


def restore(contents: Contents, backend: Any) -> Any:
    """Return the model that `snapshot` was taken of, on a `Backend`.

    The arrays that belong to it are taken out of ``contents.tensors``.

    Raises
    ------
    ChainruleError
        If the contents are not those of a model. Nothing of a size that the
        configuration claims is allocated before an array of that size was there.
    """
    from chainrule.model import Model

    config, tensors = contents
    kinds: dict[str, Any] = {
        "network": Layer,
        "loss": Loss,
        "optimizer": (Optimizer, ProblemOptimizer),
    }
    parts: dict[str, Any] = {}
    for name, kind in kinds.items():
        parts[name] = decode(_entry(config, name, dict), name)
        if not isinstance(parts[name], kind):
            msg = f"{name} is not what its name says; got {type(parts[name]).__name__}."
            raise SerializationError(msg)
    metrics = decode(_entry(config, "metrics", list), "metrics")
    names = ("dtype", "precision", "seed", "members")
    given = {name: config.get(name) for name in names}
    # Files of networks that are refused today are loaded: they predict what they did.
    loss = parts.pop("loss")
    model = Model(**parts, metrics=metrics, **given)  # type: ignore[arg-type]
    model._loss = loss
    if msg := links.twice(loss, model.network):
        checks.warn(msg)
    model._member = checks.integer("member", config.get("member", 0), 0)
    lead = () if model.members is None else (model.members,)
    shape = _entry(config, "input_shape", list)
    if len(shape) > 32:
        msg = f"input_shape has {len(shape)} axes; at most 32 are taken."
        raise SerializationError(msg)
    shape = tuple(checks.integer("input_shape", n, 1) for n in shape)
    try:
        network = Network(model.network, shape)
    except ChainruleError:
        raise
    except Exception as error:
        # A layer, perhaps a user's, that never expected such sizes.
        msg = f"the network does not fit its input_shape: {error}"
        raise SerializationError(msg) from error
    if not network.size and not network.state_size and (model.members or 0) > MEMBERS:
        msg = (
            f"members must be at most {MEMBERS} for a network without parameters; got "
            f"{model.members}."
        )
        raise SerializationError(msg)
    vectors: list[Any] = [
        _vector(tensors, prefix, entries, lead, model.dtype)
        for prefix, entries in (
            ("", network.entries),
            ("state/", network.state_entries),
        )
    ]
    model._columns = _columns(config, shape)
    training = config.get("training")
    if training is not None:
        training = _training(training, tensors, model, network)
    theta, state = vectors
    model._adopt(network, backend, theta, state, training)
    return model


def _columns(config: dict[str, Any], shape: tuple[int, ...]) -> Any:
    """Return the names of the columns that the model was fitted to, None without."""
    if "columns" not in config:
        return None
    names = _entry(config, "columns", list)
    if not all(isinstance(name, str) for name in names) or (len(names),) != shape:
        msg = f"columns must be names, one for each of the features {shape}."
        raise SerializationError(msg)
    return tuple(names)


def _entry(config: dict[str, Any], name: str, kind: type) -> Any:
    found = config.get(name)
    if not isinstance(found, kind):
        msg = (
            f"the configuration must have {name!r}, a JSON "
            f"{'object' if kind is dict else 'array'}; got {type(found).__name__}."
        )
        raise SerializationError(msg)
    return found


def _take(tensors: dict[str, Any], name: str, shape: Any, dtype: str) -> Any:
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
    tensors: dict[str, Any], prefix: str, entries: Any, lead: Any, dtype: str
) -> Any:
    shapes = [(*lead, *e.shape) for e in entries]
    pieces = [
        _take(tensors, prefix + e.name, shape, dtype)
        for e, shape in zip(entries, shapes, strict=True)
    ]
    if not pieces:
        return np.zeros((*lead, 0), dtype)
    flat = [
        a.reshape(*lead, e.stop - e.start) for a, e in zip(pieces, entries, strict=True)
    ]
    return np.concatenate(flat, axis=-1)


def _training(
    config: Any, tensors: dict[str, Any], model: Any, network: Network
) -> Any:
    """Check what training has left: counters, rates and the optimizer's slots."""
    lead = () if model.members is None else (model.members,)
    shape = (*lead, network.size)
    if not isinstance(config, dict):
        msg = f"training must be a JSON object; got {type(config).__name__}."
        raise SerializationError(msg)
    counters = {name: decode(config.get(name), name) for name in ("rate", "factor")}
    counters |= {name: config.get(name, 0) for name in ("step", "begun", "epoch")}
    check_counters(counters, lead)
    slots = decode(config.get("slots"), "slots", tensors)
    names = getattr(model.optimizer, "slots", ())
    if names:
        if not isinstance(slots, dict) or list(slots) != list(names):
            msg = f"slots must be {', '.join(names)}, those of {model.optimizer!r}."
            raise SerializationError(msg)
        slots = tuple(slots.values())
        if not all(isinstance(a, np.ndarray) for a in slots):
            msg = "slots must be arrays."
            raise SerializationError(msg)
        for name, a in zip(names, slots, strict=True):
            _take({name: a}, name, shape, model.dtype)
    elif isinstance(model.optimizer, Optimizer) and slots != ():
        msg = f"slots must be none, as {model.optimizer!r} has none."
        raise SerializationError(msg)
    if not isinstance(slots, tuple):
        msg = f"slots must be a tuple; got {type(slots).__name__}."
        raise SerializationError(msg)
    if isinstance(model.optimizer, ProblemOptimizer):
        if len(slots) > 1:
            msg = f"slots must be at most one memory; got {len(slots)}."
            raise SerializationError(msg)
        memory = slots[0] if slots else None
        model.optimizer.check_memory(memory, network, model.dtype)
    return {**counters, "slots": slots}


def check_counters(counters: dict[str, Any], lead: Any) -> None:
    """Check what a model counts, and make rates of members arrays; `lead` is theirs.

    Without "begun", as in older files, the slots are as old as the model.
    """
    counters.setdefault("begun", 0)
    for name in ("step", "begun", "epoch"):
        counters[name] = checks.integer(name, counters.get(name), 0)
        if counters[name] > 2**53:
            msg = f"{name} must be at most 2**53; got {counters[name]}."
            raise SerializationError(msg)
    for name in ("rate", "factor"):
        value = counters.get(name)
        value = value.tolist() if isinstance(value, np.ndarray) else value
        counters[name] = _rates(name, value, lead)


def _rates(name: str, value: Any, lead: Any) -> Any:
    """Check a number, or a list of one for each member."""
    if not isinstance(value, list) or not lead:
        return checks.real(name, value, 0.0)
    if (len(value),) != lead:
        msg = f"{name} must have a number for each of {lead[0]} members."
        raise SerializationError(msg)
    return np.array([checks.real(name, v, 0.0) for v in value])


def save(model: Any, path: Any, *, include_optimizer: bool = False) -> None:
    """Write a model's file; see `Model.save`."""
    path = durable.check_path(path)
    model._need()
    with naming(path):
        config, tensors = snapshot(model, include_optimizer=include_optimizer)
    write_file(path, {"kind": "model", "model": config}, tensors)
