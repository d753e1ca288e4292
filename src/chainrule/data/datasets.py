"""Data sets of samples, as PyTorch's `Dataset` is one, become batches."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from chainrule.data import intake
from chainrule.data.order import order
from chainrule.errors import ArgumentError

__all__ = ["batched", "is_dataset"]


def is_dataset(a: Any) -> bool:
    """Whether it is a data set of PyTorch's, which gives samples and not batches."""
    classes = type(a).__mro__
    return any(
        c.__name__ in ("Dataset", "IterableDataset")
        and c.__module__.startswith("torch.utils.data")
        for c in classes
    )


class batched:  # noqa: N801 - used as a function
    """Batches of a data set, as a function of the epoch.

    One that knows its length is shuffled as arrays are: by (seed, epoch).

    Parameters
    ----------
    dataset : Dataset or IterableDataset
        Of samples (x, y) or (x, y, weight).
    batch_size : int
    seed : int or None
        None keeps the samples' own order.
    """

    def __init__(self, dataset: Any, batch_size: int, seed: int | None) -> None:
        self._dataset, self._batch_size, self._seed = dataset, batch_size, seed
        self.indexed = hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")
        if self.indexed and not len(dataset):
            msg = "x is a data set without samples; at least one is needed."
            raise ArgumentError(msg)

    @property
    def steps(self) -> int | None:
        """Batches of an epoch, if they are known."""
        if not self.indexed:
            return None
        return -(-len(self._dataset) // self._batch_size)

    def __call__(self, epoch: int) -> Iterator[Any]:
        """Yield the batches of an epoch."""
        size = self._batch_size
        if not self.indexed:
            samples = iter(self._dataset)
            while some := list(itertools.islice(samples, size)):
                yield _stacked(some)
            return
        count = len(self._dataset)
        parts = order(count, min(size, count), seed=self._seed, epoch=epoch)
        for part in parts:
            for numbers in () if part is None else part.tolist():
                yield _stacked([self._dataset[k] for k in numbers])


def _stacked(samples: Iterable[Any]) -> Any:
    """Return samples (x, y) as arrays of samples."""
    rows = [s if isinstance(s, (tuple, list)) else (s,) for s in samples]
    return tuple(
        np.stack([np.asarray(intake.to_host(a)) for a in column])
        for column in zip(*rows, strict=True)
    )
