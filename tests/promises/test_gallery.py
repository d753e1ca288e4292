"""The gallery: sphinx-gallery can read each example, it runs, and ends in a figure."""

from __future__ import annotations

import ast
import contextlib
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

import chainrule as cr

from tests.support.libraries import estimators, here, need

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "gallery"
EXAMPLES = sorted(FOLDER.glob("plot_*.py"))

examples = pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)


def chains(tree: ast.Module, root: str) -> set[str]:
    """Return what is asked of a name: "Model", "schedules.Constant", ..."""
    found = set()
    for node in ast.walk(tree):
        parts: list[str] = []
        value: ast.AST = node
        while isinstance(value, ast.Attribute):
            parts.insert(0, value.attr)
            value = value.value
        if parts and isinstance(value, ast.Name) and value.id == root:
            found.add(".".join(parts))
    return found


def imported(tree: ast.Module) -> set[str]:
    """Return what is imported from the package: "testing.check_gradients", ..."""
    return {
        f"{node.module}.{alias.name}".removeprefix("chainrule.")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "")[:9] == "chainrule"
        for alias in node.names
    }


def absent(names: set[str]) -> list[str]:
    """Return those of the names that the package does not have."""
    missing = []
    for name in sorted(names):
        value: Any = cr
        try:
            for part in name.split("."):
                value = getattr(value, part)
        except AttributeError:
            missing.append(name)
    return missing


def libraries(tree: ast.Module) -> set[str]:
    """Return the top names of what is imported."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 14
    assert (FOLDER / "GALLERY_HEADER.rst").is_file()


def test_titles_differ() -> None:
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in EXAMPLES]
    titles = {(ast.get_docstring(tree) or "").partition("\n")[0] for tree in trees}
    assert len(titles) == len(EXAMPLES)


@examples
def test_form(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    # A title with its line, then the reason for the example in some sentences.
    text = ast.get_docstring(tree) or ""
    title, line, reason = text.split("\n", 2)
    assert title
    assert set(line) == {"="}
    assert len(line) >= len(title)
    assert len(re.findall(r"[.?!](?=\s|$)", reason)) >= 2
    assert ast.unparse(tree.body[-1]) == "plt.show()"
    # A page shows a figure as it stands at the end of the cell that begins it.
    cells = source.split("\n# %%\n")
    assert len(cells) >= 3
    for cell in cells:
        begins = "plt.subplots(" in cell or "plt.figure(" in cell
        assert begins == cell.rstrip().endswith("plt.show()")


@examples
def test_names_are_there(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = chains(tree, "cr") | imported(tree)
    assert names
    if any(name.startswith("sklearn") for name in names):
        estimators()
    assert not absent(names)


def test_names_that_are_not_there_are_found() -> None:
    tree = ast.parse(
        "from chainrule.testing import nobody\n"
        "cr.schedules.Nothing(cr.Model(cr.Nought(), np.absent))"
    )
    assert absent(chains(tree, "cr")) == ["Nought", "schedules.Nothing"]
    assert absent(imported(tree)) == ["testing.nobody"]


@pytest.mark.slow
@examples
def test_example_runs_and_draws(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plt = need("matplotlib.pyplot")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    wanted = libraries(tree) & {"sklearn", "scipy"}
    if "LBFGS" in chains(tree, "cr"):
        wanted.add("scipy")
    for library in wanted:
        need(library)
    shown: list[int] = []
    monkeypatch.setattr(plt, "show", lambda: shown.extend(plt.get_fignums()))
    monkeypatch.chdir(tmp_path)
    plt.switch_backend("agg")
    try:
        with plt.style.context(FOLDER / "chainrule.mplstyle"), one_thread():
            runpy.run_path(str(path), run_name="__main__")
        assert shown
        for number in shown:
            figure = plt.figure(number)
            assert all(ax.has_data() for ax in figure.axes)
            figure.canvas.draw()
    finally:
        plt.close("all")


def one_thread() -> contextlib.AbstractContextManager[Any]:
    """Return a context with one thread of BLAS, if that can be had.

    Small networks gain nothing from more, and tests run side by side.
    """
    if not here("threadpoolctl"):
        return contextlib.nullcontext()
    limits: contextlib.AbstractContextManager[Any]
    limits = need("threadpoolctl").threadpool_limits(1)
    return limits
