"""The object that users hold: a network, its parameters, and how they are trained."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from chainrule import backends, losses, optimizers
from chainrule.arrays.types import Shape
from chainrule.callbacks.base import CallbackList
from chainrule.config import checks
from chainrule.config.explain import explain_call, explain_methods
from chainrule.errors import ArgumentError, ArgumentTypeError, ShapeError
from chainrule.layers import Layer
from chainrule.model import arguments, fitting
from chainrule.model.access import Claim
from chainrule.model.derivatives import Derivatives
from chainrule.model.prediction import Prediction
from chainrule.model.spec import ModelSpec, SpecAttribute, bound_metrics
from chainrule.model.summary import summarise
from chainrule.model.transfer import Transfer
from chainrule.model.uncertainty import Uncertainty
from chainrule.model.weights import Weights
from chainrule.network import Network
from chainrule.state.history import History

if TYPE_CHECKING:
    from types import ModuleType

    from chainrule.backends import Backend
    from chainrule.callbacks import Callback
    from chainrule.config.choices import (
        BackendName,
        DType,
        DTypeName,
        Int,
        PrecisionName,
        Real,
    )
    from chainrule.model.spec import AnyLoss, AnyOptimizer, Metrics
    from chainrule.state.training import TrainingState

__all__ = ["Model"]


@explain_methods
class Model(Weights, Transfer, Prediction, Derivatives, Uncertainty):
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
        Whether steps of training are compiled. None: the library's own way (JAX
        compiles, the others do not). True: PyTorch, too, compiles the step of each new
        structure and batch size, which takes seconds; where it cannot, for want of a
        C++ compiler, say, a warning tells why and the fit goes on. It is for optimizers
        that go by batches; results differ by rounding. NumPy and CuPy refuse True, JAX
        False. It says how this model trains, not what it is: files leave it out, and
        `to` drops it where the other backend has no such choice.
    seed : int
        Decides weights, order of batches and dropout masks, the same on every backend.
    members : int, optional
        That many networks in one, an ensemble: see `docs/ensembles.md`. Arrays of
        parameters, state and slots have an axis of members before their own. Member k's
        weights come from (seed, k), member 0's are those of the lone model; the order
        of batches and the dropout masks are shared.

    Attributes
    ----------
    spec : ModelSpec
        What the model is: every argument, checked; frozen.
    bound : Network or None
        The network, bound to the shape of a sample; None before there are weights.
    training : TrainingState or None
        Where it stands: theta, state, slots, counters, rates. It is replaced as a whole
        and never written into.
    history : History
        Of all fits so far.
    stop_training : bool
        A callback sets it to end the fit after the epoch.
    stopped_members : bool array, shape (members,), or None
        A callback sets it to hold the parameters of some members of an ensemble for the
        rest of the fit.
    """

    spec: ModelSpec
    training: TrainingState | None

    network: SpecAttribute[Layer, Layer] = SpecAttribute("make a new Model of it")
    loss: SpecAttribute[losses.Loss, AnyLoss] = SpecAttribute()
    optimizer: SpecAttribute[Any, AnyOptimizer] = SpecAttribute()
    dtype: SpecAttribute[DTypeName, DType] = SpecAttribute(
        "make a new Model, and set its weights"
    )
    precision: SpecAttribute[PrecisionName, PrecisionName] = SpecAttribute()
    jit_compile: SpecAttribute[bool | None, bool | None] = SpecAttribute()
    seed: SpecAttribute[int, Int] = SpecAttribute()
    members: Any = SpecAttribute[int | None, int | None](
        "make a new Model with so many members"
    )

    @explain_call(1)
    def __init__(
        self,
        network: Layer,
        *,
        loss: AnyLoss = "squared_error",
        # A frozen record: as a default it is no state.
        optimizer: AnyOptimizer = optimizers.Adam(),  # noqa: B008
        metrics: Metrics = (),
        backend: BackendName | Backend | ModuleType | None = None,
        device: Any = None,
        dtype: DType = "float32",
        precision: PrecisionName = "highest",
        jit_compile: bool | None = None,
        seed: Int = 0,
        members: Int | None = None,
    ) -> None:
        spec = ModelSpec(
            network,
            loss=loss,
            optimizer=optimizer,
            metrics=metrics,
            dtype=dtype,
            precision=precision,
            jit_compile=jit_compile,
            seed=seed,
            members=members,
        )
        target: Backend | None = None
        if backend is not None:
            target = backends.get(backend, device)
            spec.check_backend(target)
        elif device is not None:
            msg = (
                f"device {checks.show(device)} needs a backend to belong to; give "
                f"backend= too."
            )
            raise ArgumentError(msg)
        self._begin(spec, target)

    # What the model is.

    @property
    def backend(self) -> Any:
        """The `Backend` where the work runs; None before the first data."""
        return self._backend

    @backend.setter
    def backend(self, given: BackendName | Backend | ModuleType | None) -> None:
        self._access.check_change("backend")
        if self.built:
            msg = (
                f"backend cannot be set once the model has weights, got "
                f"{checks.show(given)}: model.to(backend) returns a model there."
            )
            raise ArgumentError(msg)
        target = None if given is None else backends.get(given)
        if target is not None:
            self.spec.check_backend(target)
        self._backend = target

    @property
    def metrics(self) -> dict[str, Any]:
        """Functions of (y_true, y_pred), by name; see `chainrule.metrics`."""
        return self._metrics

    @metrics.setter
    def metrics(self, given: Metrics) -> None:
        self._access.check_change("metrics")
        if given is not self._metrics:
            self._change(metrics=given)

    def _change(self, **changes: Any) -> None:
        """Have another spec, if its parts go together and the backend has them."""
        spec = self.spec.changed(**changes)
        if self._backend is not None:
            spec.check_backend(self._backend)
        rates = np.shape(self._rate_scale)
        if rates and self.training is None and rates != (spec.members,):
            msg = (
                f"members cannot be {spec.members}: model.learning_rate was set for "
                f"{rates[0]} members; set it to one number first."
            )
            raise ArgumentError(msg)
        self.spec, self._metrics = spec, bound_metrics(spec.metrics)
        if "loss" in changes:
            self._covariance_of = None
        if "loss" in changes or "optimizer" in changes:
            # The slots are of the old loss's gradients, or of the old optimizer.
            self._rate_scale = 1.0
            if self.training is not None:
                with self._scope():
                    slots = self._fresh_slots(self.training.theta)
                self.training = self.training.restarted(slots)
        self._bind_direct()

    # Its weights.

    def build(self, sample_shape: Shape | int) -> Model:
        """Draw the weights for samples of this shape; the first `fit` does so itself.

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
        if self.bound is not None:
            if shape != self.bound.input_shape:
                msg = (
                    f"the model is built for samples of shape "
                    f"{self.bound.input_shape}; got {shape}. Make a new Model."
                )
                raise ShapeError(msg)
            return self
        self._build(Network(self.network, shape), self.backend or backends.get("numpy"))
        return self

    # Training.

    @explain_call(1)
    def fit(
        self,
        x: Any,
        y: Any = None,
        *,
        epochs: Int = 100,
        batch_size: Int = 32,
        shuffle: bool | None = None,
        sample_weight: Any = None,
        validation_data: Iterable[Any] | Callable[[int], Iterable[Any]] | None = None,
        validation_split: Real = 0.0,
        callbacks: Callback | Iterable[Callback] = (),
        progress: bool | None = None,
        resume: str | os.PathLike[str] | None = None,
        bootstrap: bool = False,
        slopes: Any = None,
        slope_weight: Real = 1.0,
        chunk_bytes: Int | None = None,
        steps_per_epoch: Int | None = None,
    ) -> History:
        """Train; a model that was fitted before goes on from where it stands.

        Parameters
        ----------
        x : array, shape (n, *sample_shape), or iterable
            Or rows that are stored: memory maps, arrays of h5py and zarr, lists of .npy
            files, pyarrow's tables and Parquet files. Without y: an iterable of (x, y)
            or (x, y, sample_weight), or a function of the epoch that returns one.
        y : array, shape (n, *output_shape), or (n,) for one output or for labels
        epochs, batch_size : int
            The last batch of an epoch may be smaller; it is a step of its own. For an
            optimizer of the whole problem (`LBFGS`, `LevenbergMarquardt`) it bounds
            memory alone: so many rows are worked on at a time, or more where those are
            small.
        shuffle : bool, optional
            Whether each epoch has an order of its own: yes, but for batches.
        sample_weight : array, shape (n,), optional
            Not negative. A batch's loss is Σwl/Σw; a batch without weight has loss 0.
        validation_data : (x, y) or (x, y, sample_weight), or batches, optional
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
            Weigh each sample with how often it is in a random sample of n with
            replacement, drawn for each member of an ensemble from the seed and the
            member's number; `sample_weight` comes on top.
        slopes : array, shape (n, *output_shape, *sample_shape), optional
            ∂y/∂x of each sample, to be fitted too; the axes of one output, or of one
            input, may be left out. Not with Dropout or BatchNorm, nor for an ensemble.
        slope_weight : float
            Not negative. With slopes S, what is trained on is
            loss + slope_weight · Σ wᵢ sᵢ / Σ wᵢ, where sᵢ is the mean over the entries
            of sample i's Jacobian of (∂z/∂x - S)².
        chunk_bytes : int, optional
            Of samples that train together; as many are read meanwhile. None: 2²⁸ of
            what is stored, all of an array.
        steps_per_epoch : int, optional
            Batches of an epoch, where x gives them without end.

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
            options = arguments.check_options(
                epochs=epochs,
                batch_size=batch_size,
                shuffle=shuffle,
                bootstrap=bootstrap,
                progress=progress,
                resume=resume,
                slope_weight=slope_weight,
                validation_split=validation_split,
                chunk_bytes=chunk_bytes,
                steps_per_epoch=steps_per_epoch,
            )
            share = options.validation_split
            validation = arguments.check_validation(validation_data, share)
            given = arguments.FitData(x, y, sample_weight, validation, slopes)
            return fitting.fit(self, given, CallbackList(callbacks), options)
        finally:
            claim.over = True

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
        msg = (
            "a Model is not called: call predict(x), or function() for its "
            "f(theta, state, x)."
        )
        raise ArgumentTypeError(msg)

    def __repr__(self) -> str:
        spec = self.spec
        where = "not chosen" if self._backend is None else self._backend.name
        whose = f", member {spec.member_number}" if spec.member_number else ""
        if spec.members is not None:
            whose = f", members={spec.members}"
        return (
            f"Model({spec.network!r}, loss={spec.loss!r}, "
            f"optimizer={spec.optimizer!r}, backend={where!r}, dtype={spec.dtype!r}, "
            f"seed={spec.seed}{whose})"
        )
