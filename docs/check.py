"""Check the built site: every link within it ends somewhere, and nothing is remote.

python docs/check.py docs/_build/html
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# What a browser loads without being asked, by tag and attribute.
LOADED = {
    ("script", "src"), ("img", "src"), ("img", "srcset"), ("source", "src"),
    ("source", "srcset"), ("iframe", "src"), ("embed", "src"), ("object", "data"),
    ("video", "src"), ("audio", "src"), ("link", "href"), ("use", "href"),
}  # fmt: skip
REMOTE = re.compile(r"(?:https?:)?//")
# In style sheets and scripts.
LOADS = re.compile(
    r"""(?:url\(\s*["']?|@import\s+["']|\bimport\s*\(?\s*["']|\bfrom\s*["']"""
    r"""|\b(?:fetch|importScripts|Worker|URL)\(\s*["'])"""
    r"""((?:https?:)?//[^"')\s]+)"""
)


class Page(HTMLParser):
    """What a page links to, loads, and can be linked to by."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.links: set[str] = set()
        self.loads: set[str] = set()
        self.anchors: set[str] = set()
        self.broken = False
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag's links and anchors."""
        for name, value in attrs:
            if value is None:
                continue
            if name == "id" or (tag == "a" and name == "name"):
                self.anchors.add(value)
            if (tag, name) in LOADED:
                self.loads.add(value)
            elif (tag, name) == ("a", "href"):
                self.links.add(value)
            if name == "class" and {"katex-error", "problematic"} & set(value.split()):
                self.broken = True
            if name == "style":
                self.loads.update(LOADS.findall(value))


def complaints(site: Path) -> list[str]:
    """Return what is wrong with a site, one line for each thing."""
    # The theme leaves a template of its own among its static files.
    files = [p for p in site.rglob("*.html") if p.name != "webpack-macros.html"]
    pages = {path: Page(path) for path in sorted(files)}
    wrong = [
        f"{path.relative_to(site)}: something could not be shown"
        for path, page in pages.items()
        if page.broken
    ]
    for path, page in pages.items():
        name = path.relative_to(site)
        for link in sorted(page.links | page.loads):
            if REMOTE.match(link):
                if link in page.loads:
                    wrong.append(f"{name}: loads {link}")
                continue
            target = urlsplit(link)
            if target.scheme:  # mailto:, data:
                continue
            where = (path.parent / unquote(target.path)).resolve()
            where = path if not target.path else where
            where = where / "index.html" if where.is_dir() else where
            anchor = unquote(target.fragment)
            if not where.exists():
                wrong.append(f"{name}: no {link}")
            elif anchor and where in pages and anchor not in pages[where].anchors:
                wrong.append(f"{name}: no anchor {link}")
    kinds = ("*.css", "*.mjs", "*.js")
    for path in sorted(p for kind in kinds for p in site.rglob(kind)):
        found = LOADS.findall(path.read_text(encoding="utf-8"))
        wrong += [f"{path.relative_to(site)}: loads {address}" for address in found]
    return wrong


def main() -> int:
    """Print what is wrong, and return 1 if anything is."""
    site = Path(sys.argv[1]).resolve()
    wrong = complaints(site)
    count = len(list(site.rglob("*.html")))
    print(*wrong, f"{count} pages, {len(wrong)} complaints", sep="\n")
    return 1 if wrong or not count else 0


if __name__ == "__main__":
    sys.exit(main())
