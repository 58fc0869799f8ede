"""The average true range of a higher timeframe, built from the bot's own candles."""

from __future__ import annotations

from math import isnan
from typing import Any

import backtrader as bt

from botrunner.strategies.times import bar_seconds, opened_at


class HigherTimeframeATR(bt.Indicator):
    """Wilder's average true range over candles that are `compression` times as long as the feed's.

    Time is cut into such long candles since 1 January 1970 UTC, whatever the first bar is. Only completed ones
    count: the value changes at the close of a long candle's last bar or, where the exchange left that bar out, at
    the next bar that there is; a long candle without any bar is left out. Of the one in which the data begins
    only the close counts, because bars before may be missing. So the value at a bar is a function of the candles
    since the anchor alone (docs/decisions/0003), also when the anchor lies within a long candle.

    The whole state is in the lines. `high` and `low` are those of the long candle under way, `close` is that of the
    last completed one, `ranges` counts the true ranges seen and `total` sums those of the first mean.
    Needs (period + 1) × compression bars at most, all of which count when no bar is missing.
    """

    lines: Any = ("atr", "high", "low", "close", "ranges", "total")
    params: Any = (("period", 14), ("compression", 16))

    def __init__(self, *_data: Any, **_params: Any) -> None:
        self.addminperiod((self.p.period + 1) * self.p.compression)
        self._bar_s = bar_seconds(self.data)
        self._long_s = self._bar_s * int(self.p.compression)

    def prenext(self) -> None:
        """The same step as later: the state begins with the first bar."""
        if len(self) == 1:
            self._begin()
        else:
            self._carry_on()
        if self._is_last(0):
            self._complete(self.data.close[0])

    def next(self) -> None:
        """Add this bar to the long candle that it belongs to."""
        self._carry_on()
        if self._is_last(0):
            self._complete(self.data.close[0])

    def _begin(self) -> None:
        self.lines.ranges[0] = self.lines.total[0] = 0.0
        self._open()

    def _carry_on(self) -> None:
        for line in self.lines:
            line[0] = line[-1]
        if self._long(0) == self._long(-1):
            self.lines.high[0] = max(self.lines.high[0], self.data.high[0])
            self.lines.low[0] = min(self.lines.low[0], self.data.low[0])
            return
        if not self._is_last(-1):
            self._complete(self.data.close[-1])
        self._open()

    def _open(self) -> None:
        self.lines.high[0] = self.data.high[0]
        self.lines.low[0] = self.data.low[0]

    def _complete(self, close: float) -> None:
        before, self.lines.close[0] = self.lines.close[0], close
        if isnan(before):
            return
        span = max(self.lines.high[0], before) - min(self.lines.low[0], before)
        period = self.p.period
        self.lines.ranges[0] += 1.0
        if self.lines.ranges[0] > period:
            self.lines.atr[0] = (self.lines.atr[0] * (period - 1) + span) / period
            return
        self.lines.total[0] += span
        if self.lines.ranges[0] == period:
            self.lines.atr[0] = self.lines.total[0] / period

    def _long(self, ago: int) -> int:
        """Number of the long candle of a bar."""
        return opened_at(self.data, ago) // self._long_s

    def _is_last(self, ago: int) -> bool:
        """Whether a bar is the last of its long candle: the next bar's place is in another one."""
        return (opened_at(self.data, ago) + self._bar_s) // self._long_s > self._long(ago)
