"""Which data come chunk by chunk, and what a fit of them cannot do."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from chainrule import backends
from chainrule.data import chunks, sources
from chainrule.data.samples import Data
from chainrule.data.sources import Rows
from chainrule.data.stream import Batches, Stored, Stream
from chainrule.errors import ArgumentError, ShapeError

if TYPE_CHECKING:
    from chainrule.model.fitting import FitData, FitOptions
    from chainrule.model.model import Model
    from chainrule.network import Network
    from chainrule.training.logs import EpochLogs

__all__ = [
    "CHUNK_BYTES",
    "batches",
    "check",
    "check_logs",
    "hold_out",
    "rows",
    "stream",
]

# Bytes of a chunk where nothing is said.
CHUNK_BYTES = 1 << 28

_Given = tuple[Any, Any, Any]  # x, y and weights (or None)


def rows(given: _Given, chunk_bytes: int | None, dtype: str) -> _Given:
    """Return x, y and weights as `Rows` where one chunk does not hold them.

    Arrays in memory are cut only where `chunk_bytes` says so.
    """
    if chunk_bytes is None and not any(map(sources.stored, given)):
        return given
    names = ("x", "y", "sample_weight")
    found: list[Any] = []
    for name, a in zip(names, given, strict=True):
        wanted = a is not None and (sources.stored(a) or isinstance(a, np.ndarray))
        found.append(sources.receive(name, a) if wanted else a)
    x, y, weight = found
    if not isinstance(x, Rows):
        return tuple(_whole(a) for a in found)  # type: ignore[return-value]
    y, weight = (
        a if a is None or isinstance(a, Rows) else sources.receive(n, np.asarray(a))
        for n, a in (("y", y), ("sample_weight", weight))
    )
    limit = CHUNK_BYTES if chunk_bytes is None else chunk_bytes
    if x.shape[0] * _row_bytes((x, y, weight), dtype) <= limit:
        return tuple(_whole(a) for a in (x, y, weight))  # type: ignore[return-value]
    return x, y, weight


def _whole(a: Any) -> Any:
    return a.read(0, a.shape[0]) if isinstance(a, Rows) else a


def _row_bytes(given: _Given, dtype: str) -> int:
    """Return the bytes of a sample as it is trained on."""
    size = np.dtype(dtype).itemsize
    return sum(size * math.prod(a.shape[1:]) for a in given if a is not None)


def check(given: FitData, options: FitOptions) -> None:
    """Refuse what a fit of data that come chunk by chunk cannot do."""
    if given.slopes is not None:
        _refuse("slopes")
    if options.bootstrap:
        _refuse("bootstrap=True")
    if not isinstance(given.x, Batches):
        return
    for name in ("sample_weight", "validation_split"):
        value = given.sample_weight if name[0] == "s" else options.validation_split
        if value is not None and value:
            msg = (
                f"{name} is for fit(x, y); batches bring their own weights, "
                f"(x, y, sample_weight), and validation_data is given apart."
            )
            raise ArgumentError(msg)


def _refuse(what: str) -> NoReturn:
    msg = (
        f"{what} needs all samples in memory; these come chunk by chunk. Hand in "
        f"arrays, and no chunk_bytes."
    )
    raise ArgumentError(msg)


def check_logs(logs: EpochLogs) -> None:
    """Refuse metrics of training data that can be read but once."""
    if logs.evaluation.metrics and getattr(logs.data, "once", False):
        msg = (
            "metrics are of the whole training data, and x is an iterator, which gives "
            "its batches once: give a function of the epoch that returns an iterable."
        )
        raise ArgumentError(msg)


def hold_out(given: _Given, share: float) -> tuple[_Given, _Given]:
    """Cut the last `share` of stored samples off, for validation."""
    samples = given[0].shape[0]
    edge = samples - math.ceil(samples * share)
    if not 0 < edge < samples:
        msg = (
            f"validation_split {share} of {samples} samples leaves none for training "
            f"or none for validation."
        )
        raise ArgumentError(msg)
    parts = [
        tuple(None if a is None else a.part(*span) for a in given)
        for span in ((0, edge), (edge, samples))
    ]
    return parts[0], parts[1]  # type: ignore[return-value]


def stream(
    model: Model,
    network: Network,
    given: _Given,
    *,
    batch_size: int,
    chunk_bytes: int | None,
    seed: int | None = None,
    prefix: str = "",
) -> Stream | Data:
    """Return stored rows, or batches, as samples that come chunk by chunk."""
    host = backends.get("numpy")
    receive = functools.partial(
        model._data, network, host, prefix=prefix, host=True, scale=False
    )
    x, y, weight = given
    if isinstance(x, Batches):
        return x.bind(lambda *batch: receive(batch))
    samples = x.shape[0]
    for name, a in (("y", y), ("sample_weight", weight)):
        if a is not None and a.shape[0] != samples:
            msg = (
                f"{prefix}x and {prefix}{name} must have as many samples as each "
                f"other; got {samples} and {a.shape[0]}."
            )
            raise ShapeError(msg)
    grain = math.lcm(*(a.grain for a in given if a is not None))
    order = chunks.cut(
        samples,
        batch_size,
        _row_bytes(given, model.spec.dtype),
        chunk_bytes or CHUNK_BYTES,
        grain,
        seed,
    )
    if order is None:  # a part of the rows, that fits
        order = chunks.ChunkOrder(samples, batch_size, samples, samples, seed)
    return Stored(x, y, weight, order, lambda *block: receive(block))


def batches(x: Any, steps: int | None, epochs: int, chunk_bytes: int | None) -> Batches:
    """Return what gives batches, checked."""
    if not callable(x) and not hasattr(x, "__iter__"):
        msg = (
            "y is missing. fit(x, y) takes arrays; fit(batches) takes an iterable of "
            f"(x, y), or a function of the epoch that returns one; got "
            f"{type(x).__name__}."
        )
        raise ArgumentError(msg)
    if sources.stored(x) or hasattr(x, "shape"):
        msg = "y is missing: fit(x, y) needs the targets of x."
        raise ArgumentError(msg)
    found = Batches(x, steps, chunk_bytes or CHUNK_BYTES)
    if found.once and epochs > 1 and steps is None:
        msg = (
            f"x is an iterator, which gives its batches once, and epochs is {epochs}: "
            f"give a function of the epoch that returns an iterable, or "
            f"steps_per_epoch if it has no end, or epochs=1."
        )
        raise ArgumentError(msg)
    return found
