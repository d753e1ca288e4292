"""The CuPy engine: the generic loop on an NVIDIA or AMD GPU, in few launches.

On a GPU a small operation costs its launch, some microseconds of the host, whatever it
computes. So the optimizer is one kernel of `cupy.fuse`, the gradient is joined by one
kernel of our own, and samples are gathered for many steps at once.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import array_api_compat.cupy as compat
import cupy
import numpy as np

from chainrule.arrays.layout import Entry, Layout
from chainrule.arrays.namespace import register
from chainrule.backends import updates
from chainrule.backends.base import Backend, remembering
from chainrule.backends.cupy import kernels
from chainrule.config import checks
from chainrule.errors import ArgumentError, BackendError, DeviceError

if TYPE_CHECKING:
    from chainrule.optimizers import Optimizer

__all__ = ["CuPyBackend"]


with contextlib.suppress(ImportError):
    from cupyx.scipy.special import erf, erfcx

    register("array_api_compat.cupy", erf=erf, erfcx=erfcx)


def forget() -> None:
    """Drop the kernels."""
    kernels.fused.cache_clear()
    kernels.join.cache_clear()


def _device(device: Any) -> Any:
    if not cupy.cuda.is_available():
        msg = (
            "the cupy backend needs a GPU; CuPy is installed here but finds none. Use "
            "'numpy', 'jax' or 'torch'; backends.available() says which are here."
        )
        raise BackendError(msg)
    try:
        if device is None:
            return cupy.cuda.Device()
        if isinstance(device, cupy.cuda.Device):
            return device
        name, _, number = str(device).partition(":")
        if name not in ("cuda", "gpu"):
            raise ValueError(name)
        found = cupy.cuda.Device(int(number or 0))
        found.use  # noqa: B018 - an attribute of a device that exists
        if not 0 <= found.id < cupy.cuda.runtime.getDeviceCount():
            raise ValueError(number)
    except ValueError as error:
        count = cupy.cuda.runtime.getDeviceCount()
        msg = (
            f"device must be 'cuda:0' ... 'cuda:{count - 1}' or a cupy.cuda.Device on "
            f"the cupy backend; got {checks.show(device)}."
        )
        raise DeviceError(msg) from error
    return found


class CuPyBackend(Backend):
    """CuPy on one GPU."""

    precisions: tuple[str, ...] = ("highest", "tf32")
    eager = False
    gather = 1 << 26

    def __init__(self, device: Any = None) -> None:
        super().__init__(compat, _device(device), "cupy")

    @property
    def device_name(self) -> str:
        """The number of the GPU, as "cuda:0"."""
        return f"cuda:{self.device.id}"

    @staticmethod
    def locate(device: Any) -> Any:
        """Return the name of a device, which can be hashed; by default the current."""
        return f"cuda:{_device(device).id}"

    def owns(self, a: Any) -> bool:
        """Whether `a` is a CuPy array on this device."""
        return isinstance(a, cupy.ndarray) and a.device == self.device

    def asarray(self, a: Any, dtype: str | None = None) -> Any:
        """Return a CuPy array on this device."""
        with self.device:
            return cupy.asarray(a, dtype=dtype)

    def to_numpy(self, a: Any) -> Any:
        """Return a NumPy copy."""
        return np.array(cupy.asnumpy(a))

    def copy(self, a: Any) -> Any:
        """Return a real copy."""
        with self.device:
            return a.copy()

    def fuse(self, optimizer: Optimizer) -> Callable[..., Any]:
        """Return an optimizer's `apply` as one launch, in place."""
        fuses = True

        def apply(xp: Any, s: Any, g: Any, decay: Any, *arrays: Any) -> Any:
            nonlocal fuses
            if fuses:
                try:
                    kernels.fused(optimizer, xp, s._fields)(g, decay, *arrays, *s)
                except kernels.UNTRACEABLE:
                    fuses = False
                else:
                    return arrays
            return optimizer.apply(xp, s, g, decay, *arrays)

        return apply

    def memoize(self, f: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Remember the last answer: views of a vector that is updated in place."""
        return remembering(f)

    def elementwise(
        self,
        update: Callable[..., Any],
        arrays: tuple[Any, ...],
        pieces: list[Any],
        layout: Layout,
        decays: bool,
    ) -> tuple[Any, ...]:
        """Update in place; of a network that is frozen in part, span by span."""
        left = list(pieces)
        for span in layout.spans:
            mine, left = left[: len(span.entries)], left[len(span.entries) :]
            if not span.trainable:
                continue
            g = self.joined(mine, span.entries)
            decay = self.decay_mask(span, g.dtype) if decays else None
            views = arrays
            if len(layout.spans) > 1:
                views = tuple(a[..., span.start : span.stop] for a in arrays)
            self.write(views, update(g, decay, *views))
        return arrays

    def joined(self, pieces: list[Any], entries: Sequence[Entry]) -> Any:
        """Join the gradients of neighbouring entries by one kernel."""
        if not 1 < len(pieces) <= kernels.JOIN:
            return updates.joined(self, pieces, entries)
        return kernels.joined(pieces, entries)

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Whether an error is CuPy's own."""
        # cuBLAS and cuDNN say it in words of theirs, once the pool has it all.
        return super().is_out_of_memory(error) or (
            isinstance(error, cupy.cuda.memory.OutOfMemoryError)
            or "ALLOC_FAILED" in str(error)
            or "MemoryAllocation" in str(error)
        )

    def check_precision(self, precision: str, dtype: str = "float32") -> None:
        """Refuse what CuPy was not started with: TF32 is a setting of its process."""
        on = os.environ.get("CUPY_TF32", "0") not in ("", "0")
        if precision == "tf32" and not on:
            msg = (
                "precision 'tf32' with the cupy backend is a setting of the process: "
                "start Python with the environment variable CUPY_TF32=1."
            )
            raise ArgumentError(msg)
        if precision == "highest" and on:
            msg = (
                "precision 'highest' with the cupy backend needs CUPY_TF32 to be unset "
                "in the environment; it is set. Unset it, or ask for 'tf32'."
            )
            raise ArgumentError(msg)
        super().check_precision(precision, dtype)

    @contextlib.contextmanager
    def scope(self, dtype: str, precision: str = "highest") -> Iterator[None]:
        """Make this GPU the current one."""
        with self.device:
            yield
