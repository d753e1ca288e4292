r"""Set the formulas that docstrings have in plain text as LaTeX.

A docstring is read in a terminal first, so it has ``dx = dz (1 - z²)`` and not
``\mathit{dx}``. This turns one into the other:

>>> to_latex("dx = dz e / (1 + e)²")
'\\mathit{dx} = \\frac{\\mathit{dz}\\,e}{(1 + e)^{2}}'

Its grammar is that of the docstrings: a space is a product; a slash between spaces
divides all of the product before it by the one factor behind it, a slash without
spaces stays a slash; ``A where C, else B`` tells cases apart; words are words.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["block", "is_formula", "statements", "to_latex"]

FUNCTIONS = {name: rf"\{name}" for name in ("exp", "log", "max", "min", "tanh")} | {
    name: rf"\operatorname{{{name}}}".replace("_", r"\_")
    for name in (
        *("clip", "elu", "erf", "erfc", "erfcx", "expm1", "log1p", "mean", "sigmoid"),
        *("sign", "softmax", "softplus", "hard_sigmoid", "var", "sum"),
    )
}
# Names of more than one letter that are variables. Other words are prose.
VARIABLES = {
    name: rf"\mathit{{{name}}}".replace("_", r"\_")
    for name in (
        *("dx", "dy", "dz", "dw", "db", "dl", "dgain", "dshift", "dmean", "dvar"),
        *("gain", "shift", "mean", "var", "eps", "rate", "slope", "lr"),
        *("weight_decay", "learning_rate", "momentum", "momentum_decay", "decay"),
    )
} | {"inf": r"\infty", "pi": r"\pi"}
VARIABLES |= {
    name: rf"\{name}"
    for name in ("alpha", "beta", "gamma", "delta", "theta", "mu", "nu", "rho", "sigma")
} | {"epsilon": r"\varepsilon"}
GREEK = dict(
    zip(
        "αβγδεθλμνπρστφχψωΓΔΘΛΠΣΦΨΩ",
        [
            *("alpha", "beta", "gamma", "delta", "varepsilon", "theta", "lambda", "mu"),
            *("nu", "pi", "rho", "sigma", "tau", "varphi", "chi", "psi", "omega"),
            *("Gamma", "Delta", "Theta", "Lambda", "Pi", "sum", "Phi", "Psi", "Omega"),
        ],
        strict=True,
    )
)
SUPERSCRIPTS = dict(
    zip(
        "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ᵀᵃᵇᵈᵉᵏⁿᵗˣᶻ",
        [*"0123456789+-", r"\top", *"abdekntxz"],
        strict=True,
    )
)
SUBSCRIPTS = dict(zip("₀₁₂₃₄₅₆₇₈₉ᵢⱼₖₘₙₜ", "0123456789ijkmnt", strict=True))
SIGNS = {
    "<-": r"\leftarrow", "<=": r"\le", ">=": r"\ge", "≤": r"\le", "≥": r"\ge",
    "±": r"\pm", "·": r"\cdot", "×": r"\times", "⊙": r"\odot", "*": r"\cdot",
    "∈": r"\in", "→": r"\to", "∂": r"\partial", "...": r"\ldots", "∞": r"\infty",
    "½": r"\tfrac12", "≠": r"\ne", "≈": r"\approx",
}  # fmt: skip
RELATIONS = ("<-", "<=", ">=", "=", "<", ">", "≤", "≥", "∈", "→", "≠", "≈")
UP, DOWN = "".join(SUPERSCRIPTS), "".join(SUBSCRIPTS)
TOKEN = re.compile(
    rf"""(?P<space>\s*)(?:
      (?P<number>\d+(?:,\d{{3}})*(?:\.\d+)?)
    | (?P<name>[A-Za-z{"".join(GREEK)}](?:_t[+-]1|[A-Za-z0-9_]|[-'](?=[A-Za-z]))*)
    | (?P<power>\^-?\d+(?:/\d+)?|\^-?[A-Za-z]\w*|[{UP}]+)
    | (?P<index>[{DOWN}]+)
    | (?P<sign>\.\.\.|<-|<=|>=|.)
    )""",
    re.VERBOSE,
)
CLOSING = {"(": ")", "[": "])", "|": "|"}


class Token(NamedTuple):
    """A piece of a formula: its kind, its text, whether a space stands before it."""

    kind: str
    text: str
    spaced: bool


def to_latex(formula: str) -> str:
    """Return a formula as LaTeX."""
    number = re.search(r"(?<!equation)\s+\((\d+)\)$", formula)
    if number:  # the paper's number of the equation
        return to_latex(formula[: number.start()]) + rf"\quad({number[1]})"
    rows = _cases(formula)
    if rows:
        left, cases = rows
        body = r" \\ ".join(f"{to_latex(value)} & {when}" for value, when in cases)
        start = f"{to_latex(left)} = " if left else ""
        return rf"{start}\begin{{cases}} {body} \end{{cases}}"
    return _Reader(formula).sequence("")


def _cases(formula: str) -> tuple[str, list[tuple[str, str]]] | None:
    """Split ``z = A where C, else B``: z, and pairs of a value and its condition."""
    left, equal, right = formula.partition(" = ")
    if not equal or " where " not in right:
        return None
    cases = []
    for part in re.split(r",\s+(?![^(]*\))", right):
        value, where, condition = part.partition(" where ")
        if where:
            cases.append((value, rf"\text{{where }} {to_latex(condition)}"))
        elif part.startswith("else "):
            cases.append((part[5:], r"\text{else}"))
        elif " at " in part:
            value, _, condition = part.partition(" at ")
            cases.append((value, rf"\text{{at }} {to_latex(condition)}"))
        else:
            return None
    return (left, cases) if len(cases) > 1 else None


class _Reader:
    """A recursive descent over the tokens of one formula."""

    def __init__(self, formula: str) -> None:
        self.tokens = [
            Token(str(found.lastgroup), found[str(found.lastgroup)], bool(found[1]))
            for found in TOKEN.finditer(formula.strip())
        ]
        self.at = 0

    @property
    def next(self) -> Token | None:
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def take(self) -> Token:
        self.at += 1
        return self.tokens[self.at - 1]

    def is_prose(self) -> bool:
        token = self.next
        if token is None or token.kind != "name":
            return False
        text = token.text
        behind = self.tokens[self.at + 1 : self.at + 2]
        called = bool(behind) and behind[0].text == "("
        if text in FUNCTIONS and (called or self.is_before_variable()):
            return False
        if text in (*VARIABLES, "sqrt") or re.fullmatch(r"[^\W_]\d?", text):
            return False
        base, _, index = text.partition("_")
        return not (len(index) in (1, 3) and (len(base) == 1 or base in VARIABLES))

    def is_before_variable(self) -> bool:
        """Whether a name of one letter comes next, as in ``log p``."""
        behind = self.tokens[self.at + 1 : self.at + 2]
        return any(re.fullmatch(r"[^\W\d_](_\w)?", token.text) for token in behind)

    def sequence(self, closing: str) -> str:
        """Read relations, prose and sums until a closing sign; leave that there."""
        parts: list[str] = []
        while (token := self.next) is not None and token.text not in (closing or " "):
            if self.is_prose():
                words = [self.take().text]
                while self.is_prose():
                    words.append(self.take().text)
                text = " ".join(words).replace("_", r"\_")
                before = " " if parts else ""
                after = " " if self.next is not None and self.next.spaced else ""
                parts.append(rf"\text{{{before}{text}{after}}}")
            elif token.text in RELATIONS:
                parts.append(SIGNS.get(self.take().text, token.text))
            elif token.text in (",", ";"):
                parts[-1:] = [(parts[-1] if parts else "") + self.take().text]
            elif token.text in (":", ".", ")", "]", "'"):
                text = self.take().text
                parts.append(r"\colon\;" if text == ":" else text)
            else:
                parts.append(self.sum(closing))
        return " ".join(parts).strip()

    def sum(self, closing: str) -> str:
        """Read terms with signs of plus and minus between them."""
        text = ""
        while (token := self.next) is not None and token.text in ("+", "-", "±"):
            text += SIGNS.get(self.take().text, token.text)
        text += self.term(closing)
        while (token := self.next) is not None and token.text in ("+", "-", "±"):
            sign = self.take().text
            text += f" {SIGNS.get(sign, sign)} {self.term(closing)}"
        return text

    def term(self, closing: str) -> str:
        """Read a product, and what it is divided by."""
        text = ""
        while self.begins_factor(closing):
            token = self.next
            assert token is not None
            if token.text == "/":
                slash = self.take()
                below = self.factor(closing) if self.begins_factor(closing) else ""
                if slash.spaced and text and below:
                    text = rf"\frac{{{_bare(text)}}}{{{_bare(below)}}}"
                else:
                    text += f"/{below}"
                continue
            space = r"\," if text and token.spaced else ""
            factor = self.factor(closing)
            if not space and re.search(r"\\[A-Za-z]+$", text) and factor[0].isalpha():
                space = " "  # a command ends where no letter follows
            text += space + factor
        return text

    def begins_factor(self, closing: str) -> bool:
        token = self.next
        if token is None or self.is_prose():
            return False
        if closing and token.text in closing:
            return False
        return token.text not in (*RELATIONS, *"+-±,;:.)]'")

    def factor(self, closing: str) -> str:
        """Read one factor with its powers, indices and arguments."""
        token = self.take()
        text = self.atom(token, closing)
        while (after := self.next) is not None:
            if after.kind in ("power", "index"):
                text += _script(self.take())
            elif after.text == "'":
                text += self.take().text
            elif after.text == "^":
                self.take()
                text += f"^{{{_bare(self.factor(closing))}}}"
            elif after.text == "(" and not after.spaced and token.kind == "name":
                text += self.factor(closing)  # its argument
            else:
                break
        return text

    def atom(self, token: Token, closing: str) -> str:
        if token.text in CLOSING:
            inner = self.sequence(CLOSING[token.text])
            end = self.take().text if self.next is not None else ""
            tall = r"\frac" in inner or r"\begin" in inner
            left, right = (r"\left", r"\right") if tall and end else ("", "")
            if token.text == "|":
                return rf"\left|{inner}\right|"
            return f"{left}{token.text}{inner}{right}{end}"
        if token.text in ("√", "sqrt"):
            return rf"\sqrt{{{_bare(self.factor(closing))}}}"
        if token.text == "Σ":
            index = ""
            while (after := self.next) is not None and after.kind == "index":
                index += _script(self.take())
            summand = ""
            while self.begins_factor(closing) and self.tokens[self.at].text != "/":
                summand += r"\," + self.factor(closing)
            return rf"\textstyle\sum{index}{summand}"
        if token.kind == "name":
            return _name(token.text)
        if token.kind in ("power", "index"):
            return _script(token)
        return SIGNS.get(token.text, token.text)


def _name(text: str) -> str:
    known = FUNCTIONS.get(text) if text not in ("mean", "var") else None
    known = known or VARIABLES.get(text)
    if known:
        return known
    base, _, index = text.partition("_")
    if base not in VARIABLES:
        base, index = text[0], text[1:].lstrip("_")
    base = VARIABLES.get(base) or (rf"\{GREEK[base]}" if base in GREEK else base)
    return f"{base}_{{{index}}}" if index else base


def _script(token: Token) -> str:
    text = token.text
    if token.kind == "index":
        return "_{" + "".join(SUBSCRIPTS[c] for c in text) + "}"
    if text.startswith("^"):
        return f"^{{{text[1:]}}}"
    return "^{" + "".join(SUPERSCRIPTS[c] for c in text) + "}"


def _bare(text: str) -> str:
    """Take away brackets that are around all of it."""
    if not (text.startswith("(") and text.endswith(")")):
        return text
    depth = 0
    for k, sign in enumerate(text):
        depth += {"(": 1, ")": -1}.get(sign, 0)
        if depth == 0 and k < len(text) - 1:
            return text
    return text[1:-1]


# A formula begins with a name and an equals sign or an arrow.
FORMULA = re.compile(r"(?:z|m|v|theta) (?:=|<-) ")
LABEL = re.compile(r"(Forward|Pullback)\s+(?=\S)")


def is_formula(paragraph: str) -> bool:
    """Whether a paragraph of a docstring is a formula and nothing else."""
    return bool(FORMULA.match(paragraph) or LABEL.match(paragraph))


def statements(text: str) -> list[str]:
    """Split formulas: at semicolons, and at commas with two spaces behind them."""
    parts = re.split(r";\s+|,\s{2,}|\n", text)
    return [part.strip().rstrip(";,") for part in parts if part.strip()]


def _labelled(lines: list[str]) -> list[str]:
    """Label a value that has its gradient beside it: ``z = ...;  dx = ...``."""
    if len(lines) != 1 or LABEL.match(lines[0]):
        return lines
    value, *rest = statements(lines[0])
    if not rest or not re.match(r"d\w+ = ", rest[0]):
        return lines
    return [f"Forward   {value}", f"Pullback  {';  '.join(rest)}"]


def block(lines: list[str]) -> str:
    """Return lines of formulas, some with a label before them, as one LaTeX block."""
    rows: list[str] = []
    label, wide = "", 0
    for line in _labelled(lines):
        found = LABEL.match(line)
        if found:
            label = rf"\textsf{{{found[1]}}}"
        row = ""
        for part in statements(line[found.end() if found else 0 :]):
            if row and wide + len(part) > 64:
                rows.append(row)
                row = ""
            if row:
                row += rf",\qquad {to_latex(part)}"
                wide += len(part) + 4
            else:
                row, wide = rf"{label} &\quad {to_latex(part)}", len(part)
                label = ""
        rows.append(row)
    return r"\begin{aligned} " + r" \\ ".join(rows) + r" \end{aligned}"
