"""What the type checkers report is refused at run time, too."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import chainrule as cr

pytest.importorskip("sklearn")

from tests.typing import mistakes

BOTH = re.compile(r"  # type: ignore\[[a-z, -]+\]  # pyright: ignore\[\w+(, \w+)*\]$")
MISTAKES: dict[str, Callable[[], None]] = {
    name: value
    for name, value in vars(mistakes).items()
    if inspect.isfunction(value) and value is not mistakes.model
}


def test_each_stands_on_one_line_that_both_checkers_must_report() -> None:
    assert len(MISTAKES) >= 12
    for name, mistake in MISTAKES.items():
        lines = inspect.getsource(mistake).rstrip().split("\n")
        assert [bool(BOTH.search(line)) for line in lines].count(True) == 1, name
        assert BOTH.search(lines[-1]), name


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", MISTAKES)
def test_each_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((cr.ChainruleError, TypeError, ValueError, AttributeError)):
        MISTAKES[name]()
