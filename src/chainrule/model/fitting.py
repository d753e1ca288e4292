"""From `Model.fit`'s arguments to a `Fit`: checks, intake, objective, resume."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import backends, optimizers
from chainrule.callbacks.base import CallbackList
from chainrule.config import checks
from chainrule.config.memory import room
from chainrule.data import bootstrap, intake, order
from chainrule.data.samples import sample_shape, split
from chainrule.data.stream import Source, Stream
from chainrule.errors import ArgumentError, MissingFileError, SerializationError
from chainrule.model.arguments import FitData, FitOptions
from chainrule.model.recorder import Recorder
from chainrule.network import Network
from chainrule.state.epochs import PartialEpoch
from chainrule.state.history import History
from chainrule.training import rate
from chainrule.training import slopes as slopes_
from chainrule.training.fit import Fit
from chainrule.training.logs import EpochLogs
from chainrule.training.objective import LossObjective, Objective
from chainrule.training.options import FitPlan
from chainrule.training.session import Session

if TYPE_CHECKING:
    from chainrule.backends import Backend
    from chainrule.files.checkpoints import Circumstances
    from chainrule.model.model import Model

__all__ = ["fit", "session_of"]

# What to do where memory does not suffice for the data of a fit.
_FEWER = "Use fewer samples, or dtype='float32'."


def fit(
    model: Model, given: FitData, callbacks: CallbackList, options: FitOptions
) -> History:
    """Train a model, as `Model.fit` says; return the history of the call."""
    spec, backend = model.spec, model.backend
    # Before the first data, nobody knows of other processes.
    with contextlib.nullcontext() if backend is None else backend.together():
        given, columns, origin = _received(model, given, options)
        if backend is None:
            backend = origin
            spec.check_backend(backend)
        network = model.bound or Network(spec.network, sample_shape(given.x))
        if not network.layout.learning_size:
            msg = "the network has nothing to train: every parameter is frozen."
            raise ArgumentError(msg)
    scope = backend.scope(spec.dtype, spec.precision)
    with scope, backend.compiling(spec.jit_compile):
        fit = _Preparation(model, network, backend, callbacks, options).fit(
            given, columns
        )
        history = fit.run()
        if getattr(spec.optimizer, "least_squares", False):
            model._keep_covariance(fit.epoch_logs.data)
        return history


def _received(
    model: Model, given: FitData, options: FitOptions
) -> tuple[FitData, tuple[str, ...] | None, Backend]:
    """Return what was given, received; the columns of x, and where x lies."""
    intake.check_single("x", given.x, given.y)
    intake.check_columns("x", given.x, model._columns)
    columns = intake.columns(given.x)
    if given.comes_in_chunks or options.comes_in_chunks:
        from chainrule.model import streams

        given = streams.prepare(given, options, model.spec)
    if isinstance(given.x, Source):
        return given, columns, given.x.origin or backends.get("numpy")
    x, origin = intake.receive("x", given.x)
    return given._replace(x=x), columns, origin


def session_of(model: Model) -> Session:
    """Return what trains a model without checkpoints of its fit: an estimator's."""
    return Session(model, model._access)


