"""All that training carries from one epoch to the next, as one value."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from chainrule.arrays.trees import tree_map

if TYPE_CHECKING:
    from chainrule.arrays.types import Array
    from chainrule.backends import Backend

__all__ = ["TrainingState", "carry_on", "carry_on_host"]


class TrainingState(NamedTuple):
    """Where a model stands: replaced as a whole, never written into.

    Attributes
    ----------
    theta : array, shape (P,) or (members, P)
        All parameters.
    state : array, shape (S,) or (members, S)
        What layers keep between passes, such as running statistics.
    slots : tuple of arrays, each of theta's shape
        What the optimizer carries; an optimizer of the whole problem keeps at most one
        tree of arrays of its own here.
    step : int
        Steps since the slots began: schedules and bias corrections are functions of it.
    epoch : int
        Epochs from the model's birth: it decides the order of batches.
    rate : float or array (members,)
        The learning rate of the last step.
    rate_scale : float or array (members,)
        What the optimizer's scheduled rates are multiplied with.
    begun : int
        Steps before the slots began; begun + step decides the dropout masks.
    """

    theta: Any
    state: Any
    slots: tuple[Any, ...] = ()
    step: int = 0
    epoch: int = 0
    rate: Any = 0.0
    rate_scale: Any = 1.0
    begun: int = 0

    @property
    def weights(self) -> tuple[Any, Any]:
        """(theta, state): what a forward pass needs."""
        return self.theta, self.state

    def map(self, f: Callable[[Array], Any]) -> Self:
        """Return the state with f applied to each of its arrays; counters stay."""
        theta, state, slots = tree_map(f, (self.theta, self.state, self.slots))
        return self._replace(theta=theta, state=state, slots=slots)

    def member(self, k: int) -> Self:
        """Return the state of member k of an ensemble: views of its rows."""
        rate, scale = (
            float(a[k]) if np.ndim(a) else a for a in (self.rate, self.rate_scale)
        )
        return self.map(lambda a: a[k, ...])._replace(rate=rate, rate_scale=scale)

    def on(self, backend: Backend, dtype: str | None = None) -> Self:
        """Return the state with arrays of its own on a backend.

        Parameters
        ----------
        backend : Backend
        dtype : str, optional
            Of the arrays there; by default theta's.

        Returns
        -------
        TrainingState
            Its arrays share no memory with this one's.
        """
        name = dtype or str(self.theta.dtype).rpartition(".")[2]
        with backend.scope(name):
            return self._replace(**_split(carry_on(backend, self._carry, name)))

    def on_host(self, backend: Backend, size: int) -> Self:
        """Return the state, that is on a backend, with arrays of NumPy.

        Parameters
        ----------
        backend : Backend
            Entered by the caller through its `scope`.
        size : int
            How many parameters there are.
        """
        return self._replace(**_split(carry_on_host(backend, self._carry, size)))

    @property
    def _carry(self) -> tuple[Any, Any, Any]:
        return self.theta, self.state, self.slots

    def restarted(self, slots: tuple[Any, ...]) -> Self:
        """Return the state with an optimizer that begins anew, with these slots."""
        return self._replace(
            slots=slots,
            step=0,
            begun=self.begun + self.step,
            rate=0.0,
            rate_scale=1.0,
        )


def _split(carry: tuple[Any, Any, Any]) -> dict[str, Any]:
    return dict(zip(("theta", "state", "slots"), carry, strict=True))


def carry_on(
    backend: Backend, carry: tuple[Any, Any, Any], dtype: str | None = None
) -> tuple[Any, Any, Any]:
    """Return (theta, state, slots) as training carries them on a backend: copies."""
    theta, state, slots = carry
    theta, slots = tree_map(lambda a: backend.vector(a, dtype), (theta, slots))
    return theta, backend.state(state, dtype), slots


def carry_on_host(
    backend: Backend, carry: tuple[Any, Any, Any], size: int
) -> tuple[Any, Any, Any]:
    """Undo `carry_on`, for vectors of `size` parameters."""
    theta, state, slots = carry
    theta, slots = tree_map(
        lambda a: backend.to_numpy(backend.whole(a, size)), (theta, slots)
    )
    return theta, backend.to_numpy(state), slots
