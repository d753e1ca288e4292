"""The site's reference has every public name, and its formulas are the docstrings'.

The site itself is built, strictly, by ``nox -s docs``; here is what needs no Sphinx.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

import chainrule
from chainrule import rules

from tests.support.libraries import here

DOCS = Path(__file__).resolve().parents[2] / "docs"
REFERENCE = DOCS / "reference"
# Public modules by the page that has them.
MODULES = {
    **{
        f"chainrule.{page}": page
        for page in (
            *("backends", "callbacks", "errors", "initializers", "layers", "losses"),
            *("metrics", "optimizers", "rules", "schedules", "serialization", "state"),
            *("testing", "sklearn"),
        )
    },
    "chainrule.model": "chainrule",
    "chainrule.network": "chainrule",
}
# What a module has, too, and another page describes.
ELSEWHERE = {"testing": {"GradientError"}, "state": {"History"}}


def load(path: Path) -> ModuleType:
    """Import a module of the docs, which are no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


plain_math = load(DOCS / "_ext" / "plain_math.py")
check = load(DOCS / "check.py")


def described(page: str) -> set[str]:
    """Names that a page of the reference describes, without their modules."""
    text = (REFERENCE / f"{page}.rst").read_text(encoding="utf-8")
    found = re.findall(
        r"^\.\. auto(?:class|function|exception|data):: (\S+)", text, re.MULTILINE
    )
    return {name.rpartition(".")[2] for name in found}


def tabled(page: str) -> set[str]:
    """Names in the tables of a page."""
    text = (REFERENCE / f"{page}.rst").read_text(encoding="utf-8")
    tables = re.findall(r"autosummary::\n(?:   :.*\n)*\n((?:   \S+\n)+)", text)
    return {name.rpartition(".")[2] for table in tables for name in table.split()}


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_described(module: str) -> None:
    if module == "chainrule.sklearn" and not here("sklearn"):
        pytest.skip("scikit-learn is not installed")
    page = MODULES[module]
    public = set(importlib.import_module(module).__all__) - ELSEWHERE.get(page, set())
    assert public <= described(page)
    assert page == "chainrule" or public <= tabled(page)


def test_every_name_of_the_package_is_described() -> None:
    pages = {path.stem for path in REFERENCE.glob("*.rst")}
    names = set().union(*map(described, pages)) | pages
    assert not [name for name in chainrule.__all__ if name not in names]


def test_every_page_is_listed() -> None:
    pages = {path.stem for path in REFERENCE.glob("*.rst")} - {"index"}
    text = (REFERENCE / "index.rst").read_text(encoding="utf-8")
    tree = text.rpartition("toctree::")[2].split()
    assert set(tree[1:]) == pages
    assert set(re.findall(r"- :doc:`\w+ <(\w+)>`", text)) == pages


def test_every_method_of_the_model_is_in_a_table() -> None:
    methods = {
        name
        for name, value in inspect.getmembers(chainrule.Model, callable)
        if not name.startswith("_") and inspect.isroutine(value)
    }
    assert methods <= tabled("chainrule")


def formulas(rule: object) -> list[str]:
    """The lines of a docstring that are formulas."""
    lines = (inspect.getdoc(rule) or "").splitlines()
    first = [lines[0].partition(". ")[0]] if plain_math.is_formula(lines[0]) else []
    return first + [line for line in lines[1:] if plain_math.LABEL.match(line)]


@pytest.mark.parametrize("name", rules.__all__)
def test_every_rule_has_a_value_and_a_gradient(name: str) -> None:
    latex = " ".join(plain_math.block([f]) for f in formulas(getattr(rules, name)))
    assert r"\textsf{Forward}" in latex
    assert r"\textsf{Pullback}" in latex


@pytest.mark.parametrize("name", rules.__all__)
def test_formulas_keep_every_letter(name: str) -> None:
    for formula in formulas(getattr(rules, name)):
        for part in plain_math.statements(plain_math.LABEL.sub("", formula)):
            latex = plain_math.to_latex(part)
            assert letters(part) == letters(latex), (part, latex)
            assert latex.count("{") == latex.count("}")


