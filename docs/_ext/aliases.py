"""Show a module's type aliases, as its source has them.

.. aliases:: chainrule.config.choices

Annotations name an alias, and so do the reference's signatures; at run time there is
nothing left of it to ask, so this reads the source.
"""

from __future__ import annotations

import ast
import importlib.util
import itertools
from collections.abc import Iterator
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class Aliases(SphinxDirective):
    """Describe the aliases of a module: all, or those whose names are given."""

    required_arguments = 1
    optional_arguments = 100

    def run(self) -> list[nodes.Node]:
        module, *names = self.arguments
        spec = importlib.util.find_spec(module)
        assert spec is not None
        assert spec.origin is not None
        self.env.note_dependency(spec.origin)
        lines = [f".. py:currentmodule:: {module}", ""]
        for name, value, remark in aliases(Path(spec.origin).read_text("utf-8")):
            if names and name not in names:
                continue
            lines += [f".. py:type:: {name}", "   :no-contents-entry:"]
            lines += [f"   :canonical: {value}", "", f"   {remark}", ""]
        return self.parse_text_to_nodes(StringList(lines, spec.origin))


def aliases(source: str) -> Iterator[tuple[str, str, str]]:
    """Yield names, what they stand for, and the comments above them."""
    lines = source.splitlines()
    tree = ast.parse(source).body
    checked = [node.body for node in tree if isinstance(node, ast.If)]  # TYPE_CHECKING
    for node in [*tree, *itertools.chain(*checked)]:
        if not isinstance(node, ast.Assign) or not isinstance(
            node.targets[0], ast.Name
        ):
            continue
        name = node.targets[0].id
        called = isinstance(node.value, (ast.Call, ast.Constant, ast.List))
        if called or name.startswith("_"):
            continue
        remark: list[str] = []
        k = node.lineno - 2
        while k >= 0 and lines[k].strip().startswith("# "):
            remark.insert(0, lines[k].strip()[2:])
            k -= 1
        yield name, ast.unparse(node.value), " ".join(remark)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("aliases", Aliases)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
