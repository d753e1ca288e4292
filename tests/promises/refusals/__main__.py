"""docs/refusals.md: every kind of bad input, with the words that it gets."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import chainrule as cr

from tests.promises.refusals import ARRAYS, SAMPLES
from tests.promises.refusals.devices import DEVICES
from tests.promises.refusals.layers import LAYERS
from tests.promises.refusals.learning import LEARNING
from tests.promises.refusals.models import MODELS
from tests.promises.refusals.options import OPTIONS
from tests.support.inputs import SQ, TARGETS, X, new_model

Refusal = tuple[Callable[[], Any], type[Exception], str]

PATH = Path(__file__).parents[3] / "docs" / "refusals.md"
HEAD = """# What is refused

Every kind of input that is refused, and what the error says. Each is an error of
`ChainruleError`'s family and leaves the model as it was: parameters, state, slots,
counters and history. `tests/promises/test_refusals.py` has a test of each, by the
name in the first column, and checks this page, which `python -m
tests.promises.refusals` writes.

In place of `x`, the first group is refused as `y`, as `sample_weight` and in
`validation_data` too. What files are refused for is in `tests/files/test_models.py`.
"""
GROUPS: dict[str, dict[str, Any]] = {
    "Arrays": ARRAYS,
    "Samples, targets and weights": SAMPLES,
    "Options of a fit": OPTIONS,
    "Models": MODELS,
    "Layers": LAYERS,
    "Losses, optimizers, metrics and callbacks": LEARNING,
    "Backends and devices": DEVICES,
}
# One number, rate or name stands for several.
SAME = re.compile(r"^(SGD|AdamW|RMSprop|Adagrad|Lion)\(|^(torch|jax) on ")


def cases() -> dict[str, dict[str, Refusal]]:
    """Return group -> kind -> what is called, its error, and a pattern of its words."""

    def fit(loss: str, changes: dict[str, Any]) -> Callable[[], Any]:
        data = {"x": X, "y": TARGETS[loss], "epochs": 1, **changes}
        return lambda: new_model(loss).fit(**data)

    places = ("x: ", "y: ", "sample_weight: ", "validation x: ")
    doubled = {place + kind for place in places for kind in ARRAYS}
    found: dict[str, dict[str, Refusal]] = {}
    for group, table in GROUPS.items():
        rows = found[group] = {}
        for kind, case in table.items():
            if kind in doubled or SAME.match(kind):
                continue
            if table is ARRAYS:
                value, error, words = case
                rows[kind] = fit(SQ, {"x": value}), error, words
            elif len(case) == 4:
                loss, changes, error, words = case
                rows[kind] = fit(loss, changes), error, words
            else:
                rows[kind] = case
    return found


def _message(call: Callable[[], Any]) -> tuple[str, str]:
    with pytest.raises(cr.ChainruleError) as caught:
        call()
    text = re.sub(r" at 0x\w+", "", str(caught.value))
    return type(caught.value).__name__, text.replace("|", "\\|").replace("\n", " ")


def rows_of(text: str) -> dict[str, dict[str, tuple[str, str]]]:
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


def write() -> None:
    """Write the page."""
    lines = [HEAD]
    for group, rows in cases().items():
        lines += [f"## {group}", "", "| kind | error | what it says |", "|---|---|---|"]
        for kind, (call, *_) in rows.items():
            error, message = _message(call)
            lines.append(f"| `{kind}` | `{error}` | {message} |")
        lines.append("")
    PATH.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    write()
