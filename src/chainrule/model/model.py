"""The object that users hold: a network, its parameters, and how they are trained."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from chainrule import backends, losses, optimizers, schedules
from chainrule.arrays.trees import tree_map
from chainrule.arrays.types import Shape
from chainrule.callbacks import Checkpoint
from chainrule.callbacks.base import check_callbacks
from chainrule.config import checks
from chainrule.config.explain import explain_call, explain_methods
from chainrule.config.memory import FEWER_ROWS, exhausted, room
from chainrule.data import intake
from chainrule.data import samples as samples_
from chainrule.data.samples import Data, split
from chainrule.errors import ArgumentError, ArgumentTypeError, NotBuiltError, ShapeError
from chainrule.layers import Layer
from chainrule.losses import links
from chainrule.model import spec
from chainrule.model.access import Access, Claim
from chainrule.model.derivatives import Derivatives
from chainrule.model.fitting import Options, check_options, check_validation
from chainrule.model.summary import summarise
from chainrule.model.uncertainty import Uncertainty
from chainrule.network import Network, chunks, ensemble, evaluation, forward
from chainrule.state.history import History
from chainrule.training import fit as fit_
from chainrule.training import slopes as slopes_
from chainrule.training.logs import log_names
from chainrule.training.objective import LossObjective, Objective

__all__ = ["Model"]

# What to do where memory does not suffice for the data of a fit.
_FEWER = "Use fewer samples, or dtype='float32'."


@explain_methods
class Model(Derivatives, Uncertainty):
    """A neural network with its parameters.

    Parameters
    ----------
    network : Layer
        Usually `MLP` or `Sequential`.
    loss : str or Loss
    optimizer : Optimizer or ProblemOptimizer
    metrics : sequence of str or functions
        ``metric(y_true, y_pred)``; see `chainrule.metrics`.
    backend : {"numpy", "jax", "cupy", "torch"}, Backend, module, or None
        Where the work runs. None follows the first data that the model sees.
    device : object, optional
        A device of the backend, or its name.
    dtype : {"float32", "float64"}
    precision : {"highest", "tf32", "bfloat16"}
        Of matrix products. "highest" is full precision. "bfloat16" (JAX, PyTorch)
        rounds what goes into a product to 8 bits and sums in float32 (PyTorch rounds
        the product, too); parameters and all else stay float32. "tf32" rounds to 11
        bits, on a GPU that has it (JAX, PyTorch, CuPy). Where a library has none of it,
        an error says so; backends then agree to that precision only.
    jit_compile : bool, optional
        Whether steps of training are compiled. None: the library's own way (JAX compiles,
        the others do not). True: PyTorch, too, compiles the step of each new structure
        and batch size, which takes seconds; where it cannot, for want of a C++ compiler,
        say, a warning tells why and the fit goes on. It is for optimizers that go by
        batches; results differ by rounding. NumPy and CuPy refuse True, JAX False. It
        says how this model trains, not what it is: files leave it out, and `to` drops
        it where the other backend has no such choice.
    seed : int
        Decides weights, order of batches and dropout masks, the same on every backend.
    members : int, optional
        That many networks in one, an ensemble: see `docs/ensembles.md`. Arrays of
        parameters, state and slots have an axis of members before their own. Member k's
        weights come from (seed, k), member 0's are those of the lone model; the order
        of batches and the dropout masks are shared.

    Attributes
    ----------
    history : History
        Of all fits so far.
    stop_training : bool
        A callback sets it to end the fit after the epoch.
    stopped_members : bool array, shape (members,), or None
        A callback sets it to hold the parameters of some members of an ensemble for the
        rest of the fit.
    """

    # Names of the columns of the first data frame that was fitted.
    _columns: tuple[str, ...] | None = None

    # Read as any attribute, checked when they are assigned.
    network: Any = spec.network
    members: Any = spec.members
    dtype: Any = spec.dtype
    backend: Any = spec.backend
    metrics: Any = spec.metrics
    precision: Any = spec.precision
    jit_compile: Any = spec.jit_compile
    seed: Any = spec.seed

    @explain_call(1)
    def __init__(
        self,
        network: Layer,
        *,
        loss: Any = "squared_error",
        optimizer: Any = optimizers.Adam(),  # noqa: B008 - a frozen record
        metrics: Iterable[Any] = (),
        backend: Any = None,
        device: Any = None,
        dtype: str = "float32",
        precision: str = "highest",
        jit_compile: bool | None = None,
        seed: int = 0,
        members: int | None = None,
    ) -> None:
        self.backend = None
        self.network = network
        self.loss = loss
        self.members = members
        self._member = 0  # a lone model's weights come from (seed, this)
        self._optimizer = ensemble.check_optimizer(optimizer, self.members)
        self.metrics = metrics
        self.dtype = dtype
        self.precision = precision
        self.jit_compile = jit_compile
        self.seed = seed
        if backend is not None:
            self.backend = backends.get(backend, device)
        elif device is not None:
            msg = f"device {checks.show(device)} needs a backend to belong to; give backend= too."
            raise ArgumentError(msg)
        self._access = Access()
        self.history = History()
        self._given_metrics: tuple[Any, ...]  # set with `metrics`
        self.stop_training = False
        self.stopped_members: Any = None
        self._bound: Network | None = None
        self._direct: Any = None
        # (weights, their covariance), for method="laplace", or None: never the data. It
        # goes into no file, pickle or other backend.
        self._factor_of: Any = None
        # (theta, state), replaced as a whole and never written into: a thread that
        # predicts sees the one pair or the other.
        self._weights: Any = None
        self._slots: tuple[Any, ...] = ()
        # See `training.State`: the optimizer's steps, those before its first, epochs.
        self._step = self._begun = self._epoch = 0
        self._rate: Any = 0.0
        self._factor: Any = 1.0

    def _checked(self, backend: Any) -> Any:
        backend.check_dtype(self.dtype)
        backend.check_precision(self.precision, self.dtype)
        backend.check_jit_compile(self.jit_compile)
        return backend

    def _scope(self) -> Any:
        return self.backend.scope(self.dtype, self.precision)

    # What the model is.

    @property
    def loss(self) -> losses.Loss:
        """The loss; another one must go with the network's last layer.

        To set it keeps the weights, and starts the optimizer anew, as a new one would:
        its slots are of the old loss's gradients.
        """
        return self._loss  # type: ignore[no-any-return]

    @loss.setter
    def loss(self, loss: Any) -> None:
        loss = losses.get(loss)
        links.check(loss, self.network)
        if "_access" not in self.__dict__:  # it is being made
            self._loss = loss
            return
        self._access.check_change("loss")
        self._loss, self._factor_of = loss, None
        self._restart_optimizer()

    @property
    def optimizer(self) -> Any:
        """The optimizer. Setting one starts it anew: its slots, steps and rate.

        The slots are zero, schedules and bias corrections begin at their first step,
        and the learning rate is the optimizer's own, whatever was set before. The
        order of batches and the dropout masks go on.
        """
        return self._optimizer

    @optimizer.setter
    def optimizer(self, optimizer: Any) -> None:
        self._access.check_change("optimizer")
        self._optimizer = ensemble.check_optimizer(optimizer, self.members)
        self._restart_optimizer()

    def _restart_optimizer(self) -> None:
        """Let the optimizer begin anew: its slots, and all that counts with them."""
        if self._bound is not None:
            with self._scope():
                self._slots = self._fresh_slots(self._weights[0])
        self._step, self._begun = 0, self._begun + self._step
        self._rate, self._factor = 0.0, 1.0

    @property
    def built(self) -> bool:
        """Whether there are weights."""
        return self._bound is not None

    def build(self, sample_shape: Shape | int) -> Model:
        """Draw the weights for samples of this shape; the first `fit` does it by itself.

        Parameters
        ----------
        sample_shape : tuple of int, or int
            Shape of one sample, without the batch.

        Returns
        -------
        Model
            This one.

        Raises
        ------
        OutOfMemoryError
            If the weights do not fit into the memory.
        """
        if isinstance(sample_shape, int) and not isinstance(sample_shape, bool):
            sample_shape = (sample_shape,)
        if not isinstance(sample_shape, (tuple, list)):
            checks.refuse("sample_shape", "a tuple such as (2,)", sample_shape)
        shape = tuple(checks.integer("sample_shape", n, 1) for n in sample_shape)
        if self._bound is not None:
            if shape != self._bound.input_shape:
                msg = (
                    f"the model is built for samples of shape "
                    f"{self._bound.input_shape}; got {shape}. Make a new Model."
                )
                raise ShapeError(msg)
            return self
        self._build(Network(self.network, shape), self.backend or backends.get("numpy"))
        return self

    def _build(self, network: Network, backend: Any) -> None:
        size = f"{network.size:,}"
        if self.members is not None:
            size = f"{self.members} x {size}"
        what = f"for the {size} parameters of this model"
        with room(backend, what, "Use a smaller network."):
            self._drawn(network, backend)

    def _drawn(self, network: Network, backend: Any) -> None:
        if self.members is None:
            host = network.initial(self.seed, self._member)
        else:
            host = ensemble.initial(network, self.seed, self.members)
        with np.errstate(over="ignore"):
            if not all(np.isfinite(a.astype(self.dtype)).all() for a in host):
                msg = (
                    f"an initializer draws values too large for {self.dtype}; draw "
                    f"smaller ones, or use float64."
                )
                raise ArgumentError(msg)
        self._adopt(network, backend, *host)

    def _adopt(
        self,
        network: Network,
        backend: Any,
        theta: Any,
        state: Any,
        trained: dict[str, Any] | None = None,
    ) -> None:
        """Take over host weights and, from a file, what training left beside them."""
        self.__dict__["backend"] = self._checked(backend)
        with self._scope():
            weights = tuple(backend.asarray(a, self.dtype) for a in (theta, state))
            if trained is None:
                self._slots = self._fresh_slots(weights[0])
            else:
                self._slots = tree_map(
                    lambda a: backend.copy(backend.asarray(a, self.dtype)),
                    trained["slots"],
                )
                self._step, self._epoch = trained["step"], trained["epoch"]
                self._begun = trained["begun"]
                self._rate, self._factor = trained["rate"], trained["factor"]
        self._weights, self._bound = weights, network
        self._prepare()

    def _prepare(self) -> None:
        """Make the function that predicts a few rows, where there is no compiling."""
        self._direct = None
        if self._bound is not None and self.members is None and self.backend.direct:
            self._direct = forward.build_direct(self.backend, self._bound)

    def _host_slots(self) -> tuple[Any, ...]:
        with self._scope():
            return tuple(tree_map(self.backend.to_numpy, self._slots))

    def _fresh_slots(self, theta: Any) -> tuple[Any, ...]:
        names = getattr(self.optimizer, "slots", ())
        return tuple(self.backend.xp.zeros_like(theta) for _ in names)

    def _need(self) -> Network:
        if self._bound is None:
            msg = (
                "the model has no weights yet: call fit, or build(sample_shape) with "
                "the shape of one sample."
            )
            raise NotBuiltError(msg)
        return self._bound

    @property
    def theta(self) -> Any:
        """All parameters in one vector (P,), or (members, P): a copy, on the backend."""
        self._need()
        with self._scope():
            return self.backend.copy(self._weights[0])

    @property
    def state(self) -> Any:
        """What layers keep, in one vector (S,), or (members, S): a copy, on the backend.

        Batch norm's running statistics; of a network without any it is empty.
        """
        self._need()
        with self._scope():
            return self.backend.copy(self._weights[1])

    @property
    def parameters(self) -> dict[str, Any]:
        """Name -> array, in layout order: copies, on the model's backend."""
        network, theta = self._need(), self.theta
        with self._scope():
            views = network.views(theta, self.backend.xp)
            copy = self.backend.copy
            return {
                e.name: copy(v) for e, v in zip(network.entries, views, strict=True)
            }

    def get_weights(self) -> tuple[Any, Any]:
        """Return the parameters (P,) and the state (S,) as NumPy arrays, copies.

        Those of an ensemble are (members, P) and (members, S).
        """
        self._need()
        with self._scope():
            theta, state = (np.array(self.backend.to_numpy(a)) for a in self._weights)
        return theta, state

    def set_weights(self, weights: Any) -> None:
        """Take over what `get_weights` of a model of the same structure returned.

        Raises
        ------
        BusyError
            While the model is being fitted; `Callback.on_train_end` is afterwards.
        """
        network = self._need()
        self._access.check_change("weights")
        if not isinstance(weights, (tuple, list)) or len(weights) != 2:
            msg = (
                f"weights must be the pair that get_weights returns; "
                f"got {type(weights).__name__}."
            )
            raise ArgumentTypeError(msg)
        received = [intake.receive("weights", a) for a in weights]
        theta, state = (a for a, _ in received)
        lead = () if self.members is None else (self.members,)
        wanted = ((*lead, network.size), (*lead, network.state_size))
        if (theta.shape, state.shape) != wanted:
            msg = (
                f"weights must have the shapes {wanted[0]} and {wanted[1]}; "
                f"got {theta.shape} and {state.shape}."
            )
            raise ShapeError(msg)
        with self._scope():
            self._weights = tuple(
                self.backend.copy(
                    intake.place("weights", a, origin, self.backend, self.dtype)
                )
                for a, origin in received
            )

    @property
    def learning_rate(self) -> Any:
        """The learning rate of the next step. Setting it rescales the whole schedule.

        A float; where the members of an ensemble have rates of their own, an array
        (members,). To set it so gives them rates of their own.
        """
        return self._factor * self._scheduled()

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        number: Any
        several = isinstance(value, (list, tuple)) or bool(getattr(value, "ndim", 0))
        if self.members is not None and several:
            if len(value) != self.members:
                msg = (
                    f"learning_rate must be a number, or one for each of the "
                    f"{self.members} members; got {len(value)}."
                )
                raise ShapeError(msg)
            each = [
                checks.real(f"learning_rate[{k}]", v, 0.0, open_low=True)
                for k, v in enumerate(value)
            ]
            number = np.array(each)
        else:
            number = checks.real("learning_rate", value, 0.0, open_low=True)
        now = self._scheduled()
        if np.any(now <= 0.0):
            msg = (
                f"learning_rate cannot be set to {number} while the schedule is at 0 "
                f"(step {self._step}); give the model another optimizer instead."
            )
            raise ArgumentError(msg)
        with np.errstate(over="ignore"):
            factor = number / np.float64(now)
        if not np.all(np.isfinite(factor)):
            msg = (
                f"learning_rate: {number} is too large beside the schedule's {now}; give "
                f"the model another optimizer instead."
            )
            raise ArgumentError(msg)
        self._factor = factor if np.ndim(factor) else float(factor)

    def _scheduled(self) -> Any:
        if not isinstance(self.optimizer, optimizers.Optimizer):
            msg = f"{type(self.optimizer).__name__} has no learning rate."
            raise ArgumentError(msg)
        rate = self.optimizer.learning_rate
        if isinstance(rate, tuple):
            return np.array(
                [schedules.rate(schedules.get(r), self._step) for r in rate]
            )
        return schedules.rate(schedules.get(rate), self._step)

    def _rate_factor(self) -> Any:
        """Return what the next epoch's scheduled rates are multiplied with."""
        if self.stopped_members is None:
            return self._factor
        return np.where(self.stopped_members, 0.0, self._factor)

    # Training.

    @explain_call(1)
    def fit(
        self,
        x: Any,
        y: Any,
        *,
        epochs: int = 100,
        batch_size: int = 32,
        shuffle: bool = True,
        sample_weight: Any = None,
        validation_data: Any = None,
        validation_split: float = 0.0,
        callbacks: Iterable[Any] = (),
        progress: bool | None = None,
        resume: Any = None,
        bootstrap: bool = False,
        slopes: Any = None,
        slope_weight: float = 1.0,
    ) -> History:
        """Train; a model that was fitted before goes on from where it stands.

        Parameters
        ----------
        x : array, shape (n, *sample_shape)
        y : array, shape (n, *output_shape), or (n,) for one output or for labels
        epochs, batch_size : int
            The last batch of an epoch may be smaller; it is a step of its own. For an
            optimizer of the whole problem (`LBFGS`, `LevenbergMarquardt`) it bounds
            memory alone: so many rows are worked on at a time, or more where those are
            small.
        shuffle : bool
            Whether each epoch has an order of its own.
        sample_weight : array, shape (n,), optional
            Not negative. A batch's loss is Σwl/Σw; a batch without weight has loss 0.
        validation_data : (x, y) or (x, y, sample_weight), optional
        validation_split : float in [0, 1)
            Share of the samples, the last ones, that is kept for validation.
        callbacks : sequence of Callback
        progress : bool, optional
            None: a bar on a terminal or in a notebook.
        resume : str or path, optional
            A file that `callbacks.Checkpoint` writes. If it is there, the fit that
            wrote it goes on, and ends bit for bit where it would have ended; the model
            becomes what it was, `epochs` is the total, and the history returned is of
            the whole fit. If it is not there yet, the fit begins.
        bootstrap : bool
            Weigh each sample with the number of times that it is in a random sample of
            n with replacement, drawn anew for each member of an ensemble from the seed
            and the member's number; `sample_weight` comes on top.
        slopes : array, shape (n, *output_shape, *sample_shape), optional
            ∂y/∂x of each sample, to be fitted too; the axes of one output, or of one
            input, may be left out. Not with Dropout or BatchNorm, nor for an ensemble.
        slope_weight : float
            Not negative. With slopes S, what is trained on is
            loss + slope_weight · Σ wᵢ sᵢ / Σ wᵢ, where sᵢ is the mean over the entries
            of sample i's Jacobian of (∂z/∂x - S)².

        Returns
        -------
        History
            Of this call: "loss" (the mean over samples of what was trained on), the
            metrics at each epoch's end, and the same with "val_" before. For an
            ensemble "loss" is the mean over members, "member_loss" has an array
            (members,) for each epoch, and metrics are those of the mean prediction.
            With slopes "loss" is the sum of both terms, and "slope_loss" the mean of sᵢ
            at each epoch's end; "val_loss" has both terms after validation_split, and
            that of the values alone with validation_data.

        Raises
        ------
        ChainruleError
            For input that does not fit; the model is then as it was. (A schedule is
            asked epoch by epoch: a bad rate ends the fit before its epoch.)
        DivergenceError
            If the loss or a parameter stops being finite. The parameters of the last
            finite epoch are kept; of an ensemble, those of the last epoch in which all
            members were finite. The error's `members` says whose were not.
        ResumeError
            If `resume` is the checkpoint of another fit: of other data, another batch
            size, network, loss, optimizer, dtype or seed.
        OutOfMemoryError
            If the data, or a step, does not fit into the device's memory.
        BusyError
            If the model is being fitted already, in another thread or by the fit whose
            callback calls this.

        Notes
        -----
        The first Ctrl-C ends the fit after the epoch (or at the next cut of a
        checkpoint's `every_steps`), the second at once. With a `Checkpoint`, SIGTERM
        does the same, then exits with status 143. Both only in the main thread.
        """
        claim = Claim()
        try:
            self._access.take(claim)
            options = check_options(
                epochs=epochs,
                batch_size=batch_size,
                shuffle=shuffle,
                bootstrap=bootstrap,
                progress=progress,
                resume=resume,
                slope_weight=slope_weight,
                validation_split=validation_split,
            )
            return self._fit(
                x,
                y,
                sample_weight,
                check_validation(validation_data, options.validation_split),
                slopes,
                check_callbacks(callbacks),
                options,
            )
        finally:
            claim.over = True

    def _fit(
        self,
        x: Any,
        y: Any,
        sample_weight: Any,
        validation: Any,
        slopes: Any,
        hooks: list[Any],
        options: Options,
    ) -> History:
        intake.check_columns("x", x, self._columns)
        intake.check_single("x", x, y)
        columns = intake.columns(x)
        x, origin = intake.receive("x", x)
        backend = self.backend or self._checked(origin)
        network = self._bound or Network(self.network, samples_.sample_shape(x))
        if not network.layout.learning_size:
            msg = "the network has nothing to train: every parameter is frozen."
            raise ArgumentError(msg)
        scope = backend.scope(self.dtype, self.precision)
        with scope, backend.compiling(self.jit_compile):
            plain = LossObjective(self.loss)
            objective: Objective = plain
            validated: Any = None
            check: Any = None
            with room(backend, "for the data of a fit", _FEWER):
                data: Any = self._data(network, backend, x, y, sample_weight, "")
                if slopes is not None:
                    objective = slopes_.SlopeObjective(self.loss, options.slope_weight)
                    objective.check(network, self.optimizer, self.members)
                    data = slopes_.receive(network, data, slopes, backend, self.dtype)
                if validation is not None:
                    vx, vy, vw = validation
                    intake.check_columns("validation x", vx, self._columns or columns)
                    check = self._data(network, backend, vx, vy, vw, "validation ")
                    validated = plain
                elif options.validation_split:
                    data, check = split(data, options.validation_split)
                    validated = objective
            samples = data.x.shape[0]
            batch_size = min(options.batch_size, samples)
            network.layer.check_rows(batch_size)
            if isinstance(self.optimizer, optimizers.Optimizer):
                self.optimizer.rates(self._step, -(-samples // batch_size))
            for each in (data, check):
                if each is not None:
                    for metric in self.metrics.values():
                        metric.check(
                            self.loss, network.output_shape, each.t, backend.to_numpy
                        )
            names = log_names(self, hooks, objective, validated)
            for hook in hooks:
                if hasattr(hook, "check_model"):
                    hook.check_model(self)
                if hasattr(hook, "check_logs"):
                    hook.check_logs(names)
                if isinstance(hook, Checkpoint):
                    steps = -(-samples // batch_size)
                    hook.check_names(self._epoch + options.epochs, steps)
            if isinstance(self.optimizer, optimizers.ProblemOptimizer):
                self.optimizer.check(self.loss)
                self.optimizer.check_network(network)
            about: Any = None
            resumed: Any = None
            saving = any(isinstance(hook, Checkpoint) for hook in hooks)
            resume = options.resume
            if saving or resume is not None:
                from chainrule.files import checkpoints

                about = checkpoints.describe(
                    self,
                    backend,
                    data,
                    check,
                    batch_size=batch_size,
                    shuffle=options.shuffle,
                    bootstrap=options.bootstrap,
                    slope_weight=options.slope_weight if slopes is not None else None,
                    # Of the engines that have the choice; its results are others.
                    jit_compile=(self.jit_compile or None)
                    if {True, False} <= {*backend.jit_compiles}
                    else None,
                )
            if resume is not None:
                resumed = checkpoints.read(resume, self, network, backend, about, hooks)
            if self._bound is None:
                self._build(network, backend)
            elif resumed is not None:
                self._prepare()
            self._columns = self._columns or columns
            self._factor_of = None
            history = fit_.run(
                self,
                objective,
                data,
                None if check is None else (validated, check),
                epochs=options.epochs,
                batch_size=batch_size,
                shuffle=options.shuffle,
                bootstrap=options.bootstrap,
                hooks=hooks,
                progress=options.progress,
                about=about,
                resumed=resumed,
            )
            if getattr(self.optimizer, "least_squares", False):
                self._keep_covariance(data)
            return history

    def _losses(self, prefix: str, host: Any) -> dict[str, Any]:
        """Return the logs of a loss on the host: a scalar, or one for each member."""
        if self.members is None:
            return {f"{prefix}loss": float(host)}
        host = np.broadcast_to(host, (self.members,))
        mean = float(np.mean(host, dtype=np.float64))
        return {f"{prefix}loss": mean, f"{prefix}member_loss": host}

    def _report(
        self, data: Any, prefix: str, weights: Any, *, loss: bool = True
    ) -> dict[str, Any]:
        """Loss and metrics of `data` with these weights, in inference."""
        backend, network = self.backend, self._need()
        logs: dict[str, Any] = {}
        if loss:
            value = evaluation.evaluate(backend, network, self.loss, weights, data)
            logs = self._losses(prefix, backend.to_numpy(value))
        if self.metrics:
            build, *key = self._joint(forward.build_output)
            z = chunks.outputs(backend, weights, data.x, build, network, *key)
            host = [
                None if a is None else backend.to_numpy(a)
                for a in (data.t, z, data.weight)
            ]
            for name, metric in self.metrics.items():
                logs[prefix + name] = metric(*host, self.loss)
        return logs

    # Input.

    def _samples(self, name: str, x: Any, shape: Shape) -> tuple[Any, Any]:
        if name.endswith("x"):
            intake.check_columns(name, x, self._columns)
        given, (x, origin) = x, intake.receive(name, x)
        if samples_.sample_shape(x) != shape:
            intake.check_single(name, given)
            wanted = ", ".join(map(str, ("batch", *shape)))
            msg = (
                f"{name} must have the shape ({wanted}), one row per sample; "
                f"got {tuple(x.shape)}."
            )
            raise ShapeError(msg)
        return x, origin

    def _data(
        self,
        network: Network,
        backend: Any,
        x: Any,
        y: Any,
        weight: Any,
        who: str,
        *,
        host: bool = False,
    ) -> Data:
        """Check x, y and weights, and put them on the backend (or keep them back)."""
        x, x_origin = self._samples(f"{who}x", x, network.input_shape)
        y, y_origin = intake.receive(f"{who}y", y)
        samples = x.shape[0]
        if not samples:
            msg = f"{who}x must have at least one sample; got shape {tuple(x.shape)}."
            raise ShapeError(msg)
        if y.shape[0] != samples:
            msg = (
                f"{who}x and {who}y must have as many samples as each other; got "
                f"{samples} and {y.shape[0]}."
            )
            raise ShapeError(msg)
        weight, w_origin = intake.receive_weight(f"{who}sample_weight", weight, samples)
        intake.check_same_place(x=x_origin, y=y_origin, sample_weight=w_origin)
        if y_origin.xp.isdtype(y.dtype, "real floating"):
            # Before the loss looks at the values: NaN is outside every range.
            intake.check_finite(f"{who}y", y, y_origin)
        t = self.loss.target(y, network.output_shape, xp=y_origin.xp)
        labels = self.loss.labels(t, network.output_shape)
        place = functools.partial(intake.place, host=host)
        return Data(
            place(f"{who}x", x, x_origin, backend, self.dtype),
            place(f"{who}y", t, y_origin, backend, "int32" if labels else self.dtype),
            None
            if weight is None
            else place(
                f"{who}sample_weight",
                intake.scaled(weight, w_origin, self.dtype),
                backends.get("numpy"),
                backend,
                self.dtype,
            ),
        )

    # Use.

    def _joint(self, build: Any, *key: Any) -> tuple[Any, ...]:
        """Return what to apply for an output: of an ensemble the mean over members."""
        if self.members is None:
            return build, *key
        return ensemble.build_mean, build, *key

    def _need_ensemble(self, what: str) -> None:
        if self.members is None:
            msg = f"{what} needs an ensemble: make the model with members=8, say."
            raise ArgumentError(msg)

    def member(self, k: int) -> Model:
        """Return member k of an ensemble: a model of its own, that trains alone.

        Before `fit` it is the untrained member, whose training alone gives what the
        ensemble's training gives it, to rounding; afterwards it is the trained one, with
        its optimizer's slots, counters and history, and can go on.

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
        with self._access.copying("member(k)"):
            return ensemble.member(self, k)  # type: ignore[no-any-return]

    def _apply(
        self,
        x: Any,
        build: Any,
        *key: Any,
        rows: int | None = None,
        finish: Any = None,
        weights: tuple[Any, ...] | None = None,
        scope: str | None = None,
        **more: tuple[Any, Shape],
    ) -> Any:
        """Apply what ``build(backend, network, *key)`` makes to x, in x's own library.

        `more` are further arrays of the function by name, each with its sample shape;
        ``finish(z, xp)`` is done to the result. `weights` are the function's first
        arguments: theta and state, if not given. It computes in the scope of the
        model's dtype, if not that of `scope`; x is of the model's dtype.
        """
        self._need()
        with room(self.backend, "in inference", FEWER_ROWS):
            return self._applied(x, more, build, key, rows, finish, weights, scope)

    def _applied(
        self,
        x: Any,
        more: dict[str, tuple[Any, Shape]],
        build: Any,
        key: tuple[Any, ...],
        rows: int | None,
        finish: Any,
        weights: tuple[Any, ...] | None,
        scope: str | None,
    ) -> Any:
        network = self._need()
        x, origin = self._samples("x", x, network.input_shape)
        given = {"x": (x, origin)}
        for name, (a, shape) in more.items():
            given[name] = self._samples(name, a, shape)
            if given[name][0].shape[0] != x.shape[0]:
                msg = (
                    f"x and {name} must have as many samples as each other; got "
                    f"{x.shape[0]} and {given[name][0].shape[0]}."
                )
                raise ShapeError(msg)
        intake.check_same_place(**{name: place for name, (_, place) in given.items()})
        backend = self.backend
        with self._scope() if scope is None else backend.scope(scope, "highest"):
            host = backend.pads and all(place != backend for _, place in given.values())
            placed = [
                intake.place(name, a, place, backend, self.dtype, host=host)
                for name, (a, place) in given.items()
            ]
            z = self._returned(
                placed, origin, build, network, *key, rows=rows, weights=weights
            )
        if finish is None:
            return z
        with origin.scope(self.dtype):
            return finish(z, origin.xp)

    def _apply_data(self, x: Any, y: Any, build: Any, *, rows: int) -> Any:
        """Apply what ``build(backend, network, loss)`` makes to x and targets."""
        network = self._need()
        origin = intake.receive("x", x)[1]
        with room(self.backend, "in inference", FEWER_ROWS), self._scope():
            data = self._data(
                network, self.backend, x, y, None, "", host=self.backend.pads
            )
            given = [data.x, data.t]
            return self._returned(given, origin, build, network, self.loss, rows=rows)

    def _returned(
        self,
        placed: list[Any],
        origin: Any,
        build: Any,
        *key: Any,
        rows: int | None,
        weights: tuple[Any, ...] | None = None,
    ) -> Any:
        backend, weights = self.backend, weights or self._weights
        x, *also = placed
        z = chunks.outputs(
            backend, weights, x, build, *key, also=tuple(also), rows=rows
        )
        if origin == backend:
            return z if backend.owns(z) else backend.asarray(z, self.dtype)
        z = backend.to_numpy(z)
        if origin.name == "numpy":
            return z
        with origin.scope(self.dtype):
            return origin.asarray(z)

    def predict(self, x: Any, return_std: bool = False, method: Any = None) -> Any:
        """Return the network's output for x: logits, for the cross entropies.

        Parameters
        ----------
        x : array, shape (batch, *sample_shape)
        return_std : bool
            Return the standard deviation too, as scikit-learn's Gaussian processes do.
        method : {"ensemble", "laplace"}, optional
            Where the standard deviation comes from. "ensemble": how far the members of
            an ensemble disagree; the default. "laplace": the parameters' covariance at
            the optimum, carried to the output; of a lone model whose loss is
            squared_error. A fit by `LevenbergMarquardt` (of up to 512 parameters)
            leaves it behind; after any other, call `parameter_covariance(x, y)` once. It is that of the fit, without the noise
            of a new observation.

        Returns
        -------
        array, shape (batch, *output_shape)
            Of the library and on the device of x, in the model's dtype. An ensemble's is
            the mean over its members.
        std : array, the same shape
            If `return_std`: sqrt(Σ (zₖ - mean)² / members), or sqrt(J Cov Jᵀ).

        Raises
        ------
        ArgumentError
            If a standard deviation is asked of a lone model without a method, or cannot
            be had by it.
        OutOfMemoryError
            If that many rows do not fit into the memory.
        """
        if not return_std:
            # Each attribute of a class with __getattr__ is looked up the slow way.
            own = self.__dict__
            direct = own["_direct"]
            if direct is not None:
                try:
                    z = direct(own["_weights"], x)
                except MemoryError as error:
                    raise exhausted(
                        self.backend, "in inference", FEWER_ROWS, error
                    ) from error
                if z is not None:
                    return z
            return self._apply(x, *self._joint(forward.build_output))
        checks.boolean("return_std", return_std)
        if method is not None:
            checks.choice("method", method, ("ensemble", "laplace"))
        if method == "laplace":
            return self.predict(x), self._band(x)
        if self.members is None:
            msg = (
                "predict(x, return_std=True) of a lone model needs method='laplace'; "
                "or make an ensemble: Model(..., members=8)."
            )
            raise ArgumentError(msg)
        return self._apply(
            x,
            ensemble.build_mean_and_std,
            forward.build_output,
            finish=lambda z, _: (z[:, 0, ...], z[:, 1, ...]),
        )

    def predict_members(self, x: Any) -> Any:
        """Return the output of each member of an ensemble.

        Parameters
        ----------
        x : array, shape (batch, *sample_shape)

        Returns
        -------
        array, shape (members, batch, *output_shape)
        """
        self._need_ensemble("predict_members")
        return self._apply(
            x,
            ensemble.build_members,
            forward.build_output,
            finish=lambda z, xp: xp.moveaxis(z, 0, 1),
        )

    def predict_proba(self, x: Any) -> Any:
        """Return class probabilities, through the loss's own link.

        Softmax for cross_entropy, sigmoid for binary_cross_entropy. An ensemble's are
        the mean of its members' probabilities.

        Raises
        ------
        ArgumentError
            If the loss is not one of probabilities.
        """
        self._need()
        if type(self.loss).probabilities is losses.Loss.probabilities:
            self.loss.probabilities(None, xp=None)
        return self._apply(x, *self._joint(forward.build_probabilities, self.loss))

    def evaluate(self, x: Any, y: Any, sample_weight: Any = None) -> dict[str, Any]:
        """Return the loss and the metrics of (x, y), in inference.

        For an ensemble "loss" is the mean over members of each one's loss, which are in
        "member_loss" (members,); metrics are those of the mean output.

        Raises
        ------
        OutOfMemoryError
            If that many rows do not fit into the memory.
        """
        network = self._need()
        with room(self.backend, "in inference", FEWER_ROWS), self._scope():
            backend = self.backend
            data = self._data(
                network, backend, x, y, sample_weight, "", host=backend.pads
            )
            logs = self._report(data, "", self._weights)
        if not math.isfinite(logs["loss"]):
            checks.warn(
                f"evaluate: the loss is {logs['loss']}: for some sample the output or "
                f"the loss overflows {self.dtype}. Look for outliers in x and y, or "
                f"take dtype='float64'."
            )
        return logs

    def to(self, backend: Any, device: Any = None) -> Model:
        """Return a new model on another backend; this one is left alone.

        Parameters, state, optimizer slots, counters and history go along, so that
        training can go on there.
        """
        target = backends.get(backend, device)
        new = object.__new__(type(self))
        with self._access.copying("to"):
            new.__dict__.update(self.__dict__)
            if self._bound is not None:
                with self._scope():
                    hosts = [
                        tree_map(self.backend.to_numpy, group)
                        for group in (self._weights, self._slots)
                    ]
        new._access = Access()
        if new.jit_compile not in target.jit_compiles:
            new.__dict__["jit_compile"] = None
        new.__dict__["backend"] = new._checked(target)
        new.history = History(self.history)
        if self._bound is not None:
            with room(target, "in to(...)", "Use a smaller network."), new._scope():
                new._weights, new._slots = (
                    tree_map(
                        lambda a: target.copy(target.asarray(a, self.dtype)), group
                    )
                    for group in hosts
                )
        new._factor_of = None
        new._prepare()
        return new

    def save(self, path: Any, *, include_optimizer: bool = False) -> None:
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
            registered (`chainrule.files.registry.register`).
        FileError
            If the file cannot be written.
        BusyError
            With the optimizer, while another thread makes an epoch of this model.
        """
        include_optimizer = checks.boolean("include_optimizer", include_optimizer)
        from chainrule.files import models

        copying = self._access.copying("save(path, include_optimizer=True)")
        with copying if include_optimizer else contextlib.nullcontext():
            models.save(self, path, include_optimizer=include_optimizer)

    def __getstate__(self) -> dict[str, Any]:
        made = ("metrics", "_access", "_direct", "_factor_of")
        with self._access.copying("a pickle or deepcopy"):
            state = {k: v for k, v in self.__dict__.items() if k not in made}
            if self._bound is not None:
                with self._scope():
                    for key in ("_weights", "_slots"):
                        state[key] = tree_map(self.backend.to_numpy, state[key])
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._access = Access()
        self.__dict__["metrics"] = spec.bound_metrics(self._given_metrics)
        self._factor_of = None
        if self._bound is not None:
            with self._scope():
                for key in ("_weights", "_slots"):
                    self.__dict__[key] = tree_map(
                        lambda a: self.backend.copy(
                            self.backend.asarray(a, self.dtype)
                        ),
                        state[key],
                    )
        self._prepare()

    def summary(self) -> str:
        """Print a table of the layers and their parameters, and return it as text.

        A row for each layer, with the shape of its output; under it one for each of its
        parameters, with shape, number and whether they learn, and for its state.
        """
        text = summarise(self, self._need())
        print(text)  # noqa: T201 - that is what it is called for
        return text

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            # Asked only for what is not there: a word of another library's models.
            from chainrule.config import hints

            msg = hints.explain_attribute("Model", name, dir(type(self)), "methods")
            raise AttributeError(msg, name=name, obj=self)

    def __call__(self, *given: Any, **options: Any) -> NoReturn:
        """Refuse: a network is called by `predict`, and trained by `fit`."""
        msg = "a Model is not called: call predict(x), or function() for its f(theta, state, x)."
        raise ArgumentTypeError(msg)

    def __repr__(self) -> str:
        where = "not chosen" if self.backend is None else self.backend.name
        whose = f", member {self._member}" if self._member else ""
        if self.members is not None:
            whose = f", members={self.members}"
        return (
            f"Model({self.network!r}, loss={self.loss!r}, optimizer={self.optimizer!r}, "
            f"backend={where!r}, dtype={self.dtype!r}, seed={self.seed}{whose})"
        )
