"""The mutants themselves: each is one change, and those listed as equivalent exist."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule

from tests.mutants import mutate, run

SOURCE = '''
def rule(x, w, *, eps=0.5, xp):
    """A docstring with 1 + 1."""
    y = xp.where(x > 0, x @ w.mT, -1 * eps)
    if x.ndim != 2:
        msg = f"x must have {1 + 1} axes"
        raise ValueError(msg)
    return y, lambda dy: (dy - eps,)
'''


def test_changes() -> None:
    found = {m.after for m in mutate.mutants("rules/sample.py", SOURCE)}
    head = "y = xp.where("
    for wanted in (
        "def rule(x, w, *, eps=(0.75), xp):",
        f"{head}(x < 0), x @ w.mT, -1 * eps)",
        f"{head}(x >= 0), x @ w.mT, -1 * eps)",
        f"{head}x > (1), x @ w.mT, -1 * eps)",
        f"{head}x > 0, x @ (w), -1 * eps)",
        f"{head}x > 0, x @ w.mT, (-1 / eps))",
        f"{head}x > 0, x @ w.mT, (eps))",
        f"{head}x > 0, x @ w.mT, (1) * eps)",
        f"{head}x > 0, x @ w.mT, (-2) * eps)",
        "y = (xp.where(x > 0, -1 * eps, x @ w.mT))",
        "if (x.ndim == 2):",
        "return (0.0 * y), lambda dy: (dy - eps,)",
        "return (-y), lambda dy: (dy - eps,)",
        "return y, lambda dy: ((dy + eps),)",
        "return y, lambda dy: ((dy),)",
        "return y, lambda dy: ((eps),)",
        "return y, lambda dy: ((0.0 * (dy - eps)),)",
        "return y, lambda dy: ((-(dy - eps)),)",
    ):
        assert wanted in found
    assert not any("docstring" in after or "axes" in after for after in found)


@pytest.mark.parametrize("path", run._files())
def test_each_compiles_and_differs_in_its_place(path: str) -> None:
    source = (Path(chainrule.__file__).parent / path).read_text(encoding="utf-8")
    keys = set()
    original = ast.dump(ast.parse(source))
    for number, m in enumerate(mutate.mutants(path, source)):
        if number % 40 == 0:
            assert ast.dump(ast.parse(m.source)) != original
        assert m.key not in keys
        keys.add(m.key)
    for key in run.equivalent():
        assert key[0] != path or key in keys, f"no mutant any more: {key}"


def test_every_equivalent_mutant_has_a_reason() -> None:
    assert all(len(reason) > 10 for reason in run.equivalent().values())


def test_a_transplant_reaches_what_holds_the_function(monkeypatch: Any) -> None:
    from chainrule import rules
    from chainrule.rules import dense

    module = sys.modules[dense.__module__]
    monkeypatch.setattr(dense, "__code__", dense.__code__)
    path = "rules/dense.py"
    source = Path(str(module.__file__)).read_text(encoding="utf-8")
    mutant = next(m for m in mutate.mutants(path, source) if "(0.0 * y)" in m.after)
    run._exchange(mutant)
    x = np.ones((2, 2))
    assert not rules.dense(x, x)[0].any()
