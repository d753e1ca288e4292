"""Links of the repository's own text, as links of the site.

The pages and docstrings refer to files as a reader of the repository does:
``[rules](../src/chainrule/rules)``, ``tests/promises/test_math.py::test_equation_2``,
`Model.fit`. Here the first two become links to pages that show those files, and a name
in backticks a link to its place in the reference, where it has one.
"""

from __future__ import annotations

import ast
import importlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.highlighting import PygmentsBridge
from sphinx.transforms import SphinxTransform
from sphinx.util.docutils import SphinxRole

ROOT = Path(__file__).resolve().parents[2]
SHOWN = ("src", "tests", "benchmarks", "noxfile.py", "pyproject.toml", "LICENSE")
PATH = re.compile(rf"(?P<path>(?:{'|'.join(SHOWN)})[\w./-]*?)/?(?:::(?P<name>\w+))?")
NAME = re.compile(r"(?:cr|chainrule)(?:\.\w+)+|\w+\.\w[\w.]*|[A-Z]\w*[a-z]\w*")
LINKS = (nodes.reference, addnodes.pending_xref, nodes.title)
CLASS = re.compile(r"\b([A-Z]\w*[a-z]\w*)\b")
LANGUAGES = {".py": "python", ".toml": "toml", ".md": "markdown", ".json": "json"}


class Name(SphinxRole):
    """The default role: a name, linked where the reference has it, else a literal."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        text = self.text
        bare = text.removesuffix("()")
        path = source_of(text)
        shown = nodes.literal(text, text, classes=["py"])
        if path is not None:
            return [source_link(path, shown)], []
        if not re.fullmatch(r"[A-Za-z_][\w.]*", bare):
            return [shown], []
        return [self._link(bare, shown)], []

    def _link(self, target: str, shown: nodes.Node) -> nodes.Node:
        link = name_link(target, shown, self.env.docname)
        link["py:module"] = self.env.ref_context.get("py:module")
        link["py:class"] = self.env.ref_context.get("py:class")
        return link


def name_link(target: str, shown: nodes.Node, document: str) -> addnodes.pending_xref:
    """Return a link to an object of the reference that may not be there."""
    return addnodes.pending_xref(
        "",
        shown,
        refdomain="py",
        reftype="obj",
        reftarget=target,
        refdoc=document,
        refexplicit=False,
        refwarn=False,
        soft=True,
    )


def source_of(text: str) -> str | None:
    """Return the repository's file or folder that a text names, with its place."""
    if re.fullmatch(r"chainrule(?:\.\w+){2,}", text):  # a module within a package
        text = f"src/{text.replace('.', '/')}.py"
    found = PATH.fullmatch(text)
    if not found or not (ROOT / found["path"]).exists():
        return None
    if found["name"] is None:
        return found["path"]
    line = line_of(ROOT / found["path"], found["name"])
    return f"{found['path']}#line-{line}" if line else found["path"]


