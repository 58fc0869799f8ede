"""The EOM, multi-level and advanced ATR mixins against a second implementation over whole series.

As test_rules.py, with the independent indicators of tests/reference.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pytest
import talib

from tests import reference
from tests.reference import Columns, Values
from tests.unit.botrunner.strategies.rule_mixins import Entry, Exit, bars_exit, trades, typed, without_entry_reason


def crossing(values: Values, bar: int) -> bool:
    return bool(values[bar - 1] <= 0 < values[bar])


def known_level(level: float) -> bool:
    return not np.isnan(level)


def beyond(price: float, level: float, threshold: float) -> bool:
    """Above a level by more than a fraction of it; everything negative: below."""
    return known_level(level) and typed(price) > typed(level) * (1 + typed(threshold))


def breakout(bars: Columns, threshold: float) -> Entry:
    above, eom = reference.swing_level(bars, above=True), reference.ease_of_movement(bars)
    mean, atr, mean_atr = reference.mean_volume(bars), reference.atr(bars), reference.mean_atr(bars)
    rsi = reference.rsi(bars)
    return lambda bar: bool(
        beyond(bars.close[bar], above[bar - 1], threshold)
        and eom[bar] > max(0, eom[bar - 1])
        and bars.volume[bar] > mean[bar]
        and atr[bar] > mean_atr[bar]
        and rsi[bar] < 80
    )


def macd_breakout(bars: Columns, low: float, high: float) -> Entry:
    above, eom = reference.swing_level(bars, above=True), reference.ease_of_movement(bars)
    mean, macd = reference.mean_volume(bars), talib.MACD(bars.close, 12, 26, 9)
    return lambda bar: bool(
        crossing(macd[0] - macd[1], bar)
        and known_level(above[bar - 1])
        and typed(low) <= typed(bars.close[bar]) / typed(above[bar - 1]) <= typed(high)
        and eom[bar] > 0
        and bars.volume[bar] >= 0.8 * mean[bar]
    )


def pullback(bars: Columns, threshold: float, oversold: float) -> Entry:
    below, eom = reference.swing_level(bars, above=False), reference.ease_of_movement(bars)
    rsi, atr, mean_atr = reference.rsi(bars), reference.atr(bars), reference.mean_atr(bars)
    opens = [bar.open for bar in bars.bars]
    return lambda bar: bool(
        known_level(below[bar])
        and typed(bars.bars[bar].low) <= typed(below[bar]) * (1 + typed(threshold))
        and bars.close[bar] > opens[bar]
        and crossing(eom, bar)
        and bars.close[bar] > bars.close[bar - 1]  # which is when RSI rises
        and rsi[bar] < oversold
        and atr[bar] > 0.9 * mean_atr[bar]
    )


def breakdown(bars: Columns, threshold: float) -> Exit:
    below, eom = reference.swing_level(bars, above=False), reference.ease_of_movement(bars)
    mean, atr = reference.mean_volume(bars), reference.atr(bars)

    def exit_(bar: int, entered: int) -> str | None:
        met = (
            beyond(-bars.close[bar], -below[bar - 1], -threshold)
            and eom[bar] < min(0, eom[bar - 1])
            and bars.volume[bar] > mean[bar]
            and atr[bar] > atr[bar - 1]
        )
        return "eom_breakdown" if met else None

    return exit_


def macd_breakdown(bars: Columns, threshold: float) -> Exit:
    below, eom = reference.swing_level(bars, above=False), reference.ease_of_movement(bars)
    mean, macd = reference.mean_volume(bars), talib.MACD(bars.close, 3, 8, 4)

    def exit_(bar: int, entered: int) -> str | None:
        met = (
            crossing(macd[1] - macd[0], bar)
            and beyond(-bars.close[bar], -below[bar - 1], -threshold)
            and eom[bar] < 0
            and bars.volume[bar] > mean[bar]
        )
        return "eom_macd_breakdown" if met else None

    return exit_


def rejection(bars: Columns, threshold: float, overbought: float) -> Exit:
    above, eom, rsi = reference.swing_level(bars, above=True), reference.ease_of_movement(bars), reference.rsi(bars)
    opens = [bar.open for bar in bars.bars]

    def exit_(bar: int, entered: int) -> str | None:
        met = (
            known_level(above[bar])
            and typed(bars.high[bar]) >= typed(above[bar]) * typed(threshold)
            and bars.close[bar] < opens[bar]
            and crossing(-eom, bar)
            and bars.close[bar] < bars.close[bar - 1]  # which is when RSI falls
            and rsi[bar] > overbought
        )
        return "eom_rejection" if met else None

    return exit_


def multi_level(bars: Columns, *, dynamic: bool) -> Exit:
    """The stop of a bar is the highest of all stops since the entry."""
    long, atr = reference.higher_timeframe_atr(bars, 14, 4), reference.atr(bars)
    factor = atr / reference.mean_atr(bars, 14, 50) if dynamic else np.ones(len(atr))

    def exit_(bar: int, entered: int) -> str | None:
        price = bars.close[entered]
        after = slice(entered + 1, bar + 1)
        highest = np.maximum.accumulate(np.maximum(bars.high[after], price))
        stops = [price - 2.5 * factor[after] * long[after], highest - 2.0 * factor[after] * atr[after]]
        won = bars.close[after] - price >= atr[after]
        stops.append(np.where(won, price + 0.3 * atr[after], -np.inf))
        return "atr_stop" if bars.close[bar] < np.max(stops) else None

    return exit_


def advanced(bars: Columns) -> Exit:
    """The stop for a bar is the highest of all stops of the bars before it since the entry."""
    fast, slow = reference.atr(bars, 7), reference.atr(bars, 21)
    atr = np.maximum(np.maximum(fast, slow), reference.higher_timeframe_atr(bars, 21, 4))

    def stops(bar: int, entered: int) -> list[float]:
        price, risk = bars.close[entered], 2.5 * atr[entered]
        top = max(price, *bars.high[entered + 1 : bar + 1])
        gain = max(0.0, *(bars.close[entered + 1 : bar + 1] - price))
        k = 1.5 if gain >= 2 * risk else 2.0 if gain >= risk else 2.5
        found = [top - k * atr[bar]]
        if gain >= risk:
            found.append(price)
        if bar - entered >= 10:
            found.append(min(held.low for held in bars.bars[bar - 9 : bar + 1]) - 0.25 * atr[bar])
        return found

    def exit_(bar: int, entered: int) -> str | None:
        stop = bars.close[entered] - 2.5 * atr[entered]
        for before in range(entered + 1, bar):
            stop = max(stop, *stops(before, entered))
        return "atr_stop" if bars.bars[bar].low <= stop else None

    return exit_


class Rule(NamedTuple):
    mixin: str
    params: Mapping[str, Any]
    second: Callable[[Columns], Any]
    fewest: int
    """Signals on each series, so that agreement means something."""


ENTRIES = (
    Rule("EOMBreakoutEntryMixin", {"breakout_threshold": 0.0, "rsi_overbought": 80.0}, lambda b: breakout(b, 0.0), 4),
    Rule(
        "EOMMAcdBreakoutEntryMixin",
        {"resistance_range_low": 0.98, "resistance_range_high": 1.02},
        lambda b: macd_breakout(b, 0.98, 1.02),
        2,
    ),
    Rule(
        "EOMPullbackEntryMixin",
        {"support_threshold": 0.02, "rsi_oversold": 60.0},
        lambda b: pullback(b, 0.02, 60.0),
        2,
    ),
)
FAST_MACD = {"macd_fast_period": 3, "macd_slow_period": 8, "macd_signal_period": 4}
EXITS = (
    Rule("EOMBreakdownExitMixin", {"breakdown_threshold": 0.0}, lambda b: breakdown(b, 0.0), 4),
    Rule(
        "EOMMAcdBreakdownExitMixin",
        {"support_threshold": 0.0, **FAST_MACD},
        lambda b: macd_breakdown(b, 0.0),
        2,
    ),
    Rule(
        "EOMRejectionExitMixin",
        {"resistance_threshold": 0.98, "rsi_overbought": 45.0},
        lambda b: rejection(b, 0.98, 45.0),
        2,
    ),
    Rule("MultiLevelAtrExitMixin", {"htf_compression": 4}, lambda b: multi_level(b, dynamic=False), 10),
    Rule(
        "MultiLevelAtrExitMixin",
        {"htf_compression": 4, "use_dynamic_k": True},
        lambda b: multi_level(b, dynamic=True),
        10,
    ),
    Rule("AdvancedATRExitMixin", {"htf_compression": 4}, advanced, 10),
)


def compare(engine: Any, bars: Any, bar_s: int, rule: Rule) -> int:
    """Signals of the mixin, which are those of the second implementation; the other half of the trade is simple."""
    columns = Columns(bars, bar_s=bar_s)
    params = dict(rule.params)
    if rule in ENTRIES:
        chosen = engine.custom(rule.mixin, "TimeBasedExitMixin", params, {"max_bars": 2})
        entry, exit_ = rule.second(columns), bars_exit(2)
    else:
        # no close is 9 deviations of 20 below their mean: only RSI enters
        only_rsi = {"rsi_oversold": 45.0, "bb_dev": 9.0, "use_bb_touch": False}
        chosen = engine.custom("RSIOrBBEntryMixin", rule.mixin, only_rsi, params)
        rsi = reference.rsi(columns)
        entry, exit_ = (lambda bar: bool(rsi[bar] <= 45.0)), rule.second(columns)
    account = engine.run(bars, chosen, minutes=bar_s // 60)
    assert account.ready_at is not None
    expected = trades(len(bars), account.ready_at, entry, exit_)
    assert without_entry_reason(account.signals) == expected
    return len(expected)


@pytest.mark.parametrize("rule", [*ENTRIES, *EXITS], ids=lambda rule: f"{rule.mixin} {len(rule.params)}")
def test_synthetic_candles(engine: Any, rule: Rule) -> None:
    assert compare(engine, engine.random_bars(41, 1_200), 300, rule) >= rule.fewest


@pytest.mark.parametrize("rule", [*ENTRIES, *EXITS], ids=lambda rule: f"{rule.mixin} {len(rule.params)}")
def test_real_candles(engine: Any, real_bars: dict[str, list[Any]], rule: Rule) -> None:
    found = [compare(engine, bars, 300 if "5m" in name else 60, rule) for name, bars in real_bars.items()]
    assert sum(found) >= rule.fewest
