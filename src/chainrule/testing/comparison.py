"""What `compare_backends` reports."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Comparison", "Difference", "largest"]


class Difference(NamedTuple):
    """How far two backends are apart in one array, relative to its largest entry.

    `stage` is "forward", "gradient" or "training"; `where` names the layer, the
    parameter or what was trained.
    """

    dtype: str
    stage: str
    where: str
    pair: tuple[str, str]
    difference: float
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether it is within its tolerance."""
        return self.difference <= self.tolerance


class Comparison:
    """What `compare_backends` found: a table, one row for each array, a column a pair.

    Attributes
    ----------
    differences : tuple of Difference
        In the order of the computation.
    backends : tuple of str
        What was compared, the reference first.
    missing : dict
        Backend -> why it is not here; not compared, and not counted.
    """

    differences: tuple[Difference, ...]
    backends: tuple[str, ...]
    missing: dict[str, str]

    def __init__(
        self,
        differences: Sequence[Difference],
        names: Sequence[str],
        missing: dict[str, str],
    ) -> None:
        self.differences = tuple(differences)
        self.backends = tuple(names)
        self.missing = dict(missing)

    @property
    def ok(self) -> bool:
        """Whether every difference is within its tolerance."""
        return all(d.ok for d in self.differences)

    @property
    def largest(self) -> Difference:
        """The largest difference, of whatever dtype."""
        return max(self.differences, key=lambda d: _order(d.difference))

    @property
    def worst(self) -> Difference:
        """The largest difference in units of its tolerance: where to look first."""
        return max(self.differences, key=lambda d: _order(d.difference / d.tolerance))

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, ready for JSON."""
        return {
            "ok": self.ok,
            "backends": list(self.backends),
            "missing": dict(self.missing),
            "largest": self._plain(self.largest),
            "worst": self._plain(self.worst),
            "differences": [self._plain(d) for d in self.differences],
        }

    @staticmethod
    def _plain(d: Difference) -> dict[str, Any]:
        return {**d._asdict(), "pair": list(d.pair), "ok": d.ok}

    def _rows(self) -> tuple[list[str], list[list[str]]]:
        pairs = list(dict.fromkeys(d.pair for d in self.differences))
        head = ["dtype", "stage", "where", *[f"{a} - {b}" for a, b in pairs], "allowed"]
        rows: dict[Any, dict[Any, Difference]] = {}
        for d in self.differences:
            rows.setdefault((d.dtype, d.stage, d.where), {})[d.pair] = d
        table = []
        for key, found in rows.items():
            cells = [
                f"{found[p].difference:.1e}{'' if found[p].ok else ' !'}" for p in pairs
            ]
            table.append([*key, *cells, f"{found[pairs[0]].tolerance:.0e}"])
        return head, table

    def _verdict(self) -> list[str]:
        d = self.worst
        a, b = d.pair
        first = (
            f"{'the backends agree' if self.ok else 'THE BACKENDS DISAGREE'}: worst "
            f"{d.difference:.1e} ({d.tolerance:.0e} allowed) between {a} and {b}, "
            f"{d.dtype}, {d.stage}, {d.where}"
        )
        return [
            first,
            *(f"not here: {name}. {why}" for name, why in self.missing.items()),
        ]

    def __str__(self) -> str:
        head, table = self._rows()
        widths = [max(map(len, column)) for column in zip(head, *table, strict=True)]
        lines = [
            "  ".join(
                c.ljust(w) if i < 3 else c.rjust(w)
                for i, (c, w) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in (head, *table)
        ]
        return "\n".join([*lines, *self._verdict()])

    def _repr_html_(self) -> str:
        head, table = self._rows()

        def row(cells: Iterable[str], tag: str) -> str:
            inside = "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in cells)
            return f"<tr>{inside}</tr>"

        body = "".join(row(cells, "td") for cells in table)
        verdict = "<br>".join(html.escape(line) for line in self._verdict())
        return (
            f"<table><thead>{row(head, 'th')}</thead><tbody>{body}</tbody></table>"
            f"<p>{verdict}</p>"
        )

    def __repr__(self) -> str:
        return f"<Comparison of {', '.join(self.backends)}: {self._verdict()[0]}>"


def _order(number: float) -> float:
    return np.inf if np.isnan(number) else number


def largest(a: Any) -> float:
    """Return the largest magnitude in an array, 0 where it is empty."""
    return float(np.max(np.abs(a), initial=0.0))
