"""A user's array in, the same kind of array out."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.arrays.types import Shape
from chainrule.backends import Backend, get
from chainrule.config.memory import FEWER_ROWS, room
from chainrule.data import intake
from chainrule.data.samples import Data, sample_shape
from chainrule.data.stream import stored
from chainrule.errors import ArgumentError, NotBuiltError, ShapeError
from chainrule.files.digest import fingerprint
from chainrule.network import Network, chunks, ensemble, forward

if TYPE_CHECKING:
    from chainrule.derivatives.covariance import Covariance
    from chainrule.model.access import Access
    from chainrule.model.spec import ModelSpec
    from chainrule.state.history import History
    from chainrule.state.training import TrainingState

__all__ = ["Predictor"]


class Predictor:
    """What every use of a model's weights goes through.

    Attributes
    ----------
    spec : ModelSpec
        What the model is.
    backend : Backend or None
    bound : Network or None
        The network, bound to the shape of a sample; None before there are weights.
    training : TrainingState or None
        Where the model stands. It is replaced as a whole and never written into: a
        thread that predicts sees the one state or the other.
    """

    spec: ModelSpec
    bound: Network | None
    training: TrainingState | None
    history: History
    stop_training: bool
    stopped_members: Any
    _backend: Any
    _access: Access
    # What the first training state's `rate_scale` will be, before there are weights.
    _rate_scale: Any
    # (theta, its covariance), for method="laplace", or None: never the data. It goes
    # into no file, pickle or other backend.
    _covariance_of: tuple[Any, Covariance] | None
    # Names of the columns of the first data frame that was fitted.
    _columns: tuple[str, ...] | None
    # Predicts a few rows, where there is no compiling; see `forward.build_direct`.
    _direct: Any

    @property
    def backend(self) -> Any:
        """The `Backend` where the work runs; None before the first data."""
        return self._backend

    @property
    def members(self) -> Any:
        """How many networks the model is; None for a lone one."""
        return self.spec.members

    @property
    def built(self) -> bool:
        """Whether there are weights."""
        return self.bound is not None

    def _need(self) -> Network:
        if self.bound is None:
            msg = (
                "the model has no weights yet: call fit, or build(sample_shape) with "
                "the shape of one sample."
            )
            raise NotBuiltError(msg)
        return self.bound

    def _state(self) -> TrainingState:
        self._need()
        assert self.training is not None
        return self.training

    def _weights(self) -> tuple[Any, Any]:
        """Return (theta, state) as inference takes them."""
        size, training = self._need().size, self._state()
        return self.backend.whole(training.theta, size), training.state

    def _digest(self) -> str | None:
        """Return the weights in one line; None before there are any."""
        if self.training is None:
            return None
        with self._scope():
            theta, state = (self.backend.to_numpy(a) for a in self._weights())
        numpy = get("numpy")
        return fingerprint(numpy, theta[None]) + fingerprint(numpy, state[None])

    def _compare(self, **arrays: Any) -> None:
        """Refuse arrays that differ between processes that work together.

        One that lies divided over them is none's own.
        """
        backend = self.backend
        if backend.processes == 1:
            return
        facts = {
            name: fingerprint(get("numpy"), a)
            for name, a in arrays.items()
            if isinstance(a, np.ndarray) and a.ndim
        }
        backend.compare(facts)

    def _scope(self) -> Any:
        return self.backend.scope(self.spec.dtype, self.spec.precision)

    def _bind_direct(self) -> None:
        """Make the function that predicts a few rows."""
        self._direct = None
        plain = self.spec.members is None and not self.spec.loss.has_spread
        if self.bound is not None and plain and self.backend.direct:
            self._direct = forward.build_direct(self.backend, self.bound)

    def _joint(self, build: Any, *key: Any) -> tuple[Any, ...]:
        """Return what to apply for an output: of an ensemble the mean over members."""
        if self.spec.members is None:
            return build, *key
        return ensemble.build_mean, build, *key

    def _need_ensemble(self, what: str) -> None:
        if self.spec.members is None:
            msg = f"{what} needs an ensemble: make the model with members=8, say."
            raise ArgumentError(msg)

    def _apply(
        self,
        x: Any,
        build: Any,
        *key: Any,
        rows: int | None = None,
        finish: Callable[[Any, Any], Any] | None = None,
        weights: tuple[Any, ...] | None = None,
        wide: str | None = None,
        **more: tuple[Any, Shape],
    ) -> Any:
        """Apply what ``build(backend, network, *key)`` makes to x, in x's own library.

        `more` are further arrays of the function by name, each with its sample shape;
        ``finish(z, xp)`` is done to the result. `weights` are the function's first
        arguments: theta and state, if not given. It computes in the scope of the
        model's dtype, if not that of `wide`; x is of the model's dtype.
        """
        network, dtype = self._need(), self.spec.dtype
        backend = self.backend
        with room(backend, "in inference", FEWER_ROWS):
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
            self._compare(**{name: a for name, (a, _) in given.items()})
            places = {name: place for name, (_, place) in given.items()}
            intake.check_same_place(**places)
            with self._scope() if wide is None else backend.scope(wide, "highest"):
                host = backend.pads and all(p != backend for p in places.values())
                x, _ = given.pop("x")
                placed = [self._place_x("x", x, network, origin, backend, host=host)]
                placed += [
                    intake.place(name, a, place, backend, dtype, host=host)
                    for name, (a, place) in given.items()
                ]
                z = self._returned(
                    placed, origin, build, network, *key, rows=rows, weights=weights
                )
        if finish is None:
            return z
        with origin.scope(dtype):
            return finish(z, origin.xp)

    def _apply_data(self, x: Any, y: Any, build: Any, *, rows: int) -> Any:
        """Apply what ``build(backend, network, loss)`` makes to x and targets."""
        network, backend = self._need(), self.backend
        origin = intake.receive("x", x)[1]
        with room(backend, "in inference", FEWER_ROWS), self._scope():
            data = self._data(network, backend, (x, y, None), host=backend.pads)
            self._compare(x=data.x, y=data.t)
            given = [data.x, data.t]
            return self._returned(
                given, origin, build, network, self.spec.loss, rows=rows
            )

    def _returned(
        self,
        placed: list[Any],
        origin: Backend,
        build: Any,
        *key: Any,
        rows: int | None,
        weights: tuple[Any, ...] | None = None,
    ) -> Any:
        backend: Backend = self.backend
        weights = weights or self._weights()
        x, *also = placed
        z = chunks.outputs(
            backend, weights, x, build, *key, also=tuple(also), rows=rows
        )
        if origin == backend:
            return z if backend.owns(z) else backend.asarray(z, self.spec.dtype)
        z = backend.to_numpy(z)
        if origin.name == "numpy":
            return z
        with origin.scope(self.spec.dtype):
            return origin.asarray(z)

    def _samples(self, name: str, x: Any, shape: Shape) -> tuple[Any, Backend]:
        """Receive samples of a shape; return them and their backend."""
        if stored(x):
            from chainrule.data import sources

            whole = sources.receive(name, x)
            intake.check_columns(name, whole, self._columns)
            x = whole.read(0, whole.shape[0])
        if name.endswith("x"):
            intake.check_columns(name, x, self._columns)
        given, (x, origin) = x, intake.receive(name, x)
        if sample_shape(x) != shape:
            intake.check_single(name, given)
            wanted = ", ".join(map(str, ("batch", *shape)))
            msg = (
                f"{name} must have the shape ({wanted}), one row per sample; "
                f"got {tuple(x.shape)}."
            )
            raise ShapeError(msg)
        return x, origin

    def _place_x(
        self,
        name: str,
        x: Any,
        network: Network,
        origin: Backend,
        backend: Backend,
        *,
        host: bool,
    ) -> Any:
        """Check and move what a network takes: numbers, or indices."""
        dtype = network.input_dtype
        if dtype is None:
            dtype = self.spec.dtype
        else:
            intake.check_indices(name, x, origin)
        return intake.place(name, x, origin, backend, dtype, host=host)

    def _data(
        self,
        network: Network,
        backend: Backend,
        given: tuple[Any, Any, Any],
        *,
        prefix: str = "",
        host: bool = False,
        scale: bool = True,
    ) -> Data:
        """Check x, y and weights, and put them on the backend (or keep them back).

        `scale` is whether weights are scaled, which a part of them must not be.
        """
        x, y, weight = given
        x, x_origin = self._samples(f"{prefix}x", x, network.input_shape)
        y, y_origin = intake.receive(f"{prefix}y", y)
        samples = x.shape[0]
        if not samples:
            msg = (
                f"{prefix}x must have at least one sample; got shape {tuple(x.shape)}."
            )
            raise ShapeError(msg)
        if y.shape[0] != samples:
            msg = (
                f"{prefix}x and {prefix}y must have as many samples as each other; got "
                f"{samples} and {y.shape[0]}."
            )
            raise ShapeError(msg)
        weight, w_origin = intake.receive_weight(
            f"{prefix}sample_weight", weight, samples
        )
        intake.check_same_place(x=x_origin, y=y_origin, sample_weight=w_origin)
        if y_origin.xp.isdtype(y.dtype, "real floating"):
            # Before the loss looks at the values: NaN is outside every range.
            intake.check_finite(f"{prefix}y", y, y_origin)
        loss, dtype = self.spec.loss, self.spec.dtype
        t = loss.target(y, network.output_shape, xp=y_origin.xp)
        labels = loss.labels(t, network.output_shape)
        place = functools.partial(intake.place, host=host)
        if weight is not None:
            weight = intake.to_host(weight, w_origin)
            if scale:
                weight = intake.scaled(weight, None, dtype)
            elif _vanish(weight, dtype):
                msg = (
                    f"{prefix}sample_weight has positive values that are 0 in {dtype}; "
                    f"scale them: only their ratios matter."
                )
                raise ArgumentError(msg)
            origin = get("numpy")
            weight = place(f"{prefix}sample_weight", weight, origin, backend, dtype)
        return Data(
            self._place_x(f"{prefix}x", x, network, x_origin, backend, host=host),
            place(f"{prefix}y", t, y_origin, backend, "int32" if labels else dtype),
            weight,
        )


def _vanish(weight: Any, dtype: str) -> bool:
    """Whether positive weights are 0 in a dtype."""
    with np.errstate(over="ignore", under="ignore"):
        cast = weight.astype(dtype)
    return bool((cast[weight > 0] == 0.0).any())