def line_of(path: Path, name: str) -> int | None:
    """Return the line where a module defines a function or class."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == name:
            return node.lineno
    return None


def source_link(path: str, shown: nodes.Node) -> addnodes.pending_xref:
    """Return a link to the page that shows a file."""
    return addnodes.pending_xref(
        "", shown, refdomain="", reftype="source", reftarget=path, refwarn=True
    )


class RepositoryLinks(SphinxTransform):
    """Turn links to files, and names and paths in code, into links of the site."""

    default_priority = 700

    def apply(self, **kwargs: Any) -> None:
        here = Path(str(self.env.doc2path(self.env.docname))).parent
        for link in list(self.document.findall(is_file_link)):
            target = self.source(here, link["reftarget"])
            if target is not None:
                shown = nodes.inline("", "", *link.children)
                link.replace_self(self.linked(target, shown))
        for code in list(self.document.findall(nodes.literal)):
            self.code(code)
        for kind in (nodes.term, nodes.classifier):
            for term in list(self.document.findall(kind)):
                self.types(term)
        self.env.repository_files[self.env.docname] = {  # type: ignore[attr-defined]
            link["reftarget"].partition("#")[0]
            for link in self.document.findall(addnodes.pending_xref)
            if link["reftype"] == "source"
        }

    def source(self, here: Path, target: str) -> Path | None:
        """Return the file that a link means, seen from its page or from the root."""
        if re.match(r"[a-z]+:|#", target):
            return None
        target = target.partition("#")[0]
        for folder in (here, ROOT):
            path = Path(os.path.normpath(folder / target.lstrip("/")))
            inside = path.is_relative_to(here) and folder is here
            if path.exists() and path.is_relative_to(ROOT) and not inside:
                return path
        return None

    def linked(self, path: Path, shown: nodes.Node) -> addnodes.pending_xref:
        docs = Path(str(self.env.srcdir))
        if path.is_relative_to(docs) and path.suffix in (".md", ".rst"):
            name = path.relative_to(docs).with_suffix("").as_posix()
            return addnodes.pending_xref(
                "",
                shown,
                refdomain="std",
                reftype="doc",
                reftarget=f"/{name}",
                refdoc=self.env.docname,
                refexplicit=True,
                refwarn=True,
            )
        return source_link(path.relative_to(ROOT).as_posix(), shown)

    def types(self, term: nodes.Element) -> None:
        """Link the classes that a docstring names as types, or as errors raised."""
        for text in list(term.findall(nodes.Text)):
            if not isinstance(
                text.parent, (nodes.term, nodes.strong, nodes.classifier)
            ):
                continue
            parts: list[nodes.Node] = []
            for k, piece in enumerate(CLASS.split(text.astext())):
                shown = nodes.inline(piece, piece) if k % 2 else nodes.Text(piece)
                name = self.env.docname
                parts.append(name_link(piece, shown, name) if k % 2 else shown)
            if len(parts) > 1:
                text.parent.replace(text, parts)

    def code(self, code: nodes.literal) -> None:
        text = code.astext()
        plain = not set(code["classes"]) - {"code"}
        inside, around = False, code.parent
        while around is not None and not inside:  # a link, or a heading
            inside = isinstance(around, LINKS)
            around = around.parent
        if not plain or inside:
            return
        path = source_of(text)
        if path is not None:
            code.replace_self(source_link(path, code.deepcopy()))
        elif NAME.fullmatch(name := text.partition("(")[0]):
            code.replace_self(name_link(name, code.deepcopy(), self.env.docname))


def is_file_link(node: nodes.Node) -> bool:
    """Whether a node is a Markdown link to a file, or to what might be one."""
    if isinstance(node, addnodes.download_reference):
        return True
    return isinstance(node, addnodes.pending_xref) and node["reftype"] == "myst"


def resolve(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, shown: nodes.Node
) -> nodes.Node | None:
    """Resolve links to files, and to names where the exact search found nothing."""
    document = node.get("refdoc", env.docname)
    if node["reftype"] == "source":
        path, _, line = node["reftarget"].partition("#")
        uri = app.builder.get_relative_uri(document, f"source/{path}")
        uri += f"#{line}" if line else ""
        return nodes.reference("", "", shown, refuri=uri, internal=True)
    if node.get("refdomain") != "py":
        return None
    found = find(env, node["reftarget"], node.get("py:module"))
    if found is None and not node.get("soft"):
        last = node["reftarget"].rpartition(".")[2]
        found = find(env, node["reftarget"], first=True) or find(env, last, first=True)
    if found is None:  # of a name in backticks nobody promised a place
        return shown if node.get("soft") else None
    page, place = found
    uri = app.builder.get_relative_uri(document, page)
    return nodes.reference("", "", shown, refuri=f"{uri}#{place}", internal=True)


def find(
    env: BuildEnvironment,
    target: str,
    module: str | None = None,
    first: bool = False,
) -> tuple[str, str] | None:
    """Return page and anchor of the one object of the reference that a name ends.

    A module's own docstring may name what the package shows as its own. Of several, an
    annotation means the first.
    """
    objects = env.domains.python_domain.objects
    if module and (entry := objects.get(f"{module.rpartition('.')[0]}.{target}")):
        return entry.docname, entry.node_id
    short = re.sub(r"^(?:cr|chainrule)\.", "", target)
    if short == target and "." not in target and not target[:1].isupper():
        return None  # an argument, say
    ends = [
        (name.count("."), name, entry)
        for name, entry in objects.items()
        if not entry.aliased and (name == target or name.endswith(f".{short}"))
    ]
    fewest = min((dots for dots, _, _ in ends), default=0)
    best = {(e.docname, e.node_id) for dots, _, e in ends if dots == fewest}
    return min(best) if len(best) == 1 or (best and first) else None


def pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield a page for each file that is linked to, and for all in linked folders."""
    wanted = set().union(*app.env.repository_files.values())  # type: ignore[attr-defined]
    seen: set[str] = set()
    while wanted:
        name = wanted.pop()
        seen.add(name)
        path = ROOT / name
        inside = sorted(path.iterdir()) if path.is_dir() else []
        inside = [c for c in inside if c.is_dir() or c.suffix in LANGUAGES]
        inside = [c for c in inside if not c.name.startswith((".", "__pycache__"))]
        wanted |= {child.relative_to(ROOT).as_posix() for child in inside} - seen
        body = listing(path, inside) if path.is_dir() else text_of(path)
        above = Path(name).parent.as_posix()
        parents = []
        if above in seen | wanted:
            link = app.builder.get_relative_uri(f"source/{name}", f"source/{above}")
            parents = [{"link": link, "title": above}]
        context = {
            "title": name,
            "body": f"<h1>{name}</h1>\n{body}",
            "parents": parents,
        }
        yield f"source/{name}", context, "page.html"


