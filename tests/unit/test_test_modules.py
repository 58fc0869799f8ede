"""A test module imports helpers, never another test module: its names and fixtures change with its own tests."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]


def imported_tests(source: str, package: str = "tests") -> Iterator[tuple[int, str]]:
    """Line and name of each test module that a module in `package` imports, wherever in it and however."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import():
                names = [alias.name for alias in node.names]
            case ast.ImportFrom():
                parents = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
                base = ".".join([*parents, *([node.module] if node.module else [])])
                names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
            case _:
                continue
        for name in names:
            first, *inner = name.split(".")
            if first == "tests" and any(part.startswith("test_") for part in inner):
                yield node.lineno, name
                break


def test_no_test_module_is_imported() -> None:
    found = []
    for path in sorted(TESTS.rglob("*.py")):
        package = ".".join(("tests", *path.relative_to(TESTS).parent.parts))
        for line, name in imported_tests(path.read_text(), package):
            found.append(f"{path.relative_to(TESTS.parent)}:{line} imports {name}: move what is shared to a helper")
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "source",
    [
        "from tests.unit.test_one import thing",
        "import tests.unit.test_one",
        "import tests.unit.test_one as one",
        "from tests.unit import test_one",
        "from . import test_one",
        "from .test_one import thing",
        "from ..integration.test_one import thing",
        "def f():\n    from tests.unit.test_one import thing",
    ],
)
def test_every_way_to_import_one_is_found(source: str) -> None:
    assert len([*imported_tests(source, "tests.unit")]) == 1


@pytest.mark.parametrize(
    "source",
    [
        "from tests.unit.helper import values",
        "from aiohttp.test_utils import TestClient",
        "from cli.backtest import test_thing",
        "from . import helper",
    ],
)
def test_nothing_else_is(source: str) -> None:
    assert not [*imported_tests(source, "tests.unit")]
