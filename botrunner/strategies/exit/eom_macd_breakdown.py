"""EOMMAcdBreakdownExitMixin."""

from __future__ import annotations

from typing import Any

from botrunner.strategies.base import OpenPosition, Signal
from botrunner.strategies.exact import exact
from botrunner.strategies.mixins import ExitMixin, leave, sign
from botrunner.strategies.momentum import Ease, Levels, MacdCross, Volume
from fleet.config.exit_params import EOMMAcdBreakdownExitParams


class EOMMAcdBreakdownExitMixin(ExitMixin[EOMMAcdBreakdownExitParams]):
    """Exit when MACD turns down while close falls through support.

    That is: MACD crosses below its signal (so its histogram falls), close < support × (1 - support_threshold),
    ease of movement below zero, volume above its mean. Short positions mirror it.

    Deviations from the original design: support is that of the previous bar (there it is this bar's, which is
    below this bar's close by definition, so that it never fires); ease of movement takes only bars with
    high = low as flat (there, also those of coins whose prices are tiny).
    """

    params_model = EOMMAcdBreakdownExitParams

    def __init__(self, strategy: Any, params: EOMMAcdBreakdownExitParams) -> None:
        super().__init__(strategy, params)
        self._threshold = exact(params.support_threshold)
        self._levels = Levels(self.data, lookback=params.resistance_lookback)
        self._macd = MacdCross(
            self.data,
            fast=params.macd_fast_period,
            slow=params.macd_slow_period,
            signal=params.macd_signal_period,
        )
        self._ease = Ease(self.data, period=params.eom_period)
        self._volume = Volume(self.data, period=params.vol_ma_period)

    def signal(self, position: OpenPosition) -> Signal | None:
        """All conditions at this bar."""
        against = -sign(position)
        met = (
            self._macd.crosses(against)
            and self._levels.broken(against, self._threshold)
            and self._ease.points(against)
            and self._volume.above()
        )
        return leave("eom_macd_breakdown", position) if met else None
