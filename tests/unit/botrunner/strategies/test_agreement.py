"""Every indicator of the mixins beside an independent one, over the whole of the three real files.

Tolerance: 1e-11 of the value (of the series' median magnitude where the value is smaller), and nothing at all
for swings and directions. docs/reference/strategies-agreement.md has what was measured.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from botrunner.strategies.higher_timeframe import HigherTimeframeATR
from tests.reference import CHECKS, Columns, computed, difference, higher_timeframe_atr

FILES = ("ETH_BTC-5m", "LTC_BTC-5m", "XRP_ETH-1m")


@pytest.fixture(scope="module", params=FILES)
def series(request: pytest.FixtureRequest, engine: Any, candle_folder: Path) -> tuple[Columns, Any]:
    """A file's columns and what the bot's indicators make of it."""
    minutes = 5 if request.param.endswith("-5m") else 1
    with (candle_folder / f"{request.param}.csv").open() as lines:
        bars = [engine.row(row) for row in list(csv.reader(lines))[1:]]
    return Columns(bars, bar_s=60 * minutes), computed(engine.feed(bars, minutes))


@pytest.mark.parametrize("name", CHECKS)
def test_agrees_with_an_independent_indicator(series: tuple[Columns, Any], name: str) -> None:
    columns, ours = series
    assert np.isfinite(ours[name]).sum() > 1_000
    assert difference(name, ours[name], columns) <= CHECKS[name].tolerance


@pytest.fixture(scope="module")
def hostile(engine: Any) -> tuple[Columns, Any]:
    """Flat bars, empty volumes and gaps, more than the files have, and prices of 3e-8."""
    bars = engine.random_bars(31, 1_500, start=3e-8)
    bars = [bar for number, bar in enumerate(bars) if number % 7 and number % 50 not in range(20, 30)]
    return Columns(bars, bar_s=300), computed(engine.feed(bars))


@pytest.mark.parametrize("name", CHECKS)
def test_agrees_on_flat_bars_gaps_and_empty_volumes(hostile: tuple[Columns, Any], name: str) -> None:
    columns, ours = hostile
    assert difference(name, ours[name], columns) <= CHECKS[name].tolerance


@pytest.mark.parametrize("missing", [[], [3], [5, 6], [4, 5, 6, 7], [0, 1], [7, 8, 9, 10, 11, 12, 13]])
@pytest.mark.parametrize("first", range(4))
def test_long_candles_wherever_the_data_begins_and_whatever_is_missing(
    engine: Any, first: int, missing: list[int]
) -> None:
    bars = [
        bar for number, bar in enumerate(engine.random_bars(8, 60)) if number >= first and number - first not in missing
    ]
    found = engine.lines(bars, lambda data: HigherTimeframeATR(data, period=3, compression=4), ["atr"])["atr"]
    expected = higher_timeframe_atr(Columns(bars, bar_s=300), 3, 4)
    assert min(found) == 15  # 4 long candles of 4 bars
    assert list(found.values()) == pytest.approx(expected[15:], rel=1e-12)


def test_a_long_candle_counts_when_it_is_complete_and_not_before(engine: Any) -> None:
    """Long candles of 2 bars: the value moves at bars 1, 3, 5, … only; bar 9 is wide, bar 8 of the same was not."""
    bars = [engine.bar(n, 100.0, 101.0, 99.0, 100.0) for n in range(12)]
    bars[8] = bars[8]._replace(high=150.0)
    found = engine.lines(bars, lambda data: HigherTimeframeATR(data, period=2, compression=2), ["atr"])["atr"]
    assert found == {5: 2.0, 6: 2.0, 7: 2.0, 8: 2.0, 9: 26.5, 10: 26.5, 11: 14.25}  # (2 + 51) / 2, (26.5 + 2) / 2


@pytest.mark.parametrize("first", [1, 3, 7])
def test_of_the_long_candle_in_which_the_data_begins_only_the_close_counts(engine: Any, first: int) -> None:
    """Wherever in its first long candle the data begins: a missing part must not make that candle look narrow."""
    bars = engine.random_bars(9, 100)

    def values(part: Any) -> dict[int, float]:
        found = engine.lines(part, lambda data: HigherTimeframeATR(data, period=2, compression=8), ["atr"])["atr"]
        return {part[number].opened: value for number, value in found.items()}

    whole, within = values(bars), values(bars[first:])
    assert within.items() <= whole.items()
    assert len(within) == len(whole) - first
