"""What part of a batch a pass works on: all of it, or one device's rows.

A training step, and what its layers need to know of it, asks its `Share`. The base
class is the whole batch: nothing is exchanged. An engine of several devices hands in
one for each of them; no rule, no layer and no optimizer knows more about devices.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chainrule.arrays.layout import Layout
    from chainrule.arrays.types import Array

__all__ = ["WHOLE", "Fraction", "Share"]


class Share:
    """The whole batch.

    Attributes
    ----------
    first : int, or int32 array of shape ()
        The number, in the batch, of this share's first row.
    """

    first: Any = 0

    # Of the batch.

    def rows(self, n: int) -> int:
        """Return how many rows the batch has, of which n are here."""
        return n

    def only(self, a: Any) -> Any:
        """Return a (..., rows, d), with zeros in the rows that only fill up."""
        return a

    def total(self, a: Any) -> Any:
        """Return the sum over all shares."""
        return a

    def weight(self, weight: Array | None, z: Array) -> Any:
        """Return the weights (..., samples) of the samples here, 0 of what fills up.

        z is the network's output for them.
        """
        return weight

    def fraction(self, mass: Any) -> tuple[Any, Any]:
        """Return what the loss here counts for in the batch's, and the batch's mass.

        mass is what the loss was divided by (`Loss.mass`), None for the number of
        samples. None for the fraction stands for 1.
        """
        return None, mass

    # Of the flat vectors.

    def gathered(self, theta: Any) -> Any:
        """Return all parameters (..., P), of which theta is what lies here."""
        return theta

    def reduced(self, pieces: list[Any], layout: Layout) -> list[Any]:
        """Return the gradient of the batch, of which `pieces` are this share's part.

        pieces are entry by entry, None where frozen; so is the answer, or it is the
        vector of what lies here, alone.
        """
        return pieces

    def norm(self, top: Any, root: Any) -> tuple[Any, Any]:
        """Return (top, root) of the norm top · root of all that lies anywhere."""
        return top, root

    def updated(
        self,
        backend: Any,
        update: Callable[..., Any],
        arrays: tuple[Any, ...],
        gradient: list[Any],
        layout: Layout,
        decays: bool,
    ) -> tuple[Any, ...]:
        """Apply an optimizer's update to what lies here; see `Backend.elementwise`."""
        updated: tuple[Any, ...] = backend.elementwise(
            update, arrays, gradient, layout, decays
        )
        return updated


WHOLE = Share()


class Fraction(Share):
    """Some samples of a sum over all that is made one part after the other.

    Parameters
    ----------
    part : scalar
        The mass of the samples over the mass of all.
    """

    def __init__(self, part: Any) -> None:
        self._part = part

    def fraction(self, mass: Any) -> tuple[Any, Any]:
        """Return the part, and the samples' own mass."""
        return self._part, mass
