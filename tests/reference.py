"""Independent indicators: TA-Lib where it has one, otherwise a plain computation with numpy, written differently.

Each takes a whole series and gives one value per bar, NaN where there is none. For the tests and for
benchmarks/strategies.py, which state how far the bot's indicators are from these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import backtrader as bt
import numpy as np
import talib
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from botrunner.strategies.higher_timeframe import HigherTimeframeATR
from botrunner.strategies.indicators import (
    MACD,
    BollingerBands,
    EaseOfMovement,
    IchimokuCloud,
    Mean,
    MeanVolume,
    SuperTrend,
    WilderATR,
    WilderRSI,
)
from botrunner.strategies.levels import SupportResistance

Values = NDArray[np.float64]


class Columns:
    """A series of bars, one array per field; `opened` is in Unix seconds."""

    def __init__(self, bars: Sequence[Any], *, bar_s: int) -> None:
        self.bars = bars
        self.bar_s = bar_s
        self.opened = np.array([bar.opened for bar in bars])
        self.high, self.low, self.close, self.volume = (
            np.array([getattr(bar, name) for bar in bars], dtype=np.float64)
            for name in ("high", "low", "close", "volume")
        )


def windows(values: Values, size: int) -> Values:
    """One row per full window, by its last bar."""
    return sliding_window_view(values, size)


def padded(values: Values, length: int) -> Values:
    """With NaN before the first value."""
    return np.concatenate([np.full(length - len(values), np.nan), values])


def rsi(bars: Columns, period: int = 14) -> Values:
    return talib.RSI(bars.close, period)


def atr(bars: Columns, period: int = 14) -> Values:
    return talib.ATR(bars.high, bars.low, bars.close, period)


def mean_atr(bars: Columns, period: int = 14, mean_period: int = 100) -> Values:
    return padded(windows(atr(bars, period)[period:], mean_period).mean(axis=1), len(bars.close))


def mean_volume(bars: Columns, period: int = 20) -> Values:
    return talib.SMA(bars.volume, period)


def ease_of_movement(bars: Columns, period: int = 14) -> Values:
    middle, span = (bars.high + bars.low) / 2, (bars.high - bars.low)[1:]
    volume = bars.volume[1:]
    box = np.divide(volume / 1e8, span, out=np.full_like(span, np.inf), where=(span > 0) & (volume > 0))
    return padded(windows(np.diff(middle) / box, period).mean(axis=1), len(middle))


def swing_level(bars: Columns, *, above: bool, side_bars: int = 2, keep: int = 50) -> Values:
    """Nearest confirmed swing, from the whole history at each bar; for supports everything is turned upside down."""
    sign = 1 if above else -1
    extremes, closes = (sign * bars.high, sign * bars.close) if above else (sign * bars.low, sign * bars.close)
    view = windows(extremes, 2 * side_bars + 1)
    others = np.delete(view, side_bars, axis=1)
    swings = np.flatnonzero(view[:, side_bars] > others.max(axis=1)) + side_bars
    found = np.full(len(closes), np.nan)
    for bar, close in enumerate(closes):
        known = extremes[swings[: np.searchsorted(swings, bar - side_bars, side="right")]][-keep:]
        beyond = known[known > close]
        if len(beyond):
            found[bar] = sign * beyond.min()
    return found


def middle_line(bars: Columns, period: int) -> Values:
    top, bottom = talib.MAX(bars.high, period), talib.MIN(bars.low, period)
    return (top + bottom) / 2


def cloud_top(bars: Columns, tenkan: int = 9, kijun: int = 26, senkou: int = 52) -> Values:
    spans = (middle_line(bars, tenkan) + middle_line(bars, kijun)) / 2, middle_line(bars, senkou)
    return padded(np.maximum(*spans)[:-kijun], len(bars.close))


def supertrend(bars: Columns, period: int = 10, multiplier: float = 3.0) -> Values:
    """Direction, kept as one trailing line per direction."""
    ranges = talib.TRANGE(bars.high, bars.low, bars.close)[1:]
    width = multiplier * padded(windows(ranges, period).mean(axis=1), len(bars.close))
    middle = (bars.high + bars.low) / 2
    found = np.full(len(middle), np.nan)
    floor = ceiling = 0.0
    up = False
    for bar in range(period, len(middle)):
        close, low_band, high_band = bars.close[bar], middle[bar] - width[bar], middle[bar] + width[bar]
        if bar == period:
            floor, ceiling, up = low_band, high_band, bool(close >= middle[bar])
        else:
            before = bars.close[bar - 1]
            floor = max(floor, low_band) if before >= floor else low_band
            ceiling = min(ceiling, high_band) if before <= ceiling else high_band
            up = bool((up or close > ceiling) and not close < floor)
        found[bar] = 1.0 if up else -1.0
    return found


def higher_timeframe_atr(bars: Columns, period: int = 14, compression: int = 16) -> Values:
    """TA-Lib's ATR of the long candles, each value from the bar at which its long candle was complete."""
    long_s = bars.bar_s * compression
    numbers = bars.opened // long_s
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    ends = [*(starts[1:] - 1), len(numbers) - 1]
    highs = np.maximum.reduceat(bars.high, starts)
    lows = np.minimum.reduceat(bars.low, starts)
    values = talib.ATR(highs, lows, bars.close[ends], period)
    found = np.full(len(numbers), np.nan)
    for end, value in zip(ends, values, strict=True):
        closes_it = bars.opened[end] + bars.bar_s == (numbers[end] + 1) * long_s
        found[end if closes_it else end + 1 :] = value
    return found


