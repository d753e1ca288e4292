"""Tables for notebooks: HTML of rows of text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["html_table"]


def html_table(
    caption: str, head: Sequence[str], rows: Iterable[Sequence[str]], text: int = 1
) -> str:
    """Return an HTML table; all that is handed in is text, and escaped.

    Parameters
    ----------
    caption : str
    head : sequence of str
        The columns' names.
    rows : iterable of sequences of str
    text : int
        How many columns, the first ones, are to the left; the others are numbers.
    """
    from html import escape

    def row(tag: str, cells: Sequence[str]) -> str:
        sides = ["left" if k < text else "right" for k in range(len(cells))]
        return "".join(
            f'<{tag} style="text-align: {side}; white-space: pre">'
            f"{escape(cell)}</{tag}>"
            for side, cell in zip(sides, cells, strict=True)
        )

    body = "".join(f"<tr>{row('td', each)}</tr>" for each in rows)
    return (
        f'<table><caption style="text-align: left">{escape(caption)}</caption>'
        f"<thead><tr>{row('th', head)}</tr></thead><tbody>{body}</tbody></table>"
    )
