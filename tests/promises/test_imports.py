"""Imports run one way, and importing the package loads no array library but NumPy."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import chainrule

SOURCE = Path(chainrule.__file__).parent

# Each may import from itself and from what stands before it. `backends` stand on
# `namespace` alone and are handed in from above.
LEVELS = [
    {"errors", "_typing", "_words", "_console"},
    {"special"},
    {"_checks", "_access", "_memory", "_summary"},
    {"namespace", "_record", "_files"},
    {"backends"},
    {"rules", "random", "dual"},
    {"context", "initializers"},
    {"layers", "losses"},
    {"network", "links"},
    {"plans"},
    {"schedules"},
    {"optimizers", "batches"},
    {"inference"},
    {"derivatives"},
    {"slopes"},
    {"training"},
    {"problem", "normal_equations", "ensembles"},
    {"second_order"},
    {"uncertainty"},
    {"inputs", "metrics", "plotting", "_interrupt", "_logs"},
    {"_encoding", "_container"},
    {"history", "callbacks", "progress", "serialization"},
    {"_options"},
    {"checkpoints"},
    {"fitting", "_settings"},
    {"model"},
    {"testing"},
    {"sklearn"},
    {"__init__"},
    {"__main__"},
]
RANK = {stem: k for k, stems in enumerate(LEVELS) for stem in stems}
# Only what hands the engines in from above may know them.
MAY_KNOW_BACKENDS = {
    "_settings",
    "backends",
    "inputs",
    "model",
    "sklearn",
    "serialization",
    "testing",
    "__init__",
    "__main__",
}
LIBRARIES = {"jax", "torch", "cupy", "cupyx", "sklearn"}


def _stem(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def _imported(path: Path) -> set[tuple[str, bool]]:
    """Modules that a file imports, and whether at its top level."""
    found = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports out"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        found |= {(name, node in tree.body) for name in names}
    return found


FILES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_run_one_way(path: Path) -> None:
    mine = _stem(path)
    assert mine in RANK, f"{path}: say in LEVELS where it stands"
    for name, top in _imported(path):
        root, *rest = name.split(".")
        if root in LIBRARIES:
            home = "sklearn" if root == "sklearn" else "backends"
            assert mine == home, f"{path} names {root}"
        if root != "chainrule" or not rest or mine == "__init__":
            continue
        theirs = rest[0] if rest[0] in RANK else "__init__"
        if theirs == "backends":
            assert mine in MAY_KNOW_BACKENDS, f"{path} imports backends"
        if top and theirs != mine:
            assert RANK[theirs] < RANK[mine], f"{path} imports {name}"


def test_import_loads_no_array_library_but_numpy() -> None:
    code = (
        "import sys, chainrule; heavy = {'jax', 'torch', 'cupy', 'scipy', 'sklearn', "
        "'matplotlib', 'array_api_compat', 'array_api_strict', 'tqdm', 'pandas', 'safetensors'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "module",
    [
        "",
        "rules",
        "layers",
        "losses",
        "optimizers",
        "schedules",
        "callbacks",
        "testing",
        "serialization",
        "backends",
        "sklearn",
    ],
)
def test_the_public_names_are_a_list(module: str) -> None:
    import importlib

    name = f"chainrule.{module}".rstrip(".")
    mod = importlib.import_module(name)
    assert all(hasattr(mod, public) for public in mod.__all__)
    assert len(set(mod.__all__)) == len(mod.__all__)
