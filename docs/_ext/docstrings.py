"""What stands in docstrings as plain text, as reStructuredText.

Docstrings are written to be read with `help`: formulas in plain text, ``|x|`` for an
absolute value, `Variable`s for more than one of them, docs/math.md for a page. Sphinx
would take the bars for a substitution, the plural for an error and the page for words.
This puts it right on the way to the site, before numpydoc reads the docstring.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import plain_math
from docutils import nodes
from sphinx.application import Sphinx

DOCS = Path(__file__).resolve().parents[1]
# What is left as it is: the names of parameters (numpydoc escapes them), literals,
# roles, names in backticks, emphasis. Any of them may go on in the next line.
KEPT = re.compile(
    r"^\s*\*{0,2}\w+(?:, \*{0,2}\w+)*(?= : |\\?$)"
    r"|``.+?``|:[\w:]+:`[^`]+`|`[^`]+`"
    r"|(?<![\w*])\*\*?[^\s*][^*]*?(?<=\S)\*\*?(?!\w)",
    re.DOTALL | re.MULTILINE,
)
SHAPES = re.compile(r"(?P<shapes>\w+(?:, \w+)* \(\.\.\..* -> \w+ \(\.\.\.\))(?:;  )?")
INDENTED = re.compile(r"    +\w+ = ")
PAGE = re.compile(r"`?docs/(?P<name>[\w/-]+)\.md`?")


def prose(text: str) -> str:
    """Return prose with what reStructuredText would misread escaped."""
    text = PAGE.sub(r":doc:`docs/\g<name>.md </\g<name>>`", text)
    out, at = "", 0
    for kept in KEPT.finditer(text):
        out += _escaped(text[at : kept.start()]) + kept[0]
        at = kept.end()
        if kept[0].endswith("`") and re.match(r"[\w']", text[at:]):
            out += r"\ "  # the plural of a name
    return out + _escaped(text[at:])


def _escaped(text: str) -> str:
    text = re.sub(r"(?<!\\)([|*])", r"\\\1", text)
    return re.sub(r"(?<=\w)_(?=\W|$)", r"\\_", text)


def paragraphs(lines: list[str]) -> Iterator[list[str]]:
    """Split at empty lines; an empty line is a paragraph of its own."""
    block: list[str] = []
    for line in lines:
        if line.strip():
            block.append(line)
            continue
        if block:
            yield block
        yield [line]
        block = []
    if block:
        yield block


def translated(lines: list[str], formulas: bool = False) -> list[str]:
    """Return a docstring as reStructuredText that numpydoc can read.

    Of a module's, which has no sections, indented lines may be formulas.
    """
    out: list[str] = []
    literal = False  # an indented block after ::
    first = True
    for block in paragraphs(lines):
        text = block[0]
        if not text.strip():
            out += block
            continue
        literal = literal and text.startswith(" ")
        if formulas and not literal and INDENTED.match(text):
            out += display_math(plain_math.block([line.strip() for line in block]))
        elif literal or text.lstrip().startswith((">>>", "...", "..")):
            out += block
        elif first and plain_math.is_formula(text):
            out += summary(" ".join(line.strip() for line in block))
        else:
            out += paragraph(block)
        literal = literal or block[-1].endswith("::")
        first = False
    return out


def display_math(latex: str) -> list[str]:
    """Return the directive of a displayed formula."""
    return [".. math::", "", f"   {latex}", ""]


def summary(text: str) -> list[str]:
    """Set a first paragraph that is a formula inline, so that tables can show it."""
    formula, stop, rest = text.partition(". ")
    parts = plain_math.statements(re.sub(r"(?<!\.)\.$", "", formula))
    inline = "; ".join(f":math:`{plain_math.to_latex(part)}`" for part in parts)
    return [f"{inline}.", *(["", prose(rest)] if stop else [])]


def paragraph(block: list[str]) -> list[str]:
    """Set the formulas of a paragraph, and escape the rest."""
    if len(block) > 1 and set(block[1].strip()) <= {"-", "="}:  # a heading
        head, rest = block[:2], block[2:]
        return [*head, *paragraph(rest)] if rest else head
    out: list[str] = []
    words: list[str] = []
    formulas: list[str] = []
    # An update of an optimizer, from its first line to its last.
    all_of_it = any(re.match(r"(?:m|v|mu|theta) <- ", line) for line in block)

    def flush() -> None:
        if words:
            out.extend(prose("\n".join(words)).split("\n"))
            words.clear()
        if formulas:
            out.extend(["", *display_math(plain_math.block(formulas))])
            formulas.clear()

    for line in block:
        text = line.strip()
        shapes = SHAPES.match(text)
        if shapes:
            flush()
            out += [f"``{shapes['shapes'].replace('->', '→')}``", ""]
            if shapes.end() < len(text):
                formulas.append(f"Pullback  {text[shapes.end() :]}")
        elif (
            all_of_it
            or plain_math.LABEL.match(text)
            or (formulas and line.startswith("   "))
        ):
            if words:
                flush()
            formulas.append(text)
        else:
            if formulas:
                flush()
            if text.startswith("Source: ") and words:
                words.append("")
            words.append(line)
    flush()
    return out


def on_docstring(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Translate a docstring in its place."""
    lines[:] = translated(lines, formulas=what == "module")


PULLBACK = re.compile(r"~?[\w.]*Callable\[\[?\.{3}\]?, tuple\[~?typing\.Any, \.{3}\]\]")


def on_signature(
    app: Sphinx,
    what: str,
    name: str,
    obj: Any,
    options: Any,
    signature: str | None,
    returns: str | None,
) -> tuple[str | None, str | None]:
    """Name a pullback's type again, which evaluating an annotation has expanded.

    The rules, whose arrays are all of one type, are shown without types, as in a paper;
    a protocol, which nobody calls, is shown without arguments.
    """
    if what == "class" and getattr(obj, "_is_protocol", False):
        return "", None
    if name.startswith("chainrule.rules.") and what == "function":
        plain = [
            p.replace(annotation=p.empty)
            for p in inspect.signature(obj).parameters.values()
        ]
        return str(inspect.Signature(plain)), None
    short = "~chainrule.arrays.types.Pullback"
    return (
        signature and PULLBACK.sub(short, signature),
        returns and PULLBACK.sub(short, returns),
    )


def display(app: Sphinx, tree: nodes.document) -> None:
    """Set a description's first paragraph as a display, where it is all formula."""
    for content in tree.findall(lambda node: node.tagname == "desc_content"):
        first = next(iter(content.children), None)
        if not isinstance(first, nodes.paragraph):
            continue
        parts = [c for c in first.children if isinstance(c, nodes.math)]
        rest = [c.astext() for c in first.children if not isinstance(c, nodes.math)]
        if not parts or not set("".join(rest)) <= set("; .\n"):
            continue
        latex = [part.astext() for part in parts]
        labels = [""] * len(latex)
        if len(latex) > 1 and latex[1].startswith(r"\mathit{d"):
            labels[:2] = [r"\textsf{Forward}", r"\textsf{Pullback}"]
        pairs = zip(labels, latex, strict=True)
        rows = r" \\ ".join(rf"{label} &\quad {part}" for label, part in pairs)
        text = rf"\begin{{aligned}} {rows} \end{{aligned}}"
        first.replace_self(
            nodes.math_block(text, text, number=None, label=None, nowrap=True)
        )


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", on_docstring, priority=300)
    app.connect("autodoc-process-signature", on_signature)
    app.connect("doctree-read", display)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
