"""ChannelBreakout: a whole strategy, long and short."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import backtrader as bt
from pydantic import Field, JsonValue

from botrunner.strategies.base import BaseStrategy, Direction, OpenPosition, Signal, SignalKind, State
from botrunner.strategies.times import bar_seconds, closes_at
from botrunner.trading.pauses import pausing
from fleet.config.params import MixinParams, Period


class ChannelBreakoutParams(MixinParams):
    """Parameters of ChannelBreakout."""

    entry_period: Period = Field(20, description="Candles of the channel whose break opens a position.")
    exit_period: Period = Field(10, description="Candles of the channel whose break closes it.")
    pause_after_loss: int = Field(0, ge=0, le=1000, description="Pause after a loss, in candles.")

    @property
    def bars_needed(self) -> int:
        """Channels end at the candle before: a candle can't break what it is part of."""
        return max(self.entry_period, self.exit_period) + 1


class ChannelBreakout(BaseStrategy):
    """Buy when close is above the highest high of the last `entry_period` candles, sell short below the lowest low.

    Close the position when close breaks the channel of `exit_period` candles the other way. Short positions are opened
    only with trading.allow_short.
    """

    params_model = ChannelBreakoutParams

    def __init__(self) -> None:
        parameters: ChannelBreakoutParams = self.p.parameters
        self._pause = parameters.pause_after_loss
        self._wide = _Channel(self.data, period=parameters.entry_period)
        self._narrow = _Channel(self.data, period=parameters.exit_period)
        self._interval = timedelta(seconds=bar_seconds(self.data))
        self._entry_price: float | None = None
        self._lost = False

    def decide(self, position: OpenPosition | None) -> Signal | None:
        """Break out, or out of the position."""
        close = self.data.close[0]
        if position is None:
            now, interval = closes_at(self.data), self._interval
            if self._lost and pausing(self.last_exit_at, now=now, bars=self._pause, interval=interval):
                return None
            if close > self._wide.high[0]:
                return Signal(SignalKind.ENTER, "breakout")
            if close < self._wide.low[0]:
                return Signal(SignalKind.ENTER, "breakdown", Direction.SHORT)
            return None
        long = position.direction is Direction.LONG
        broken = close < self._narrow.low[0] if long else close > self._narrow.high[0]
        return Signal(SignalKind.EXIT, "channel_exit", position.direction) if broken else None

    def on_entered(self, position: OpenPosition) -> None:
        """Remember at which price, with the sign of the direction."""
        side = 1 if position.direction is Direction.LONG else -1
        self._entry_price = side * float(position.entry_price)

    def on_exited(self) -> None:
        """A loss starts the pause, whoever closed the position: this strategy or a limit outside it."""
        entry, self._entry_price = self._entry_price, None
        if entry is not None:
            side = 1 if entry > 0 else -1
            self._lost = side * self.data.close[0] < entry

    def export_state(self) -> State:
        """Everything that decisions depend on besides indicator lines."""
        return {"entry_price": self._entry_price, "lost": self._lost}

    def import_state(self, state: Mapping[str, JsonValue]) -> None:
        """Go on from it; empty when the bot is new."""
        price = state.get("entry_price")
        self._entry_price = price if isinstance(price, float) else None
        self._lost = state.get("lost") is True


class _Channel(bt.Indicator):
    """Highest high and lowest low of the `period` candles before this one."""

    lines: Any = ("high", "low")
    params: Any = (("period", 20),)

    def __init__(self) -> None:
        self.addminperiod(self.p.period + 1)

    def next(self) -> None:
        """Both ends of the window."""
        self.lines.high[0] = max(self.data.high.get(ago=-1, size=self.p.period))
        self.lines.low[0] = min(self.data.low.get(ago=-1, size=self.p.period))
