"""The page on which networks are trained in the browser, and the files that it needs.

The directive ``live`` stands for the page's controls and pictures, docs/live/app.html.
The built site gets the page's own files, and the runtime if docs/live/assets.py has
collected it in the folder `live_assets`. The manifest in _static/live/ says whether it
has, and the page tells its reader.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

LIVE = Path(__file__).resolve().parents[1] / "live"
ASSETS = LIVE.parents[1] / "build" / "live" / "assets"
FILES = ["live.css", "live.js", "draw.js", "runtime.js", "worker.js", "trainer.py"]
_LOG = logging.getLogger(__name__)


class live(nodes.General, nodes.Element):  # noqa: N801 - docutils has names like these
    """Where the page's controls and pictures stand."""


class LiveDirective(SphinxDirective):
    """``{live}``: takes nothing."""

    def run(self) -> list[nodes.Node]:
        """Return the node, and let the page depend on the file behind it."""
        self.env.note_dependency(str(LIVE / "app.html"))
        return [live()]


def _visit(translator: Any, node: live) -> None:
    translator.body.append((LIVE / "app.html").read_text(encoding="utf-8"))
    raise nodes.SkipNode


def _skip(translator: Any, node: live) -> None:
    raise nodes.SkipNode


def add_files(app: Sphinx, page: str, template: str, context: Any, tree: Any) -> None:
    """Let the page that has the directive, and no other, load its style and script."""
    if tree is not None and next(tree.findall(live), None) is not None:
        app.add_css_file("live/live.css")
        app.add_js_file("live/live.js", type="module")


def copy(app: Sphinx, error: Exception | None) -> None:
    """Copy the page's files, and the runtime if it is there."""
    if error is not None or app.builder.format != "html":
        return
    target = Path(app.outdir) / "_static" / "live"
    shutil.rmtree(target, ignore_errors=True)
    assets = Path(app.config.live_assets)
    if (assets / "manifest.json").is_file():
        shutil.copytree(assets, target)
    else:
        _LOG.info(f"live: no runtime in {assets}; `nox -s docs-browser` collects it")
        target.mkdir(parents=True)
        (target / "manifest.json").write_text(json.dumps({"pyodide": None}))
    for name in FILES:
        shutil.copy(LIVE / name, target / name)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    app.add_config_value("live_assets", str(ASSETS), "html", str)
    app.add_node(live, html=(_visit, None), text=(_skip, None), latex=(_skip, None))
    app.add_directive("live", LiveDirective)
    app.connect("html-page-context", add_files)
    app.connect("build-finished", copy)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
