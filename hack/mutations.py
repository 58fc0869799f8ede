"""Small changes of a program that a test should notice: comparisons and bounds, conditions, arithmetic, constants,
removed statements, handlers, locks and awaits, other returns, swapped arguments, conditions of SQL.

Left alone, because nobody depends on it to the letter: log calls, docstrings and other texts, what is inside `raise`
and `assert`, annotations, decorators, `__slots__`, `__repr__` and `__str__`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_FLIPS: dict[type, tuple[type, ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_ARITHMETIC: dict[type, type] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
_NAMES = {"min": "max", "max": "min", "any": "all", "all": "any"}
_LOGGERS = {"log", "logger", "_log"}
_SILENT = {"__repr__", "__str__"}
_SQL = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b")
_SQL_CHANGES = (
    (r" AND (?!clock)", " OR "),
    (r" OR ", " AND "),
    (r"\bIS NULL\b", "IS NOT NULL"),
    (r"\bIS NOT NULL\b", "IS NULL"),
    (r" = (?=%\()", " <> "),
    (r" = '", " <> '"),
    (r" <> ", " = "),
    (r"(?<= )< ", "<= "),
    (r"(?<= )> ", ">= "),
    (r"<=", "<"),
    (r">=", ">"),
    (r"\)?[a-z_]+ - make_interval", lambda found: found[0].replace(" - ", " + ")),
    (r"COALESCE\(([^,()]+), ([^()]+)\)", r"\2"),
    (r" FOR (NO KEY )?UPDATE( SKIP LOCKED)?", ""),
)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change: `parent.field[index]` becomes `new`. The lines are those of the statement that it is in."""

    parent: ast.AST
    field: str
    index: int | None
    new: Any
    what: str
    line: int
    lines: tuple[int, int]

    def code(self, tree: ast.Module, path: str) -> Any:
        """The compiled module with this change; the tree is as before afterwards."""
        place: Any = getattr(self.parent, self.field)
        old = place if self.index is None else place[self.index]
        self._put(self.new)
        try:
            return compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True)
        finally:
            self._put(old)

    def _put(self, value: Any) -> None:
        if self.index is None:
            setattr(self.parent, self.field, value)
        else:
            getattr(self.parent, self.field)[self.index] = value


def mutants(tree: ast.Module) -> list[Mutant]:
    """All changes of a module, in the order of its text."""
    return list(_Finder().body(tree, "body"))


