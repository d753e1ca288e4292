"""The loop of a fit: epochs, callbacks, progress, checkpoints, signals, faults.

It draws the records that `chainrule.training.minibatch.epochs` yields, publishes each on the
model, and calls what listens. The caller has entered the backend's scope.
"""

from __future__ import annotations

import functools
import math
import signal
from typing import Any

from chainrule import optimizers
from chainrule.arrays.trees import tree_map
from chainrule.callbacks import Checkpoint
from chainrule.config import checks
from chainrule.config.memory import exhausted, room
from chainrule.data import order
from chainrule.data.bootstrap import resample
from chainrule.errors import DivergenceError, OutOfMemoryError
from chainrule.state import epochs as epochs_
from chainrule.state import training
from chainrule.state.epochs import EpochResult, PartialEpoch
from chainrule.state.history import History
from chainrule.training import minibatch
from chainrule.training.interrupt import Interrupt
from chainrule.training.logs import logs_rate, plain_rate
from chainrule.training.objective import Objective
from chainrule.training.progress import ProgressBar

__all__ = ["run", "warn_of"]


def run(
    model: Any,
    objective: Objective,
    data: Any,
    validation: tuple[Objective, Any] | None,
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
        Claimed for this fit (`chainrule.model.access`).
    objective : Objective
    data : Data or SlopeData
        What is trained on.
    validation : (Objective, Data or SlopeData), optional
        What is evaluated on which samples.
    epochs, batch_size : int
    shuffle, bootstrap : bool
    hooks : list of Callback
    progress : bool or None
    about : what `checkpoints.describe` returned, where there are checkpoints
    resumed : checkpoints.Resumed, optional
        The fit that goes on; `epochs` is then that of all of it.
    """
    savers = [hook for hook in hooks if isinstance(hook, Checkpoint)]
    # The others' files are to know the best value, too.
    savers.sort(key=lambda hook: not hook.best_only)
    first, history, part = model._epoch, History(), None
    before = model.history.view()
    if resumed is not None:
        first, history, part = resumed.first, resumed.history, resumed.part
        epochs = max(0, first + epochs - model._epoch)
        model.history.extend(history)
    history.first = first
    fit = _Fit(
        model, objective, data, validation, history, epochs, batch_size, hooks, savers
    )
    with room(model.backend, "at the beginning of a fit", "Use a smaller network."):
        fit.prepare(shuffle=shuffle, bootstrap=bootstrap, part=part)
    bar = ProgressBar(progress, epochs, fit.steps)
    interrupt = Interrupt(sigterm=bool(savers))
    for hook in savers:
        hook.write = _writer(model, about, hooks, first, history, before)
        hook.owns = _owner(about)
    try:
        try:
            with interrupt:
                try:
                    fit.train(bar, interrupt)
                except KeyboardInterrupt:
                    history.interrupted = True
                finally:
                    interrupt.held = True
                    fit.settle(bar)
        except (DivergenceError, OutOfMemoryError):
            fit.end()  # the model is whole, and may be given its best weights back
            raise
        fit.end()
    except BaseException as error:
        if interrupt.terminated:  # whatever else happened, the process is to end
            raise SystemExit(128 + signal.SIGTERM) from error
        raise
    if interrupt.terminated:
        raise SystemExit(128 + signal.SIGTERM)
    return history


def warn_of(value: float, epoch: int, dtype: str) -> None:
    """Warn of a validation loss that is not finite."""
    checks.warn(
        f"val_loss is {value} in epoch {epoch} of this fit: for some validation sample "
        f"the output or the loss overflows {dtype}. Look for outliers there, scale x "
        f"and y, or take dtype='float64'."
    )


class _Fit:
    """A fit that is under way: it draws records, and makes known what each leaves."""

    def __init__(
        self,
        model: Any,
        objective: Objective,
        data: Any,
        validation: tuple[Objective, Any] | None,
        history: History,
        epochs: int,
        batch_size: int,
        hooks: list[Any],
        savers: list[Any],
    ) -> None:
        self.model, self.objective, self.data = model, objective, data
        self.validation = validation
        self.history, self.epochs, self.batch_size = history, epochs, batch_size
        self.hooks, self.savers = hooks, savers
        self.elementwise = isinstance(model.optimizer, optimizers.Optimizer)
        self.steps = 1
        if self.elementwise:
            self.steps = -(-data.x.shape[0] // batch_size)
        # Whether somebody asks for an epoch's numbers before the next one begins.
        self.listening = bool(hooks or validation is not None or model.metrics)
        self.listening |= bool(objective.terms) or not self.elementwise
        self.rated = logs_rate(model, hooks)
        self.logs: dict[str, Any] = {}
        self.records: Any = None
        # Whether the slots are those of the end of an epoch, and nobody has touched them.
        self.whole = True
        # Losses of published epochs that nobody has waited for, a chain of (the chain
        # before, loss, stretch): to grow it is one assignment.
        self.unread: Any = None
        self.begun = model._step, model._epoch, model._rate
        self.factor = model._rate_factor()
        self.made: int | None = None  # epochs that count, if not all do
        self.warned = False

    def prepare(self, *, shuffle: bool, bootstrap: bool, part: Any) -> None:
        """Make what yields the records."""
        model, backend, data = self.model, self.model.backend, self.data
        copy = backend.copy
        start = training.TrainingState(
            copy(model._weights[0]),
            copy(model._weights[1]),
            model._slots if self.elementwise else tree_map(copy, model._slots),
            model._step,
            model._epoch,
            model._rate,
            model._begun,
        )
        seen = data
        if bootstrap:
            count = model.members
            members = model._member if count is None else range(count)
            seen = resample(data, model.seed, members, backend, model.dtype)
        self.whole = part is None
        if not self.elementwise:
            from chainrule.training import iterations, problem

            whole = problem.Problem(
                backend,
                model._need(),
                self.objective,
                seen,
                self.batch_size,
                start.state,
            )
            self.records = iterations.epochs(
                whole, model.optimizer, start, epochs=self.epochs
            )
            return
        seed = model.seed if shuffle else None
        self.records = minibatch.epochs(
            backend,
            model._need(),
            self.objective,
            model.optimizer,
            start,
            seen,
            epochs=self.epochs,
            batch_size=self.batch_size,
            order=order.orders(data.x.shape[0], self.batch_size, seed),
            seed=model.seed,
            dtype=model.dtype,
            factor=model._rate_factor,
            ahead=lambda: 1 if self.listening else minibatch.LAG,
            cuts={hook.every_steps for hook in self.savers if hook.every_steps},
            resumed=part,
            weights=model._weights,
            begin=self.begin,
        )

    def begin(self) -> None:
        """Before an epoch's first step, which uses the slots up."""
        self.whole = False
        self.model._access.begin_step()

    def train(self, bar: ProgressBar, interrupt: Interrupt) -> None:
        """Make the epochs, and call what listens."""
        model, hooks = self.model, self.hooks
        model.stop_training, model.stopped_members = False, None
        for hook in hooks:
            hook.model = model
            hook.on_train_begin({})
        done = 0
        try:
            while done < self.epochs and not model.stop_training:
                for hook in hooks:
                    hook.on_epoch_begin(model._epoch, {})
                record = self.next()
                while isinstance(record, PartialEpoch):
                    for hook in self.savers:
                        hook.after_steps(model._epoch, record, interrupt.asked)
                    if interrupt.asked:
                        self.history.interrupted = True
                        return
                    record = self.next()
                if record is None:
                    self.whole = True
                    return
                if self.listening:
                    self.logs = self.report(record)
                self.publish(record)
                done += record.epochs
                if self.listening:
                    self.warn()
                for hook in hooks:
                    hook.on_epoch_end(model._epoch - 1, dict(self.logs))
                if bar.shown:
                    bar.show(
                        functools.partial(_losses, model, record, self.logs),
                        epochs=record.epochs,
                    )
                stop = model.stop_training or interrupt.asked
                for hook in self.savers:
                    last = stop or done == self.epochs
                    hook.after_epoch(model._epoch - 1, self.logs, last)
                if stop or interrupt.asked:
                    self.history.interrupted = interrupt.asked
                    return
            if not model.stop_training:  # wait for the epochs that are still under way
                self.next()
        except DivergenceError as error:
            # Epochs that were under way already do not count.
            step, epoch, rate = self.begun
            model._epoch = epoch + error.epochs
            model._step = step + error.epochs * self.steps
            model._rate = rate
            self.made, self.whole = error.epochs, False
            raise

    def next(self) -> Any:
        """Return the next record; say what to do where memory does not suffice."""
        backend = self.model.backend
        try:
            return next(self.records, None)
        except Exception as error:
            if not backend.is_out_of_memory(error):
                raise
            self.whole = False  # wherever it was: the optimizer starts anew
            if isinstance(error, OutOfMemoryError):
                raise  # an optimizer of the whole problem says what is too large
            raise _exhausted(self.model, self.batch_size, error) from error

    def report(self, record: Any) -> dict[str, Any]:
        """Return the logs of an epoch that is not published yet."""
        advice = (
            "Use fewer samples for validation, or a smaller network. The parameters of "
            "the last whole epoch are kept, the optimizer starts anew."
        )
        with room(self.model.backend, "at the end of an epoch, in inference", advice):
            return self._reported(record)

    def _reported(self, record: Any) -> dict[str, Any]:
        model, weights = self.model, record.weights
        (value,) = record.losses(model.backend)
        logs = {**model._losses("", value), **record.logs}
        logs |= model._report(self.data, "", weights, loss=False)
        logs |= self.terms(self.objective, self.data, weights)
        if self.validation is not None:
            objective, data = self.validation
            terms = self.terms(objective, data, weights)
            logs |= model._report(data, "val_", weights)
            logs["val_loss"] = objective.total(logs["val_loss"], terms)
            logs |= {f"val_{name}": value for name, value in terms.items()}
        if self.rated:
            logs["learning_rate"] = plain_rate(record.state.rate)
        return logs

    def terms(self, objective: Objective, data: Any, weights: Any) -> dict[str, float]:
        """Return what an objective has besides its loss, over all samples."""
        model = self.model
        return objective.evaluate_terms(model.backend, model._need(), weights, data)

    def publish(self, record: EpochResult) -> None:
        """Make known what an epoch leaves: weights, slots, counters, history, at once.

        A signal's handler runs at calls and at loops. Among the assignments there are
        none, so that Ctrl-C finds all of the epoch or nothing.
        """
        model, history, access = self.model, self.history, self.model._access
        total, state, unread = model.history, record.state, self.unread
        if self.listening:
            mine, whole = history.grown(self.logs), total.grown(self.logs)
        else:
            mine, whole = history._kept, total._kept
            unread = (unread, record.loss, record.stretch)
        model._slots = state.slots  # first: those before may be gone
        model._weights = record.weights
        model._step, model._epoch, model._rate = state.step, state.epoch, state.rate
        history._kept, total._kept, self.unread = mine, whole, unread
        self.whole, access.in_step = True, False

    def warn(self) -> None:
        """Say once if a loss is not finite; that of training ends the fit by itself."""
        value = self.logs.get("val_loss", 0.0)
        if self.warned or math.isfinite(value):
            return
        self.warned = True
        warn_of(value, self.history.epochs, self.model.dtype)

    def settle(self, bar: ProgressBar) -> None:
        """Put in order what the fit leaves, however it ended."""
        try:
            self._settle(bar)
        except KeyboardInterrupt:  # raised by a handler of the program's own
            self._settle(bar)
            raise

    def _settle(self, bar: ProgressBar) -> None:
        model = self.model
        self.records.close()  # and with it what memory it holds
        # In the midst of an epoch an update may be half made: the parameters are
        # those of the last whole epoch, and the optimizer starts anew.
        if not self.whole:
            model._restart_optimizer()
            self.whole, model._access.in_step = True, False
        for hook in self.savers:
            hook.write = hook.owns = None
        self.read()
        history = self.history
        names = [name for name in history if name in ("loss", "val_loss")]
        shown = {name: history[name][-1] for name in names if history.epochs}
        note = "interrupted" if history.interrupted else ""
        bar.close(self.done, shown, note)

    def read(self) -> None:
        """Wait for the losses that nobody has asked for, and tell the histories."""
        chain, told = self.unread, []
        while chain is not None:
            chain, *loss = chain
            told.append(loss)
        backend = self.model.backend
        values = [v for one in reversed(told) for v in epochs_.read(backend, *one)]
        mine, total = self.history.view(), self.model.history.view()
        for i, value in enumerate(values[: self.made]):
            logs = self.model._losses("", value)
            if self.rated:
                at = self.begun[0] + (i + 1) * self.steps - 1
                last = self.model.optimizer.rates(at, 1, self.factor)[..., -1]
                logs["learning_rate"] = plain_rate(last)
            mine.append(logs)
            total.append(logs)
        history, whole = self.history, self.model.history
        history._kept, whole._kept, self.unread = mine._kept, total._kept, None
        history._show()
        whole._show()

    @property
    def done(self) -> int:
        """How many epochs of this call count."""
        return int(self.model._epoch - self.begun[1])

    def end(self) -> None:
        """Tell the callbacks that the fit is over; they may change the model now."""
        self.model._access.finish()
        for hook in self.hooks:
            hook.on_train_end(dict(self.logs))


def _exhausted(model: Any, batch_size: int, error: Exception) -> Exception:
    """Return the error that says what to make smaller."""
    advice = f"Try batch_size={batch_size // 2}."
    if batch_size == 1:
        advice = "Use a smaller network."
    advice += (
        " The parameters of the last whole epoch are kept, the optimizer starts anew."
    )
    what = f"in a training step of batch_size {batch_size}"
    return exhausted(model.backend, what, advice, error)


def _writer(
    model: Any, about: Any, hooks: list[Any], first: int, history: Any, before: Any
) -> Any:
    """Return ``write(path, part)`` for the checkpoints of a fit."""

    def write(path: Any, part: PartialEpoch | None) -> bool:
        from chainrule.files import checkpoints

        resumed = checkpoints.Resumed(first, history, [], part)
        return checkpoints.write(path, model, about, hooks, resumed, before)

    return write


def _owner(about: Any) -> Any:
    """Return ``owns(path, number)`` for the checkpoints of a fit."""
    from chainrule.files import checkpoints

    return functools.partial(checkpoints.owns, about)


def _losses(model: Any, record: Any, logs: dict[str, Any]) -> dict[str, Any]:
    """Read what the bar shows; this waits for the device."""
    shown = {k: v for k, v in logs.items() if k == "val_loss"}
    return {**model._losses("", record.losses(model.backend)[-1]), **shown}
