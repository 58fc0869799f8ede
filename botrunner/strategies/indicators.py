"""Indicators as the mixins need them, each one Backtrader indicator with its whole state in its lines.

Backtrader's own agree with these within rounding; they aren't used where they fail on real candles: its RSI
divides by zero on bars without a fall, its standard deviation is the root of a difference of means, which
becomes the root of a negative number on flat prices. One object instead of eight per indicator also makes the
bar loop three times as fast. Averages of windows are summed exactly (fsum), so they don't drift.

Sources: J. W. Wilder, New Concepts in Technical Trading Systems (1978); J. Bollinger, Bollinger on Bollinger
Bands (2001).
"""

from __future__ import annotations

from itertools import pairwise
from math import fsum, sqrt
from typing import Any

import backtrader as bt


class _Indicator(bt.Indicator):
    """Base of the indicators here: says how many bars the first value needs.

    Backtrader's metaclass takes data and params out of the arguments before the constructor sees them.
    """

    lines: Any = ()
    params: Any = ()

    def __init__(self, *_data: Any, **_params: Any) -> None:
        self.addminperiod(self._bars_needed())

    def _bars_needed(self) -> int:
        return int(self.p.period)


class WilderRSI(_Indicator):
    """Wilder's relative strength index of the data, 0 to 100.

    Averages of gains and of losses start as plain means of the first `period` changes and continue as
    (previous × (period - 1) + new) / period. Without any change so far it is 50. A bar without a change leaves it
    as it is, to the last bit: rounding makes no RSI rise or fall. Needs period + 1 bars.
    """

    lines: Any = ("rsi", "gain", "loss")
    params: Any = (("period", 14),)

    def _bars_needed(self) -> int:
        return int(self.p.period) + 1

    def nextstart(self) -> None:
        """The plain means."""
        period = self.p.period
        prices = self.data.get(size=period + 1)
        changes = [new - old for old, new in pairwise(prices)]
        self._set(
            gain=fsum(change for change in changes if change > 0) / period,
            loss=fsum(-change for change in changes if change < 0) / period,
        )

    def next(self) -> None:
        """The smoothed means."""
        period = self.p.period
        change = self.data[0] - self.data[-1]
        self._set(
            gain=(self.lines.gain[-1] * (period - 1) + max(change, 0.0)) / period,
            loss=(self.lines.loss[-1] * (period - 1) + max(-change, 0.0)) / period,
        )
        if change == 0.0:
            self.lines.rsi[0] = self.lines.rsi[-1]

    def _set(self, *, gain: float, loss: float) -> None:
        self.lines.gain[0] = gain
        self.lines.loss[0] = loss
        total = gain + loss
        self.lines.rsi[0] = 100.0 * gain / total if total > 0.0 else 50.0


class WilderATR(_Indicator):
    """Wilder's average true range of a data feed, in quote currency.

    The true range of a bar reaches from the lower of low and previous close to the higher of high and previous
    close. The average starts as a plain mean of `period` ranges. Needs period + 1 bars.
    """

    lines: Any = ("atr",)
    params: Any = (("period", 14),)

    def _bars_needed(self) -> int:
        return int(self.p.period) + 1

    def nextstart(self) -> None:
        """The plain mean."""
        self.lines.atr[0] = fsum(_true_range(self.data, -ago) for ago in range(self.p.period)) / self.p.period

    def next(self) -> None:
        """The smoothed mean."""
        period = self.p.period
        self.lines.atr[0] = (self.lines.atr[-1] * (period - 1) + _true_range(self.data, 0)) / period


class Mean(_Indicator):
    """Mean of the last `period` values of the data, the current one included."""

    lines: Any = ("mean",)
    params: Any = (("period", 20),)

    def next(self) -> None:
        """The mean of the window."""
        self.lines.mean[0] = fsum(self.data.get(size=self.p.period)) / self.p.period


class BollingerBands(_Indicator):
    """Mean of the last `period` values, and that mean ± devfactor population standard deviations."""

    lines: Any = ("mid", "top", "bot")
    params: Any = (("period", 20), ("devfactor", 2.0))

    def next(self) -> None:
        """Two passes over the window: exact for flat and for tiny prices."""
        period = self.p.period
        window = self.data.get(size=period)
        mean = fsum(window) / period
        width = self.p.devfactor * sqrt(fsum((value - mean) ** 2 for value in window) / period)
        self.lines.mid[0] = mean
        self.lines.top[0] = mean + width
        self.lines.bot[0] = mean - width


class MeanVolume(_Indicator):
    """Mean volume of the last `period` bars of a data feed, the current one included."""

    lines: Any = ("mean",)
    params: Any = (("period", 20),)

    def next(self) -> None:
        """The mean of the window."""
        self.lines.mean[0] = fsum(self.data.volume.get(size=self.p.period)) / self.p.period


