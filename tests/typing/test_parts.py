"""What the type checkers accept of a user's own parts runs."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

pytest.importorskip("scipy")


@pytest.mark.filterwarnings("ignore::chainrule.ChainruleWarning")
def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert importlib.import_module("tests.typing.parts").twins.seed == 2
