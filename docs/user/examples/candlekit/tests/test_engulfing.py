"""How to test a mixin: Backtrader over a handful of candles, no database, no exchange."""

from __future__ import annotations

from datetime import datetime, timedelta

import backtrader as bt
from candlekit.engulfing import EngulfingEntryMixin, EngulfingParams

FALL_THEN_ENGULFED = [(10.0, 9.0), (8.9, 10.5)]
RISE_THEN_ENGULFED = [(9.0, 10.0), (10.1, 8.5)]


class Candles(bt.feed.DataBase):
    """Opens and closes, one minute apart."""

    params = (("bars", ()),)

    def start(self) -> None:
        super().start()
        self._left = iter(enumerate(self.p.bars))

    def _load(self) -> bool:
        number, bar = next(self._left, (0, None))
        if bar is None:
            return False
        self.lines.datetime[0] = bt.date2num(datetime(2024, 1, 1) + timedelta(minutes=number))
        self.lines.open[0], self.lines.close[0] = bar
        self.lines.high[0], self.lines.low[0] = max(bar), min(bar)
        self.lines.volume[0] = 1.0
        return True


def signals(bars: list[tuple[float, float]], params: EngulfingParams) -> list[str]:
    """The reasons of all signals over the candles."""

    class Asks(bt.Strategy):
        def __init__(self) -> None:
            self.mixin = EngulfingEntryMixin(self, params)
            self.reasons: list[str] = []

        def next(self) -> None:
            signal = self.mixin.signal()
            if signal:
                self.reasons.append(signal.reason)

    cerebro = bt.Cerebro(stdstats=False, exactbars=1)
    cerebro.adddata(Candles(bars=bars))
    cerebro.addstrategy(Asks)
    (strategy,) = cerebro.run()
    return list(strategy.reasons)


def test_a_bullish_pattern_is_bought() -> None:
    assert signals(FALL_THEN_ENGULFED, EngulfingParams()) == ["bullish_engulfing"]


def test_a_bearish_pattern_is_sold_short_when_asked_to() -> None:
    assert signals(RISE_THEN_ENGULFED, EngulfingParams()) == []
    assert signals(RISE_THEN_ENGULFED, EngulfingParams(short=True)) == ["bearish_engulfing"]


def test_a_small_body_is_ignored() -> None:
    assert signals(FALL_THEN_ENGULFED, EngulfingParams(min_body=0.5)) == []