class _Finder:
    def __init__(self) -> None:
        self.lines = (0, 0)
        self.in_init = False
        self.in_function = False

    def made(self, parent: ast.AST, field: str, index: int | None, new: Any, what: str = "") -> Mutant:
        old = getattr(parent, field)
        old = old if index is None else old[index]
        line = getattr(old, "lineno", self.lines[0])
        if isinstance(old, ast.AST) and isinstance(new, ast.AST):
            ast.copy_location(new, old)
            if not what:
                what = f"{_short(old)}  ->  {_short(new)}"
        return Mutant(parent, field, index, new, what, line, self.lines)

    def body(self, parent: ast.AST, field: str) -> Iterator[Mutant]:
        for index, statement in enumerate(getattr(parent, field)):
            yield from self.statement(parent, field, index, statement)

    def statement(self, parent: ast.AST, field: str, index: int, node: ast.stmt) -> Iterator[Mutant]:
        bodies = [name for name in ("body", "orelse", "finalbody", "handlers", "cases") if getattr(node, name, None)]
        before = self.lines
        first = getattr(node, bodies[0])[0] if bodies and not isinstance(node, ast.Try) else None
        last = (node.end_lineno or node.lineno) if first is None else max(_line(first) - 1, node.lineno)
        self.lines = (node.lineno, last)
        for new, what in self._replacements(node):
            yield self.made(parent, field, index, new, what)
        if not _left_alone(node):
            yield from self._inside(node, bodies)
        self.lines = before

    def _replacements(self, node: ast.stmt) -> Iterator[tuple[ast.stmt, str]]:
        """What a statement becomes as a whole."""
        removed = ast.Pass()
        match node:
            case ast.Expr(value=ast.Call() | ast.Await()) if not _is_log(node.value):
                yield removed, f"removed: {_short(node)}"
            case ast.Assign(targets=[ast.Attribute() | ast.Subscript(), *_]) if not self.in_init:
                yield removed, f"removed: {_short(node)}"
            case ast.AugAssign() | ast.Delete() | ast.Raise() | ast.Break() | ast.Continue() | ast.Return(value=None):
                yield removed, f"removed: {_short(node)}"
            case ast.Return(value=value) if not (isinstance(value, ast.Constant) and value.value is None):
                yield ast.Return(value=ast.Constant(value=None)), f"{_short(node)}  ->  return None"
            case ast.With() | ast.AsyncWith() if not any(item.optional_vars for item in node.items):
                yield ast.If(test=ast.Constant(value=True), body=node.body, orelse=[]), f"not inside: {_short(node)}"

    def _inside(self, node: ast.stmt, bodies: list[str]) -> Iterator[Mutant]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for name in ("defaults", "kw_defaults"):
                yield from self._values(node.args, name)
            before = self.in_init, self.in_function
            self.in_init, self.in_function = node.name == "__init__", True
            yield from self.body(node, "body")
            self.in_init, self.in_function = before
            return
        if isinstance(node, ast.If | ast.While):
            yield from self._test(node)
        for name, value in ast.iter_fields(node):
            if name in bodies:
                continue
            if name in ("annotation", "decorator_list", "returns", "bases", "type_params"):
                continue
            if isinstance(value, list):
                yield from self._values(node, name)
            elif isinstance(value, ast.expr):
                yield from self.expression(node, name, None, value)
        if isinstance(node, ast.AugAssign) and type(node.op) in _ARITHMETIC:
            yield self.made(node, "op", None, _ARITHMETIC[type(node.op)](), f"{_short(node)}: other operator")
        for name in bodies:
            if name == "handlers":
                for handler in node.handlers:  # type: ignore[attr-defined]
                    yield from self._handler(handler)
            elif name == "cases":
                for case in node.cases:  # type: ignore[attr-defined]
                    if case.guard is not None:
                        yield from self.expression(case, "guard", None, case.guard)
                    yield from self.body(case, "body")
            else:
                yield from self.body(node, name)

    def _handler(self, node: ast.ExceptHandler) -> Iterator[Mutant]:
        self.lines = (node.lineno, node.end_lineno or node.lineno)
        if not isinstance(node.body[0], ast.Raise):
            raised = ast.copy_location(ast.Raise(), node.body[0])
            what = f"not handled: except {_short(node.type) if node.type else ''}"
            yield Mutant(node, "body", None, [raised], what, node.lineno, self.lines)
        yield from self.body(node, "body")

    def _test(self, node: Any) -> Iterator[Mutant]:
        """The negation of a condition that no flip of its parts negates."""
        if not isinstance(node.test, ast.Compare | ast.UnaryOp | ast.BoolOp | ast.Constant):
            yield self.made(node, "test", None, ast.UnaryOp(op=ast.Not(), operand=node.test))

    def _values(self, node: ast.AST, name: str) -> Iterator[Mutant]:
        for index, value in enumerate(getattr(node, name)):
            if isinstance(value, ast.expr):
                yield from self.expression(node, name, index, value)
            elif isinstance(value, ast.AST):
                for inner, child in ast.iter_fields(value):
                    if isinstance(child, ast.expr):
                        yield from self.expression(value, inner, None, child)

    def expression(self, parent: ast.AST, field: str, index: int | None, node: ast.expr) -> Iterator[Mutant]:
        if _is_log(node):
            return
        if isinstance(node, ast.JoinedStr):
            yield from self._sql_with_values(node)
            return
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _SQL.match(node.value):
            for new, what in _sql(node.value):
                yield self.made(parent, field, index, new, what)
            return
        for new in self._changed(node):
            yield self.made(parent, field, index, new)
        if isinstance(node, ast.Compare):
            for place, operator in enumerate(node.ops):
                for other in _FLIPS[type(operator)]:
                    what = f"{_short(node)}: {_sign(operator)}  ->  {_sign(other())}"
                    yield Mutant(node, "ops", place, other(), what, node.lineno, self.lines)
        if isinstance(node, ast.IfExp):
            yield from self._test(node)
        for name, value in ast.iter_fields(node):
            if name == "generators":
                for generator in value:
                    yield from self.expression(generator, "iter", None, generator.iter)
                    for place, condition in enumerate(generator.ifs):
                        yield self.made(generator, "ifs", place, ast.Constant(value=True), f"no if {_short(condition)}")
                        yield from self.expression(generator, "ifs", place, condition)
            elif isinstance(value, list):
                if not (
                    name == "comparators"
                    and isinstance(node, ast.Compare)
                    and isinstance(node.ops[0], ast.Is | ast.IsNot)
                ):
                    yield from self._values(node, name)
            elif isinstance(value, ast.expr):
                yield from self.expression(node, name, None, value)

    def _sql_with_values(self, node: ast.JoinedStr) -> Iterator[Mutant]:
        first = getattr(node.values[0], "value", None) if node.values else None
        if isinstance(first, str) and _SQL.match(first):
            for index, part in enumerate(node.values):
                if isinstance(part, ast.Constant):
                    for new, what in _sql(part.value):
                        yield self.made(node, "values", index, new, what)

    def _changed(self, node: ast.expr) -> Iterator[ast.expr]:
        match node:
            case ast.BoolOp():
                other = ast.Or if isinstance(node.op, ast.And) else ast.And
                yield ast.BoolOp(op=other(), values=node.values)
                for left_out in range(len(node.values)):
                    values = [value for place, value in enumerate(node.values) if place != left_out]
                    yield values[0] if len(values) == 1 else ast.BoolOp(op=node.op, values=values)
            case ast.UnaryOp(op=ast.Not() | ast.USub()):
                yield node.operand
            case ast.BinOp() if type(node.op) in _ARITHMETIC and (
                self.in_function or not isinstance(node.op, ast.BitOr)
            ):
                yield ast.BinOp(left=node.left, op=_ARITHMETIC[type(node.op)](), right=node.right)
            case ast.Await():
                yield node.value
            case ast.Constant(value=bool() as value):
                yield ast.Constant(value=not value)
            case ast.Constant(value=int() | float() as number):
                yield ast.Constant(value=number + 1)
            case ast.Constant(value=None):
                yield ast.Constant(value=1)
            case ast.Call(func=ast.Name(id=name), args=[_, _, *_]) if name in _NAMES:
                yield ast.Call(func=ast.Name(id=_NAMES[name], ctx=ast.Load()), args=node.args, keywords=node.keywords)
            case ast.Call(func=ast.Name(id=("any" | "all") as name)):
                yield ast.Call(func=ast.Name(id=_NAMES[name], ctx=ast.Load()), args=node.args, keywords=node.keywords)
            case ast.Call(args=[first, second, *rest]) if not isinstance(node.func, ast.Name) or node.func.id not in (
                "isinstance",
                "getattr",
                "setattr",
                "hasattr",
                "issubclass",
                "cast",
            ):
                if not isinstance(first, ast.Starred) and not isinstance(second, ast.Starred):
                    yield ast.Call(func=node.func, args=[second, first, *rest], keywords=node.keywords)


