"""The CuPy engine: the generic loop on an NVIDIA or AMD GPU."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import array_api_compat.cupy as compat
import cupy
import numpy as np

from chainrule.backends.base import Backend
from chainrule.errors import ArgumentError, BackendError, DeviceError
from chainrule.namespace import register

__all__ = ["CuPyBackend"]

with contextlib.suppress(ImportError):
    from cupyx.scipy.special import erf

    register("array_api_compat.cupy", erf=erf)


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
            f"the cupy backend; got {device!r}."
        )
        raise DeviceError(msg) from error
    return found


class CuPyBackend(Backend):
    """CuPy on one GPU."""

    precisions = ("highest", "tf32")
    eager = False

    def __init__(self, device: Any = None) -> None:
        super().__init__(compat, _device(device), "cupy")

    def _key(self) -> tuple[str, str]:
        return "cupy", str(self.device.id)

    def __reduce__(self) -> Any:
        from chainrule import backends

        return backends.get, ("cupy", f"cuda:{self.device.id}")

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

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Whether an error is CuPy's own."""
        # cuBLAS and cuDNN say it in words of theirs, once the pool has it all.
        return isinstance(error, (cupy.cuda.memory.OutOfMemoryError, MemoryError)) or (
            "ALLOC_FAILED" in str(error) or "MemoryAllocation" in str(error)
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
