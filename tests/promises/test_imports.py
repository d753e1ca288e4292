"""The house: who imports what, what is public, how large a file may be.

The tables hold for every import, those inside functions too; what stands under
``if TYPE_CHECKING`` is for readers alone.
"""

from __future__ import annotations

import ast
import functools
import importlib
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest

import chainrule

SOURCE = Path(chainrule.__file__).parent

# Package, or module at the root -> what it may import besides itself and `errors`.
GROUND = {"arrays", "config"}
PARTS = GROUND | {
    "rules",
    "initializers",
    "schedules",
    "layers",
    "losses",
    "optimizers",
}
MAY: dict[str, set[str]] = {
    "errors": set(),
    "config": set(),
    "arrays": set(),
    "rules": {"arrays"},
    "backends": {"arrays", "config"},
    "initializers": GROUND,
    "schedules": GROUND,
    # What outputs mean is the loss's to say; losses know nothing of metrics.
    "metrics": GROUND,
    "state": GROUND,
    "plotting": GROUND,
    "layers": {*GROUND, "rules", "initializers"},
    "losses": {*GROUND, "rules"},
    "optimizers": {*GROUND, "schedules"},
    "data": {*GROUND, "backends", "state"},
    "network": {*GROUND, "layers", "data"},
    "derivatives": {"network", "arrays"},
    "files": (PARTS | {"network", "metrics", "state"}) - {"arrays", "rules"},
    "training": {*GROUND, "derivatives", "network", "data", "optimizers", "state"},
    "callbacks": {"files.durable", "config", "state"},
}
MAY["model"] = set(MAY)
for _top in ("serialization", "sklearn", "testing"):
    MAY[_top] = {*MAY["model"], "model"}
# They stand above everything, or hold old names for one release.
FREE = {"__init__", "__main__", "demo"}
FREE |= {"namespace", "dual", "context", "history", "second_order"}
# Modules that hand on what others define, as the `__init__` of a package does.
FACES = FREE | {"serialization"}
LIBRARIES = {
    "jax": "backends",
    "torch": "backends",
    "cupy": "backends",
    "cupyx": "backends",
    "sklearn": "sklearn",
}

LINES, ROOMS = 420, 32


class Import(NamedTuple):
    """One imported name: the module it comes from, and the name in it (or "")."""

    module: str
    name: str


def _unseen(node: ast.AST) -> bool:
    """Whether a node is an ``if TYPE_CHECKING``."""
    return (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    )


def _nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Walk what runs."""
    for child in ast.iter_child_nodes(tree):
        if not _unseen(child):
            yield child
            yield from _nodes(child)


@functools.cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _module(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = sorted(SOURCE.rglob("*.py"))
MODULES = {_module(path): path for path in FILES}
each_file = pytest.mark.parametrize(
    "path", FILES, ids=lambda p: p.relative_to(SOURCE).as_posix()
)


def _place(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def _package(module: str) -> str:
    """Return which row of the table a module of ours stands in."""
    return [*module.split("."), "__init__"][1]


def _from_string(node: ast.AST) -> list[Import]:
    """Return what ``importlib.import_module("chainrule...")`` imports."""
    if not isinstance(node, ast.Call) or not node.args:
        return []
    called, first = node.func, node.args[0]
    name = called.attr if isinstance(called, ast.Attribute) else ""
    name = called.id if isinstance(called, ast.Name) else name
    known = isinstance(first, ast.Constant) and isinstance(first.value, str)
    if name not in {"import_module", "__import__"} or not known:
        return []
    return [Import(str(first.value), "")]  # type: ignore[attr-defined]


@functools.cache
def imports(path: Path) -> list[Import]:
    """Return all that a file imports: our modules as modules, their names as names."""
    found = []
    for node in _nodes(_tree(path)):
        found += _from_string(node)
        if isinstance(node, ast.Import):
            found += [Import(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{_place(path)}: write imports out"
            base = str(node.module)
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                whole = inner in MODULES
                found.append(Import(inner, "") if whole else Import(base, alias.name))
    return found


def ours(path: Path) -> list[Import]:
    """Return what a file imports of the package."""
    return [i for i in imports(path) if i.module.split(".")[0] == "chainrule"]


def _allowed(path: Path, found: Import) -> bool:
    mine, theirs = _package(_module(path)), _package(found.module)
    if mine in FREE or theirs in {mine, "errors"}:
        return True
    full = found.module.removeprefix("chainrule.")
    return theirs in MAY[mine] or full in MAY[mine]


def test_every_package_has_its_row() -> None:
    packages = {_package(module) for module in MODULES}
    assert packages <= set(MAY) | FREE
    assert {name.split(".")[0] for row in MAY.values() for name in row} <= packages


def test_who_imports_what() -> None:
    found = {
        f"{_place(path)} -> {one.module.removeprefix('chainrule.')}"
        for path in FILES
        for one in ours(path)
        if not _allowed(path, one)
    }
    assert not found


@each_file
def test_libraries_have_one_home(path: Path) -> None:
    for one in imports(path):
        home = LIBRARIES.get(one.module.split(".")[0])
        assert home in {None, _package(_module(path))}, f"{path} names {one.module}"


def _circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Return the sets of nodes that reach one another."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        left = list(graph[start])
        while left:
            node = left.pop()
            if node not in seen:
                seen.add(node)
                left += graph.get(node, ())
        return seen

    reach = {node: reached(node) for node in graph}
    circles = []
    for node in sorted(graph):
        circle = {other for other in reach[node] if node in reach.get(other, ())}
        if circle and circle not in circles:
            circles.append(circle)
    return circles


def test_no_circle_of_modules() -> None:
    graph = {m: {i.module for i in ours(path)} for m, path in MODULES.items()}
    graph = {m: edges - {m, "chainrule"} for m, edges in graph.items()}
    del graph["chainrule"]
    assert not _circles(graph)


def test_no_circle_of_packages() -> None:
    graph: dict[str, set[str]] = {}
    for module, path in MODULES.items():
        mine = _package(module)
        if mine not in FREE:
            theirs = {_package(i.module) for i in ours(path)}
            graph.setdefault(mine, set()).update(theirs - {mine} - FREE)
    assert not _circles(graph)


def test_circles_are_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"d"}}
    assert _circles(graph) == [{"b", "c"}, {"d"}]


def test_no_underscore_crosses_a_module() -> None:
    found = {
        f"{_place(path)}: {one.module.removeprefix('chainrule.')}.{one.name}"
        for path in FILES
        for one in ours(path)
        if one.name.startswith("_") and not one.name.startswith("__")
    }
    assert not found


def _own(tree: ast.AST) -> set[str]:
    """Return private attributes that a file's classes define."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}:
                found.add(node.attr)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return {n for n in found if n.startswith("_") and not n.startswith("__")}


