"""Each mixin's signals against a second implementation of its rule over whole series, real ones included."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import dist, sqrt
from statistics import fmean
from typing import Any

import pytest

from tests.unit.botrunner.strategies.rule_mixins import Entry, Exit, bars_exit, trades, typed, without_entry_reason


class Series:
    """The plain definitions, from the whole series at once."""

    def __init__(self, bars: Sequence[Any]) -> None:
        self.bars = bars
        self.close = [bar.close for bar in bars]
        self.volume = [bar.volume for bar in bars]

    def rsi(self, period: int) -> list[float | None]:
        changes = [new - old for old, new in pairwise(self.close)]
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

    def upper(self, period: int, dev: float) -> list[float | None]:
        return self.lower(period, -dev)

    def sma(self, period: int) -> list[float | None]:
        return self.lower(period, 0.0)

    def ema(self, period: int) -> list[float | None]:
        value = fmean(self.close[:period])
        values: list[float | None] = [None] * (period - 1) + [value]
        for close in self.close[period:]:
            value += (close - value) * 2 / (period + 1)
            values.append(value)
        return values

    def middle(self, period: int, bar: int) -> float:
        window = self.bars[bar + 1 - period : bar + 1]
        return fmean([max(held.high for held in window), min(held.low for held in window)])

    def cloud_top(self, bar: int) -> float:
        drawn = bar - 26
        return max((self.middle(9, drawn) + self.middle(26, drawn)) / 2, self.middle(52, drawn))

    def supertrend(self, period: int, multiplier: float) -> list[bool | None]:
        """Whether the line is below the price, kept as one trailing line per direction."""
        spans = self.ranges()
        ups: list[bool | None] = [None] * period
        floor = ceiling = 0.0
        up = False
        for bar in range(period, len(self.bars)):
            now, mean = self.bars[bar], fmean(spans[bar - period : bar])
            low_band = (now.high + now.low) / 2 - multiplier * mean
            high_band = (now.high + now.low) / 2 + multiplier * mean
            if bar == period:
                floor, ceiling, up = low_band, high_band, now.close >= (now.high + now.low) / 2
            else:
                before = self.close[bar - 1]
                floor = max(floor, low_band) if before >= floor else low_band
                ceiling = min(ceiling, high_band) if before <= ceiling else high_band
                up = (up or now.close > ceiling) and not now.close < floor
            ups.append(up)
        return ups

    def mean_volume(self, period: int) -> list[float | None]:
        windows = [self.volume[end - period : end] for end in range(period, len(self.volume) + 1)]
        return [None] * (period - 1) + [fmean(window) for window in windows]

    def ranges(self) -> list[float]:
        return [
            max(bar.high - bar.low, abs(bar.high - before.close), abs(bar.low - before.close))
            for before, bar in pairwise(self.bars)
        ]

    def atr(self, period: int) -> list[float | None]:
        ranges = self.ranges()
        value = fmean(ranges[:period])
        values: list[float | None] = [None] * period + [value]
        for span in ranges[period:]:
            value += (span - value) / period
            values.append(value)
        return values


def deviation(window: Sequence[float]) -> float:
    """Population standard deviation: the distance from a point with all coordinates at the mean."""
    return dist(window, [fmean(window)] * len(window)) / sqrt(len(window))


def known(value: float | None) -> float:
    assert value is not None, "judged before the indicator has a value"
    return value


def volume_entry(series: Series, oversold: float, dev: float, ratio: float) -> Entry:
    rsi, lower, volume = series.rsi(14), series.lower(20, dev), series.mean_volume(20)
    return lambda bar: (
        known(rsi[bar]) <= oversold
        and series.close[bar] <= known(lower[bar])
        and series.volume[bar] > known(volume[bar]) * ratio
    )


def or_entry(series: Series, oversold: float, dev: float) -> Entry:
    rsi, lower = series.rsi(14), series.lower(20, dev)
    return lambda bar: known(rsi[bar]) <= oversold or series.close[bar] <= known(lower[bar])


def and_entry(series: Series, oversold: float, dev: float) -> Entry:
    rsi, lower = series.rsi(14), series.lower(20, dev)
    return lambda bar: known(rsi[bar]) <= oversold and series.close[bar] <= known(lower[bar])


def band_trend_entry(series: Series, dev: float, ratio: float, multiplier: float) -> Entry:
    lower, volume, up = series.lower(20, dev), series.mean_volume(20), series.supertrend(10, multiplier)
    return lambda bar: (
        series.close[bar] <= known(lower[bar]) and series.volume[bar] > known(volume[bar]) * ratio and up[bar] is True
    )


def rsi_trend_entry(series: Series, oversold: float, ratio: float, multiplier: float) -> Entry:
    rsi, volume, up = series.rsi(14), series.mean_volume(20), series.supertrend(10, multiplier)
    return lambda bar: (
        known(rsi[bar]) <= oversold and series.volume[bar] > known(volume[bar]) * ratio and up[bar] is True
    )


def ichimoku_entry(series: Series, oversold: float) -> Entry:
    rsi = series.rsi(14)
    return lambda bar: (
        series.close[bar] > series.cloud_top(bar)
        and known(rsi[bar]) <= oversold
        and series.close[bar - 1] <= series.middle(9, bar - 1)
        and series.close[bar] > series.middle(9, bar)
    )


def crossover_exit(series: Series, average: Callable[[int], list[float | None]]) -> Exit:
    fast, slow = average(10), average(20)

    def exit_(bar: int, entered: int) -> str | None:
        was_below = known(fast[bar - 1]) < known(slow[bar - 1])
        return "ma_crossover" if not was_below and known(fast[bar]) < known(slow[bar]) else None

    return exit_


def overbought_exit(series: Series, level: float, dev: float, *, either: bool) -> Exit:
    rsi, upper = series.rsi(14), series.upper(20, dev)

    def exit_(bar: int, entered: int) -> str | None:
        calmer = known(rsi[bar - 1]) >= level > known(rsi[bar])
        inside = series.close[bar - 1] >= known(upper[bar - 1]) and series.close[bar] < known(upper[bar])
        if either:
            return "rsi_or_bb" if calmer or inside else None
        return "rsi_bb" if calmer and inside else None

    return exit_


def simple_atr_exit(series: Series, multiplier: float, breakeven: float) -> Exit:
    atr = series.atr(14)

    def exit_(bar: int, entered: int) -> str | None:
        price = series.close[entered]
        stop = price - multiplier * known(atr[entered])
        for held in range(entered + 1, bar):
            stop = max(stop, series.close[held] - multiplier * known(atr[held]))
            if series.close[held] - price >= breakeven * known(atr[held]):
                stop = max(stop, price)
        return "atr_stop" if series.close[bar] <= stop else None

    return exit_


def fixed_ratio_exit(series: Series, profit: float, loss: float) -> Exit:
    def exit_(bar: int, entered: int) -> str | None:
        change = typed(series.close[bar]) / typed(series.close[entered]) - 1
        return "take_profit" if change >= typed(profit) else "stop_loss" if change <= -typed(loss) else None

    return exit_


def atr_exit(series: Series, multiplier: float) -> Exit:
    atr = series.atr(14)

    def exit_(bar: int, entered: int) -> str | None:
        highest = max(series.close[entered], *(held.high for held in series.bars[entered + 1 : bar + 1]))
        return "atr_stop" if series.close[bar] <= highest - multiplier * known(atr[entered]) else None

    return exit_


def trailing_exit(series: Series, trail: float, activation: float) -> Exit:
    def exit_(bar: int, entered: int) -> str | None:
        peak = max(series.close[entered : bar + 1])
        active = typed(peak) >= typed(series.close[entered]) * (1 + typed(activation))
        return "trailing_stop" if active and typed(series.close[bar]) < typed(peak) * (1 - typed(trail)) else None

    return exit_


def both(name: str, series: Series, engine: Any) -> tuple[list[tuple[int, str, str]], list[tuple[int, str, str]]]:
    """(what the engine signals, what the plain definitions say) for one of the combinations below."""
    volume = {"rsi_oversold": 35.0, "bb_dev": 1.5, "min_volume_ratio": 1.1}
    either = {"rsi_oversold": 25.0, "bb_dev": 2.0}
    table: dict[str, tuple[str, dict[str, Any], str, dict[str, Any], Entry, Exit]] = {
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
        "and, simple atr": (
            "RSIBBEntryMixin", {"rsi_oversold": 35.0, "bb_dev": 1.5}, "SimpleATRExitMixin", {"breakeven_atr": 0.5},
            and_entry(series, 35.0, 1.5), simple_atr_exit(series, 2.0, 0.5),
        ),
        "band and trend, sma": (
            "BBVolumeSuperTrendEntryMixin", {"bb_dev": 1.0, "min_volume_ratio": 0.8}, "MACrossoverExitMixin", {},
            band_trend_entry(series, 1.0, 0.8, 3.0), crossover_exit(series, series.sma),
        ),
        "rsi and trend, ema": (
            "RSIVolumeSupertrendEntryMixin", {"rsi_oversold": 50.0, "min_volume_ratio": 0.8},
            "MACrossoverExitMixin", {"ma_type": "EMA"},
            rsi_trend_entry(series, 50.0, 0.8, 3.0), crossover_exit(series, series.ema),
        ),
        "ichimoku, overbought or": (
            "RSIIchimokuEntryMixin", {"rsi_oversold": 60.0}, "RSIOrBBExitMixin", {"rsi_overbought": 60.0},
            ichimoku_entry(series, 60.0), overbought_exit(series, 60.0, 2.0, either=True),
        ),
        "or, overbought and": (
            "RSIOrBBEntryMixin", either, "RSIBBExitMixin", {"rsi_overbought": 55.0, "bb_dev": 1.0},
            or_entry(series, 25.0, 2.0), overbought_exit(series, 55.0, 1.0, either=False),
        ),
    }  # fmt: skip
    entry_name, entry_params, exit_name, exit_params, entry, exit_ = table[name]
    account = engine.run(series.bars, engine.custom(entry_name, exit_name, entry_params, exit_params))
    assert account.ready_at is not None
    expected = trades(len(series.bars), account.ready_at, entry, exit_)
    return without_entry_reason(account.signals), expected


COMBINATIONS = [
    *("volume, fixed ratio", "volume, atr", "or, trailing", "or, time", "and, simple atr"),
    *("band and trend, sma", "rsi and trend, ema", "ichimoku, overbought or", "or, overbought and"),
]


@pytest.mark.parametrize("name", COMBINATIONS)
def test_synthetic_candles(engine: Any, name: str) -> None:
    found, expected = both(name, Series(engine.random_bars(21, 1_000)), engine)
    assert found == expected
    assert len(found) >= 4


@pytest.mark.parametrize("name", COMBINATIONS)
def test_real_candles(engine: Any, real_bars: dict[str, list[Any]], name: str) -> None:
    for bars in real_bars.values():
        found, expected = both(name, Series(bars), engine)
        assert found == expected
        assert len(found) >= 2
