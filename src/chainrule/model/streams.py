"""Which data come chunk by chunk, and what a fit of them cannot do."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from chainrule import backends
from chainrule.config import checks
from chainrule.data import chunks, intake, sources
from chainrule.data.batches import Batches, length
from chainrule.data.datasets import batched, is_dataset
from chainrule.data.samples import held_from
from chainrule.data.sources import Rows
from chainrule.data.stored import Stored
from chainrule.data.stream import Source, Stream, stored
from chainrule.errors import ArgumentError, ArgumentTypeError, ShapeError
from chainrule.optimizers import Optimizer

if TYPE_CHECKING:
    from chainrule.model.arguments import FitData, FitOptions
    from chainrule.model.predictor import Predictor
    from chainrule.model.spec import ModelSpec
    from chainrule.network import Network

__all__ = [
    "CHUNK_BYTES",
    "apply",
    "batches",
    "hold_out",
    "prepare",
    "rows",
    "stream",
]

# Bytes of a chunk where nothing is said.
CHUNK_BYTES = 1 << 28

_Given = tuple[Any, Any, Any]  # x, y and weights (or None)


def prepare(given: FitData, options: FitOptions, spec: ModelSpec) -> FitData:
    """Return data with what comes chunk by chunk as `Rows` or `Batches`, checked."""
    chunk_bytes, held = options.chunk_bytes, given.validation
    if given.y is None:
        given = given._replace(x=_training_batches(given.x, options, spec))
    elif options.steps_per_epoch is not None:
        msg = (
            "steps_per_epoch is for fit(batches); of arrays an epoch has every sample "
            "once."
        )
        raise ArgumentError(msg)
    else:
        x, y, weight = rows(given[:3], chunk_bytes, spec.dtype)
        given = given._replace(x=x, y=y, sample_weight=weight)
    if isinstance(given.x, Source):
        _check(given, options, spec.optimizer)
    if held is not None and held[1] is None:
        name = "validation_data"
        more = batches(held[0], chunk_bytes, caller="validation", name=name)
        held = more, None, None
    elif held is not None:
        held = rows(held, chunk_bytes, spec.dtype, prefix="validation ")
    return given._replace(validation=held)


def _limit(chunk_bytes: Any) -> int:
    """Return the bytes of a chunk, checked."""
    if chunk_bytes is None:
        return CHUNK_BYTES
    return checks.integer("chunk_bytes", chunk_bytes, 1)


def rows(
    given: _Given, chunk_bytes: int | None, dtype: str, *, prefix: str = ""
) -> _Given:
    """Return x, y and weights as `Rows` where one chunk does not hold them.

    Arrays in memory are cut only where `chunk_bytes` says so.
    """
    if chunk_bytes is None and not any(map(stored, given)):
        return given
    names = [f"{prefix}{name}" for name in ("x", "y", "sample_weight")]
    found = [
        a if a is None or not stored(a) else sources.receive(name, a)
        for name, a in zip(names, given, strict=True)
    ]
    if chunk_bytes is None and not isinstance(found[0], Rows):
        return tuple(map(_whole, found))  # type: ignore[return-value]
    cut: list[Any] = [
        a if a is None or isinstance(a, Rows) else _in_memory(name, a)
        for name, a in zip(names, found, strict=True)
    ]
    x, *others = cut
    for name, a in zip(names[1:], others, strict=True):
        if a is not None and a.shape[0] != x.shape[0]:
            msg = (
                f"{names[0]} and {name} must have as many samples as each other; got "
                f"{x.shape[0]} and {a.shape[0]}."
            )
            raise ShapeError(msg)
    if x.shape[0] * _row_bytes((x, *others), dtype) <= _limit(chunk_bytes):
        # As they were given: what is in memory may be another library's.
        return tuple(map(_whole, found))  # type: ignore[return-value]
    y, weight = others
    return x, y, None if weight is None else _scaled(weight, dtype)


def _in_memory(name: str, a: Any) -> Rows:
    """Return an array, a list or a frame as rows on the host."""
    columns = intake.columns(a)
    a, origin = intake.receive(name, a)
    found = sources.receive(name, intake.to_host(a, origin))
    found.column_names, found.origin = columns, origin
    return found


def _scaled(weight: Rows, dtype: str) -> Rows:
    """Return weights as `intake.scaled` does, after a look at all of them."""
    if len(weight.shape) != 1:
        return weight  # which is refused where it is checked
    step = 1 << 20
    samples = weight.shape[0]
    ends = range(0, samples, step)
    tops = (weight.read(low, min(low + step, samples)).max() for low in ends)
    top = max((float(top) for top in tops), default=0.0)
    if not 0.0 < top <= float(np.finfo(dtype).max):
        return weight
    return weight.scaled(1 - math.frexp(top)[1])


def _whole(a: Any) -> Any:
    return a.read(0, a.shape[0]) if isinstance(a, Rows) else a


def _row_bytes(given: _Given, dtype: str) -> int:
    """Return the bytes of a sample as it is trained on."""
    size = np.dtype(dtype).itemsize
    return sum(size * math.prod(a.shape[1:]) for a in given if a is not None)


def _check(given: FitData, options: FitOptions, optimizer: Any) -> None:
    """Refuse what a fit of data that come chunk by chunk cannot do."""
    if not isinstance(optimizer, Optimizer):
        _refuse(f"{type(optimizer).__name__}()")
    if given.slopes is not None:
        _refuse("slopes")
    if options.bootstrap:
        _refuse("bootstrap=True")
    if not isinstance(given.x, Batches):
        return
    asked = {
        "sample_weight": given.sample_weight is not None,
        "validation_split": options.validation_split > 0.0,
    }
    for name, is_asked in asked.items():
        if is_asked:
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


def hold_out(given: _Given, share: float) -> tuple[_Given, _Given]:
    """Cut the last `share` of stored samples off, for validation."""
    samples = given[0].shape[0]
    edge = held_from(samples, share)
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
    grain = math.lcm(*(a.grain for a in given if a is not None))
    order = chunks.cut(
        samples,
        batch_size,
        _row_bytes(given, model.spec.dtype),
        _limit(chunk_bytes),
        grain,
        seed,
    )
    if order is None:  # a part of the rows, that fits
        order = chunks.ChunkOrder(samples, batch_size, samples, samples, seed)
    return Stored(x, y, weight, order, lambda *block: receive(block))


def apply(
    model: Predictor, x: Any, f: Callable[[Any], Any], out: Any, chunk_bytes: int | None
) -> Any:
    """Return f(x), some rows at a time, on the host; or write it to `out`."""
    limit = _limit(chunk_bytes)
    if out is None and not stored(x):
        return f(x)
    network, dtype = model._need(), model.spec.dtype
    found = sources.receive("x", x) if stored(x) else _in_memory("x", x)
    intake.check_columns("x", found, model._columns)
    samples = found.shape[0]
    size = math.prod(found.shape[1:]) + math.prod(network.output_shape)
    each = max(1, limit // (max(1, size) * np.dtype(dtype).itemsize))
    if out is None and samples <= each:
        return f(found.read(0, samples).view(np.ndarray))
    for low in range(0, max(1, samples), each):
        high = min(low + each, samples)
        try:
            z = f(found.read(low, high).view(np.ndarray))
        except ArgumentError as error:
            first = found.first
            msg = f"{error} (In rows {first + low} to {first + high - 1} of x.)"
            raise type(error)(msg) from error
        if out is None:
            out = tuple(np.empty((samples, *a.shape[1:]), a.dtype) for a in _several(z))
            out = out if isinstance(z, tuple) else out[0]
        elif not low:
            _check_targets(_several(out), _several(z), samples)
        for target, a in zip(_several(out), _several(z), strict=True):
            target[low:high] = a
    return out


def _check_targets(targets: Any, arrays: Any, samples: int) -> None:
    """Refuse what does not take the results, before any of it is written."""
    shapes = [(samples, *a.shape[1:]) for a in arrays]
    for target in targets:
        kind = getattr(sources.attribute("out", target, "dtype"), "kind", None)
        flags = getattr(target, "flags", None)
        if kind != "f" or backends.of(target).name != "numpy":
            msg = (
                "out must be a floating array that takes NumPy's rows, out[a:b] = rows "
                f"(memory maps, arrays of NumPy, h5py and zarr); got "
                f"{checks.show(target)}."
            )
            raise ArgumentTypeError(msg)
        if flags is not None and not flags.writeable:
            msg = "out is read-only; open it for writing, with mode='r+', say."
            raise ArgumentError(msg)
    got = [tuple(target.shape) for target in targets]
    if got != shapes:
        wanted, had = (" and ".join(map(str, each)) for each in (shapes, got))
        msg = f"out must have shape {wanted}; got {had}."
        raise ShapeError(msg)


def _several(a: Any) -> tuple[Any, ...]:
    return tuple(a) if isinstance(a, (tuple, list)) else (a,)


def batches(
    x: Any, chunk_bytes: int | None, *, caller: str, name: str = "x"
) -> Batches:
    """Return what gives batches to an evaluation, all of them."""
    _check_iterable(x, caller)
    if is_dataset(x):
        x = batched(x, 32, None)
    return Batches(x, None, _limit(chunk_bytes), name)


def _training_batches(x: Any, options: FitOptions, spec: ModelSpec) -> Batches:
    """Return what gives batches to a fit; a data set's samples are made batches."""
    _check_iterable(x, "fit")
    steps = options.steps_per_epoch
    if is_dataset(x):
        shuffles = options.shuffle is not False
        x = batched(x, options.batch_size, spec.seed if shuffles else None)
    elif options.shuffle:
        msg = (
            "shuffle=True is for arrays and data sets: batches come in their own "
            "order. Leave it out, or give a function of the epoch that shuffles."
        )
        raise ArgumentError(msg)
    known = length(x)
    if steps is not None and known is not None and steps != known:
        if steps > known:
            msg = f"steps_per_epoch is {steps}, and x has {known} batches alone."
            raise ArgumentError(msg)
        checks.warn(
            f"steps_per_epoch is {steps}: of the {known} batches of x those after are "
            f"never trained on, if it gives the same in each epoch."
        )
    if not callable(x) and iter(x) is x:
        if options.epochs > 1 and steps is None:
            msg = (
                f"x is an iterator, which gives its batches once, and epochs is "
                f"{options.epochs}: give a function of the epoch that returns an "
                f"iterable, or steps_per_epoch if it has no end, or epochs=1."
            )
            raise ArgumentError(msg)
        if spec.metrics:
            msg = (
                "metrics are of the whole training data, and x is an iterator, which "
                "gives its batches once: give a function of the epoch that returns an "
                "iterable."
            )
            raise ArgumentError(msg)
    return Batches(x, steps, _limit(options.chunk_bytes))


def _check_iterable(x: Any, caller: str) -> None:
    """Refuse what gives no batches: then the targets are missing."""
    if stored(x) or hasattr(x, "shape"):
        msg = f"{caller} needs y."
        raise ArgumentTypeError(msg)
    if not callable(x) and not hasattr(x, "__iter__") and not is_dataset(x):
        msg = (
            f"{caller} needs y. (x, y) are arrays; alone stands an iterable of batches "
            f"(x, y), or a function of the epoch that returns one; got "
            f"{type(x).__name__}."
        )
        raise ArgumentTypeError(msg)
