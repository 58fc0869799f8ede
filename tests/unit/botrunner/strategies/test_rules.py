"""Each mixin's signals against a second implementation of its rule over whole series, real ones included."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import dist, sqrt
from statistics import fmean
from typing import Any

import pytest

Entry = Callable[[int], bool]
Exit = Callable[[int, int], str | None]
"""A rule over (bar, bar of the entry): the reason to exit, or None."""


class Series:
    """The plain definitions, from the whole series at once."""

    def __init__(self, bars: Sequence[Any]) -> None:
        self.bars = bars
        self.close = [bar.close for bar in bars]
        self.volume = [bar.volume for bar in bars]

    def rsi(self, period: int) -> list[float | None]:
        changes = [new - old for old, new in zip(self.close, self.close[1:], strict=False)]
        gain = fmean([max(change, 0) for change in changes[:period]])
        loss = fmean([max(-change, 0) for change in changes[:period]])
        values: list[float | None] = [None] * period
        for position in range(period, len(self.close)):
            if position > period:
                gain += (max(changes[position - 1], 0) - gain) / period
                loss += (max(-changes[position - 1], 0) - loss) / period
            values.append(50.0 if gain == loss == 0 else 100 - 100 / (1 + gain / loss) if loss else 100.0)
        return values

    def lower(self, period: int, dev: float) -> list[float | None]:
        windows = [self.close[end - period : end] for end in range(period, len(self.close) + 1)]
        return [None] * (period - 1) + [fmean(window) - dev * deviation(window) for window in windows]

    def mean_volume(self, period: int) -> list[float | None]:
        windows = [self.volume[end - period : end] for end in range(period, len(self.volume) + 1)]
        return [None] * (period - 1) + [fmean(window) for window in windows]

    def atr(self, period: int) -> list[float | None]:
        ranges = [
            max(bar.high - bar.low, abs(bar.high - before.close), abs(bar.low - before.close))
            for before, bar in zip(self.bars, self.bars[1:], strict=False)
        ]
        value = fmean(ranges[:period])
        values: list[float | None] = [None] * period + [value]
        for span in ranges[period:]:
            value += (span - value) / period
            values.append(value)
        return values


def deviation(window: Sequence[float]) -> float:
    """Population standard deviation: the distance from a point with all coordinates at the mean."""
    return dist(window, [fmean(window)] * len(window)) / sqrt(len(window))


def trades(count: int, first: int, entry: Entry, exit_: Exit) -> list[tuple[int, str, str]]:
    """The signals of two rules, one position at a time, judged from bar `first` on."""
    found: list[tuple[int, str, str]] = []
    entered: int | None = None
    for bar in range(first, count):
        if entered is None:
            if entry(bar):
                found.append((bar, "enter", ""))
                entered = bar
        elif reason := exit_(bar, entered):
            found.append((bar, "exit", reason))
            entered = None
    return found


def without_entry_reason(signals: list[tuple[int, str, str]]) -> list[tuple[int, str, str]]:
    return [(bar, kind, "" if kind == "enter" else reason) for bar, kind, reason in signals]


def volume_entry(series: Series, oversold: float, dev: float, ratio: float) -> Entry:
    rsi, lower, volume = series.rsi(14), series.lower(20, dev), series.mean_volume(20)

    def entry(bar: int) -> bool:
        level, band, mean = rsi[bar], lower[bar], volume[bar]
        assert level is not None
        assert band is not None
        assert mean is not None
        return level <= oversold and series.close[bar] <= band and series.volume[bar] > mean * ratio

    return entry


def or_entry(series: Series, oversold: float, dev: float) -> Entry:
    rsi, lower = series.rsi(14), series.lower(20, dev)

    def entry(bar: int) -> bool:
        level, band = rsi[bar], lower[bar]
        assert level is not None
        assert band is not None
        return level <= oversold or series.close[bar] <= band

    return entry


def fixed_ratio_exit(series: Series, profit: float, loss: float) -> Exit:
    def exit_(bar: int, entered: int) -> str | None:
        change = series.close[bar] / series.close[entered] - 1
        return "take_profit" if change >= profit else "stop_loss" if change <= -loss else None

    return exit_


def atr_exit(series: Series, multiplier: float) -> Exit:
    atr = series.atr(14)

    def exit_(bar: int, entered: int) -> str | None:
        frozen = atr[entered]
        assert frozen is not None
        highest = max(series.close[entered], *(held.high for held in series.bars[entered + 1 : bar + 1]))
        return "atr_stop" if series.close[bar] <= highest - multiplier * frozen else None

    return exit_


def trailing_exit(series: Series, trail: float, activation: float) -> Exit:
    def exit_(bar: int, entered: int) -> str | None:
        peak = max(series.close[entered : bar + 1])
        active = peak >= series.close[entered] * (1 + activation)
        return "trailing_stop" if active and series.close[bar] < peak * (1 - trail) else None

    return exit_


def bars_exit(limit: int) -> Exit:
    return lambda bar, entered: "time" if bar - entered >= limit else None


def both(name: str, series: Series, engine: Any) -> tuple[list[tuple[int, str, str]], list[tuple[int, str, str]]]:
    """(what the engine signals, what the plain definitions say) for one of the combinations below."""
    volume = {"rsi_oversold": 35.0, "bb_dev": 1.5, "min_volume_ratio": 1.1}
    either = {"rsi_oversold": 25.0, "bb_dev": 2.0}
    table: dict[str, tuple[str, dict[str, float], str, dict[str, float], Entry, Exit]] = {
        "volume, fixed ratio": (
            "RSIBBVolumeEntryMixin", volume, "FixedRatioExitMixin", {"take_profit": 0.01, "stop_loss": 0.008},
            volume_entry(series, 35.0, 1.5, 1.1), fixed_ratio_exit(series, 0.01, 0.008),
        ),
        "volume, atr": (
            "RSIBBVolumeEntryMixin", volume, "ATRExitMixin", {"sl_multiplier": 1.5},
            volume_entry(series, 35.0, 1.5, 1.1), atr_exit(series, 1.5),
        ),
        "or, trailing": (
            "RSIOrBBEntryMixin", either, "TrailingStopExitMixin", {"trail_pct": 0.006, "activation_pct": 0.004},
            or_entry(series, 25.0, 2.0), trailing_exit(series, 0.006, 0.004),
        ),
        "or, time": (
            "RSIOrBBEntryMixin", either, "TimeBasedExitMixin", {"max_bars": 12},
            or_entry(series, 25.0, 2.0), bars_exit(12),
        ),
    }  # fmt: skip
    entry_name, entry_params, exit_name, exit_params, entry, exit_ = table[name]
    account = engine.run(series.bars, engine.custom(entry_name, exit_name, entry_params, exit_params))
    assert account.ready_at is not None
    expected = trades(len(series.bars), account.ready_at, entry, exit_)
    return without_entry_reason(account.signals), expected


COMBINATIONS = ["volume, fixed ratio", "volume, atr", "or, trailing", "or, time"]


@pytest.mark.parametrize("name", COMBINATIONS)
def test_synthetic_candles(engine: Any, name: str) -> None:
    found, expected = both(name, Series(engine.random_bars(21, 1_200)), engine)
    assert found == expected
    assert len(found) > 10


@pytest.mark.parametrize("name", COMBINATIONS)
def test_real_candles(engine: Any, real_bars: dict[str, list[Any]], name: str) -> None:
    for bars in real_bars.values():
        found, expected = both(name, Series(bars), engine)
        assert found == expected
        assert len(found) >= 5
