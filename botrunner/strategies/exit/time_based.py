"""TimeBasedExitMixin."""

from __future__ import annotations

from typing import Any

from botrunner.strategies.base import OpenPosition, Signal
from botrunner.strategies.mixins import ExitMixin, leave
from botrunner.strategies.times import bar_seconds, opened_at
from fleet.config.exit_params import TimeBasedExitParams
from fleet.exit_kinds import ExitKind


class TimeBasedExitMixin(ExitMixin[TimeBasedExitParams]):
    """Exit when the position was held for max_bars closed bars or, with use_time, for max_minutes.

    Minutes count from the fill to the close of the bar, so candles that the exchange left out count as time.
    No deviation from the original design.
    """

    params_model = TimeBasedExitParams

    def __init__(self, strategy: Any, params: TimeBasedExitParams) -> None:
        super().__init__(strategy, params)
        self._bar_s = bar_seconds(self.data)

    def signal(self, position: OpenPosition) -> Signal | None:
        """Whether the time is over."""
        if self.params.use_time:
            closes_at = opened_at(self.data) + self._bar_s
            over = closes_at - position.entry_at.timestamp() >= 60 * self.params.max_minutes
        else:
            over = position.bars_held >= self.params.max_bars
        return leave("time", position, ExitKind.TIME) if over else None
