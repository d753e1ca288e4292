"""The loop of a fit: epochs, callbacks, progress, checkpoints, signals, faults.

It draws the records that `chainrule.training.epochs` yields, publishes each on the
model, and calls what listens. The caller has entered the backend's scope.
"""

from __future__ import annotations

import functools
import math
import signal
from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule import (
    _checks,
    batches,
    ensembles,
    inference,
    optimizers,
    slopes,
    training,
)
from chainrule._interrupt import Interrupt
from chainrule.callbacks import Checkpoint
from chainrule.callbacks.base import HOOKS, check_hooks
from chainrule.errors import (
    ArgumentError,
    DivergenceError,
    OutOfMemoryError,
)
from chainrule.history import History
from chainrule.progress import ProgressBar
from chainrule.training import tree_map

__all__ = ["check_callbacks", "log_names", "logs_rate", "run", "split"]


def run(
    model: Any,
    loss: Any,
    data: Any,
    check: Any,
    *,
    epochs: int,
    batch_size: int,
    shuffle: bool,
    bootstrap: bool,
    hooks: list[Any],
    progress: bool | None,
    about: Any = None,
    resumed: Any = None,
) -> History:
    """Train a built model on checked data; see `Model.fit`.

    Parameters
    ----------
    model : Model
    loss : Loss or SlopeLoss
    data, check : Data or SlopeData
        What is trained on, and what is validated on or None.
    epochs, batch_size : int
    shuffle, bootstrap : bool
    hooks : list of Callback
    progress : bool or None
    about : what `checkpoints.describe` returned, where there are checkpoints
    resumed : checkpoints.Resumed, optional
        The fit that goes on; `epochs` is then that of all of it.
    """
    backend, network = model.backend, model._need()
    first, history, part = model._epoch, History(), None
    if resumed is not None:
        first, history, part = resumed.first, resumed.history, resumed.part
        epochs = max(0, first + epochs - model._epoch)
    savers = [hook for hook in hooks if isinstance(hook, Checkpoint)]
    # The others' files are to know the best value, too.
    savers.sort(key=lambda hook: not hook.best_only)
    elementwise = isinstance(model.optimizer, optimizers.Optimizer)
    sloped = isinstance(loss, slopes.SlopeLoss)
    listening = bool(hooks or check is not None or model.metrics)
    listening = listening or sloped or not elementwise
    rated = logs_rate(model, hooks)
    copy = backend.copy
    start = training.State(
        copy(model._weights[0]),
        copy(model._weights[1]),
        model._slots if elementwise else tree_map(copy, model._slots),
        model._step,
        model._epoch,
        model._rate,
        model._begun,
    )
    # Whether the slots are those of the end of an epoch, and nobody has touched them.
    whole = part is None

    def begin() -> None:
        nonlocal whole
        whole = False

    records: Any
    seen = _bootstrapped(model, data) if bootstrap else data
    if elementwise:
        samples = data.x.shape[0]
        records = training.epochs(
            backend,
            network,
            loss,
            model.optimizer,
            start,
            seen,
            epochs=epochs,
            batch_size=batch_size,
            order=batches.orders(samples, batch_size, model.seed if shuffle else None),
            seed=model.seed,
            dtype=model.dtype,
            factor=model._rate_factor,
            ahead=lambda: 1 if listening else training.LAG,
            cuts={hook.every_steps for hook in savers if hook.every_steps},
            resumed=part,
            weights=model._weights,
            begin=begin,
        )
    else:
        from chainrule import problem

        whole_problem = problem.Problem(
            backend, network, model.loss, seen, batch_size, start.state
        )
        records = problem.epochs(whole_problem, model.optimizer, start, epochs=epochs)
    steps = 1
    if elementwise:
        steps = -(-data.x.shape[0] // batch_size)
    pending: list[tuple[Any, Any]] = []
    made: int | None = None  # epochs that count, if not all do
    model.stop_training, model.stopped_members = False, None
    interrupt = Interrupt(sigterm=bool(savers))
    bar = ProgressBar(progress, epochs, steps)
    logs: dict[str, Any] = {}
    for hook in savers:
        hook.write = _writer(model, about, hooks, first, history)
        hook.owns = _owner(about)
    step, epoch, rate = model._step, model._epoch, model._rate
    factor = model._rate_factor()
    try:
        with interrupt:
            for hook in hooks:
                hook.model = model
                hook.on_train_begin({})
            done = 0
            while done < epochs and not model.stop_training:
                for hook in hooks:
                    hook.on_epoch_begin(model._epoch, {})
                record = _next(records, backend, batch_size, begin)
                while isinstance(record, training.Part):
                    for hook in savers:
                        hook.after_steps(model._epoch, record, interrupt.asked)
                    if interrupt.asked:
                        break
                    record = _next(records, backend, batch_size, begin)
                if isinstance(record, training.Part):
                    history.interrupted = True
                    break
                if record is None:
                    whole = True
                    break
                _publish(model, record)
                whole = True
                done += record.epochs
                if listening:
                    (value,) = record.losses(backend)
                    logs = {**model._losses("", value), **record.logs}
                    logs |= model._report(data, "", loss=False)
                    if sloped:
                        logs |= _slopes(model, loss, data, "")
                    if check is not None:
                        logs |= model._report(check, "val_")
                    if isinstance(check, slopes.SlopeData):
                        more = _slopes(model, loss, check, "val_")
                        logs["val_loss"] += loss.weight * more["val_slope_loss"]
                        logs |= more
                    if rated:
                        logs["learning_rate"] = _plain_rate(model._rate)
                    history.append(logs)
                else:
                    pending.append((record.loss, record.stretch))
                for hook in hooks:
                    hook.on_epoch_end(model._epoch - 1, dict(logs))
                bar.show(
                    functools.partial(_losses, model, record, logs),
                    epochs=record.epochs,
                    last=done == epochs,
                )
                stop = model.stop_training or interrupt.asked
                for hook in savers:
                    last = stop or done == epochs
                    hook.after_epoch(model._epoch - 1, logs, last)
                if stop or interrupt.asked:
                    history.interrupted = interrupt.asked
                    break
            else:
                if not model.stop_training:  # what is still pending is asked for
                    _next(records, backend, batch_size, begin)
    except KeyboardInterrupt:
        history.interrupted = True
    except DivergenceError as error:
        # Epochs that were under way already do not count.
        model._epoch = epoch + error.epochs
        model._step = step + error.epochs * steps
        model._rate, whole = rate, False
        made = error.epochs
        raise
    finally:
        # In the midst of an epoch an update may be half made: the parameters are
        # those of the last whole epoch, and the optimizer starts anew.
        if not whole:
            model._restart_optimizer()
        records.close()
        bar.close()
        for hook in savers:
            hook.write = hook.owns = None
        values = [loss for told in pending for loss in training.read(backend, *told)]
        for i, value in enumerate(values[:made]):
            told = model._losses("", value)
            if rated:
                at = step + (i + 1) * steps - 1
                last = model.optimizer.rates(at, 1, factor)[..., -1]
                told["learning_rate"] = _plain_rate(last)
            history.append(told)
        model.history.extend(history)
    for hook in hooks:
        hook.on_train_end(dict(logs))
    if interrupt.terminated:
        raise SystemExit(128 + signal.SIGTERM)
    return history


def _next(
    records: Any, backend: Any, batch_size: int, begin: Callable[[], None]
) -> Any:
    """Return the next record; say what to do where memory does not suffice for it."""
    try:
        return next(records, None)
    except Exception as error:
        if not backend.is_out_of_memory(error):
            raise
        begin()  # wherever it was: the slots start anew
        hint = (
            f"Try batch_size={batch_size // 2}"
            if batch_size > 1
            else "Use a smaller network"
        )
        msg = (
            f"out of memory on {backend!r} in a training step of batch_size "
            f"{batch_size}: {str(error).partition(chr(10))[0]} {hint}. The parameters "
            f"of the last whole epoch are kept, the optimizer starts anew."
        )
        raise OutOfMemoryError(msg) from error


def _writer(model: Any, about: Any, hooks: list[Any], first: int, history: Any) -> Any:
    """Return ``write(path, part)`` for the checkpoints of a fit."""
    from chainrule import checkpoints

    def write(path: Any, part: training.Part | None) -> bool:
        resumed = checkpoints.Resumed(first, history, [], part)
        return checkpoints.write(path, model, about, hooks, resumed, model.history)

    return write


def _owner(about: Any) -> Any:
    """Return ``owns(path, number)`` for the checkpoints of a fit."""
    from chainrule import checkpoints

    return functools.partial(checkpoints.owns, about)


def log_names(
    model: Any, hooks: list[Any], check: Any, sloped: bool
) -> dict[str, bool | None]:
    """Return the names of each epoch's logs, with whether more of them is better.

    Those that are arrays, one value for each member, are left out.
    """
    names: dict[str, bool | None] = {"loss": False}
    names |= {k: metric.greater_is_better for k, metric in model.metrics.items()}
    if sloped:
        names["slope_loss"] = False
    if check is not None:
        both = {k: v for k, v in names.items() if k != "slope_loss"}
        names |= {f"val_{name}": rises for name, rises in both.items()}
    if isinstance(check, slopes.SlopeData):
        names["val_slope_loss"] = False
    if logs_rate(model, hooks):
        # Not the rate itself: a schedule is a user's, and is asked epoch by epoch.
        own = isinstance(model.optimizer.learning_rate, tuple) or np.ndim(model._factor)
        names |= {} if own else {"learning_rate": None}
    return names


def _plain_rate(rate: Any) -> Any:
    """Return a learning rate as logs have it: a float, or an array of the members'."""
    return rate if np.ndim(rate) else float(rate)


def logs_rate(model: Any, hooks: list[Any]) -> bool:
    """Whether the logs have the learning rate: where it may be another each epoch."""
    optimizer = model.optimizer
    if not isinstance(optimizer, optimizers.Optimizer):
        return False
    rates = optimizer.learning_rate
    numbers = rates if isinstance(rates, tuple) else (rates,)
    scheduled = not all(isinstance(rate, (int, float)) for rate in numbers)
    return scheduled or any(getattr(hook, "logs_rate", False) for hook in hooks)


def _slopes(model: Any, loss: Any, data: Any, prefix: str) -> dict[str, float]:
    """Return the error of the slopes at the epoch's end."""
    error = slopes.evaluate(model.backend, model._need(), model._weights, data)
    return {f"{prefix}slope_loss": error}


def _publish(model: Any, record: training.Record) -> None:
    state = record.state
    model._slots = state.slots  # first: those before may be gone
    model._weights = record.weights
    model._step, model._epoch, model._rate = state.step, state.epoch, state.rate


def _losses(model: Any, record: Any, logs: dict[str, Any]) -> dict[str, Any]:
    """Read what the bar shows; this waits for the device."""
    shown = {k: v for k, v in logs.items() if k == "val_loss"}
    return {**model._losses("", record.losses(model.backend)[-1]), **shown}


def _bootstrapped(model: Any, data: inference.Data) -> inference.Data:
    """Return data whose weights are multiplied with each member's bootstrap counts."""
    samples = data.x.shape[0]
    members = [model._member] if model.members is None else range(model.members)
    weight = np.stack([ensembles.counts(model.seed, k, samples) for k in members], 1)
    if model.members is None:
        weight = weight[:, 0]
    placed = model.backend.asarray(weight, model.dtype)
    if data.weight is not None:
        each = data.weight if placed.ndim == 1 else data.weight[:, None]
        placed = placed * each
    return data._replace(weight=placed)


def check_callbacks(given: Any) -> list[Any]:
    """Return the callbacks as a list, or raise an error if one is none."""
    try:
        hooks = list(given)
    except TypeError:  # a single thing; an array without axes says that it is iterable
        hooks = [given]
    for hook in hooks:
        if isinstance(hook, type) or not all(hasattr(hook, name) for name in HOOKS):
            wanted = "objects such as callbacks.EarlyStopping()"
            _checks.refuse("callbacks", wanted, hook)
        check_hooks(hook)
    return hooks


def split(data: Any, share: float) -> tuple[Any, Any]:
    """Cut the last `share` of the samples off, for validation."""
    samples = data.x.shape[0]
    cut = samples - math.ceil(samples * share)
    if not 0 < cut < samples:
        msg = (
            f"validation_split {share} of {samples} samples leaves none for training "
            f"or none for validation."
        )
        raise ArgumentError(msg)
    first, last = (
        type(data)(*[None if a is None else a[some, ...] for a in data])
        for some in (slice(None, cut), slice(cut, None))
    )
    return first, last
