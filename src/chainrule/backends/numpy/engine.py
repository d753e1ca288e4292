"""The NumPy engine: a Python loop whose updates are made in place, block by block."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.arrays.layout import Entry, Layout
from chainrule.arrays.namespace import register
from chainrule.backends import updates
from chainrule.backends.base import Backend, remembering
from chainrule.backends.numpy.functions import FUNCTIONS
from chainrule.config import checks
from chainrule.errors import DeviceError

__all__ = ["BLOCK", "NumPyBackend"]


# Elements of a block: theta, a gradient and two slots of it stay in the L2 cache.
BLOCK = 1 << 15


# Bytes of samples that are gathered at once.
_GATHER = 1 << 23


register("numpy", **FUNCTIONS)


class NumPyBackend(Backend):
    """NumPy on the CPU."""

    # 256 kB in float64: stays in the cache, and on the heap, whose pages are there.
    block = 1 << 15
    direct = True
    gather = _GATHER

    def __init__(self, device: Any = None) -> None:
        super().__init__(np, self.locate(device), "numpy")

    @staticmethod
    def locate(device: Any) -> None:
        """Refuse any device but 'cpu', which needs no saying."""
        if device is not None and not (isinstance(device, str) and device == "cpu"):
            shown = checks.show(device)
            msg = f"device must be None or 'cpu' on the numpy backend; got {shown}."
            raise DeviceError(msg)

    def holds(self, a: Any) -> bool:
        """Whether `a` is a NumPy array."""
        return isinstance(a, np.ndarray)

    owns = holds

    def asarray(self, a: Any, dtype: str | None = None) -> Any:
        """Return a NumPy array; the same one where nothing has to change."""
        return np.asarray(a, dtype=dtype)

    def to_numpy(self, a: Any) -> Any:
        """Return the array itself."""
        return np.asarray(a)

    def copy(self, a: Any) -> Any:
        """Return a real copy."""
        return np.array(a)

    def is_finite(self, a: Any) -> bool:
        """Whether all numbers are finite: mostly one product with itself tells."""
        return math.isfinite(np.vdot(a, a)) or bool(np.isfinite(a).all())

    def indices(self, order: Any) -> Any:
        """Keep the host array as it is."""
        return order

    def scope(self, dtype: str, precision: str = "highest") -> Any:
        """No warnings: what overflows in training ends in a `DivergenceError`."""
        return np.errstate(all="ignore")

    def memoize(self, f: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Remember the last answer: views of a vector that is updated in place."""
        return remembering(f)

    def stacked(self, losses: list[Any], masses: list[Any]) -> Any:
        """Stack the steps' losses, and their masses unless they are None."""
        return np.array(losses), (None if masses[0] is None else np.array(masses))

    def elementwise(
        self,
        update: Callable[..., Any],
        arrays: tuple[Any, ...],
        pieces: list[Any],
        layout: Layout,
        decays: bool,
    ) -> tuple[Any, ...]:
        """Update in place: all at once when small, else piece by piece, in blocks."""
        if layout.size <= BLOCK and len(layout.spans) == 1:
            g = self.joined(pieces, layout.entries)
            decay = self.decay_mask(layout.spans[0], g.dtype) if decays else None
            self.write(arrays, update(g, decay, *arrays))
            return arrays
        return updates.by_blocks(self, update, arrays, pieces, layout, decays, BLOCK)

    def joined(self, pieces: list[Any], entries: Sequence[Entry]) -> Any:
        """Join the gradients of neighbouring entries into one vector (..., size)."""
        if pieces[0].ndim == len(entries[0].shape):  # no members: one call joins all
            return np.concatenate(pieces, axis=None)
        return updates.joined(self, pieces, entries)

    def flush(self, slots: tuple[Any, ...]) -> tuple[Any, ...]:
        """Zero subnormals, in place: moments of dead units decay into them and stay."""
        for a in slots:
            tiny = np.finfo(a.dtype).tiny
            for low in range(0, a.shape[-1], BLOCK):
                some = a[..., low : low + BLOCK]
                some[np.abs(some) < tiny] = 0.0
        return slots
