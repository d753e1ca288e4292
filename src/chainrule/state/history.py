"""The record of a fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from chainrule.errors import ArgumentTypeError, MissingLibraryError
from chainrule.state.tables import html_table

__all__ = ["History", "draw_with"]

if TYPE_CHECKING:
    _Columns = Mapping[str, list[Any]]
else:

    class _Columns(Mapping, dict):
        """A mapping that is a dict, too: pandas, polars and json ask for one.

        All that reads goes through `Mapping`; the dict has the same lists for what
        looks into it directly.
        """


# What draws a history; the package puts it here: values know nothing of pictures.
_DRAW: list[Callable[[History, Any], Any]] = []


def draw_with(draw: Callable[[History, Any], Any]) -> None:
    """Let histories be drawn by a function of (history, axes or None)."""
    _DRAW[:] = [draw]


# Epochs that a notebook shows.
_SHOWN = 10


def _shown(value: Any) -> str:
    """Return a number, or the range of those of members, as a table has it."""
    if not isinstance(value, str) and np.ndim(value) and np.size(value):
        return f"{np.min(value):.4g} to {np.max(value):.4g}"
    return f"{value:.4g}" if isinstance(value, (float, np.floating)) else str(value)


class History(_Columns):
    """Lists with one value per epoch: ``history["loss"]``, ``["val_loss"]``, ...

    It is a mapping that is read, not written into; ``pandas.DataFrame(history)`` has a
    row for each epoch. Entry k is the k-th epoch of the fit (of ``model.history``,
    epoch number k): epochs are counted from 0, as by callbacks, `best_epoch` and
    `CSVLogger`.

    Attributes
    ----------
    epochs : int
        How many epochs there were.
    first : int
        The number of the first of them, counted from the model's birth.
    interrupted : bool
        Whether Ctrl-C ended the fit.
    history : dict
        The lists by name, as Keras's History has them.
    """

    first = 0

    def __init__(self, values: Mapping[str, list[Any]] | None = None) -> None:
        columns = {k: list(v) for k, v in (values or {}).items()}
        # The columns, and how many entries of each count. A column only ever grows, so
        # that one assignment of the pair makes an epoch known in all columns at once,
        # and an earlier pair goes on telling what it told.
        self.kept: tuple[dict[str, list[Any]], int] = (
            columns,
            max(map(len, columns.values()), default=0),
        )
        self.interrupted = False
        self.show()

    def show(self) -> None:
        """Let what looks into the dict itself see the columns, where `kept` is new."""
        if not TYPE_CHECKING:
            dict.clear(self)
            dict.update(self, self.kept[0])

    def __setitem__(self, name: Any, *given: Any) -> NoReturn:
        msg = "a History is read only; write into a copy of it: dict(history)."
        raise ArgumentTypeError(msg)

    def __delitem__(self, name: Any) -> NoReturn:
        self.__setitem__(name)

    def __ior__(self, given: Any) -> NoReturn:  # type: ignore[misc]
        self.__setitem__(given)

    def setdefault(self, name: Any, default: Any = None) -> NoReturn:
        """Refuse, as all that writes into it."""
        self.__setitem__(name)

    def pop(self, name: Any, *default: Any) -> NoReturn:
        """Refuse, as all that writes into it."""
        self.__setitem__(name)

    def update(self, *given: Any, **columns: Any) -> NoReturn:
        """Refuse, as all that writes into it."""
        self.__setitem__(given or columns)

    def clear(self) -> NoReturn:
        """Refuse, as all that writes into it."""
        self.__setitem__(None)

    popitem = clear

    def __reduce__(self) -> Any:
        # Not as a dict is, whose entries would be written one by one.
        return type(self), (), self.__dict__.copy()

    def copy(self) -> History:
        """Return a history with lists of its own."""
        new = History(self)
        new.first, new.interrupted = self.first, self.interrupted
        return new

    @property
    def history(self) -> dict[str, list[Any]]:
        """The lists by name, in a plain dict."""
        return dict(self.items())

    def __getitem__(self, name: str) -> list[Any]:
        columns, epochs = self.kept
        column = columns[name]
        return column if len(column) <= epochs else column[:epochs]

    def __iter__(self) -> Iterator[str]:
        return iter(self.kept[0])

    def __len__(self) -> int:
        return len(self.kept[0])

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "_values" in state:  # pickled by an earlier version
            self.__init__(state.pop("_values"))  # type: ignore[misc]
        if "_kept" in state:
            state = {**state, "kept": state["_kept"]}
            del state["_kept"]
        self.__dict__.update(state)
        self.show()

    @property
    def epochs(self) -> int:
        """How many epochs were recorded."""
        return self.kept[1]

    def grown(self, logs: Mapping[str, Any]) -> tuple[dict[str, list[Any]], int]:
        """Return what the history is with one epoch more; it is that once assigned.

        ``history.kept = history.grown(logs)`` is what `append` does; a fit assigns in
        the same moment what else an epoch leaves.
        """
        columns, epochs = self.kept
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
        if not TYPE_CHECKING:
            dict.update(self, grown)
        return grown, epochs + 1

    def append(self, logs: Mapping[str, Any]) -> None:
        """Add an epoch; a name that is new, or missing, is filled up with NaN."""
        self.kept = self.grown(logs)

    def extend(self, other: History) -> None:
        """Add the epochs of another history."""
        rows = [
            {name: column[i] for name, column in other.items()}
            for i in range(other.epochs)
        ]
        whole = self.view()
        for row in rows:
            whole.append(row)
        self.kept = whole.kept
        self.show()

    def view(self) -> History:
        """Return a history of what is known now, without a copy of it."""
        new = History()
        new.kept, new.first = self.kept, self.first
        new.interrupted = self.interrupted
        new.show()
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
        new.first, new.interrupted = self.first, self.interrupted
        return new

    def plot(self, ax: Any = None) -> Any:
        """Draw it over the epochs with matplotlib; return the axes of the losses.

        Parameters
        ----------
        ax : matplotlib axes, optional
            Where to draw the losses, and these alone. Without, there is a figure with
            a panel for each metric and for the learning rate, too.
        """
        return _DRAW[0](self, ax)

    def to_frame(self) -> Any:
        """Return it as a pandas data frame with a row for each epoch.

        Returns
        -------
        DataFrame
            Its index, "epoch", is the epochs' numbers. What has a value for each member
            of an ensemble has a column for each: "member_loss_0", "member_loss_1", ...

        Raises
        ------
        MissingLibraryError
            If pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            msg = (
                "History.to_frame needs pandas, which is not installed. Install it "
                "with: pip install pandas. history.history has the columns as lists."
            )
            raise MissingLibraryError(msg) from error
        columns: dict[str, Any] = {}
        for name, column in self.items():
            members = max((len(v) for v in column if np.ndim(v)), default=0)
            if not members:
                columns[name] = column
            for k in range(members):
                each = [float(v[k] if np.ndim(v) else v) for v in column]
                columns[f"{name}_{k}"] = each
        numbers = range(self.first, self.first + self.epochs)
        return pd.DataFrame(columns, index=pd.Index(numbers, name="epoch"))

    def _repr_html_(self) -> str:
        """Return a table of the last epochs, for notebooks."""
        begin = max(0, self.epochs - _SHOWN)
        rows = [
            [str(self.first + i), *(_shown(column[i]) for column in self.values())]
            for i in range(begin, self.epochs)
        ]
        epochs = "1 epoch" if self.epochs == 1 else f"{self.epochs} epochs"
        last = f", the last {_SHOWN}" if begin else ""
        caption = f"History: {epochs}{last}"
        return html_table(caption, ["epoch", *self], rows, text=0)

    def __repr__(self) -> str:
        last = ", ".join(
            f"{k}={v[-1]:.4g}" if isinstance(v[-1], float) else k
            for k, v in self.items()
            if v
        )
        epochs = "1 epoch" if self.epochs == 1 else f"{self.epochs} epochs"
        return f"History({epochs}; last: {last})"
