"""Every mixin: its tests, its indicators beside independent ones, and how often it speaks on real candles.

    CANDLES=folder python -m benchmarks.strategies

Prints a Markdown table; docs/reference/strategies-agreement.md has the last one. The folder holds files named
SYMBOL-INTERVAL.csv (`ETH_BTC-5m.csv`). Parameters are the defaults. An entry's number counts the bars at which it would
enter, being always flat; an exit's the exits when a long position is opened at the close of every 50th bar, as far as
the one before is closed. Indicators run over a whole file, from its first bar.
"""

from __future__ import annotations

import argparse
import ast
import csv
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import backtrader as bt

from botrunner.strategies.base import Direction, OpenPosition
from botrunner.strategies.entry import ENTRY_MIXINS
from botrunner.strategies.exit import EXIT_MIXINS
from botrunner.strategies.times import opened_at
from tests.reference import CHECKS, Columns, computed, difference
from tests.unit.botrunner.strategies.conftest import Engine

OPEN_EVERY = 50
"""Bars."""
TESTS = Path(__file__).parents[1] / "tests" / "unit" / "botrunner" / "strategies"
BAND = ("upper band 20/2", "lower band 20/2")
MACD = ("MACD 12/26", "MACD signal 9", "MACD histogram")
INDICATORS: Mapping[str, tuple[str, ...]] = {
    "BBVolumeSuperTrendEntryMixin": (*BAND, "mean volume 20", "SuperTrend 10/3"),
    "EOMBreakoutEntryMixin": ("resistance 2", "EOM 14", "mean volume 20", "ATR 14", "mean ATR 14/100", "RSI 14"),
    "EOMMAcdBreakoutEntryMixin": ("resistance 2", *MACD, "EOM 14", "mean volume 20"),
    "EOMPullbackEntryMixin": ("support 2", "EOM 14", "RSI 14", "ATR 14", "mean ATR 14/100"),
    "RSIBBEntryMixin": ("RSI 14", *BAND),
    "RSIBBVolumeEntryMixin": ("RSI 14", *BAND, "mean volume 20"),
    "RSIIchimokuEntryMixin": ("RSI 14", "conversion line 9", "cloud 9/26/52"),
    "RSIOrBBEntryMixin": ("RSI 14", *BAND),
    "RSIVolumeSupertrendEntryMixin": ("RSI 14", "mean volume 20", "SuperTrend 10/3"),
    "ATRExitMixin": ("ATR 14",),
    "AdvancedATRExitMixin": ("ATR 7", "ATR 21", "ATR 21 of 16 bars"),
    "EOMBreakdownExitMixin": ("support 2", "EOM 14", "mean volume 20", "ATR 14"),
    "EOMMAcdBreakdownExitMixin": ("support 2", *MACD, "EOM 14", "mean volume 20"),
    "EOMRejectionExitMixin": ("resistance 2", "EOM 14", "RSI 14"),
    "FixedRatioExitMixin": (),
    "MACrossoverExitMixin": ("SMA 10", "SMA 20"),
    "MultiLevelAtrExitMixin": ("ATR 14", "ATR 14 of 16 bars"),
    "RSIBBExitMixin": ("RSI 14", *BAND),
    "RSIOrBBExitMixin": ("RSI 14", *BAND),
    "SimpleATRExitMixin": ("ATR 14",),
    "TimeBasedExitMixin": (),
    "TrailingStopExitMixin": (),
}
"""What each mixin computes at its default parameters."""


@dataclass
class Counted:
    """Signals of each mixin on one file."""

    signals: dict[str, int] = field(default_factory=lambda: dict.fromkeys([*ENTRY_MIXINS, *EXIT_MIXINS], 0))


