"""What `Model` offers of its weights, and of the rate at which they learn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.config.explain import explain_methods
from chainrule.data import intake
from chainrule.errors import ArgumentTypeError, ShapeError
from chainrule.model.predictor import Predictor
from chainrule.training import rate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chainrule.config.choices import Int, Real
    from chainrule.model.rate_search import LearningRateSearch
    from chainrule.state.training import TrainingState

__all__ = ["Weights"]


@explain_methods
class Weights(Predictor):
    """What `Model` offers of its weights, and of the rate at which they learn."""

    training: TrainingState | None

    @property
    def theta(self) -> Any:
        """All parameters, one vector (P,), or (members, P): a copy, on the backend."""
        with self._scope():
            return self.backend.copy(self._weights()[0])

    @property
    def state(self) -> Any:
        """What layers keep, one vector (S,), or (members, S): a copy, on the backend.

        Batch norm's running statistics; of a network without any it is empty.
        """
        training = self._state()
        with self._scope():
            return self.backend.copy(training.state)

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

    def get_weights(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the parameters (P,) and the state (S,) as NumPy arrays, copies.

        Those of an ensemble are (members, P) and (members, S).
        """
        with self._scope():
            theta, state = (np.array(self.backend.to_numpy(a)) for a in self._weights())
        return theta, state

    def set_weights(self, weights: Any) -> None:
        """Take over what `get_weights` of a model of the same structure returned.

        Raises
        ------
        BusyError
            While the model is being fitted; `Callback.on_train_end` is afterwards.
        """
        network, training = self._need(), self._state()
        self._access.check_change("weights")
        if not isinstance(weights, (tuple, list)) or len(weights) != 2:
            msg = (
                f"weights must be the pair that get_weights returns; "
                f"got {type(weights).__name__}."
            )
            raise ArgumentTypeError(msg)
        received = [intake.receive("weights", a) for a in weights]
        theta, state = (a for a, _ in received)
        lead = () if self.spec.members is None else (self.spec.members,)
        wanted = ((*lead, network.size), (*lead, network.state_size))
        if (theta.shape, state.shape) != wanted:
            msg = (
                f"weights must have the shapes {wanted[0]} and {wanted[1]}; "
                f"got {theta.shape} and {state.shape}."
            )
            raise ShapeError(msg)
        backend, dtype = self.backend, self.spec.dtype
        with self._scope():
            theta, state = (
                intake.place("weights", a, origin, backend, dtype)
                for a, origin in received
            )
            theta, state = backend.vector(theta), backend.state(state)
        self.training = training._replace(theta=theta, state=state)

    @property
    def learning_rate(self) -> Any:
        """The learning rate of the next step. Setting it rescales the whole schedule.

        A float; where the members of an ensemble have rates of their own, an array
        (members,). To set it so gives them rates of their own.
        """
        training = self.training
        step = 0 if training is None else training.step
        scale = self._rate_scale if training is None else training.rate_scale
        return scale * rate.scheduled(self.spec.optimizer, step)

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        with self._access.lock:  # another thread's fit may be publishing an epoch
            training = self.training
            step = 0 if training is None else training.step
            scale = rate.scale_for(value, self.spec.optimizer, step, self.spec.members)
            if training is None:
                self._rate_scale = scale
            else:
                self.training = training._replace(rate_scale=scale)

    def find_learning_rate(
        self,
        x: Any,
        y: Any,
        *,
        low: Real = 1e-7,
        high: Real = 10.0,
        steps: Int = 100,
        batch_size: Int = 32,
        sample_weight: Any = None,
    ) -> LearningRateSearch:
        """Find a learning rate by a short fit of a copy in which it rises.

        The rate of step k is low · (high / low)^(k / (steps - 1)); the search ends
        before its last step where the loss grows far beyond its lowest or is not
        finite. The model stays as it is, bit for bit; one without weights has none
        afterwards.

        Parameters
        ----------
        x : array, shape (n, *sample_shape)
        y : array, shape (n, *output_shape), or (n,) for one output or for labels
        low, high : float
            The first and the last rate.
        steps : int
            At least 10.
        batch_size : int
            That of the fit to come: the best rate depends on it.
        sample_weight : array, shape (n,), optional

        Returns
        -------
        LearningRateSearch
            With `rates`, `losses`, `smoothed`, `suggestion` (a float, or None where
            the loss never falls) and ``plot()``. The suggestion is where the loss
            falls steepest: a good constant rate, and a cautious highest rate of
            `schedules.OneCycle`.

        Raises
        ------
        ArgumentError
            If the optimizer has no learning rate, or low is not below high.
        DivergenceError
            If the first step's loss is not finite already.

        Notes
        -----
        The copy's optimizer begins anew, with one rate for all members of an ensemble,
        in place of its schedule. Source: Smith 2017 (arXiv:1506.01186), section 3.3.
        """
        from chainrule.model import rate_search

        return rate_search.search(
            self,
            x,
            y,
            low=low,
            high=high,
            steps=steps,
            batch_size=batch_size,
            sample_weight=sample_weight,
        )

    def _repr_html_(self) -> str:
        """Return the table of layers and parameters, for notebooks."""
        from chainrule.model import summary

        return summary.summarise_html(self)  # type: ignore[arg-type]
