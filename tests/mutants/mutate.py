"""Wrong versions of a source file: each differs from it in one expression.

`mutants` walks the syntax tree and yields every change that it knows: signs, terms,
operators, comparisons, constants, transposes, branches, functions taken for their
neighbours, results taken for zeros. A change replaces the text of one node, so that all
other lines stay as they are.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any, NamedTuple

__all__ = ["Mutant", "mutants"]

OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Pow: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
    ast.BitXor: ast.BitOr,
}
COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.Gt, ast.LtE),
    ast.Gt: (ast.Lt, ast.GtE),
    ast.LtE: (ast.GtE, ast.Lt),
    ast.GtE: (ast.LtE, ast.Gt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
NEIGHBOURS = {
    "all": "any",
    "any": "all",
    "cumprod": "cumsum",
    "exp": "expm1",
    "expm1": "exp",
    "log": "log1p",
    "log1p": "log",
    "max": "min",
    "maximum": "minimum",
    "mean": "sum",
    "min": "max",
    "minimum": "maximum",
    "ones": "zeros",
    "ones_like": "zeros_like",
    "sign": "abs",
    "sum": "mean",
    "zeros": "ones",
    "zeros_like": "ones_like",
}
# Functions of which the first argument may take the place.
DROPPED = {
    *("abs", "clip", "cumprod", "erf", "exp", "expm1", "float", "int", "log", "log1p"),
    *("logaddexp", "maximum", "minimum", "sign", "sqrt", "square", "tanh"),
}


class Mutant(NamedTuple):
    """One change of one file."""

    path: str  # within the package
    line: int
    where: str  # the function, with its classes
    before: str  # the lines that it changes, joined
    after: str
    source: str  # the whole file, changed

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What stays the same when other lines move."""
        return self.path, self.where, self.before, self.after

    def __str__(self) -> str:
        place = f"{self.path}:{self.line} in {self.where or 'the module'}"
        return f"{place}\n    {self.before}\n    {self.after}"


def mutants(path: str, source: str) -> Iterator[Mutant]:
    """Yield every mutant of a file, in the order of its lines.

    Parameters
    ----------
    path : str
        The file's path within the package, with slashes.
    source : str
        Its text.
    """
    lines = source.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line.encode()))
    raw = source.encode()
    seen = set()
    for where, node, new in _changes(ast.parse(source), rule=path.startswith("rules/")):
        first = starts[node.lineno - 1] + node.col_offset
        last = starts[node.end_lineno - 1] + node.end_col_offset
        before = ast.unparse(node)
        after = new if isinstance(new, str) else ast.unparse(new)
        if after == before or (first, last, after) in seen:
            continue
        seen.add((first, last, after))
        # An expression is put in parentheses, so that it may stand anywhere.
        text = f"({after})" if isinstance(node, ast.expr) else after
        begin, end = starts[node.lineno - 1], starts[node.end_lineno]
        changed = raw[begin:first] + text.encode() + raw[last:end]
        yield Mutant(
            path,
            node.lineno,
            where,
            _joined(raw[begin:end]),
            _joined(changed),
            (raw[:begin] + changed + raw[end:]).decode(),
        )


def _joined(lines: bytes) -> str:
    return " ".join(lines.decode().split())


def _changes(tree: ast.Module, *, rule: bool) -> Iterator[tuple[str, Any, Any]]:
    """Yield (function, node, what takes its place)."""

    def walk(node: ast.AST, where: tuple[str, ...]) -> Iterator[tuple[str, Any, Any]]:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            where = (*where, node.name)
        for new in (*_replacements(node), *(_results(node) if rule else ())):
            target, put = new if isinstance(new, tuple) else (node, new)
            yield ".".join(where), target, put
        if not _is_negative_number(node):
            for child in _children(node):
                yield from walk(child, where)

    return walk(tree, ())


