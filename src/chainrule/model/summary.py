"""The table of a model's layers and parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chainrule.network.tree import walk
from chainrule.state.tables import html_table

if TYPE_CHECKING:
    from chainrule.model import Model
    from chainrule.network import Network

__all__ = ["Summary", "summarise", "summarise_html"]


class Summary(str):
    """The text of a printed table; a prompt or a notebook adds no second one."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<summary: {self.rpartition(chr(10))[2]}>"

    def _ipython_display_(self) -> None:
        pass


_HEAD = ("layer", "output", "number", "trainable")


def _rows(network: Network) -> list[tuple[str, str, str, str]]:
    """Return each layer, then what it has."""
    rows = []
    own = {e.name: (e, _learns(e)) for e in network.entries}
    own |= {e.name: (e, "state") for e in network.state_entries}
    for name, layer in walk(network.layer):
        if layer.children:
            continue
        what = f"{name} {type(layer).__name__}".strip()
        rows.append((what, _shape(layer.output_shape, "batch"), "", ""))
        prefix = f"{name}." if name else ""
        for full in [n for n in own if n.startswith(prefix)]:
            entry, learns = own.pop(full)
            number = f"{entry.size:,}"
            rows.append((f"  {full}", _shape(entry.shape), number, learns))
    for full, (entry, learns) in own.items():  # of a container of one's own
        number = f"{entry.size:,}"
        rows.append((full, _shape(entry.shape), number, learns))
    return rows


def summarise(model: Model, network: Network) -> Summary:
    """Return the table of a built model: each layer, then what it has."""
    rows = [_HEAD, *_rows(network)]
    widths = [max(len(row[k]) for row in rows) for k in range(4)]
    lines = [
        f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d}".rstrip()
        for a, b, c, d in rows
    ]
    return Summary("\n".join([*lines, *_totals(model, network)]))


def summarise_html(model: Model) -> str:
    """Return the table as HTML, for notebooks; without weights, what the model is."""
    if model.bound is None:
        from html import escape

        return f"<pre>{escape(repr(model))}</pre>"
    caption = "; ".join(_totals(model, model.bound))
    rows = [(a, b, d, c) for a, b, c, d in _rows(model.bound)]
    head = [_HEAD[k] for k in (0, 1, 3, 2)]
    return html_table(f"{type(model).__name__}: {caption}", head, rows, text=3)


def _totals(model: Model, network: Network) -> list[str]:
    """Return what all parameters are together."""
    learning = sum(e.size for e in network.entries if _learns(e) == "yes")
    lines = []
    if model.members is not None:
        lines.append(f"an ensemble of {model.members} members, each of these")
    lines.append(
        f"{network.size:,} parameters, {learning:,} trainable; samples "
        f"{network.input_shape} -> {network.output_shape}; {model.dtype} on "
        f"{model.backend.name}"
    )
    return lines


def _shape(shape: Any, *before: str) -> str:
    sizes = [*before, *map(str, shape or ())]
    return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"


def _learns(entry: Any) -> str:
    """Say whether a parameter learns."""
    if not entry.trainable:
        return "no"
    return "no: BatchNorm takes it away" if entry.absorbed else "yes"
