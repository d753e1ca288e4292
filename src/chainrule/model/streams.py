"""Which data come chunk by chunk, and what a fit of them cannot do."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from chainrule import backends
from chainrule.data import chunks, intake, sources
from chainrule.data.datasets import batched, is_dataset
from chainrule.data.sources import Rows
from chainrule.data.stream import Batches, Stored, Stream
from chainrule.errors import ArgumentError, ArgumentTypeError, ShapeError
from chainrule.optimizers import Optimizer

if TYPE_CHECKING:
    from chainrule.model.arguments import FitData, FitOptions
    from chainrule.model.predictor import Predictor
    from chainrule.network import Network
    from chainrule.training.logs import EpochLogs

__all__ = [
    "CHUNK_BYTES",
    "NOT_COMPARED",
    "apply",
    "batch_size",
    "batches",
    "check",
    "check_logs",
    "described",
    "hold_out",
    "rows",
    "stream",
    "written",
]

# Bytes of a chunk where nothing is said.
CHUNK_BYTES = 1 << 28

# What a resumed fit of batches is warned of.
NOT_COMPARED = (
    "batches cannot be compared with those of the fit before, and must be the same "
    "from the epoch's beginning on"
)

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


def check(given: FitData, options: FitOptions, optimizer: Any) -> None:
    """Refuse what a fit of data that come chunk by chunk cannot do."""
    if not isinstance(optimizer, Optimizer):
        _refuse(f"{type(optimizer).__name__}()")
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


def batch_size(data: Any, wanted: int) -> int:
    """Return the samples of a batch; an iterable of batches says so itself."""
    if isinstance(data, Batches):
        return int(data.first.x.shape[0])
    if isinstance(data, Stored):
        return min(wanted, data.samples)
    samples: int = data.x.shape[0]
    return min(wanted, samples)


def described(data: Any) -> tuple[Any, str | None]:
    """Return what a checkpoint compares: the arrays, and how they are cut."""
    return data.described() if isinstance(data, Stream) else (data, None)


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
    model: Predictor,
    network: Network,
    given: _Given,
    *,
    batch_size: int,
    chunk_bytes: int | None,
    seed: int | None = None,
    prefix: str = "",
) -> Stream:
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


def apply(
    network: Network,
    x: Any,
    f: Callable[[Any], Any],
    *,
    out: Any,
    chunk_bytes: int | None,
    dtype: str,
) -> Any:
    """Return f(x), some rows at a time, on the host; or write it to `out`."""
    if not sources.stored(x) and not isinstance(x, np.ndarray):
        x = intake.to_host(x)
        x = np.asarray(x)
    found = sources.receive("x", x)
    samples = found.shape[0]
    size = math.prod(found.shape[1:]) + math.prod(network.output_shape)
    limit = CHUNK_BYTES if chunk_bytes is None else chunk_bytes
    each = max(1, limit // (max(1, size) * np.dtype(dtype).itemsize))
    if out is None and samples <= each:
        return f(found.read(0, samples).view(np.ndarray))
    for low in range(0, samples, each):
        high = min(low + each, samples)
        z = f(found.read(low, high).view(np.ndarray))
        if out is None:
            out = tuple(np.empty((samples, *a.shape[1:]), a.dtype) for a in _several(z))
            out = out if isinstance(z, tuple) else out[0]
        written(out, z, low, high, samples)
    return out


def written(
    out: Any, z: Any, low: int = 0, high: int | None = None, samples: int | None = None
) -> Any:
    """Write results to `out`, and return it."""
    arrays, targets = _several(z), _several(out)
    shapes = [(samples or a.shape[0], *a.shape[1:]) for a in arrays]
    if [tuple(getattr(o, "shape", ())) for o in targets] != shapes:
        wanted = " and ".join(map(str, shapes))
        got = " and ".join(str(tuple(getattr(o, "shape", ()))) for o in targets)
        msg = f"out must have shape {wanted}; got {got}."
        raise ShapeError(msg)
    for target, a in zip(targets, arrays, strict=True):
        target[low : low + a.shape[0] if high is None else high] = a
    return out


def _several(a: Any) -> tuple[Any, ...]:
    return tuple(a) if isinstance(a, (tuple, list)) else (a,)


def batches(
    x: Any,
    *,
    steps: int | None = None,
    epochs: int = 1,
    chunk_bytes: int | None = None,
    batch_size: int = 32,
    seed: int | None = None,
    caller: str = "fit",
) -> Batches:
    """Return what gives batches, checked; a data set's samples are made batches."""
    if is_dataset(x):
        x = batched(x, batch_size, seed)
        steps = steps or x.steps
    if not callable(x) and not hasattr(x, "__iter__"):
        msg = (
            f"{caller} needs y. (x, y) are arrays; alone stands an iterable of batches "
            f"(x, y), or a function of the epoch that returns one; got "
            f"{type(x).__name__}."
        )
        raise ArgumentTypeError(msg)
    if sources.stored(x) or hasattr(x, "shape"):
        msg = f"{caller} needs y."
        raise ArgumentTypeError(msg)
    found = Batches(x, steps, chunk_bytes or CHUNK_BYTES)
    if found.once and epochs > 1 and steps is None:
        msg = (
            f"x is an iterator, which gives its batches once, and epochs is {epochs}: "
            f"give a function of the epoch that returns an iterable, or "
            f"steps_per_epoch if it has no end, or epochs=1."
        )
        raise ArgumentError(msg)
    return found