def _sql(text: str) -> Iterator[tuple[ast.Constant, str]]:
    code = re.sub(r"--[^\n]*", lambda comment: " " * len(comment[0]), text)
    for pattern, new in _SQL_CHANGES:
        for found in re.finditer(pattern, code):
            changed = new(found) if callable(new) else found.expand(new)
            around = " ".join(code[max(0, found.start() - 30) : found.end() + 30].split())
            what = f"SQL: {found[0].strip()}  ->  {changed.strip() or 'nothing'}  in: {around}"
            yield ast.Constant(value=text[: found.start()] + changed + text[found.end() :]), what


def _left_alone(node: ast.stmt) -> bool:
    match node:
        case ast.Assert() | ast.Raise() | ast.Import() | ast.ImportFrom():
            return True
        case ast.Expr(value=value):
            return isinstance(value, ast.Constant) or _is_log(value)
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            return name in _SILENT
        case ast.Assign(targets=[ast.Name(id="__slots__" | "__all__")]):
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Compare(left=ast.Name(id="__name__"))):
            return True
    return False


def _is_log(node: ast.expr) -> bool:
    """`log.info(...)` and `self._log.info(...)`."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
        return False
    owner = node.func.value
    return getattr(owner, "id", getattr(owner, "attr", "")) in _LOGGERS


def _line(node: Any) -> int:
    return node.pattern.lineno if isinstance(node, ast.match_case) else node.lineno


def _sign(operator: ast.AST) -> str:
    text = ast.unparse(ast.Compare(left=ast.Name("a"), ops=[operator], comparators=[ast.Name("b")]))  # type: ignore[list-item]
    return text[2:-2]


def _short(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split("\n")[0].split())
    return text if len(text) <= 90 else text[:89] + "…"
