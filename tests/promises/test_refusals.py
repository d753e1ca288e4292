"""docs/refusals.md: every kind of bad input, with the words that it gets.

    python -m tests.promises.test_refusals

writes it anew from what the library says now.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import chainrule as cr

from tests.promises import test_inputs
from tests.promises.test_inputs import ARRAYS, CASES, CONSTRUCTORS, SQ, TARGETS, X

PATH = Path(__file__).parents[2] / "docs" / "refusals.md"
HEAD = """# What is refused

Every kind of input that is refused, and what the error says. Each is an error of
`ChainruleError`'s family and leaves the model as it was: parameters, state, slots,
counters and history. `tests/promises/test_inputs.py` has a test of each, by the name in the first
column; this page is written by `tests/promises/test_refusals.py`, which also checks it.

In place of `x`, the first group is refused as `y`, as `sample_weight` and in
`validation_data` too. What files are refused for is in `tests/files/test_models.py`.
"""
GROUPS = (
    "Arrays",
    "Data that do not fit",
    "Arguments of models, layers and optimizers",
)
# One number, rate or name stands for several.
SAME = re.compile(r"^(SGD|AdamW|RMSprop|Adagrad|Lion)\(|^(torch|jax) on ")


def _cases() -> list[dict[str, tuple[Callable[[], Any], type[Exception], str]]]:
    """Return the groups: kind -> what is called, its error, and a pattern of its words."""

    def fit(loss: str, changes: dict[str, Any]) -> Callable[[], Any]:
        data = {"x": X, "y": TARGETS[loss], "epochs": 1, **changes}
        return lambda: test_inputs._model(loss).fit(**data)

    arrays = {k: (fit(SQ, {"x": a}), e, m) for k, (a, e, m) in ARRAYS.items()}
    places = ("x: ", "y: ", "sample_weight: ", "validation x: ")
    doubled = {place + k for place in places for k in ARRAYS}
    data = {
        k: (fit(loss, changes), e, m)
        for k, (loss, changes, e, m) in CASES.items()
        if k not in doubled
    }
    rest = {k: case for k, case in CONSTRUCTORS.items() if not SAME.match(k)}
    return [arrays, data, rest]


def _message(call: Callable[[], Any]) -> tuple[str, str]:
    with pytest.raises(cr.ChainruleError) as caught:
        call()
    text = re.sub(r" at 0x\w+", "", str(caught.value))
    return type(caught.value).__name__, text.replace("|", "\\|").replace("\n", " ")


def _rows(text: str) -> dict[str, dict[str, tuple[str, str]]]:
    """Return group -> kind -> (error, message) of the page."""
    found: dict[str, dict[str, tuple[str, str]]] = {}
    for line in text.splitlines():
        if line.startswith("## "):
            found[line[3:]] = {}
        elif line.startswith("| `"):
            kind, error, message = re.split(r"(?<!\\) \| ", line[2:-2], maxsplit=2)
            rows = found[list(found)[-1]]
            rows[kind.strip("`")] = error.strip("`"), message.replace("\\|", "|")
    return found


def test_every_kind_is_listed_with_its_words() -> None:
    listed = _rows(PATH.read_text(encoding="utf-8"))
    assert list(listed) == list(GROUPS)
    for rows, cases in zip(listed.values(), _cases(), strict=True):
        assert list(rows) == list(cases)
        for kind, (error, message) in rows.items():
            _, wanted, pattern = cases[kind]
            assert error == wanted.__name__, kind
            assert re.search(pattern.removeprefix("^"), message), kind
    assert sum(map(len, listed.values())) >= 60


def write() -> None:
    """Write the page."""
    lines = [HEAD]
    for group, cases in zip(GROUPS, _cases(), strict=True):
        lines += [f"## {group}", "", "| kind | error | what it says |", "|---|---|---|"]
        for kind, (call, *_) in cases.items():
            error, message = _message(call)
            lines.append(f"| `{kind}` | `{error}` | {message} |")
        lines.append("")
    PATH.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    write()