def letters(text: str) -> Counter[str]:
    """Count letters and digits, whatever sets them."""
    for sign, latex in (
        *plain_math.SUPERSCRIPTS.items(),
        *plain_math.SUBSCRIPTS.items(),
    ):
        text = text.replace(sign, latex.replace(r"\top", "T"))
    for sign, latex in plain_math.GREEK.items():
        text = text.replace(sign, latex)
    text = re.sub(r"\\(?:begin|end)\{\w+\}|\\(?:left|right|quad|qquad|colon)", "", text)
    text = re.sub(
        r"\\(?:frac|tfrac|text\w*|sqrt|mathit|operatorname|ldots|le|ge|cdot)(?![a-z])",
        "",
        text.replace("½", "12"),
    )
    text = text.replace(r"\top", "T").replace("varepsilon", "epsilon")
    text = text.replace("varphi", "phi").replace("theta", "θ")
    return Counter(re.findall(r"[^\W_]", text))


@pytest.mark.parametrize(
    ("plain", "latex"),
    [
        ("z = x / (1 + |x|)", r"z = \frac{x}{1 + \left|x\right|}"),
        ("z = x / 2 y", r"z = \frac{x}{2}\,y"),
        ("z = α (eˣ - 1)", r"z = \alpha\,(e^{x} - 1)"),
        ("l = d²/2", "l = d^{2}/2"),
        ("dl/dz = p Σⱼ sⱼ", r"\mathit{dl}/\mathit{dz} = p\,\textstyle\sum_{j}\,s_{j}"),
        ("r = (var + eps)^-1/2", r"r = (\mathit{var} + \mathit{eps})^{-1/2}"),
        ("v <- v + g²", r"v \leftarrow v + g^{2}"),
        ("dx = dy w (8)", r"\mathit{dx} = \mathit{dy}\,w\quad(8)"),
        (
            "z = x where x > 0, else 0",
            r"z = \begin{cases} x & \text{where } x > 0 \\ 0 & \text{else} \end{cases}",
        ),
        ("g = dz at the end", r"g = \mathit{dz} \text{ at the end}"),
        ("a / (x / alpha)", r"\frac{a}{\left(\frac{x}{\alpha}\right)}"),
    ],
)
def test_formulas(plain: str, latex: str) -> None:
    assert plain_math.to_latex(plain) == latex


PAGE = '<html><a id="here"></a>{}</html>'


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ('<a href="b.html#there">b</a><a href="#here">a</a>', ""),
        ('<a href="https://example.org/x">elsewhere, when asked</a>', ""),
        ('<a href="c.html">c</a>', "no c.html"),
        ('<a href="b.html#gone">b</a>', "no anchor b.html#gone"),
        ('<script src="https://example.org/a.js"></script>', "loads https"),
        ('<link rel="stylesheet" href="//example.org/a.css">', "loads //"),
        ('<img src="gone.png">', "no gone.png"),
        ('<p style="background: url(https://example.org/a.png)">', "loads https"),
        ('<span class="katex-error">', "could not be shown"),
    ],
)
def test_check_of_the_site(tmp_path: Path, body: str, wrong: str) -> None:
    (tmp_path / "a.html").write_text(PAGE.format(body))
    (tmp_path / "b.html").write_text('<p id="there">')
    found = check.complaints(tmp_path)
    assert bool(found) == bool(wrong)
    assert all(wrong in line for line in found)


def test_check_reads_style_sheets(tmp_path: Path) -> None:
    (tmp_path / "a.css").write_text(
        "a { background: url('https://example.org/a.png') }"
    )
    (tmp_path / "b.css").write_text(
        '@import "https://example.org/b.css"; a { b: url(c) }'
    )
    assert len(check.complaints(tmp_path)) == 2


@pytest.mark.parametrize(
    "line",
    [
        'import { a } from "https://example.org/a.js";',
        "const b = await import('//example.org/b.mjs');",
        'await fetch(new URL("https://example.org/c.json"));',
        'new Worker("https://example.org/d.js", { type: "module" });',
    ],
)
@pytest.mark.parametrize("name", ["live.js", "worker.mjs"])
def test_check_reads_scripts(tmp_path: Path, name: str, line: str) -> None:
    script = tmp_path / name
    script.write_text('import { a } from "./a.js"; fetch(new URL("b", "c"));\n')
    assert not check.complaints(tmp_path)
    script.write_text(line)
    assert len(check.complaints(tmp_path)) == 1