def listing(folder: Path, inside: list[Path]) -> str:
    """Return a folder as a list of links, the first of which is its README."""
    last = folder.name
    items = "".join(
        f'<li><a href="{last}/{child.name}.html"><code>{child.name}'
        f"{'/' if child.is_dir() else ''}</code></a></li>"
        for child in inside
    )
    return f'<ul class="files">{items}</ul>'


def text_of(path: Path) -> str:
    """Return a file highlighted, each line with an anchor."""
    text = path.read_text(encoding="utf-8")
    language = LANGUAGES.get(path.suffix, "text")
    shown = PygmentsBridge("html").highlight_block(
        text, language, linenos=False, lineanchors="line", anchorlinenos=False
    )
    return str(shown)


def module_of(app: Sphinx, module: str, name: str) -> str:
    """Return the module of an object, for its source: ours, or the one it is shown in.

    An attribute may be of a built-in type, whose module has no source to show.
    """
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    home = getattr(found, "__module__", None) or module
    return home if home.startswith("chainrule.") else module


def begin(app: Sphinx) -> None:
    if not hasattr(app.env, "repository_files"):
        app.env.repository_files = {}  # type: ignore[attr-defined]


def forget(app: Sphinx, env: BuildEnvironment, document: str) -> None:
    env.repository_files.pop(document, None)  # type: ignore[attr-defined]


def merge(app: Sphinx, env: Any, documents: set[str], other: Any) -> None:
    env.repository_files |= {
        name: other.repository_files.get(name, set()) for name in documents
    }


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_role("name", Name())
    app.add_transform(RepositoryLinks)
    app.connect("builder-inited", begin)
    app.connect("env-purge-doc", forget)
    app.connect("env-merge-info", merge)
    app.connect("missing-reference", resolve)
    app.connect("html-collect-pages", pages)
    app.connect("viewcode-follow-imported", module_of)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