def _children(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the parts that run and matter: no annotation, docstring or message."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST):
                continue
            if isinstance(child, (ast.Raise, ast.Import, ast.ImportFrom)):
                continue
            if isinstance(child, ast.Assign) and ast.unparse(child.targets[0]) in (
                "msg",
                "__all__",
            ):
                continue
            yield child


def _replacements(node: ast.AST) -> Iterator[Any]:
    match node:
        case ast.BinOp(left, op, right):
            if type(op) in OPERATORS:
                yield ast.BinOp(left, OPERATORS[type(op)](), right)
            yield left
            if isinstance(op, (ast.Add, ast.Sub, ast.Mult)):
                yield right
        case ast.AugAssign(target, op, value):
            if type(op) in OPERATORS:
                yield ast.AugAssign(target, OPERATORS[type(op)](), value)
            yield "pass"
        case ast.Expr(ast.Call()):
            yield "pass"
        case ast.UnaryOp(ast.USub(), operand):
            yield operand
            if isinstance(operand, ast.Constant):
                yield ast.UnaryOp(ast.USub(), _perturbed(operand.value))
        case ast.UnaryOp(ast.Not(), operand):
            yield operand
        case ast.Constant(bool() | int() | float() as value):
            yield _perturbed(value)
        case ast.Compare(left, [op], right):
            for other in COMPARISONS[type(op)]:
                yield ast.Compare(left, [other()], right)
        case ast.Compare(left, ops, rights):
            for i, op in enumerate(ops):
                for other in COMPARISONS[type(op)]:
                    yield ast.Compare(left, [*ops[:i], other(), *ops[i + 1 :]], rights)
        case ast.BoolOp(op, values):
            yield ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
        case ast.IfExp(test, body, orelse) if not _is_reversible(test):
            yield ast.IfExp(test, orelse, body)
        case ast.If(test) if not _is_reversible(test):
            yield test, ast.UnaryOp(ast.Not(), test)
        case ast.Attribute(value, "mT"):
            yield value
        case ast.Call():
            yield from _calls(node)


def _calls(node: ast.Call) -> Iterator[Any]:
    function, (*arguments,) = node.func, node.args
    name = getattr(function, "attr", getattr(function, "id", ""))

    def call(*arguments: Any, name: str = name) -> ast.Call:
        if isinstance(function, ast.Attribute):
            other: Any = ast.Attribute(function.value, name)
        else:
            other = ast.Name(name)
        return ast.Call(other, list(arguments), node.keywords)

    if name in NEIGHBOURS:
        yield call(*arguments, name=NEIGHBOURS[name])
    if name in DROPPED and arguments:
        yield arguments[0]
    if name == "where":
        condition, yes, no = arguments
        yield from (call(condition, no, yes), yes, no)
    if name == "matmul":
        a, b = arguments
        yield call(b, a)
        for one, turned in ((True, a), (False, b)):
            if not (isinstance(turned, ast.Attribute) and turned.attr == "mT"):
                other = ast.Attribute(turned, "mT")
                yield call(other, b) if one else call(a, other)


def _results(node: ast.AST) -> Iterator[Any]:
    """Yield what a rule may return in place of its value and its gradients."""
    match node:
        case ast.Return(ast.Tuple(elements)) | ast.Lambda(body=ast.Tuple(elements)):
            found = elements
        case ast.IfExp(body=body, orelse=ast.Constant(None)):
            found = [body]
        case _:
            return
    for e in found:
        if not isinstance(e, (ast.Lambda, ast.Constant, ast.IfExp)) and not (
            isinstance(e, ast.Name) and "pullback" in e.id
        ):
            yield e, ast.BinOp(ast.Constant(0.0), ast.Mult(), e)
            yield e, ast.UnaryOp(ast.USub(), e)


def _is_negative_number(node: ast.AST) -> bool:
    return isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant)


def _is_reversible(test: ast.expr) -> bool:
    """Whether a condition's own change is already its opposite."""
    if isinstance(test, ast.UnaryOp):
        return isinstance(test.op, ast.Not)
    reversible = (ast.Eq, ast.NotEq, ast.In, ast.NotIn, ast.Is, ast.IsNot)
    return isinstance(test, ast.Compare) and isinstance(test.ops[0], reversible)


def _perturbed(value: Any) -> ast.Constant:
    if isinstance(value, bool):
        return ast.Constant(not value)
    if isinstance(value, int):
        return ast.Constant(value + 1)
    return ast.Constant(1.5 * value or 1.0)