class _Preparation:
    """Prepares a fit; until all is checked, the model stays as it was."""

    def __init__(
        self,
        model: Model,
        network: Network,
        backend: Backend,
        callbacks: CallbackList,
        options: FitOptions,
    ) -> None:
        self.model, self.network, self.backend = model, network, backend
        self.callbacks, self.options = callbacks, options
        self.spec = model.spec
        if not backend.leads:
            callbacks.follow()

    @property
    def _shuffles(self) -> bool:
        return self.options.shuffle is not False

    def fit(self, given: FitData, columns: tuple[str, ...] | None) -> Fit:
        """Return the fit; the model has weights then."""
        model, options, spec = self.model, self.options, self.spec
        with self.backend.together():
            with room(self.backend, "for the data of a fit", _FEWER):
                objective, data, validation = self._data(given, columns)
            batch_size = options.batch_size
            if isinstance(data, Stream):
                batch_size = data.batch_size(batch_size)
            else:
                batch_size = min(batch_size, data.x.shape[0])
            logs = self._logs(objective, data, validation)
            self._check(logs, batch_size)
            sloped = given.slopes is not None
            describe = functools.cache(
                lambda: self._describe(data, validation, batch_size, sloped)
            )
            if self.callbacks.saves:
                from chainrule.files import checkpoints

                # What no file can hold is refused now, not after an epoch.
                checkpoints.check_parts(spec.arguments)
                describe()
        resumed = self._begin(describe)
        if model.bound is None:
            model._build(self.network, self.backend)
        model._columns = model._columns or columns
        model._covariance_of = None
        state = model._state()
        epochs, first, part = options.epochs, state.epoch, None
        history, before = History(), model.history.view()
        if resumed is not None:
            first, history, part = resumed
            epochs = max(0, first + epochs - state.epoch)
            model.history.extend(history)
        history.first = first
        seen = data
        if options.bootstrap:
            members: int | range = spec.member_number
            if spec.members is not None:
                members = range(spec.members)
            seen = bootstrap.resample(
                data, spec.seed, members, self.backend, spec.dtype
            )
        engine = self.backend
        if not isinstance(seen, Stream):
            engine = engine.training_on(seen)
        plan = FitPlan(
            engine,
            self.network,
            objective,
            spec.optimizer,
            seen,
            epochs,
            batch_size,
            self._order(data, batch_size),
            spec.seed,
            spec.dtype,
            part=part,
        )
        recorder = Recorder(model, self.callbacks, describe, first, (history, before))
        session = Session(model, model._access, recorder)
        return Fit(plan, session, self.callbacks, logs, history, options.progress)

    def _begin(self, describe: Callable[[], Circumstances]) -> Any:
        """Return what `_resume` does, or None; what trains together begins as one."""
        backend, path = self.backend, self.options.resume
        backend.warn_alone()
        if backend.processes > 1:
            facts = self._facts(describe())
            facts["resume"] = path is not None and os.path.exists(path)  # noqa: PTH110
            backend.compare(facts)
        if path is None:
            return None
        with backend.together():
            resumed = self._resume(path, describe())
        at = resumed and (self.model._state().step, resumed[2] and resumed[2].done)
        backend.compare({"steps of the checkpoint": at})
        return resumed

    def _order(self, data: Any, batch_size: int) -> Any:
        if isinstance(data, Stream):
            return None
        seed = self.spec.seed if self._shuffles else None
        return order.orders(data.x.shape[0], batch_size, seed)

    def _data(
        self, given: FitData, columns: tuple[str, ...] | None
    ) -> tuple[Objective, Any, tuple[Objective, Any] | None]:
        """Return the objective, its samples, and what validates on which samples."""
        model, network, backend = self.model, self.network, self.backend
        spec, options = self.spec, self.options
        share = options.validation_split
        plain = LossObjective(spec.loss)
        objective: Objective = plain
        held: Any = None
        if isinstance(given.x, Source):
            chosen = given[:3]
            if share:
                from chainrule.model import streams

                chosen, held = streams.hold_out(chosen, share)
                held = self._stream(held, "validation ")
            data: Any = self._stream(chosen, "", shuffle=self._shuffles)
        else:
            data = model._data(network, backend, given[:3])
        if given.slopes is not None:
            weight = options.slope_weight
            objective = slopes_.SlopeObjective(spec.loss, weight)
            objective.check(network, spec.optimizer, spec.members)
            data = slopes_.receive(network, data, given.slopes, backend, spec.dtype)
        if given.validation is not None:
            if isinstance(given.validation[0], Source):
                return (
                    objective,
                    data,
                    (plain, self._stream(given.validation, "validation ")),
                )
            known = model._columns or columns
            intake.check_columns("validation x", given.validation[0], known)
            more = model._data(network, backend, given.validation, prefix="validation ")
            return objective, data, (plain, more)
        if held is not None:
            return objective, data, (plain, held)
        if share:
            data, held = split(data, share)
            return objective, data, (objective, held)
        return objective, data, None

    def _stream(self, given: Any, prefix: str, *, shuffle: bool = False) -> Stream:
        from chainrule.model import streams

        options = self.options
        return streams.stream(
            self.model,
            self.network,
            given,
            batch_size=min(options.batch_size, given[0].shape[0]),
            chunk_bytes=options.chunk_bytes,
            seed=self.spec.seed if shuffle else None,
            prefix=prefix,
        )

    def _logs(self, objective: Any, data: Any, validation: Any) -> EpochLogs:
        evaluation = self.model._evaluation(self.network, self.backend)
        rated = rate.is_logged(self.spec.optimizer, self.callbacks.logs_rate)
        return EpochLogs(evaluation, objective, data, validation, rated)

    def _check(self, logs: EpochLogs, batch_size: int) -> None:
        """Raise an error for what cannot be done, before anything is."""
        model, spec, network = self.model, self.spec, self.network
        network.layer.check_rows(batch_size)
        if isinstance(logs.data, Stream):
            steps = logs.data.steps or 1
        else:
            steps = -(-logs.data.x.shape[0] // batch_size)
        state = model.training
        optimizer = spec.optimizer
        by_batches = isinstance(optimizer, optimizers.Optimizer)
        if by_batches:
            optimizer.rates(0 if state is None else state.step, steps)
        data = [logs.data, *([] if logs.validation is None else logs.validation[1:])]
        for each in data:
            some, fetch = each, self.backend.to_numpy
            if isinstance(each, Stream):
                some, fetch = each.first, np.asarray
            for metric in model.metrics.values():
                metric.check(spec.loss, network.output_shape, some.t, fetch)
        scale = model._rate_scale if state is None else state.rate_scale
        # The rate itself is not asked for: a schedule is a user's.
        own_rates = by_batches and (
            isinstance(optimizer.learning_rate, tuple) or bool(np.ndim(scale))
        )
        last = (0 if state is None else state.epoch) + self.options.epochs
        self.callbacks.check(model, logs.names(own_rates), (last, steps))
        if not by_batches:
            optimizer.check(spec.loss)
            optimizer.check_network(network)

    def _describe(
        self, data: Any, validation: Any, batch_size: int, sloped: bool
    ) -> Circumstances:
        from chainrule.files import checkpoints

        spec, options, backend = self.spec, self.options, self.backend
        compiled: bool | None = None
        if {True, False} <= {*backend.jit_compiles}:
            # Of the engines that have the choice; its results are others.
            compiled = spec.jit_compile or None
        held = None if validation is None else _described(validation[1])[0]
        arrays, cut = _described(data)
        return checkpoints.describe(
            spec.arguments,
            backend,
            arrays,
            held,
            chunks=cut,
            batch_size=batch_size,
            shuffle=self._shuffles,
            bootstrap=options.bootstrap,
            slope_weight=options.slope_weight if sloped else None,
            jit_compile=compiled,
        )

    def _facts(self, circumstances: Circumstances) -> dict[str, Any]:
        """Return what must be the same in all processes that train together."""
        from chainrule.files import codec

        spec, callbacks, training = self.spec, self.callbacks, self.model.training
        facts: dict[str, Any] = {**circumstances.wanted, **spec.arguments}
        for name in ("network", "loss", "optimizer", "metrics"):
            try:
                facts[name] = codec.encode(facts[name], name)
            except SerializationError:  # a part of one's own, that no file knows
                facts[name] = type(facts[name]).__name__
        return {
            **facts,
            "epochs": self.options.epochs,
            "callbacks": [getattr(c, "led", type(c).__name__) for c in callbacks],
            "every_steps of callbacks": sorted(callbacks.cuts),
            "steps of the model": 0 if training is None else training.step,
            "weights": self.model._digest(),
        }

    def _resume(
        self, path: str | os.PathLike[str], circumstances: Circumstances
    ) -> tuple[int, History, PartialEpoch | None] | None:
        """Make the model that of a checkpoint; return the fit, or None without a file.

        The callbacks get their states back, too.
        """
        from chainrule.files import checkpoints, container

        model, backend, spec = self.model, self.backend, self.spec
        try:
            snapshot, record = checkpoints.read(path)
        except MissingFileError:
            return None
        with container.naming(path):
            saved = type(model).from_snapshot(snapshot, backend)
        checkpoints.compare(
            path, spec.arguments, self.network, circumstances, snapshot, record
        )
        with container.naming(path):
            warning = self.callbacks.restore(record.callbacks, saved)
        warning += checkpoints.differences(circumstances, record)
        if str(circumstances.wanted["chunks"]).startswith("batches"):
            warning.append(
                "batches cannot be compared with those of the fit before, and must be "
                "the same from the epoch's beginning on"
            )
        state = saved._state()
        if not state.slots and not hasattr(spec.optimizer, "update"):
            name = type(spec.optimizer).__name__
            warning.append(
                f"{name} keeps no memory that a file could hold: it begins anew"
            )
        if warning:
            checks.warn(
                f"resume: {path}: {'; '.join(warning)}. The fit goes on, but bits may "
                f"differ from those of the fit left alone."
            )
        part = record.part
        if part is not None:
            part = part.on(backend)
        model._backend, model.bound, model.training = backend, self.network, state
        model.history = record.before
        model._bind_direct()
        return record.first, record.history, part


def _described(data: Any) -> tuple[Any, str | None]:
    """Return what a checkpoint compares: the arrays, and how they are cut."""
    return data.described() if isinstance(data, Stream) else (data, None)
