"""What README.md and docs/ refer to exists, and the code that they show runs."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.libraries import here

ROOT = Path(__file__).resolve().parents[2]
FILES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# What in a block needs which library.
NEEDS = {
    "jax": r"backend=\"jax\"|\"jax\"\)|\bimport jax\b|\bfrom jax\b",
    "torch": r"backend=\"torch\"|\"torch\"\)|\bimport torch\b|\bfrom torch\b",
    "cupy": r"backend=\"cupy\"|\"cupy\"\)|\bimport cupy\b|\bfrom cupy\b",
    "matplotlib": r"\bmatplotlib\b|\.plot\(|\bplotting\.",
    "scipy": r"\bscipy\b|\bLBFGS\(",
    "sklearn": r"\bsklearn\b",
}
FENCE = re.compile(
    r"^```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^```[ \t]*$", re.DOTALL | re.MULTILINE
)
NOT_RUN = re.compile(r"<!--\s*not run:\s*\S(?:(?!-->).)*-->\Z", re.DOTALL)

documents = pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)


class Block(NamedTuple):
    """A fenced block: its code, and how many lines of the file stand before it."""

    code: str
    above: int


def blocks(text: str) -> list[Block]:
    """Return the Python blocks that are to be run, in order."""
    return [
        Block(found["code"], text.count("\n", 0, found.start("code")))
        for found in FENCE.finditer(text)
        if found["language"] == "python"
        and not NOT_RUN.search(text[: found.start()].rstrip())
    ]


def resolve(name: str) -> Any:
    """Return what a dotted name stands for: attributes first, then submodules."""
    first, *rest = name.split(".")
    value: Any = importlib.import_module(first)
    so_far = first
    for part in rest:
        so_far += f".{part}"
        if not hasattr(value, part):
            importlib.import_module(so_far)  # becomes the parent's attribute
        value = getattr(value, part)
    return value


def functions_of(path: Path) -> set[str]:
    """Names of a test file's functions that stand in no class."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@documents
def test_names_resolve(path: Path) -> None:
    prose = FENCE.sub("", path.read_text(encoding="utf-8"))
    names = set(re.findall(r"`(chainrule(?:\.\w+)+)(?:\([^`]*\))?`", prose))
    missing = []
    for name in sorted(names):
        if name.startswith("chainrule.sklearn") and not here("sklearn"):
            continue
        try:
            resolve(name)
        except (AttributeError, ImportError):
            missing.append(name)
    assert not missing


@documents
def test_tests_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    missing = []
    for file, name in re.findall(r"(tests/[\w/]+\.py)::(\w+)", text):
        where = ROOT / file
        if not where.is_file() or name not in functions_of(where):
            missing.append(f"{file}::{name}")
    assert not missing


@documents
def test_sources_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    paths = {found.rstrip("./") for found in re.findall(r"\bsrc/[\w./-]+", text)}
    assert not [found for found in sorted(paths) if not (ROOT / found).exists()]


@documents
def test_blocks_run(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = blocks(path.read_text(encoding="utf-8"))
    for library, pattern in NEEDS.items():
        if any(re.search(pattern, b.code) for b in found) and not here(library):
            pytest.skip(f"{path.name} shows {library}, which is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in found:
        # Empty lines above, so that a traceback shows the document's own lines.
        code = compile("\n" * block.above + block.code, str(path), "exec")
        exec(code, namespace)


def test_blocks_are_found_and_skipped() -> None:
    text = (
        "```python\na = 1\n```\n\n"
        "<!-- not run: needs a cluster -->\n\n```python\nb = 1\n```\n\n"
        "```sh\nc\n```\n<!-- a remark -->\n```python\nd = 1\n```\n"
    )
    assert [block.code for block in blocks(text)] == ["a = 1\n", "d = 1\n"]
    assert blocks(text)[0].above == 1


def test_resolve_rejects_what_is_not_there() -> None:
    assert callable(resolve("chainrule.rules.dense"))
    assert callable(resolve("chainrule.arrays.namespace.erf"))
    with pytest.raises(ImportError):
        resolve("chainrule.rules.no_such_rule")
