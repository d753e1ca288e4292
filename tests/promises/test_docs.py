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
# Folders of the site that its build writes; the changelog speaks of what is gone, too.
BUILT = {"_build", "auto_gallery", "generated"}
FILES = sorted(
    path
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
    if path.name != "CHANGELOG.md" and not BUILT & set(path.parts)
)
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

# A link or an image to another file of the project: its target, and its place there.
LINK = re.compile(r"\]\((?![a-z]+:)(?P<target>[^)#\s]*)(?:#(?P<place>[^)\s]+))?\)")
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)

documents = pytest.mark.parametrize(
    "path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix()
)


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


def places(text: str) -> set[str]:
    """Return what links to the headings of a page say, after their #."""
    titles = HEADING.findall(FENCE.sub("", text))
    words = (re.sub(r"[^\w\- ]", "", title).lower() for title in titles)
    return {word.replace(" ", "-") for word in words}


@documents
def test_links_lead_somewhere(path: Path) -> None:
    missing = []
    for found in LINK.finditer(FENCE.sub("", path.read_text(encoding="utf-8"))):
        target, place = found["target"], found["place"]
        where = path.parent / target if target else path
        if BUILT & set(where.parts):
            continue  # the site's build checks those
        if not where.exists():
            missing.append(target)
        elif place and place not in places(where.read_text(encoding="utf-8")):
            missing.append(f"{target}#{place}")
    assert not missing


def leads_to(path: Path) -> set[Path]:
    """Return the pages that a page links to, or lists in a toctree."""
    text = path.read_text(encoding="utf-8")
    targets = [found["target"] for found in LINK.finditer(FENCE.sub("", text))]
    for tree in re.findall(
        r"^```\{toctree\}\n(.*?)^```", text, re.DOTALL | re.MULTILINE
    ):
        names = [line for line in tree.splitlines() if not line.startswith(":")]
        targets += [f"{name}.md" for name in names]
    return {(path.parent / target).resolve() for target in targets if target}


def test_every_page_is_two_clicks_away() -> None:
    docs = ROOT / "docs"
    first = leads_to(docs / "index.md")
    second = {page for path in first & set(FILES) for page in leads_to(path)}
    pages = {*docs.glob("*.md"), *(docs / "guides").glob("*.md")}
    assert pages - {docs / "index.md", docs / "README.md"} <= first | second


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


def test_links_are_found() -> None:
    text = "# A page: *the* first\n[a](b.md#c-d) ![e](f.png) [g](http://h) [i](#j)\n"
    found = [(link["target"], link["place"]) for link in LINK.finditer(text)]
    assert found == [("b.md", "c-d"), ("f.png", None), ("", "j")]
    assert places(text) == {"a-page-the-first"}


def test_resolve_rejects_what_is_not_there() -> None:
    assert callable(resolve("chainrule.rules.dense"))
    assert callable(resolve("chainrule.arrays.namespace.erf"))
    with pytest.raises(ImportError):
        resolve("chainrule.rules.no_such_rule")
