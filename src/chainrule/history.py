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
        columns = {k: list(v) for k, v in (values or {}).items()}
        # The columns, and how many entries of each count. A column only ever grows, so
        # that one assignment of the pair makes an epoch known in all columns at once,
        # and an earlier pair goes on telling what it told.
        self._kept: tuple[dict[str, list[Any]], int] = (
            columns,
            max(map(len, columns.values()), default=0),
        )
        self.interrupted = False

    def __getitem__(self, name: str) -> list[Any]:
        columns, epochs = self._kept
        column = columns[name]
        return column if len(column) <= epochs else column[:epochs]

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept[0])

    def __len__(self) -> int:
        return len(self._kept[0])

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "_values" in state:  # pickled by an earlier version
            self.__init__(state.pop("_values"))  # type: ignore[misc]
        self.__dict__.update(state)

    @property
    def epochs(self) -> int:
        """How many epochs were recorded."""
        return self._kept[1]

    def grown(self, logs: Mapping[str, Any]) -> tuple[dict[str, list[Any]], int]:
        """Return what the history is with one epoch more; it is that once assigned.

        ``history._kept = history.grown(logs)`` is what `append` does; a fit assigns in
        the same moment what else an epoch leaves.
        """
        columns, epochs = self._kept
        missing = float("nan")
        grown = {}
        for name in {**columns, **logs}:
            column = columns.get(name)
            if column is None:
                column = [missing] * epochs
            elif len(column) != epochs:  # another has grown it, or was cut off at it
                column = column[:epochs] + [missing] * (epochs - len(column))
            column.append(logs.get(name, missing))
            grown[name] = column
        return grown, epochs + 1

    def append(self, logs: Mapping[str, Any]) -> None:
        """Add an epoch; a name that is new, or missing, is filled up with NaN."""
        self._kept = self.grown(logs)

    def extend(self, other: History) -> None:
        """Add the epochs of another history."""
        rows = [
            {name: column[i] for name, column in other.items()}
            for i in range(other.epochs)
        ]
        whole = self.view()
        for row in rows:
            whole.append(row)
        self._kept = whole._kept

    def view(self) -> History:
        """Return a history of what is known now, without a copy of it."""
        new = History()
        new._kept, new.interrupted = self._kept, self.interrupted
        return new

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
            for k, v in self.items()
            if v
        )
        return f"History({self.epochs} epochs; last: {last})"