@dataclass(frozen=True)
class Check:
    """One line of one indicator with its independent counterpart."""

    make: Callable[[Any], Any]
    line: str
    independent: Callable[[Columns], Values]
    source: str
    first: int
    """Index of the bar from which both must have the same values."""
    tolerance: float = 1e-11
    """Largest relative difference, as `difference` measures it."""


def _macd(line: int) -> Callable[[Columns], Values]:
    return lambda bars: talib.MACD(bars.close, 12, 26, 9)[line]


CHECKS: Mapping[str, Check] = {
    "RSI 14": Check(lambda data: WilderRSI(data, period=14), "rsi", rsi, "TA-Lib", 14),
    "ATR 7": Check(lambda data: WilderATR(data, period=7), "atr", lambda bars: atr(bars, 7), "TA-Lib", 7),
    "ATR 14": Check(lambda data: WilderATR(data, period=14), "atr", atr, "TA-Lib", 14),
    "ATR 21": Check(lambda data: WilderATR(data, period=21), "atr", lambda bars: atr(bars, 21), "TA-Lib", 21),
    "mean ATR 14/100": Check(
        lambda data: Mean(WilderATR(data, period=14), period=100), "mean", mean_atr, "TA-Lib, numpy", 113
    ),
    "mean volume 20": Check(lambda data: MeanVolume(data, period=20), "mean", mean_volume, "TA-Lib", 19),
    "upper band 20/2": Check(
        lambda data: BollingerBands(data, period=20, devfactor=2.0), "top",
        lambda bars: talib.BBANDS(bars.close, 20, 2.0, 2.0)[0], "TA-Lib", 19,
    ),
    "lower band 20/2": Check(
        lambda data: BollingerBands(data, period=20, devfactor=2.0), "bot",
        lambda bars: talib.BBANDS(bars.close, 20, 2.0, 2.0)[2], "TA-Lib", 19,
    ),
    "SuperTrend 10/3": Check(
        lambda data: SuperTrend(data, period=10, multiplier=3.0), "direction", supertrend, "numpy", 10, tolerance=0.0
    ),
    "conversion line 9": Check(IchimokuCloud, "tenkan", lambda bars: middle_line(bars, 9), "TA-Lib MAX, MIN", 77),
    "cloud 9/26/52": Check(IchimokuCloud, "top", cloud_top, "TA-Lib MAX, MIN", 77),
    "SMA 10": Check(
        lambda data: bt.ind.SMA(data.close, period=10), "sma", lambda bars: talib.SMA(bars.close, 10), "TA-Lib", 9
    ),
    "SMA 20": Check(
        lambda data: bt.ind.SMA(data.close, period=20), "sma", lambda bars: talib.SMA(bars.close, 20), "TA-Lib", 19
    ),
    "EMA 10": Check(
        lambda data: bt.ind.EMA(data.close, period=10), "ema", lambda bars: talib.EMA(bars.close, 10), "TA-Lib", 9
    ),
    "EMA 20": Check(
        lambda data: bt.ind.EMA(data.close, period=20), "ema", lambda bars: talib.EMA(bars.close, 20), "TA-Lib", 19
    ),
    "MACD 12/26": Check(MACD, "macd", _macd(0), "TA-Lib", 33),
    "MACD signal 9": Check(MACD, "signal", _macd(1), "TA-Lib", 33),
    "MACD histogram": Check(MACD, "hist", _macd(2), "TA-Lib", 33),
    "EOM 14": Check(EaseOfMovement, "eom", ease_of_movement, "numpy", 14),
    "resistance 2": Check(
        SupportResistance, "resistance", lambda bars: swing_level(bars, above=True), "numpy", 4, tolerance=0.0
    ),
    "support 2": Check(
        SupportResistance, "support", lambda bars: swing_level(bars, above=False), "numpy", 4, tolerance=0.0
    ),
    "ATR 14 of 16 bars": Check(HigherTimeframeATR, "atr", higher_timeframe_atr, "TA-Lib, numpy", 239),
    "ATR 21 of 16 bars": Check(
        lambda data: HigherTimeframeATR(data, period=21, compression=16), "atr",
        lambda bars: higher_timeframe_atr(bars, 21), "TA-Lib, numpy", 351,
    ),
}  # fmt: skip
"""Every indicator of the mixins, at the parameters that are their defaults."""


