"""A model as values: copies, members, snapshots, files and pickles."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from chainrule import backends
from chainrule.config import checks
from chainrule.config.explain import explain_methods
from chainrule.config.memory import room
from chainrule.errors import ArgumentError
from chainrule.model.access import Access
from chainrule.model.predictor import Predictor
from chainrule.model.spec import ModelSpec, bound_metrics
from chainrule.network import Network, ensemble
from chainrule.state.history import History
from chainrule.state.snapshot import ModelSnapshot
from chainrule.state.training import TrainingState
from chainrule.training.minibatch import fresh_slots

if TYPE_CHECKING:
    from types import ModuleType

    from chainrule.arrays.types import Array
    from chainrule.backends import Backend
    from chainrule.config.choices import BackendName, Int

__all__ = ["Transfer"]

# Attributes that a pickle has as a snapshot, or that are made anew.
_REBUILT = {"spec", "bound", "training", "_columns", "_metrics"} | {
    "_access",
    "_direct",
    "_covariance_of",
}


@explain_methods
class Transfer(Predictor):
    """A model as values: copies, members, snapshots, files and pickles."""

    spec: ModelSpec
    bound: Network | None
    training: TrainingState | None
    history: History
    stop_training: bool
    stopped_members: Any

    def _begin(
        self,
        spec: ModelSpec,
        backend: Backend | None,
        bound: Network | None = None,
        training: TrainingState | None = None,
        history: History | None = None,
    ) -> None:
        """Become the model of these values, which nobody else writes into."""
        self.spec, self._backend = spec, backend
        self.bound, self.training = bound, training
        self.history = History() if history is None else history
        self.stop_training, self.stopped_members = False, None
        self._access = Access()
        self._metrics = bound_metrics(spec.metrics)
        self._columns, self._covariance_of = None, None
        self._rate_scale: Any = 1.0  # of the first training state
        self._bind_direct()

    def _with(
        self,
        spec: ModelSpec,
        backend: Backend | None,
        training: TrainingState | None,
        history: History,
    ) -> Self:
        """Return a model of these values, with what a user has put on this one."""
        new = type(self).__new__(type(self))
        new.__dict__.update(self.__dict__)
        new._begin(spec, backend, self.bound, training, history)
        new._columns = self._columns
        return new

    def _fresh_slots(self, theta: Array) -> tuple[Any, ...]:
        return fresh_slots(self._backend, self.spec.optimizer, theta)

    def _build(self, network: Network, backend: Backend) -> None:
        """Draw the weights, on the backend."""
        spec, size = self.spec, f"{network.size:,}"
        if spec.members is not None:
            size = f"{spec.members} x {size}"
        what = f"for the {size} parameters of this model"
        with room(backend, what, "Use a smaller network."):
            if spec.members is None:
                host = network.initial(spec.seed, spec.member_number)
            else:
                host = ensemble.initial(network, spec.seed, spec.members)
            with np.errstate(over="ignore"):
                if not all(np.isfinite(a.astype(spec.dtype)).all() for a in host):
                    msg = (
                        f"an initializer draws values too large for {spec.dtype}; draw "
                        f"smaller ones, or use float64."
                    )
                    raise ArgumentError(msg)
            state = TrainingState(*host, rate_scale=self._rate_scale)
            self._adopt(network, backend, state, fresh=True)

    def _adopt(
        self, network: Network, backend: Backend, host: TrainingState, *, fresh: bool
    ) -> None:
        """Take over a state of the host; if `fresh`, with the slots of a beginning."""
        spec = self.spec
        spec.check_backend(backend)
        with backend.scope(spec.dtype, spec.precision):
            training = host.on(backend, spec.dtype)
            if fresh:
                slots = fresh_slots(backend, spec.optimizer, training.theta)
                training = training._replace(slots=slots)
        self._backend, self.training, self.bound = backend, training, network
        self._bind_direct()

    def member(self, k: Int) -> Self:
        """Return member k of an ensemble: a model of its own, that trains alone.

        Before `fit` it is the untrained member, whose training alone gives what the
        ensemble's training gives it, to rounding; afterwards it is the trained one,
        with its optimizer's slots, counters and history, and can go on.

        Parameters
        ----------
        k : int
            0 ... members - 1.

        Raises
        ------
        ArgumentError
            If there is no such member, or the model is not an ensemble.
        """
        self._need_ensemble("member(k)")
        k, members = checks.integer("member(k): k", k, 0), self.members
        if k >= members:
            msg = f"member(k): k must be in 0 ... {members - 1}; got {k}."
            raise ArgumentError(msg)
        with self._access.copying("member(k)"):
            training = self.training
            if training is not None:
                training = training.member(k).on(self.backend)
            spec, history = self.spec.member(k), self.history.member(k)
            new = self._with(spec, self.backend, training, history)
        if training is None:
            scale = self._rate_scale
            new._rate_scale = float(scale[k]) if np.ndim(scale) else scale
        return new

    def to(
        self, backend: BackendName | Backend | ModuleType, device: Any = None
    ) -> Self:
        """Return a new model on another backend; this one is left alone.

        Parameters, state, optimizer slots, counters and history go along, so that
        training can go on there.
        """
        target = backends.get(backend, device)
        spec = self.spec
        if spec.jit_compile not in target.jit_compiles:
            spec = spec.replace(jit_compile=None)
        spec.check_backend(target)
        with self._access.copying("to"):
            training = self._on_host()
        if training is not None:
            with room(target, "in to(...)", "Use a smaller network."):
                training = training.on(target, spec.dtype)
        history = History(self.history)
        new = self._with(spec, target, training, history)
        new._rate_scale = self._rate_scale
        new.stop_training = self.stop_training
        new.stopped_members = self.stopped_members
        return new

    def _on_host(self) -> TrainingState | None:
        if self.training is None:
            return None
        with self._scope():
            return self.training.on_host(self.backend, self._need().size)

    def snapshot(self, include_optimizer: bool = True) -> ModelSnapshot:
        """Return the model as values on the host: what files and pickles hold.

        Parameters
        ----------
        include_optimizer : bool
            Whether the optimizer's slots and the counters go along; without, training
            starts anew.
        """
        training = self.training
        if training is not None:
            if not include_optimizer:
                training = TrainingState(*training.weights)
            with self._scope():
                training = training.on_host(self.backend, self._need().size)
        shape = None if self.bound is None else self.bound.input_shape
        parts, columns = self.spec.arguments, self._columns
        return ModelSnapshot(parts, shape, training, include_optimizer, columns)

    @classmethod
    def from_snapshot(
        cls,
        snapshot: ModelSnapshot,
        backend: Backend | None,
        *,
        bound: Network | None = None,
    ) -> Self:
        """Return the model of a snapshot, on a backend.

        Parameters
        ----------
        snapshot : ModelSnapshot
        backend : Backend or None
            None only for one without weights.
        bound : Network, optional
            The snapshot's network bound to its shape, where it is there already.
        """
        spec = ModelSpec.of_parts(snapshot.parts)
        new = cls.__new__(cls)
        new._begin(spec, backend)
        new._columns = snapshot.columns
        if snapshot.training is not None:
            assert backend is not None
            assert snapshot.input_shape is not None
            network = bound or Network(spec.network, snapshot.input_shape)
            fresh = not snapshot.has_optimizer
            new._adopt(network, backend, snapshot.training, fresh=fresh)
        return new

    def save(
        self, path: str | os.PathLike[str], *, include_optimizer: bool = False
    ) -> None:
        """Write the model to a safetensors file; `chainrule.load` reads it.

        The file is whole or, after a full disk or a kill, what was there before. The
        same model gives the same bytes.

        Parameters
        ----------
        path : str or PathLike
        include_optimizer : bool
            Whether the optimizer's slots and the counters of steps and epochs go along,
            so that training can go on; without, it starts anew.

        Raises
        ------
        NotBuiltError
            If there are no weights yet.
        SerializationError
            If it has a layer, metric, schedule or initializer of one's own that is not
            registered (`chainrule.serialization.register`).
        FileError
            If the file cannot be written.
        BusyError
            With the optimizer, while another thread makes an epoch of this model.
        """
        from chainrule.files import models

        include_optimizer = checks.boolean("include_optimizer", include_optimizer)
        self._need()
        copying = self._access.copying("save(path, include_optimizer=True)")
        with copying if include_optimizer else contextlib.nullcontext():
            models.write(path, self.snapshot(include_optimizer))

    def __getstate__(self) -> dict[str, Any]:
        with self._access.copying("a pickle or deepcopy"):
            snapshot = self.snapshot()
        others = {k: v for k, v in self.__dict__.items() if k not in _REBUILT}
        return {**others, "snapshot": snapshot}

    def __setstate__(self, state: dict[str, Any]) -> None:
        others = dict(state)
        snapshot: ModelSnapshot = others.pop("snapshot")
        new = self.from_snapshot(snapshot, others["_backend"])
        self.__dict__.update({**new.__dict__, **others})