class SuperTrend(_Indicator):
    """SuperTrend: `direction` +1 or -1, and the bands that turn it.

    Bands lie `multiplier` × the plain mean of the last `period` true ranges around the middle of the bar. While
    price stays between them the upper one only falls and the lower one only rises; a close above the upper one
    turns the direction up, below the lower one down. It starts up when close is at or above the bar's middle.
    Needs period + 1 bars.
    """

    lines: Any = ("direction", "upper", "lower")
    params: Any = (("period", 10), ("multiplier", 3.0))

    def _bars_needed(self) -> int:
        return int(self.p.period) + 1

    def nextstart(self) -> None:
        """The plain bands."""
        upper, lower = self._bands()
        direction = 1.0 if self.data.close[0] >= (upper + lower) / 2 else -1.0
        self._set(direction, upper, lower)

    def next(self) -> None:
        """The bands held back by those before, and the turn."""
        upper, lower = self._bands()
        before, was_upper, was_lower = self.data.close[-1], self.lines.upper[-1], self.lines.lower[-1]
        upper = upper if before > was_upper else min(upper, was_upper)
        lower = lower if before < was_lower else max(lower, was_lower)
        close, direction = self.data.close[0], self.lines.direction[-1]
        if close > upper:
            direction = 1.0
        elif close < lower:
            direction = -1.0
        self._set(direction, upper, lower)

    def _bands(self) -> tuple[float, float]:
        period = self.p.period
        width = self.p.multiplier * fsum(_true_range(self.data, -ago) for ago in range(period)) / period
        middle = (self.data.high[0] + self.data.low[0]) / 2
        return middle + width, middle - width

    def _set(self, direction: float, upper: float, lower: float) -> None:
        self.lines.direction[0] = direction
        self.lines.upper[0] = upper
        self.lines.lower[0] = lower


class IchimokuCloud(_Indicator):
    """Ichimoku's conversion line (`tenkan`) and the `top` of the cloud at each bar.

    A line is the middle between highest high and lowest low of its period. The cloud at a bar was drawn
    `kijun` bars before: between the mean of conversion and base line, and the `senkou` line.
    """

    lines: Any = ("tenkan", "top")
    params: Any = (("tenkan", 9), ("kijun", 26), ("senkou", 52))

    def _bars_needed(self) -> int:
        return int(max(self.p.tenkan, self.p.kijun, self.p.senkou) + self.p.kijun)

    def next(self) -> None:
        """Both lines from their windows."""
        led = -self.p.kijun
        fast = (self._middle(self.p.tenkan, led) + self._middle(self.p.kijun, led)) / 2
        self.lines.tenkan[0] = self._middle(self.p.tenkan, 0)
        self.lines.top[0] = max(fast, self._middle(self.p.senkou, led))

    def _middle(self, period: int, ago: int) -> float:
        highest = max(self.data.high.get(ago=ago, size=period))
        lowest = min(self.data.low.get(ago=ago, size=period))
        return float(highest + lowest) / 2


class MACD(_Indicator):
    """MACD of the data: the fast minus the slow exponential mean (`macd`), its own mean (`signal`), and `hist`.

    Each mean moves by 2 / (period + 1) of the distance. All start as plain means: both of the price at the
    `slow`-th bar (the fast one of the last `fast` prices), the signal at the bar that has `signal` values of
    macd; so they depend on the bars since the first alone. `hist` is macd - signal. Needs slow + signal - 1 bars.
    """

    lines: Any = ("macd", "signal", "hist", "fast", "slow")
    params: Any = (("fast", 12), ("slow", 26), ("signal", 9))

    def _bars_needed(self) -> int:
        return int(self.p.slow + self.p.signal) - 1

    def prenext(self) -> None:
        """The means of the price, before the signal has enough of their differences."""
        if len(self) >= self.p.slow:
            self._average_prices()

    def nextstart(self) -> None:
        """The signal's plain mean."""
        self._average_prices()
        self._set(fsum(self.lines.macd.get(size=self.p.signal)) / self.p.signal)

    def next(self) -> None:
        """All three means."""
        self._average_prices()
        self._set(_towards(self.lines.signal[-1], self.lines.macd[0], self.p.signal))

    def _average_prices(self) -> None:
        for line, period in ((self.lines.fast, self.p.fast), (self.lines.slow, self.p.slow)):
            if len(self) == self.p.slow:
                line[0] = fsum(self.data.get(size=period)) / period
            else:
                line[0] = _towards(line[-1], self.data[0], period)
        self.lines.macd[0] = self.lines.fast[0] - self.lines.slow[0]

    def _set(self, signal: float) -> None:
        self.lines.signal[0] = signal
        self.lines.hist[0] = self.lines.macd[0] - signal


class EaseOfMovement(_Indicator):
    """Ease of movement: mean over `period` bars of how far the bar's middle moved, for the volume it took.

    Of one bar it is (middle - previous middle) × (high - low) ÷ (volume ÷ 100,000,000), and 0 where the bar is
    flat or has no volume. Needs period + 1 bars.
    """

    lines: Any = ("eom", "raw")
    params: Any = (("period", 14),)

    SCALE = 1e8
    LIMIT = 1e300
    """Largest value of one bar: with next to no volume it would be infinite, and the mean of +∞ and -∞ no number."""

    def _bars_needed(self) -> int:
        return int(self.p.period) + 1

    def prenext(self) -> None:
        """The single bars' values, before there are enough for a mean."""
        if len(self) > 1:
            self.lines.raw[0] = self._of_this_bar()

    def next(self) -> None:
        """This bar's value and the mean."""
        self.lines.raw[0] = self._of_this_bar()
        self.lines.eom[0] = fsum(self.lines.raw.get(size=self.p.period)) / self.p.period

    def _of_this_bar(self) -> float:
        data = self.data
        span, volume = data.high[0] - data.low[0], data.volume[0]
        if span <= 0.0 or volume <= 0.0:
            return 0.0
        moved = (data.high[0] + data.low[0]) / 2 - (data.high[-1] + data.low[-1]) / 2
        return float(max(-self.LIMIT, min(self.LIMIT, moved * span / volume * self.SCALE)))


def _towards(mean: float, value: float, period: int) -> float:
    """The next value of an exponential mean."""
    return mean + (value - mean) * 2.0 / (period + 1)


def _true_range(data: Any, ago: int) -> float:
    before = data.close[ago - 1]
    return float(max(data.high[ago], before) - min(data.low[ago], before))
