"""EOMMAcdBreakoutEntryMixin."""

from __future__ import annotations

from math import isnan
from typing import Any

from botrunner.strategies.base import Signal
from botrunner.strategies.exact import exact
from botrunner.strategies.mixins import EntryMixin, enter
from botrunner.strategies.momentum import Ease, Levels, MacdCross, Volume
from fleet.config.entry_params import EOMMAcdBreakoutEntryParams


class EOMMAcdBreakoutEntryMixin(EntryMixin[EOMMAcdBreakoutEntryParams]):
    """Enter long when MACD turns up while close is near resistance.

    That is: MACD crosses above its signal (so its histogram rises), close is between resistance ×
    resistance_range_low and × resistance_range_high, ease of movement is above zero, and volume is at least
    volume_threshold × its mean.

    Deviations from the original design: resistance is that of the previous bar (there it is this bar's, above
    this bar's close by definition, so that the range ends at 1); MACD has to cross (there, to be above); ease of
    movement takes only bars with high = low as flat (there, also those of coins whose prices are tiny).
    """

    params_model = EOMMAcdBreakoutEntryParams

    def __init__(self, strategy: Any, params: EOMMAcdBreakoutEntryParams) -> None:
        super().__init__(strategy, params)
        self._range = exact(params.resistance_range_low), exact(params.resistance_range_high)
        self._levels = Levels(self.data, lookback=params.resistance_lookback)
        self._macd = MacdCross(self.data, fast=params.macd_fast, slow=params.macd_slow, signal=params.macd_signal)
        self._ease = Ease(self.data, period=params.eom_period)
        self._volume = Volume(self.data, period=params.vol_sma_period)

    def signal(self) -> Signal | None:
        """All conditions at this bar."""
        met = (
            self._macd.crosses(1)
            and self._is_near_resistance()
            and self._ease.points(1)
            and self._volume.at_least(self.params.volume_threshold)
        )
        return enter("eom_macd_breakout") if met else None

    def _is_near_resistance(self) -> bool:
        level, (low, high) = self._levels.level(1, -1), self._range
        if isnan(level):
            return False
        resistance = exact(level)
        return resistance * low <= exact(self.data.close[0]) <= resistance * high