def computed(feed: Any) -> dict[str, Values]:
    """The bot's indicators of all CHECKS over a feed, bar by bar as a bot computes them."""
    seen: dict[str, list[float]] = {name: [] for name in CHECKS}

    class Recorder(bt.Strategy):
        def __init__(self) -> None:
            self.indicators = {name: check.make(self.data) for name, check in CHECKS.items()}

        def prenext(self) -> None:
            self.next()

        def next(self) -> None:
            for name, indicator in self.indicators.items():
                seen[name].append(getattr(indicator.lines, CHECKS[name].line)[0])

    cerebro = bt.Cerebro(stdstats=False, exactbars=1)
    cerebro.adddata(feed)
    cerebro.addstrategy(Recorder)
    cerebro.run()
    return {name: np.array(values) for name, values in seen.items()}


def difference(name: str, ours: Values, bars: Columns) -> float:
    """Largest |ours - theirs| ÷ |theirs|, from the first bar on where both have values; infinite if one has not.

    Where their value is smaller than the series' median magnitude that is the divisor instead: MACD and ease of
    movement cross zero.
    """
    check = CHECKS[name]
    ours, theirs = ours[check.first :], check.independent(bars)[check.first :]
    known = ~np.isnan(theirs)
    if not np.array_equal(known, ~np.isnan(ours)):
        return float("inf")
    ours, theirs = ours[known], theirs[known]
    if not len(theirs):
        return 0.0
    sizes = np.maximum(np.abs(theirs), np.median(np.abs(theirs)))
    gaps = np.abs(ours - theirs)
    return float(np.max(np.divide(gaps, sizes, out=np.zeros_like(gaps), where=gaps > 0)))
