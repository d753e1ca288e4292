"""What an index shows of the package: no link and no picture of it leads nowhere."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from hatch_build import PageHook, absolute

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
HOME = "https://example.org/chainrule"
KINDS = {"image": "src", "link_open": "href"}


def targets(text: str) -> list[tuple[str, str]]:
    """Kind and target of each link and picture, as CommonMark reads them."""

    def walk(tokens: list[Token]) -> list[tuple[str, str]]:
        found = []
        for token in tokens:
            if token.type in KINDS:
                found.append((token.type, str(token.attrs[KINDS[token.type]])))
            found += walk(token.children or [])
        return found

    return walk(MarkdownIt().enable("table").parse(text))


def page(home: str) -> dict[str, Any]:
    """Return the metadata that the hook sets, where the project has this home."""
    config = PROJECT["tool"]["hatch"]["metadata"]["hooks"]["custom"]
    metadata: dict[str, Any] = {"version": "1.2.3"}
    PageHook(str(ROOT), {**config, "home": home}).update(metadata)
    return metadata


def test_without_a_home_nothing_is_relative() -> None:
    metadata = page("")
    text = metadata["readme"]["text"]
    assert metadata["urls"] == {}
    assert [kind for kind, _ in targets(text)] == []
    assert "![" not in text
    assert "Reliability" in text  # the words stay
    whole = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.count("```python") == whole.count("```python") > 0


@pytest.mark.parametrize("home", [HOME, f"{HOME}/"])
def test_with_a_home_all_is_absolute(home: str) -> None:
    metadata = page(home)
    assert metadata["urls"]["Source"].rstrip("/") == HOME
    assert all(url.startswith(HOME) for url in metadata["urls"].values())
    before = targets((ROOT / "README.md").read_text(encoding="utf-8"))
    after = targets(metadata["readme"]["text"])
    base = {"image": f"{HOME}/raw/v1.2.3/", "link_open": f"{HOME}/blob/v1.2.3/"}
    assert after == [
        (kind, target if ":" in target else base[kind] + target)
        for kind, target in before
    ]
    assert {kind for kind, _ in before} == set(KINDS)


def test_what_the_readme_links_to_exists() -> None:
    """And it has no HTML and no references, which the hook would not see."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    relative = [target for _, target in targets(text) if ":" not in target]
    assert not [path for path in relative if not (ROOT / path).exists()]
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    assert not re.findall(r"<(?:a|img|source)\b|^\[[^\]]+\]:", prose, re.MULTILINE)


@pytest.mark.parametrize(
    ("text", "alone", "at_home"),
    [
        ("a [b](c.md) d", "a b d", "a [b](F/c.md) d"),
        ("[`b`](c.md)", "`b`", "[`b`](F/c.md)"),
        ("![p](c.png)\n\na", "a", "![p](P/c.png)\n\na"),
        ("a ![p](c.png) b", "a  b", "a ![p](P/c.png) b"),
        ("[![p](c.png)](d.md)", "", "[![p](P/c.png)](F/d.md)"),
        ("[x[0]](c.md)\n\na", "x[0]\n\na", "[x[0]](F/c.md)\n\na"),
        ("[a](#b) [c](http://d.e/f)", None, None),
        ("`f[0](x)` and ``g`[0](x)``", None, None),
        ("```python\nf[0](x)\n```\n", None, None),
    ],
)
def test_links_of_every_form(text: str, alone: str | None, at_home: str | None) -> None:
    assert absolute(text) == (text if alone is None else alone)
    assert absolute(text, "F/", "P/") == (text if at_home is None else at_home)


COMMUNITY = [
    *(ROOT / f"{name}.md" for name in ("CONTRIBUTING", "SECURITY", "CODE_OF_CONDUCT")),
    *sorted((ROOT / ".github").rglob("*.md")),  # of which an sdist has none
]


@pytest.mark.parametrize("path", COMMUNITY, ids=lambda path: path.stem)
def test_what_contributors_are_told_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    paths = re.findall(r"\b(?:src|tests|docs|benchmarks)/[\w./]+", text)
    paths += re.findall(r"\b[A-Z_]{6,}\.(?:md|cff)\b", text)
    kept = [found.rstrip(".") for found in paths if "/_build/" not in found]
    assert not [found for found in kept if not (ROOT / found).exists()]
    noxfile = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    sessions = set(re.findall(r'(?:^def |\(name=")([\w-]+)', noxfile, re.MULTILINE))
    commands = re.findall(r"nox -s ([a-z -]+)", text)
    named = {name for found in commands for name in found.split(" -")[0].split()}
    assert not named - sessions


def test_versions_agree() -> None:
    """The citation is of the version that the package has."""
    import chainrule

    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (\S+)$", text, re.MULTILINE) == [
        chainrule.__version__
    ]
