"""EOMBreakoutEntryMixin."""

from __future__ import annotations

from typing import Any

from botrunner.strategies.base import Signal
from botrunner.strategies.exact import exact
from botrunner.strategies.mixins import EntryMixin, enter
from botrunner.strategies.momentum import Ease, Levels, RsiReturn, Volatility, Volume
from fleet.config.entry_params import EOMBreakoutEntryParams


class EOMBreakoutEntryMixin(EntryMixin[EOMBreakoutEntryParams]):
    """Enter long when close breaks through resistance with ease, volume and, with use_atr_filter, volatility.

    That is: close > resistance × (1 + breakout_threshold), ease of movement above zero and rising, volume above
    its mean, ATR above its own mean, RSI below rsi_overbought.

    Deviations from the original design: resistance is that of the previous bar (there it is this bar's, which
    is above this bar's close by definition, so that it never fires); ease of movement takes only bars with
    high = low as flat (there, also those of coins whose prices are tiny).
    """

    params_model = EOMBreakoutEntryParams

    def __init__(self, strategy: Any, params: EOMBreakoutEntryParams) -> None:
        super().__init__(strategy, params)
        self._threshold = exact(params.breakout_threshold)
        self._levels = Levels(self.data, lookback=params.resistance_lookback)
        self._ease = Ease(self.data, period=params.eom_period)
        self._volume = Volume(self.data, period=params.volume_sma_period)
        self._rsi = RsiReturn(self.data, period=params.rsi_period)
        self._volatility = (
            Volatility(self.data, period=params.atr_period, mean_period=params.atr_sma_period)
            if params.use_atr_filter
            else None
        )

    def signal(self) -> Signal | None:
        """All conditions at this bar."""
        met = (
            self._levels.broken(1, self._threshold)
            and self._ease.grows(1)
            and self._volume.above()
            and (self._volatility is None or self._volatility.above(1.0))
            and self._rsi.below(self.params.rsi_overbought)
        )
        return enter("eom_breakout") if met else None
