"""Support and resistance from confirmed swings."""

from __future__ import annotations

from collections import deque
from math import nan
from typing import Any

import backtrader as bt

MAX_SWINGS = 50


class SupportResistance(bt.Indicator):
    """The nearest swing beyond the close of each bar: `resistance` above it, `support` below it, else NaN.

    A bar is a swing high when its high is above those of the `lookback` bars on each side (for a swing low, its
    low below theirs); bars with equal extremes are none. It is known `lookback` bars later, so no value changes
    afterwards. The last 50 swings of each kind count. They are the only state outside the lines, and follow
    from the bars since the first, like every line: a rebuild goes through the same bars and finds the same.
    Needs 2 × lookback + 1 bars.
    """

    lines: Any = ("resistance", "support")
    params: Any = (("lookback", 2),)

    def __init__(self, *_data: Any, **_params: Any) -> None:
        self.addminperiod(2 * self.p.lookback + 1)
        self._highs: deque[float] = deque(maxlen=MAX_SWINGS)
        self._lows: deque[float] = deque(maxlen=MAX_SWINGS)

    def next(self) -> None:
        """Confirm the bar `lookback` bars ago, then look for the nearest levels."""
        highs = list(self.data.high.get(size=2 * self.p.lookback + 1))
        lows = list(self.data.low.get(size=2 * self.p.lookback + 1))
        high, low = highs.pop(self.p.lookback), lows.pop(self.p.lookback)
        if high > max(highs):
            self._highs.append(high)
        if low < min(lows):
            self._lows.append(low)
        close = self.data.close[0]
        self.lines.resistance[0] = min((level for level in self._highs if level > close), default=nan)
        self.lines.support[0] = max((level for level in self._lows if level < close), default=nan)
