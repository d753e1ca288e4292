"""Settings of PyTorch that change its numbers: how a model has them while it computes.

They belong to the process or the thread, and to the user: inside `isolated` and
`PRODUCTS` they are as a model needs them, and afterwards as they were.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import torch

__all__ = ["PRODUCTS", "isolated", "without_autocast"]

# What has a float32 precision of its own since torch 2.9; before that there is one
# setting for all, which raises an error once these differ from it.
_PLACES = [
    place
    for place in (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)
    if hasattr(place, "fp32_precision")
]
# The same reading for a tenth of the time, where this torch has it.
_GET = getattr(torch._C, "_get_fp32_precision_getter", None)


class _Products:
    """How float32 products are made while anyone is inside; after that, as before.

    The setting is the process's, so threads that overlap share it: TF32 is on only
    where all of them ask for it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside: list[bool] = []
        self._before: Any = None

    def enter(self, tf32: bool) -> None:
        """Begin to compute, with TF32 or without."""
        with self._lock:
            if not self._inside:
                self._before = self.setting()
            self._inside.append(tf32)
            self._set(all(self._inside))

    def leave(self, tf32: bool) -> None:
        """Undo an `enter`."""
        with self._lock:
            self._inside.remove(tf32)
            if self._inside:
                self._set(all(self._inside))
            elif self.setting() != self._before:
                self._restore()

    @staticmethod
    def setting() -> Any:
        """Return how products are made now: a value that can be compared."""
        if not _PLACES:
            return torch.get_float32_matmul_precision()
        if _GET is not None:
            return _GET("cuda", "matmul"), _GET("mkldnn", "matmul")
        return tuple(place.fp32_precision for place in _PLACES)

    def _set(self, tf32: bool) -> None:
        now = self.setting()
        if not _PLACES:
            wanted = "high" if tf32 else "highest"
            if now != wanted:
                torch.set_float32_matmul_precision(wanted)
            return
        wanted = "tf32" if tf32 else "ieee"
        for place, it in zip(_PLACES, now, strict=True):
            # What nobody has set is "none", and full precision.
            if it != wanted and (tf32 or it != "none"):
                place.fp32_precision = wanted

    def _restore(self) -> None:
        if not _PLACES:
            torch.set_float32_matmul_precision(self._before)
            return
        for place, before in zip(_PLACES, self._before, strict=True):
            if place.fp32_precision != before:
                # Perhaps it followed a wider setting, and shall do so again.
                place.fp32_precision = "none"
                if place.fp32_precision != before:
                    place.fp32_precision = before


PRODUCTS = _Products()


def without_autocast(device: str) -> Any:
    """Return a context in which products have their arguments' type."""
    if torch.is_autocast_enabled(device):
        return torch.autocast(device, enabled=False)
    return contextlib.nullcontext()


def isolated(device: str) -> Any:
    """Return a context without autograd, autocast and inference mode.

    Tensors made in inference mode could not be trained in place later.
    """
    if torch.is_inference_mode_enabled() or torch.is_autocast_enabled(device):
        return _isolated(device)
    return torch.no_grad()


@contextlib.contextmanager
def _isolated(device: str) -> Iterator[None]:
    with torch.inference_mode(False), without_autocast(device), torch.no_grad():
        yield
