"""What the package's page on an index shows: README.md, with links that work there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

# Code is passed over; a picture that has a line to itself goes with the line after it.
_CODE = r"^```.*?^```[ \t]*$|(?P<ticks>`+)(?!`).*?(?<!`)(?P=ticks)(?!`)"
_TEXT = r"\[(?P<text>(?:[^\[\]]|\[[^\[\]]*\])*)\]"
_TARGET = r"\((?P<target>[^()\s]+)\)"
_PART = re.compile(
    rf"{_CODE}|(?P<line>^)?(?P<picture>!)?{_TEXT}{_TARGET}(?P<end>(?(line)\n\n)?)",
    re.DOTALL | re.MULTILINE,
)
_ABSOLUTE = re.compile(r"[a-z][a-z0-9+.-]*:|#", re.IGNORECASE)


def absolute(text: str, files: str = "", pictures: str = "") -> str:
    """Return Markdown without relative links.

    Parameters
    ----------
    text : str
        Markdown whose links and pictures are relative to the repository's root.
    files, pictures : str, optional
        The addresses that their paths are appended to. Without `files`, a link becomes
        its text; without `pictures`, a picture is left out.
    """

    def replace(found: re.Match[str]) -> str:
        target, end = found["target"], found["end"]
        if target is None:  # code
            return found[0]
        picture = found["picture"] or ""
        if not _ABSOLUTE.match(target):
            base = pictures if picture else files
            if not base:
                return "" if picture else inner(found["text"]) + end
            target = base + target
        return f"{picture}[{inner(found['text'])}]({target}){end}"

    def inner(text: str) -> str:
        return _PART.sub(replace, text)  # a picture may be what a link shows

    return _PART.sub(replace, text)


class PageHook(MetadataHookInterface):
    """Set `readme` and `urls`, by the addresses that pyproject.toml has for this hook.

    Until the project has a `home` there, the page has no links to it.
    """

    def update(self, metadata: dict[str, Any]) -> None:
        """Set both in the metadata of the project."""
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        home, version = self.config["home"], metadata["version"]
        bases, urls = [], {}
        if home:
            fill = {"home": home.rstrip("/"), "version": version}
            bases = [self.config[key].format(**fill) for key in ("files", "pictures")]
            urls = {k: url.format(**fill) for k, url in self.config["urls"].items()}
        page = {"content-type": "text/markdown", "text": absolute(text, *bases)}
        metadata.update(readme=page, urls=urls)
