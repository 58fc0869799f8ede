"""EOMBreakdownExitMixin."""

from __future__ import annotations

from typing import Any

from botrunner.strategies.base import OpenPosition, Signal
from botrunner.strategies.exact import exact
from botrunner.strategies.indicators import WilderATR
from botrunner.strategies.mixins import ExitMixin, leave, sign
from botrunner.strategies.momentum import Ease, Levels, Volume
from fleet.config.exit_params import EOMBreakdownExitParams


class EOMBreakdownExitMixin(ExitMixin[EOMBreakdownExitParams]):
    """Exit when close falls through support with ease, volume and rising volatility.

    That is: close < support × (1 - breakdown_threshold), ease of movement below zero and falling, volume above
    its mean, ATR above that of the bar before. Short positions mirror it (through resistance, ease of movement
    above zero and rising).

    Deviations from the original design: support is that of the previous bar (there it is this bar's, which is
    below this bar's close by definition, so that it never fires); ease of movement takes only bars with
    high = low as flat (there, also those of coins whose prices are tiny).
    """

    params_model = EOMBreakdownExitParams

    def __init__(self, strategy: Any, params: EOMBreakdownExitParams) -> None:
        super().__init__(strategy, params)
        self._threshold = exact(params.breakdown_threshold)
        self._levels = Levels(self.data, lookback=params.resistance_lookback)
        self._ease = Ease(self.data, period=params.eom_period)
        self._volume = Volume(self.data, period=params.vol_ma_period)
        self._atr = WilderATR(self.data, period=params.atr_period)

    def signal(self, position: OpenPosition) -> Signal | None:
        """All conditions at this bar."""
        against = -sign(position)
        met = (
            self._levels.broken(against, self._threshold)
            and self._ease.grows(against)
            and self._volume.above()
            and self._atr[0] > self._atr[-1]
        )
        return leave("eom_breakdown", position) if met else None
