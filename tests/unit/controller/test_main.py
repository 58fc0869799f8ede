"""What is imported where: memory is a promise, and so is purity."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("controller.main", ["kopf", "kubernetes"]),  # only the kubernetes runtime needs them
        ("controller.decide.plan", ["psycopg", "aiohttp", "asyncio", "structlog", "pydantic"]),
        ("controller.decide.podspec", ["psycopg", "aiohttp", "asyncio", "kubernetes", "pydantic"]),
    ],
)
def test_imports(module: str, absent: list[str]) -> None:
    program = f"import sys, {module}; print([name for name in {absent!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
