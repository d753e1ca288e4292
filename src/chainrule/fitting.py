"""The loop of a fit: epochs, callbacks, progress, Ctrl-C, divergence.

It draws the records that `chainrule.training.epochs` yields, publishes each on the
model, and calls what listens. The caller has entered the backend's scope.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from typing import Any

from chainrule import batches, optimizers, slopes, training
from chainrule._interrupt import Interrupt
from chainrule.callbacks import ProgressBar
from chainrule.errors import ArgumentError, ArgumentTypeError, DivergenceError
from chainrule.history import History
from chainrule.training import tree_map

__all__ = ["check_callbacks", "run", "split"]


def run(
    model: Any,
    loss: Any,
    data: Any,
    check: Any,
    *,
    epochs: int,
    batch_size: int,
    shuffle: bool,
    hooks: list[Any],
    progress: bool | None,
) -> History:
    """Train a built model on checked data; see `Model.fit`.

    Parameters
    ----------
    model : Model
    loss : Loss or SlopeLoss
    data, check : Data or SlopeData
        What is trained on, and what is validated on or None.
    epochs, batch_size : int
    shuffle : bool
    hooks : list of Callback
    progress : bool or None
    """
    backend, network = model.backend, model._need()
    copy = backend.copy
    sloped = isinstance(loss, slopes.SlopeLoss)
    listening = bool(hooks or check is not None or model.metrics or sloped)
    records = training.epochs(
        backend,
        network,
        loss,
        model.optimizer,
        training.State(
            copy(model._weights[0]),
            copy(model._weights[1]),
            tree_map(copy, model._slots),
            model._step,
            model._epoch,
            model._rate,
        ),
        data,
        epochs=epochs,
        batch_size=batch_size,
        order=batches.orders(
            data.x.shape[0], batch_size, model.seed if shuffle else None
        ),
        seed=model.seed,
        dtype=model.dtype,
        factor=lambda: model._factor,
        listening=listening,
    )
    steps = 1
    if isinstance(model.optimizer, optimizers.Optimizer):
        steps = -(-data.x.shape[0] // batch_size)
    history = History()
    pending: list[Any] = []
    model.stop_training = False
    bar = ProgressBar(progress, epochs, steps)
    logs: dict[str, Any] = {}
    whole = True  # whether the slots are those of the end of an epoch
    step, epoch, rate = model._step, model._epoch, model._rate
    try:
        with Interrupt() as interrupt:
            for hook in hooks:
                hook.model = model
                hook.on_train_begin({})
            for number in range(epochs):
                for hook in hooks:
                    hook.on_epoch_begin(model._epoch, {})
                whole = False
                record = next(records, None)
                whole = True
                if record is None:
                    break
                _publish(model, record)
                if listening:
                    logs = {"loss": model._number(record.loss)}
                    logs |= model._report(data, "", loss=False)
                    if sloped:
                        logs |= _slopes(model, loss, data, "")
                    if check is not None:
                        logs |= model._report(check, "val_")
                    if isinstance(check, slopes.SlopeData):
                        more = _slopes(model, loss, check, "val_")
                        logs["val_loss"] += loss.weight * more["val_slope_loss"]
                        logs |= more
                    history.append(logs)
                else:
                    pending.append(record.loss)
                for hook in hooks:
                    hook.on_epoch_end(model._epoch - 1, dict(logs))
                bar.show(
                    functools.partial(_losses, model, record.loss, logs),
                    last=number == epochs - 1,
                )
                if model.stop_training or interrupt.asked:
                    history.interrupted = interrupt.asked
                    break
            else:
                next(records, None)  # what is still pending is asked for
    except KeyboardInterrupt:
        history.interrupted = True
    except DivergenceError as error:
        # Epochs that were under way already do not count.
        model._epoch = epoch + error.epochs
        model._step = step + error.epochs * steps
        model._rate, whole = rate, False
        pending = pending[: error.epochs]
        raise
    except ArgumentError:
        whole = True  # a schedule's bad value is found before an epoch begins
        raise
    finally:
        # In the midst of an epoch an update may be half made: the parameters are
        # those of the last whole epoch, and the slots start anew.
        if not whole:
            model._slots = model._fresh_slots(model._weights[0])
        records.close()
        bar.close()
        for value in pending:
            history.append({"loss": model._number(value)})
        model.history.extend(history)
    for hook in hooks:
        hook.on_train_end(dict(logs))
    return history


def _slopes(model: Any, loss: Any, data: Any, prefix: str) -> dict[str, float]:
    """Return the error of the slopes at the epoch's end."""
    error = slopes.evaluate(model.backend, model._need(), model._weights, data)
    return {f"{prefix}slope_loss": error}


def _publish(model: Any, record: training.Record) -> None:
    model._weights = record.weights
    state = record.state
    model._slots = state.slots
    model._step, model._epoch, model._rate = state.step, state.epoch, state.rate


def _losses(model: Any, loss: Any, logs: dict[str, Any]) -> dict[str, Any]:
    """Read what the bar shows; this waits for the device."""
    shown = {k: v for k, v in logs.items() if k == "val_loss"}
    return {"loss": model._number(loss), **shown}


def check_callbacks(given: Any) -> list[Any]:
    """Return the callbacks as a list, or raise an error if one is none."""
    hooks = list(given) if isinstance(given, Iterable) else [given]
    for hook in hooks:
        wanted = ("on_train_begin", "on_epoch_begin", "on_epoch_end", "on_train_end")
        if isinstance(hook, type) or not all(hasattr(hook, name) for name in wanted):
            msg = (
                f"callbacks must be objects such as callbacks.EarlyStopping(); "
                f"got {hook!r}."
            )
            raise ArgumentTypeError(msg)
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
