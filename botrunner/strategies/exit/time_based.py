"""TimeBasedExitMixin."""

from __future__ import annotations

from typing import Any

import backtrader as bt

from botrunner.strategies.base import OpenPosition, Signal
from botrunner.strategies.mixins import ExitMixin, leave
from fleet.config.exit_params import TimeBasedExitParams

_UNIT_S = {bt.TimeFrame.Seconds: 1, bt.TimeFrame.Minutes: 60, bt.TimeFrame.Days: 86_400, bt.TimeFrame.Weeks: 604_800}
_UNIX_EPOCH_DAY = 719_163
"""1 January 1970 in Backtrader's day numbers (proleptic Gregorian ordinal)."""


class TimeBasedExitMixin(ExitMixin[TimeBasedExitParams]):
    """Exit when the position was held for max_bars closed bars or, with use_time, for max_minutes.

    Minutes count from the fill to the close of the bar, so candles that the exchange left out count as time.
    No deviation from the original design.
    """

    params_model = TimeBasedExitParams

    def __init__(self, strategy: Any, params: TimeBasedExitParams) -> None:
        super().__init__(strategy, params)
        self._bar_s = int(_UNIT_S[self.data._timeframe] * self.data._compression)

    def signal(self, position: OpenPosition) -> Signal | None:
        """Whether the time is over."""
        if self.params.use_time:
            over = self._closes_at() - position.entry_at.timestamp() >= 60 * self.params.max_minutes
        else:
            over = position.bars_held >= self.params.max_bars
        return leave("time", position) if over else None

    def _closes_at(self) -> int:
        """Unix time of this bar's close; a bar's date is its open, in days with a fraction."""
        days = float(self.data.datetime[0]) - _UNIX_EPOCH_DAY
        return round(days * 86_400) + self._bar_s
