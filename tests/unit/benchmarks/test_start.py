"""Each benchmark starts and says how it is called; the one over all mixins works through some candles."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.strategies import INDICATORS, count
from botrunner.strategies.entry import ENTRY_MIXINS
from botrunner.strategies.exit import EXIT_MIXINS
from tests.unit.botrunner.strategies.conftest import Bar, Engine

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.stem)
def test_it_says_how_it_is_called(path: Path) -> None:
    asked = [sys.executable, "-m", f"benchmarks.{path.stem}", "--help"]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: ")


def test_every_mixin_is_counted_and_has_its_indicators_named() -> None:
    mixins = {*ENTRY_MIXINS, *EXIT_MIXINS}
    assert INDICATORS.keys() == mixins
    bars = [Bar(300 * n, 100 + n % 7, 103 + n % 7, 99 + n % 7, 101 + n % 7, 5.0 + n % 3) for n in range(400)]
    assert count(Engine.feed(bars, 5), 300).signals.keys() == mixins