class Panel(bt.Strategy):
    """All mixins over the same bars, each by itself from the bar on at which it is ready."""

    params = (("counted", None), ("bar_s", 0))
    last_exit_at = None  # entries are always flat here and never pause

    def __init__(self) -> None:
        self.entries = {name: mixin(self, mixin.params_model()) for name, mixin in ENTRY_MIXINS.items()}
        self.exits = {name: mixin(self, mixin.params_model()) for name, mixin in EXIT_MIXINS.items()}
        self.held_by: dict[str, OpenPosition] = {}

    def prenext(self) -> None:
        self.next()

    def next(self) -> None:
        found = self.p.counted.signals
        for name, entry in self.entries.items():
            if len(self) >= entry.params.bars_needed and entry.signal():
                found[name] += 1
        for name, exit_ in self.exits.items():
            if len(self) >= exit_.params.bars_needed:
                self.step(name, exit_)

    def step(self, name: str, exit_: Any) -> None:
        held = self.held_by.get(name)
        if held is None:
            if len(self) % OPEN_EVERY == 0:
                self.held_by[name] = self.opened()
                exit_.on_entered(self.held_by[name])
            return
        self.held_by[name] = held = replace(held, bars_held=held.bars_held + 1)
        if exit_.signal(held):
            self.p.counted.signals[name] += 1
            del self.held_by[name]
            exit_.on_exited()

    def opened(self) -> OpenPosition:
        at = datetime.fromtimestamp(opened_at(self.data) + self.p.bar_s, UTC)
        return OpenPosition(Direction.LONG, Decimal(1), Decimal(repr(self.data.close[0])), at, 0)


def count(feed: Any, bar_s: int) -> Counted:
    counted = Counted()
    cerebro = bt.Cerebro(stdstats=False, exactbars=1)
    cerebro.adddata(feed)
    cerebro.addstrategy(Panel, counted=counted, bar_s=bar_s)
    cerebro.run()
    return counted


def test_cases() -> Mapping[str, Mapping[str, int]]:
    """Mixin → test file → its cases that are about this mixin: named in the case's id, class or function."""
    listed = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", str(TESTS)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    sources = {path.name: sources_of(path.read_text()) for path in TESTS.rglob("test_*.py")}
    combinations = combinations_of((TESTS / "test_rules.py").read_text())
    found: dict[str, Counter[str]] = {name: Counter() for name in INDICATORS}
    for case in listed.splitlines():
        if "::" not in case:
            continue
        path, _, rest = case.partition("::")
        file = Path(path).name
        source = sources[file].get(re.split(r"::|\[", rest)[0], "")
        words = re.findall(r"\w+Mixin", rest) + combinations.get(rest.partition("[")[2].rstrip("]"), [])
        for name in {*words, *re.findall(r'"(\w+Mixin)"', source)} & set(found):
            found[name][file] += 1
    return found


def sources_of(text: str) -> dict[str, str]:
    """Name → source of the functions and classes of a module."""
    return {
        node.name: ast.get_source_segment(text, node) or ""
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name.lower().startswith("test")
    }


def combinations_of(text: str) -> dict[str, list[str]]:
    """The combinations of test_rules.py with their mixins."""
    blocks = re.findall(r'^        "([^"]+)": \((.*?)^        \),', text, flags=re.MULTILINE | re.DOTALL)
    return {name: re.findall(r'"(\w+Mixin)"', block) for name, block in blocks}


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    folder = Path(os.environ.get("CANDLES") or Path(__file__).parents[2] / "shared" / "data")
    files = sorted(folder.glob("*.csv"))
    if not files:
        raise SystemExit(f"no candle files in {folder}: set CANDLES to a folder with SYMBOL-INTERVAL.csv files")
    gaps = dict.fromkeys(CHECKS, 0.0)
    counts = []
    for path in files:
        minutes = int(path.stem.rpartition("-")[2].removesuffix("m"))
        with path.open() as lines:
            bars = [Engine.row(row) for row in list(csv.reader(lines))[1:]]
        columns, ours = Columns(bars, bar_s=60 * minutes), computed(Engine.feed(bars, minutes))
        for name in CHECKS:
            gaps[name] = max(gaps[name], difference(name, ours[name], columns))
        counts.append(count(Engine.feed(bars, minutes), 60 * minutes).signals)
    heads = [f"{path.stem}" for path in files]
    print("| mixin | tests | indicators | max difference |", " | ".join(heads), "|")
    print("| --- | --- | --- | --- |", " | ".join("---" for _ in heads), "|")
    cases = test_cases()
    for name, used in INDICATORS.items():
        worst = f"{max(gaps[key] for key in used):.1e}" if used else "none used"
        tests = ", ".join(f"`{file}` {number}" for file, number in sorted(cases[name].items()))
        numbers = " | ".join(str(found[name]) for found in counts)
        print(f"| {name} | {tests} | {', '.join(used) or '—'} | {worst} | {numbers} |")
    print("\n| indicator | independent one | max difference |\n| --- | --- | --- |")
    for name, check in CHECKS.items():
        print(f"| {name} | {check.source} | {gaps[name]:.1e} |")


if __name__ == "__main__":
    main()
