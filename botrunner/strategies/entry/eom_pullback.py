"""EOMPullbackEntryMixin."""

from __future__ import annotations

from math import isnan
from typing import Any

from botrunner.strategies.base import Signal
from botrunner.strategies.exact import exact
from botrunner.strategies.mixins import EntryMixin, enter
from botrunner.strategies.momentum import Ease, Levels, RsiReturn, Volatility
from fleet.config.entry_params import EOMPullbackEntryParams


class EOMPullbackEntryMixin(EntryMixin[EOMPullbackEntryParams]):
    """Enter long when price comes back from support.

    That is: low ≤ support × (1 + support_threshold) and close > open, ease of movement crosses above zero, RSI is
    below rsi_oversold and rising, ATR > its own mean × atr_floor_multiplier. Support is the nearest swing low
    below this bar's close.

    Deviation from the original design: ease of movement takes only bars with high = low as flat (there, also
    those of coins whose prices are tiny).
    """

    params_model = EOMPullbackEntryParams

    def __init__(self, strategy: Any, params: EOMPullbackEntryParams) -> None:
        super().__init__(strategy, params)
        self._threshold = exact(params.support_threshold)
        self._levels = Levels(self.data, lookback=params.resistance_lookback)
        self._ease = Ease(self.data, period=params.eom_period)
        self._rsi = RsiReturn(self.data, period=params.rsi_period)
        self._volatility = Volatility(self.data, period=params.atr_period, mean_period=params.atr_sma_period)

    def signal(self) -> Signal | None:
        """All conditions at this bar."""
        met = (
            self._is_at_support()
            and self.data.close[0] > self.data.open[0]
            and self._ease.turns(1)
            and self._rsi.returns(1, self.params.rsi_oversold)
            and self._volatility.above(self.params.atr_floor_multiplier)
        )
        return enter("eom_pullback") if met else None

    def _is_at_support(self) -> bool:
        support = self._levels.level(-1)
        return not isnan(support) and exact(self.data.low[0]) <= exact(support) * (1 + self._threshold)
