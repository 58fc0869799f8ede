"""A Backtrader data feed that hands over closed candles one by one and blocks while there is none."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC
from enum import Enum

import backtrader as bt

from botrunner.market.candle import Candle

QCHECK_S = 0.5
"""Longest block in one load; Backtrader's loop turns at least this often, so a stop is seen within it."""


class Feed(Enum):
    """Instead of a candle."""

    NOTHING = "nothing"
    """None yet: ask again."""
    END = "end"
    """This engine's run is over."""


NextCandle = Callable[[float], Candle | Feed]


class ClosedCandles(bt.feed.DataBase):
    """Live feed: no preloading, bar after bar.

    Params:
        next_candle: called with the seconds it may block.
    """

    params = (("next_candle", None), ("qcheck", QCHECK_S))

    def islive(self) -> bool:
        """Switches Backtrader's preload and runonce off."""
        return True

    def _load(self) -> bool | None:
        candle: Candle | Feed = self.p.next_candle(max(self._qcheck, 0.0))
        if candle is Feed.END:
            return False
        if candle is Feed.NOTHING:
            return None
        assert isinstance(candle, Candle)
        self.lines.datetime[0] = bt.date2num(candle.open_at.astimezone(UTC).replace(tzinfo=None))
        self.lines.open[0] = float(candle.open)
        self.lines.high[0] = float(candle.high)
        self.lines.low[0] = float(candle.low)
        self.lines.close[0] = float(candle.close)
        self.lines.volume[0] = float(candle.volume)
        self.lines.openinterest[0] = 0.0
        return True