def test_the_privates_of_models_stay_in_their_package() -> None:
    private: dict[str, set[str]] = {}
    for path in FILES:
        mine = private.setdefault(_package(_module(path)), set())
        mine |= _own(_tree(path))
    found = set()
    for path in FILES:
        package = _package(_module(path))
        for node in ast.walk(_tree(path)):
            if package == "model" or not isinstance(node, ast.Attribute):
                continue
            holder = ast.unparse(node.value)
            shared = node.attr in private[package] and "model" not in holder
            if node.attr in private["model"] and not shared and holder != "self":
                found.add(_place(path))
    assert not found


def _bound(body: list[ast.stmt]) -> Iterator[str]:
    """Names that statements at the top of a module define, imports left out."""
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                for name in ast.walk(target):
                    if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store):
                        yield name.id
        elif isinstance(node, ast.If) and not _unseen(node):
            yield from _bound([*node.body, *node.orelse])
        elif isinstance(node, ast.Try):
            yield from _bound([*node.body, *node.orelse, *node.finalbody])


def test_all_is_what_is_public() -> None:
    """Both ways: what a module defines is listed, and what is listed is there."""
    found = set()
    for path in FILES:
        name = _module(path)
        if name.endswith("__main__"):
            continue
        tree = _tree(path)
        public = {n for n in _bound(tree.body) if not n.startswith("_")}
        if any(part in LIBRARIES and not find_spec(part) for part in name.split(".")):
            continue
        module = importlib.import_module(name)
        listed = getattr(module, "__all__", ())
        assert len(set(listed)) == len(listed), name
        assert all(hasattr(module, n) for n in listed), name
        if path.name == "__init__.py" or _package(name) in FACES:
            public |= set(listed)  # it hands on what others define
        if public != set(listed):
            found.add(_place(path))
    assert not found


def test_files_are_short_and_rooms_few() -> None:
    large = {_place(p) for p in FILES if len(p.read_text().splitlines()) > LINES}
    assert not large
    rooms = [p for p in SOURCE.iterdir() if p.name != "__pycache__"]
    assert len(rooms) <= ROOMS


def test_import_loads_no_array_library_but_numpy() -> None:
    """Nor what takes long of the standard library, unless NumPy has loaded it."""
    code = (
        "import sys, numpy; before = set(sys.modules); import chainrule; "
        "heavy = {'jax', 'torch', 'cupy', 'scipy', 'sklearn', "
        "'matplotlib', 'array_api_compat', 'array_api_strict', 'tqdm', 'pandas', "
        "'safetensors', 'h5py', 'pyarrow', 'zarr', 'concurrent.futures', 'logging', "
        "'pathlib', 'urllib'}; "
        "print(sorted(heavy & set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
