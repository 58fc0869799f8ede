#!/usr/bin/env python3
"""The structure of the code in figures: files and lines by folder, imports between folders, cycles, function bodies.

    hack/structure.py [ROOT]

A folder is a package; modules that lie in a program's own folder count each for themselves. Imports inside functions
count as well. A body's lines are those with code: without docstrings, comments and blank lines.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = ("fleet", "controller", "botrunner", "worker", "sandbox_exchange", "cli")


def modules(root: Path) -> dict[str, Path]:
    """Dotted names of all modules, and where they lie."""
    found = {}
    for program in PROGRAMS:
        for path in sorted((root / program).rglob("*.py")):
            if "migrations/versions" in path.as_posix():
                continue
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(tree: ast.AST, known: dict[str, Path]) -> Iterator[str]:
    """The project's modules that a module imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name in known:
                yield name
            elif name.rpartition(".")[0] in known:
                yield name.rpartition(".")[0]


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef, code: set[int]) -> int:
    """Lines of a function's body that hold code."""
    body = function.body
    first = body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        body = body[1:]
    if not body:
        return 0
    return sum(1 for line in range(body[0].lineno, (body[-1].end_lineno or 0) + 1) if line in code)


def code_lines(text: str) -> set[int]:
    """Numbers of lines that are neither blank nor a comment."""
    lines = enumerate(text.splitlines(), start=1)
    return {number for number, line in lines if line.strip() and not line.strip().startswith("#")}


def circles(arrows: dict[str, set[str]]) -> list[list[str]]:
    """Groups of names that reach each other (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for target in sorted(arrows.get(name, ())):
            if target not in index:
                visit(target)
                low[name] = min(low[name], low[target])
            elif target in stack:
                low[name] = min(low[name], index[target])
        if low[name] == index[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                groups.append(group)

    sys.setrecursionlimit(10_000)
    for name in sorted(arrows):
        if name not in index:
            visit(name)
    return groups


def folder_of(module: str, path: Path) -> str:
    """Where a module lies."""
    return module if path.name == "__init__.py" else module.rpartition(".")[0]


def room_of(module: str, path: Path) -> str:
    """Its folder; a module in a program's own folder is a room of its own."""
    folder = folder_of(module, path)
    return module if "." not in folder else folder


def main() -> None:
    """Print the figures."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    known = modules(root)
    files: Counter[str] = Counter()
    lines: Counter[str] = Counter()
    arrows: dict[str, set[str]] = defaultdict(set)
    rooms: dict[str, set[str]] = defaultdict(set)
    programs: Counter[tuple[str, str]] = Counter()
    bodies: list[int] = []
    longest: list[tuple[int, str]] = []
    for module, path in known.items():
        text = path.read_text()
        tree, code = ast.parse(text), code_lines(text)
        files[folder_of(module, path)] += 1
        lines[folder_of(module, path)] += len(text.splitlines())
        for target in set(imported(tree, known)) - {module}:
            arrows[module].add(target)
            if room_of(module, path) != room_of(target, known[target]):
                rooms[room_of(module, path)].add(room_of(target, known[target]))
            if module.split(".")[0] != target.split(".")[0]:
                programs[module.split(".")[0], target.split(".")[0]] += 1
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                size = body_lines(node, code)
                if size:
                    bodies.append(size)
                    longest.append((size, f"{module}.{node.name}"))
    print("folder                                  files   lines  longest file")
    for folder in sorted(files):
        sizes = [len(p.read_text().splitlines()) for m, p in known.items() if folder_of(m, p) == folder]
        print(f"{folder:40}{files[folder]:5}{lines[folder]:8}{max(sizes):8}")
    print(f"{'all':40}{sum(files.values()):5}{sum(lines.values()):8}")
    print()
    for program in PROGRAMS:
        inner = {room: targets for room, targets in rooms.items() if room.split(".")[0] == program}
        arrows_inside = sum(1 for targets in inner.values() for target in targets if target.split(".")[0] == program)
        inside = {r: {t for t in targets if t.split(".")[0] == program} for r, targets in inner.items()}
        counts = f"rooms {len(inner):3}   arrows between them {arrows_inside:4}   circles {len(circles(inside))}"
        print(f"{program:18} {counts}")
        for group in circles(inside):
            print("    circle:", ", ".join(sorted(group)))
    print("circles of modules:", len(circles(arrows)))
    for (source, target), count in sorted(programs.items()):
        print(f"{source} -> {target}: {count}")
    bodies.sort()
    at = {name: bodies[int(len(bodies) * share)] for name, share in (("median", 0.5), ("p90", 0.9), ("p99", 0.99))}
    print(f"function bodies: {len(bodies)}, " + ", ".join(f"{name} {size}" for name, size in at.items()), end="")
    print(f", longest {bodies[-1]} ({max(longest)[1]})")


if __name__ == "__main__":
    main()
