"""Files: one safetensors file, with its configuration as JSON in the header.

The header's metadata has one key, "chainrule", whose value is a JSON object: the
SHA-256 of the file, the number of the format, the library's version, and what the file
is about. The digest is that of all bytes of the file, with its own 64 digits as zeros.

What a file may hold is decided by `chainrule._encoding`; that a file is whole or not
there, by `chainrule._files`. Loading executes nothing. Its memory is bounded by the
size of the file, whatever sizes the file claims.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from chainrule import _checks, _files
from chainrule._encoding import decode, encode, register
from chainrule.errors import ChainruleError, FileError, SerializationError
from chainrule.layers import Layer
from chainrule.losses import Loss
from chainrule.network import Network
from chainrule.optimizers import Optimizer, ProblemOptimizer

__all__ = [
    "FORMAT",
    "Contents",
    "decode",
    "describe",
    "encode",
    "load",
    "naming",
    "read_file",
    "register",
    "restore",
    "save",
    "snapshot",
    "write_file",
]

FORMAT = 1
KEY = "chainrule"
# A header is text that is parsed as a whole: this bounds the memory for it.
MAX_HEADER = 8 * 2**20

_ZEROS = b"0" * 64
# Inside a string of JSON a quote is escaped, so no name or value can look like this.
_MARK = b'"chainrule":"{\\"sha256\\":\\"'
_DTYPES = {
    "BOOL": "?",
    "I8": "<i1",
    "I16": "<i2",
    "I32": "<i4",
    "I64": "<i8",
    "U8": "<u1",
    "U16": "<u2",
    "U32": "<u4",
    "U64": "<u8",
    "F32": "<f4",
    "F64": "<f8",
}


class Contents(NamedTuple):
    """What a file has: its configuration (parsed JSON) and its arrays, by name."""

    config: dict[str, Any]
    tensors: dict[str, Any]


@contextlib.contextmanager
def naming(path: Any) -> Iterator[None]:
    """Let every error of the family that leaves the block name the file.

    What the contents are to blame for is a `SerializationError`.
    """
    try:
        yield
    except FileError:
        raise
    except ChainruleError as error:
        msg = f"{_files.check_path(path)}: {error}"
        raise SerializationError(msg) from error


# Any file of ours.


def write_file(path: Any, config: dict[str, Any], tensors: dict[str, Any]) -> None:
    """Write configuration and arrays durably: the file is whole, or as it was.

    Parameters
    ----------
    path : str or PathLike
    config : dict
        What `json` can write, without NaN or infinity; see `encode`.
    tensors : dict from str to numpy.ndarray
        Of numbers or booleans, in any layout.

    Raises
    ------
    SerializationError
        If the contents cannot be saved.
    FileError
        If the file cannot be written: a full disk, a folder that is not there.
    """
    path = _files.check_path(path)
    with naming(path):
        header, data = _packed(config, tensors)
    _files.write(path, (header, data))


def _packed(config: dict[str, Any], tensors: dict[str, Any]) -> tuple[bytes, Any]:
    import hashlib
    import json

    from safetensors.numpy import save as pack

    from chainrule import __version__

    plain = {name: _plain(name, a) for name, a in tensors.items()}
    about = {"sha256": _ZEROS.decode(), "format": FORMAT, "version": __version__}
    text = json.dumps({**about, **config}, allow_nan=False, separators=(",", ":"))
    raw = memoryview(pack(plain, metadata={KEY: text}))
    length = 8 + int.from_bytes(raw[:8], "little")
    if length > 8 + MAX_HEADER:
        msg = (
            f"the configuration takes {length:,} bytes; a file's header has at most "
            f"{MAX_HEADER:,}. Merge layers, or put long lists into arrays."
        )
        raise SerializationError(msg)
    header = bytes(raw[:length])
    digest = hashlib.sha256(header)
    digest.update(raw[length:])
    at = header.index(_MARK) + len(_MARK)
    header = header[:at] + digest.hexdigest().encode() + header[at + len(_ZEROS) :]
    return header, raw[length:]


def _plain(name: str, a: Any) -> Any:
    """Return an array as safetensors needs it: it writes wrong bytes of any other."""
    a = np.asarray(a)
    a = np.array(a, dtype=a.dtype.newbyteorder("="), order="C")
    if a.dtype.newbyteorder("<").str.replace("|", "<") not in {
        *(kind for kind in _DTYPES.values() if kind != "?"),
        "<b1",
    }:
        msg = f"{name} cannot be saved: no file has the dtype {a.dtype}."
        raise SerializationError(msg)
    return a


def read_file(path: Any) -> Contents:
    """Read and check a file that `write_file` wrote; it may be anything instead.

    Parameters
    ----------
    path : str or PathLike

    Returns
    -------
    Contents
        Arrays are read-only.

    Raises
    ------
    SerializationError
        If it is no such file, is damaged, or is of a newer format.
    FileError
        If it cannot be read.
    """
    path = _files.check_path(path)
    with _files.opened(path) as (file, size), naming(path):
        header = _header(file, size)
        about, end = _parsed(header)
        if end != size - len(header):
            msg = (
                f"the file is damaged: its header speaks of {end:,} bytes of data, and "
                f"there are {size - len(header):,}."
            )
            raise SerializationError(msg)
        data = file.read(size - len(header))
        _check_digest(header, data)
        return Contents(about, _arrays(header + data))


def _header(file: Any, size: int) -> bytes:
    """Read the length and the header, if the file can have them."""
    start = file.read(8)
    length = int.from_bytes(start, "little")
    if len(start) < 8 or not 2 <= length <= size - 8:
        msg = "this is not a safetensors file, or only a part of one."
        raise SerializationError(msg)
    if length > MAX_HEADER:
        msg = f"its header has {length:,} bytes; at most {MAX_HEADER:,} are read."
        raise SerializationError(msg)
    return bytes(start + file.read(length))


def _json(text: Any, what: str) -> dict[str, Any]:
    import json

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            msg = f"{what} has a name twice."
            raise SerializationError(msg)
        return found

    def refuse(name: str) -> Any:
        msg = f"{what} has the number {name}, which is not JSON."
        raise SerializationError(msg)

    try:
        found = json.loads(text, object_pairs_hook=unique, parse_constant=refuse)
    except SerializationError:
        raise
    except (ValueError, RecursionError) as error:  # also bad UTF-8, and huge integers
        msg = f"{what} is not valid JSON ({error})."
        raise SerializationError(msg) from error
    if not isinstance(found, dict):
        msg = f"{what} must be a JSON object; got {type(found).__name__}."
        raise SerializationError(msg)
    return found


def _parsed(header: bytes) -> tuple[dict[str, Any], int]:
    """Return the configuration, and how many bytes of data the header claims."""
    entries = _json(header[8:], "the header")
    metadata = entries.pop("__metadata__", None)
    text = metadata.get(KEY) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        msg = "this safetensors file was not written by chainrule: it has no such key."
        raise SerializationError(msg)
    about = _json(text, "the configuration")
    number = about.pop("format", None)
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        msg = "the configuration does not say its format."
        raise SerializationError(msg)
    if number > FORMAT:
        version = repr(about.get("version"))[:40]
        msg = (
            f"it has format {number}, written by chainrule {version}; this version "
            f"reads formats up to {FORMAT}. Install a newer chainrule."
        )
        raise SerializationError(msg)
    ends = [0]
    for entry in entries.values():
        offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
        if (
            not isinstance(offsets, list)
            or len(offsets) != 2
            or not isinstance(offsets[1], int)
        ):
            msg = "the header has an entry without offsets."
            raise SerializationError(msg)
        ends.append(offsets[1])
    return about, max(ends)


def _check_digest(header: bytes, data: bytes) -> None:
    import hashlib

    at = header.find(_MARK) + len(_MARK)
    if header.count(_MARK) != 1:
        msg = "the file has no checksum where chainrule writes one."
        raise SerializationError(msg)
    digest = hashlib.sha256(header[:at] + _ZEROS + header[at + len(_ZEROS) :])
    digest.update(data)
    if header[at : at + len(_ZEROS)] != digest.hexdigest().encode():
        msg = (
            "the file is damaged: its contents do not match its SHA-256 checksum. "
            "Take another copy of it."
        )
        raise SerializationError(msg)


def _arrays(raw: bytes) -> dict[str, Any]:
    import safetensors

    try:
        found = safetensors.deserialize(raw)
    except safetensors.SafetensorError as error:
        msg = f"this is not a valid safetensors file ({error})."
        raise SerializationError(msg) from error
    arrays = {}
    for name, entry in found:
        if entry["dtype"] not in _DTYPES:
            msg = f"{name[:80]!r} has the dtype {entry['dtype']}, which is not read."
            raise SerializationError(msg)
        flat = np.frombuffer(entry["data"], _DTYPES[entry["dtype"]])
        try:
            arrays[name] = flat.reshape(entry["shape"])
        except ValueError as error:
            msg = f"{name[:80]!r} has a shape that NumPy refuses ({error})."
            raise SerializationError(msg) from error
        arrays[name].flags.writeable = False
    return arrays


# Models.


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
            tensors[prefix + e.name] = vector[e.start : e.stop].reshape(e.shape)
    config["training"] = None
    if include_optimizer:
        slots = model._host_slots()
        names = getattr(model.optimizer, "slots", ())
        if names:
            slots = dict(zip(names, slots, strict=True))
        config["training"] = {
            "step": model._step,
            "epoch": model._epoch,
            "rate": encode(model._rate, "rate"),
            "factor": encode(model._factor, "factor"),
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
    kinds = {"network": Layer, "loss": Loss, "optimizer": (Optimizer, ProblemOptimizer)}
    parts: dict[str, Any] = {}
    for name, kind in kinds.items():
        parts[name] = decode(_entry(config, name, dict), name)
        if not isinstance(parts[name], kind):
            msg = f"{name} is not what its name says; got {type(parts[name]).__name__}."
            raise SerializationError(msg)
    metrics = decode(_entry(config, "metrics", list), "metrics")
    given = {name: config.get(name) for name in ("dtype", "precision", "seed")}
    model = Model(**parts, metrics=metrics, **given)  # type: ignore[arg-type]
    shape = _entry(config, "input_shape", list)
    if len(shape) > 32:
        msg = f"input_shape has {len(shape)} axes; at most 32 are taken."
        raise SerializationError(msg)
    shape = tuple(_checks.integer("input_shape", n, 1) for n in shape)
    try:
        network = Network(model.network, shape)
    except ChainruleError:
        raise
    except Exception as error:
        # A layer, perhaps a user's, that never expected such sizes.
        msg = f"the network does not fit its input_shape: {error}"
        raise SerializationError(msg) from error
    vectors = [
        _vector(tensors, prefix, entries, model.dtype)
        for prefix, entries in (
            ("", network.entries),
            ("state/", network.state_entries),
        )
    ]
    training = config.get("training")
    if training is not None:
        training = _training(training, tensors, model, network)
    model._adopt(network, backend, *vectors, training)
    return model


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


def _vector(tensors: dict[str, Any], prefix: str, entries: Any, dtype: str) -> Any:
    pieces = [_take(tensors, prefix + e.name, e.shape, dtype) for e in entries]
    if not pieces:
        return np.zeros(0, dtype)
    return np.concatenate([np.ravel(a) for a in pieces])


def _training(config: Any, tensors: dict[str, Any], model: Any, network: Any) -> Any:
    """Check what training has left: counters, rates and the optimizer's slots."""
    if not isinstance(config, dict):
        msg = f"training must be a JSON object; got {type(config).__name__}."
        raise SerializationError(msg)
    counters = {}
    for name in ("step", "epoch"):
        counters[name] = _checks.integer(name, config.get(name), 0)
        if counters[name] > 2**53:
            msg = f"{name} must be at most 2**53; got {counters[name]}."
            raise SerializationError(msg)
    for name in ("rate", "factor"):
        counters[name] = _checks.real(name, decode(config.get(name), name), 0.0)
    slots = decode(config.get("slots"), "slots", tensors)
    names = getattr(model.optimizer, "slots", ())
    if names:
        if not isinstance(slots, dict) or list(slots) != list(names):
            msg = f"slots must be {', '.join(names)}, those of {model.optimizer!r}."
            raise SerializationError(msg)
        slots = tuple(slots.values())
        for name, a in zip(names, slots, strict=True):
            _take({name: a}, name, (network.size,), model.dtype)
    if not isinstance(slots, tuple):
        msg = f"slots must be a tuple; got {type(slots).__name__}."
        raise SerializationError(msg)
    return {**counters, "slots": slots}


def save(model: Any, path: Any, *, include_optimizer: bool = False) -> None:
    """Write a model's file; see `Model.save`."""
    path = _files.check_path(path)
    model._need()
    with naming(path):
        config, tensors = snapshot(model, include_optimizer=include_optimizer)
    write_file(path, {"kind": "model", "model": config}, tensors)


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
