"""A fit: its loop, and what it publishes.

The caller has entered the backend's scope. What is trained, the callbacks, and what
writes checkpoints are handed in.
"""

from __future__ import annotations

import functools
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import optimizers
from chainrule.config.memory import room
from chainrule.data.stream import Stream
from chainrule.errors import DivergenceError, OutOfMemoryError
from chainrule.state.epochs import EpochResult, PartialEpoch, read_losses
from chainrule.state.history import History
from chainrule.training import rate
from chainrule.training.interrupt import Interrupt
from chainrule.training.iterations import ProblemTraining
from chainrule.training.logs import EpochLogs
from chainrule.training.minibatch import LAG, MinibatchTraining, fresh_slots
from chainrule.training.options import FitPlan
from chainrule.training.problem import Problem
from chainrule.training.progress import ProgressBar
from chainrule.training.session import Session, Trainee

if TYPE_CHECKING:
    from chainrule.callbacks.base import CallbackList
    from chainrule.model.access import Access
    from chainrule.state.training import TrainingState

__all__ = ["Fit"]


class Fit:
    """A fit that is under way: it makes epochs, and makes known what each leaves.

    Parameters
    ----------
    plan : FitPlan
    session : Session
        With the model that is trained, claimed for this fit.
    callbacks : CallbackList
    logs : EpochLogs
    history : History
        Of this fit so far.
    progress : bool or None
        Whether there is a bar.

    Attributes
    ----------
    intact : bool
        Whether the published slots are those that belong to the published weights: not
        within an epoch, which uses them up.
    ends_by_interrupt : bool
        Whether the fit returns what it has where Ctrl-C interrupts it at once; if not,
        the program is interrupted.
    """

    plan: FitPlan
    session: Session
    callbacks: CallbackList
    epoch_logs: EpochLogs
    history: History
    model: Trainee
    access: Access
    logs: dict[str, Any]
    begun: TrainingState
    by_batches: bool
    listening: bool
    intact: bool
    interrupt: Interrupt
    cuts: set[int]
    agreed: tuple[bool, bool]
    calling: bool
    unread: Any
    counted: int | None
    training: MinibatchTraining | ProblemTraining
    bar: ProgressBar

    ends_by_interrupt = True

    def __init__(
        self,
        plan: FitPlan,
        session: Session,
        callbacks: CallbackList,
        logs: EpochLogs,
        history: History,
        progress: bool | None,
    ) -> None:
        self.plan, self.session, self.callbacks = plan, session, callbacks
        self.epoch_logs, self.history = logs, history
        self.model, self.access = session.model, session.access
        self.logs: dict[str, Any] = {}
        # Where it began, without the arrays: those may be given up.
        self.begun = session.state._replace(theta=None, state=None, slots=())
        self.by_batches = isinstance(plan.optimizer, optimizers.Optimizer)
        # Whether somebody asks for an epoch's numbers before the next one begins.
        streams = isinstance(plan.data, Stream)
        self.listening = bool(
            len(callbacks) or logs.wanted or not self.by_batches or streams
        )
        self.intact = plan.part is None
        session.part = plan.part
        saves = session.has_recorder
        self.interrupt = Interrupt(sigterm=saves and callbacks.saves)
        self.cuts = callbacks.cuts if saves else set()
        # Whether a signal, or a callback, ends the fit: what all processes know.
        self.agreed = False, False
        self.calling = False  # whether what is under way is a callback
        # Losses of published epochs that nobody has waited for, a chain of (the chain
        # before, loss, group): to grow it is one assignment.
        self.unread: Any = None
        self.counted: int | None = None  # epochs of this call that count, if not all
        with room(plan.backend, "at the beginning of a fit", "Use a smaller network."):
            self.training = self._training()
        shown = progress if progress or plan.backend.leads else False
        self.bar = ProgressBar(shown, plan.epochs, self.training.steps)

    def _training(self) -> MinibatchTraining | ProblemTraining:
        """Return what makes the epochs."""
        plan, state = self.plan, self.session.state
        if isinstance(plan.data, Stream):
            from chainrule.training.streaming import StreamTraining

            return StreamTraining(plan, state, self.cuts)
        if self.by_batches:
            return MinibatchTraining(plan, state, self.cuts)
        return ProblemTraining(self._problem(), plan.optimizer, state)

    def _problem(self) -> Problem:
        """Return what an optimizer of the whole problem lowers."""
        plan, penalty = self.plan, 0.0
        if plan.penalty is not None:  # of all samples as one batch
            everything = np.arange(plan.data.x.shape[0])[None, :]
            penalty = float(plan.penalty(everything)[0])
        return Problem(
            plan.backend,
            plan.network,
            plan.objective,
            plan.data,
            plan.batch_size,
            self.session.state.state,
            penalty=penalty,
        )

    def run(self) -> History:
        """Train; return the history of this call."""
        with self._exit_after_sigterm(), self.callbacks.attached(self.session):
            try:
                with self.interrupt:
                    self.train()
            except KeyboardInterrupt:  # it may have cut __enter__ or __exit__ short
                self.interrupt.restore()
                raise
            except (DivergenceError, OutOfMemoryError):
                self.finish()  # the model is whole, and may get its best weights back
                raise
            self.finish()
        return self.history

    def train(self) -> None:
        """Make the epochs, and call what listens."""
        self.model.stop_training, self.model.stopped_members = False, None
        try:
            self.begin()
            while self.goes_on:
                self.tell(self.callbacks.on_epoch_begin, self.session.state.epoch)
                result = self.next_epoch()
                if result is None:  # interrupted within it, or no iteration is left
                    break
                self.end_epoch(result)
            self.drain()
        except KeyboardInterrupt:
            self.history.interrupted = True
            if not self.ends_by_interrupt:
                raise
        except DivergenceError as error:
            self._forget_after(error.epochs)
            raise
        finally:
            self.interrupt.held = True
            self.settle()

    def begin(self) -> None:
        """Tell the callbacks that the fit begins."""
        self.tell(self.callbacks.on_train_begin)

    def tell(self, hook: Callable[..., None], *given: Any) -> None:
        """Call a hook of the callbacks; what it raises, all processes hear of."""
        with self.plan.backend.together():
            hook(*given)

    def drain(self) -> None:
        """Wait for what is under way, unless the fit was ended before its time."""
        if not self.stopping:
            self.training.drain()
        elif self.agreed[0] or self.interrupt.asked:
            self.history.interrupted = True

    @property
    def done(self) -> int:
        """How many epochs of this call were made."""
        return self.session.state.epoch - self.begun.epoch

    @property
    def remaining(self) -> int:
        """How many epochs are left to make."""
        return self.plan.epochs - self.done

    @property
    def goes_on(self) -> bool:
        """Whether there is to be another epoch."""
        return self.remaining > 0 and not self.stopping

    @property
    def stopping(self) -> bool:
        """Whether a callback or a signal ends the fit."""
        return any(self.agreed) or (
            self.plan.backend.processes == 1
            and (self.model.stop_training or self.interrupt.asked)
        )

    def agree(self) -> bool:
        """Let all processes know what ends the fit; say whether a signal does."""
        signals, backend = self.interrupt, self.plan.backend
        if backend.processes > 1:
            asked, terminated, stop = backend.any(
                signals.asked, signals.terminated, bool(self.model.stop_training)
            )
            self.agreed = asked, stop
            signals.terminated = signals.terminated or terminated
        return self.agreed[0] or (backend.processes == 1 and signals.asked)

    def ahead(self) -> int:
        """How many epochs may be begun before somebody looks at them."""
        return 1 if self.listening else LAG

    def rate_scale(self) -> Any:
        """Return what the next epoch's scheduled rates are multiplied with."""
        scale, held = self.session.state.rate_scale, self.model.stopped_members
        return scale if held is None else np.where(held, 0.0, scale)

    def next_epoch(self) -> EpochResult | None:
        """Make the next epoch, or a group of them; say what to do without memory."""
        try:
            with self.plan.backend.together():  # a source may raise
                self.training.prepare(self.ahead(), self.rate_scale())
            if self.by_batches:  # from the first step on the slots are used up
                self.intact = False
                self.access.begin_step()
            self.session.part = None
            return self.training.advance(self)
        except Exception as error:
            if self.calling or not self.plan.backend.is_out_of_memory(error):
                raise
            self.intact = False  # wherever it was: the optimizer starts anew
            if isinstance(error, OutOfMemoryError):
                raise  # it says already what is too large
            raise self.training.exhausted(error) from error

    def end_epoch(self, result: EpochResult) -> None:
        """Make an epoch known, and call what listens."""
        if self.listening:
            self.logs = self.epoch_logs.of(result)
        self.publish(result)
        epoch = self.session.state.epoch
        if self.listening:
            self.epoch_logs.warn(self.logs, self.history.epochs, self.plan.dtype)
        self.tell(self.callbacks.on_epoch_end, epoch - 1, self.logs)
        if self.bar.shown:
            self.bar.show(functools.partial(self._shown, result), epochs=result.epochs)
        self.agree()
        self.tell(self.callbacks.on_cut, epoch, 0, not self.goes_on)

    def end_iteration(self, result: EpochResult) -> bool:
        """Make an iteration known; say whether there is to be another one."""
        self.calling = True
        self.end_epoch(result)
        goes_on = self.goes_on
        if goes_on:
            self.tell(self.callbacks.on_epoch_begin, self.session.state.epoch)
        self.calling = False
        return goes_on

    def cut_within(self, part: PartialEpoch) -> bool:
        """Let callbacks save within an epoch; say whether it goes on."""
        self.calling, self.session.part = True, part
        epoch, last = self.session.state.epoch, self.agree()
        self.tell(self.callbacks.on_cut, epoch, part.done, last)
        self.calling, self.session.part = False, None
        return not self.agree()

    def publish(self, result: EpochResult) -> None:
        """Make known what an epoch leaves: weights, slots, counters, history, at once.

        A signal's handler runs at calls and at loops. Among the assignments there are
        none, so that Ctrl-C finds all of the epoch or nothing.
        """
        model, history, access = self.model, self.history, self.access
        total, unread = model.history, self.unread
        if self.listening:
            mine, whole = history.grown(self.logs), total.grown(self.logs)
        else:
            mine, whole = history.kept, total.kept
            unread = (unread, result.loss, result.group)
        with access.lock:  # another thread may be setting the learning rate
            state = result.state._replace(rate_scale=model.training.rate_scale)
            model.training = state
            history.kept, total.kept, self.unread = mine, whole, unread
            self.intact, access.in_step = True, False

    def settle(self) -> None:
        """Put in order what the fit leaves, however it ended."""
        try:
            self._settle()
        except KeyboardInterrupt:  # raised by a handler of the program's own
            self._settle()
            raise

    def _settle(self) -> None:
        # In the midst of an epoch an update may be half made: the parameters are
        # those of the last whole epoch, and the optimizer starts anew.
        if not self.intact:
            state, plan = self.model.training, self.plan
            slots = fresh_slots(plan.backend, plan.optimizer, state.theta)
            self.model.training = state.restarted(slots)
            self.intact, self.access.in_step = True, False
        self.read_losses()
        history = self.history
        names = [name for name in history if name in ("loss", "val_loss")]
        shown = {name: history[name][-1] for name in names if history.epochs}
        note = "interrupted" if history.interrupted else ""
        self.bar.close(self.done, shown, note)

    def read_losses(self) -> None:
        """Wait for the losses that nobody has asked for, and tell the histories."""
        chain, read = self.unread, []
        while chain is not None:
            chain, *loss = chain
            read.append(loss)
        plan, logs = self.plan, self.epoch_logs
        values = [v for one in reversed(read) for v in read_losses(plan.backend, *one)]
        mine, total = self.history.view(), self.model.history.view()
        for i, value in enumerate(values[: self.counted]):
            row = logs.evaluation.losses("", value)
            if logs.rated:
                at = self.begun.step + (i + 1) * self.training.steps - 1
                scale = self.begun.rate_scale
                last = plan.optimizer.rates(at, 1, scale)[..., -1]
                row["learning_rate"] = rate.plain(last)
            mine.append(row)
            total.append(row)
        history, whole = self.history, self.model.history
        history.kept, whole.kept, self.unread = mine.kept, total.kept, None
        history.show()
        whole.show()

    def finish(self) -> None:
        """Tell the callbacks that the fit is over; they may change the model now."""
        self.access.finish()
        self.tell(self.callbacks.on_train_end, self.logs)

    def _shown(self, result: EpochResult) -> dict[str, Any]:
        """Return what the bar shows; this waits for the device."""
        shown = {k: v for k, v in self.logs.items() if k == "val_loss"}
        last = result.losses(self.plan.backend)[-1]
        return {**self.epoch_logs.evaluation.losses("", last), **shown}

    def _forget_after(self, epochs: int) -> None:
        """Let so many epochs of this call count, and none that was under way."""
        before, step = self.begun, self.model.training.step
        if self.done != epochs:
            step = before.step + epochs * self.training.steps
        self.model.training = self.model.training._replace(
            step=step,
            epoch=before.epoch + epochs,
            rate=before.rate,
        )
        self.counted, self.intact = epochs, False

    @contextmanager
    def _exit_after_sigterm(self) -> Iterator[None]:
        """End the process after SIGTERM, whatever else happened."""
        try:
            yield
        except BaseException as error:
            if self.interrupt.terminated:
                raise SystemExit(128 + signal.SIGTERM) from error
            raise
        if self.interrupt.terminated:
            raise SystemExit(128 + signal.SIGTERM)
