"""The page that trains in the browser: its Python, and the built site that has it."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIVE = ROOT / "docs" / "live"

# The names of the parts that a machine may not have, as `docs-browser` reports them.
SITE = "skipped: the built page: `nox -s docs-browser` builds it"


class Site(NamedTuple):
    """A built site: its folder, the page in it, and what the page's folder tells."""

    folder: Path
    page: Path
    manifest: dict[str, Any]

    @property
    def live(self) -> Path:
        """The folder of the page's own files."""
        return self.folder / "_static" / "live"


def trainer() -> ModuleType:
    """Import docs/live/trainer.py."""
    return module("trainer")


def module(name: str) -> ModuleType:
    """Import a Python file of docs/live, which is no package."""
    spec = importlib.util.spec_from_file_location(f"live_{name}", LIVE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def site() -> Site:
    """Return the built site; skip the test where there is none."""
    given = os.environ.get("CHAINRULE_SITE")
    if not given:
        pytest.skip(SITE)
    folder = Path(given)
    pages = [
        path
        for path in sorted(folder.rglob("*.html"))
        if '<form id="live-form"' in path.read_text(encoding="utf-8")
    ]
    assert len(pages) == 1, f"one page of {folder} must have the form; got {pages}"
    manifest = json.loads((folder / "_static" / "live" / "manifest.json").read_text())
    return Site(folder, pages[0], manifest)


def runtime() -> Site:
    """Return the built site with a runtime; skip the test where it has none."""
    found = site()
    if found.manifest["pyodide"] is None:
        pytest.skip("skipped: the runtime of the page: the built site has none")
    return found
