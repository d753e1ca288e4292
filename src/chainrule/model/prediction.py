"""What `Model` offers of its outputs: predictions and their evaluation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

import numpy as np

from chainrule import backends
from chainrule.arrays import random
from chainrule.config import checks
from chainrule.config.explain import explain_methods
from chainrule.config.memory import FEWER_ROWS, exhausted, room
from chainrule.data.samples import Data
from chainrule.data.stream import Source, Stream, stored
from chainrule.errors import ArgumentError
from chainrule.model.predictor import Predictor
from chainrule.network import ensemble, forward
from chainrule.training.logs import Evaluation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chainrule.arrays.types import ArrayT
    from chainrule.backends import Backend
    from chainrule.config.choices import SpreadMethod
    from chainrule.network import Network

__all__ = ["Prediction"]

_OutT = TypeVar("_OutT")


@explain_methods
class Prediction(Predictor):
    """What `Model` offers of its outputs."""

    if TYPE_CHECKING:
        metrics: Any

        def _band(self, x: Any) -> Any: ...

    # Array in, array out; lists and frames count as NumPy's.
    @overload
    def predict(
        self,
        x: NDArray[Any],
        return_std: Literal[False] = False,
        method: Any = None,
        *,
        chunk_bytes: int | None = None,
    ) -> NDArray[Any]: ...
    @overload
    def predict(
        self,
        x: NDArray[Any],
        return_std: Literal[True],
        method: SpreadMethod | None = None,
        *,
        chunk_bytes: int | None = None,
    ) -> tuple[NDArray[Any], NDArray[Any]]: ...
    @overload
    def predict(
        self, x: ArrayT, return_std: Literal[False] = False, method: Any = None
    ) -> ArrayT: ...
    @overload
    def predict(
        self, x: ArrayT, return_std: Literal[True], method: SpreadMethod | None = None
    ) -> tuple[ArrayT, ArrayT]: ...
    @overload
    def predict(
        self,
        x: Any,
        return_std: Literal[False] = False,
        method: Any = None,
        *,
        chunk_bytes: int | None = None,
    ) -> NDArray[Any]: ...
    @overload
    def predict(
        self,
        x: Any,
        return_std: Literal[True],
        method: SpreadMethod | None = None,
        *,
        chunk_bytes: int | None = None,
    ) -> tuple[NDArray[Any], NDArray[Any]]: ...
    @overload
    def predict(
        self,
        x: Any,
        return_std: bool,
        method: SpreadMethod | None = None,
        *,
        chunk_bytes: int | None = None,
    ) -> Any: ...
    @overload
    def predict(
        self,
        x: Any,
        return_std: bool = False,
        method: SpreadMethod | None = None,
        *,
        out: _OutT,
        chunk_bytes: int | None = None,
    ) -> _OutT: ...
    def predict(
        self,
        x: Any,
        return_std: bool = False,
        method: Any = None,
        *,
        out: Any = None,
        chunk_bytes: int | None = None,
    ) -> Any:
        """Return the network's output for x: logits, for the cross entropies.

        For a loss of a whole distribution (gaussian_nll, student_t, negative_binomial,
        mixture_density) it is the mean of the target, and the standard deviation is the
        target's.

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
            leaves it behind; after any other, call `parameter_covariance(x, y)` once.
            It is that of the fit, without the noise of a new observation. Without a
            method, a loss of a whole distribution gives the standard deviation of a new
            observation, a lone model's too; an ensemble's is that of the mixture of its
            members: sqrt(mean of variances + variance of means).
        out : array (batch, *output_shape), or a pair of them, optional
            Where results are written, and what is returned: what takes ``out[a:b] =
            rows``, as memory maps, h5py's and zarr's arrays do.
        chunk_bytes : int, optional
            Bytes of x and of the results in memory at a time, where x is stored (see
            `fit`), or `out` is given; 2²⁸ by default.

        Returns
        -------
        array, shape (batch, *output_shape)
            Of the library and on the device of x, in the model's dtype; of NumPy where
            x is stored. An ensemble's is the mean over its members.
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
        if not return_std and out is None:
            # Each attribute of a class with __getattr__ is looked up the slow way.
            own = self.__dict__
            direct = own["_direct"]
            if direct is not None:
                try:
                    z = direct(own["training"], x)
                except MemoryError as error:
                    raise exhausted(
                        self.backend, "in inference", FEWER_ROWS, error
                    ) from error
                if z is not None:
                    return z
        if out is not None or chunk_bytes is not None or stored(x):
            from chainrule.model import streams

            def predict(some: Any) -> Any:
                return self.predict(some, return_std, method)

            return streams.apply(self, x, predict, out, chunk_bytes)
        if not return_std:
            return self._apply(x, *self._joint(*self._outcome()))
        checks.boolean("return_std", return_std)
        if method is not None:
            checks.choice("method", method, ("ensemble", "laplace"))
        if method == "laplace":
            return self.predict(x), self._band(x)
        members, loss = self.spec.members, self.spec.loss
        if loss.has_spread and method is None:
            return self._apply(
                x,
                ensemble.build_spread,
                loss,
                members,
                finish=lambda z, _: (z[:, 0, ...], z[:, 1, ...]),
            )
        if members is None:
            msg = (
                "predict(x, return_std=True) of a lone model needs method='laplace'; "
                "or make an ensemble: Model(..., members=8)."
            )
            raise ArgumentError(msg)
        return self._apply(
            x,
            ensemble.build_mean_and_std,
            *self._outcome(),
            finish=lambda z, _: (z[:, 0, ...], z[:, 1, ...]),
        )

    @overload
    def predict_members(self, x: NDArray[Any]) -> NDArray[Any]: ...
    @overload
    def predict_members(self, x: ArrayT) -> ArrayT: ...
    @overload
    def predict_members(self, x: Any) -> NDArray[Any]: ...
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
            *self._outcome(),
            finish=lambda z, xp: xp.moveaxis(z, 0, 1),
        )

    @overload
    def predict_proba(self, x: NDArray[Any]) -> NDArray[Any]: ...
    @overload
    def predict_proba(self, x: ArrayT) -> ArrayT: ...
    @overload
    def predict_proba(self, x: Any) -> NDArray[Any]: ...
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
        if not self.spec.loss.has_probabilities:
            self.spec.loss.probabilities(None, xp=self.backend.xp)
        return self._apply(x, *self._joint(forward.build_probabilities, self.spec.loss))

    def _outcome(self) -> tuple[Any, ...]:
        """Return what builds a member's prediction: its output, or a target's mean."""
        loss = self.spec.loss
        if loss.has_spread:
            return forward.build_expectation, loss
        return (forward.build_output,)

    def sample(self, x: Any, n: int = 1, *, seed: int = 0) -> NDArray[Any]:
        """Draw targets for x from the distribution that the model predicts.

        Parameters
        ----------
        x : array, shape (batch, *sample_shape)
        n : int
            How many draws for each sample.
        seed : int
            Equal seeds draw the same for the same x; draw i is the same for every n.

        Returns
        -------
        NumPy array, shape (n, batch, *target_shape)
            In the model's dtype. A draw of an ensemble is that of one member for the
            whole batch, each as likely.

        Raises
        ------
        ArgumentError
            If the loss is not one of a whole distribution.
        """
        loss, members = self.spec.loss, self.spec.members
        if not loss.has_spread:
            msg = (
                f"sample needs a loss of a whole distribution, such as gaussian_nll, "
                f"student_t, negative_binomial or mixture_density; this model's loss "
                f"is {loss.name}."
            )
            raise ArgumentError(msg)
        n = checks.integer("sample: n", n, 1)
        seed = checks.integer("sample: seed", seed, 0)
        build: tuple[Any, ...] = (forward.build_output,)
        if members is not None:
            build = (ensemble.build_members, *build)
        z = self._apply(x, *build)
        host = np.asarray(backends.of(z).to_numpy(z), dtype=np.float64)
        draws = []
        for i in range(n):
            generator = random.generator(seed, random.SAMPLES, i)
            one = host
            if members is not None:
                one = host[:, int(generator.integers(members)), ...]
            draws.append(loss.draw(one, generator))
        return np.stack(draws).astype(self.spec.dtype)

    def evaluate(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        chunk_bytes: int | None = None,
    ) -> dict[str, Any]:
        """Return the loss and the metrics of (x, y), in inference.

        What is stored, and an iterable of batches (x, y) or (x, y, sample_weight) in
        place of x, is read `chunk_bytes` at a time, as by `fit`.

        For an ensemble "loss" is the mean over members of each one's loss, which are in
        "member_loss" (members,); metrics are those of the mean output.

        Raises
        ------
        OutOfMemoryError
            If that many rows do not fit into the memory.
        """
        if y is None:
            if sample_weight is not None:
                msg = (
                    "sample_weight is for evaluate(x, y); batches bring their own "
                    "weights, (x, y, sample_weight)."
                )
                raise ArgumentError(msg)
            from chainrule.model import streams

            x = streams.batches(x, chunk_bytes, caller="evaluate")
        network, backend = self._need(), self.backend
        with room(backend, "in inference", FEWER_ROWS), self._scope():
            data = self._evaluated(network, backend, (x, y, sample_weight), chunk_bytes)
            if isinstance(data, Data):
                self._compare(**data._asdict())
            logs = self._evaluation(network, backend)(data, self._weights())
        if not math.isfinite(logs["loss"]):
            checks.warn(
                f"evaluate: the loss is {logs['loss']}: for some sample the output or "
                f"the loss overflows {self.spec.dtype}. Look for outliers in x and y, "
                "or take dtype='float64'."
            )
        return logs

    def _evaluated(
        self,
        network: Network,
        backend: Backend,
        given: tuple[Any, Any, Any],
        chunk_bytes: int | None,
    ) -> Any:
        """Return what is evaluated: samples in memory, or a stream of them."""
        if chunk_bytes is not None or any(map(stored, given)):
            from chainrule.model import streams

            if not isinstance(given[0], Stream):  # batches are bound below
                given = streams.rows(given, chunk_bytes, self.spec.dtype)
            if isinstance(given[0], Source):
                return streams.stream(
                    self, network, given, batch_size=1, chunk_bytes=chunk_bytes
                )
        return self._data(network, backend, given, host=backend.pads)

    def _evaluation(self, network: Network, backend: Backend) -> Evaluation:
        """Return what evaluates this model's loss and metrics."""
        spec = self.spec
        return Evaluation(backend, network, spec.loss, self.metrics, spec.members)
