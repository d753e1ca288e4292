"""The record of a fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

__all__ = ["History"]


class History(Mapping[str, list[Any]]):
    """Lists with one value per epoch: ``history["loss"]``, ``["val_loss"]``, ...

    Attributes
    ----------
    epochs : int
        How many epochs there were.
    interrupted : bool
        Whether Ctrl-C ended the fit.
    """

    def __init__(self, values: Mapping[str, list[Any]] | None = None) -> None:
        self._values: dict[str, list[Any]] = {
            k: list(v) for k, v in (values or {}).items()
        }
        self.interrupted = False

    def __getitem__(self, name: str) -> list[Any]:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    @property
    def epochs(self) -> int:
        """How many epochs were recorded."""
        return max((len(v) for v in self._values.values()), default=0)

    def append(self, logs: Mapping[str, Any]) -> None:
        """Add an epoch; a name that is new, or missing, is filled up with NaN."""
        before = self.epochs
        for name in {**self._values, **logs}:
            column = self._values.setdefault(name, [float("nan")] * before)
            column.append(logs.get(name, float("nan")))

    def extend(self, other: History) -> None:
        """Add the epochs of another history."""
        for i in range(other.epochs):
            self.append({name: column[i] for name, column in other.items()})

    def member(self, k: int) -> History:
        """Return the losses, and the learning rates, of member k of an ensemble."""
        new = History(
            {
                name.replace("member_", ""): [
                    float(v if np.ndim(v) == 0 else v[k]) for v in column
                ]
                for name, column in self.items()
                if name.endswith("member_loss") or name == "learning_rate"
            }
        )
        new.interrupted = self.interrupted
        return new

    def plot(self, ax: Any = None) -> Any:
        """Draw the losses over the epochs with matplotlib; return the axes."""
        from chainrule.plotting import history

        return history(self, ax)

    def __repr__(self) -> str:
        last = ", ".join(
            f"{k}={v[-1]:.4g}" if isinstance(v[-1], float) else k
            for k, v in self._values.items()
            if v
        )
        return f"History({self.epochs} epochs; last: {last})"
