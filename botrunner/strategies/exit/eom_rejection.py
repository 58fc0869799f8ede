"""EOMRejectionExitMixin."""

from __future__ import annotations

from math import isnan
from typing import Any

from botrunner.strategies.base import OpenPosition, Signal
from botrunner.strategies.exact import exact
from botrunner.strategies.mixins import ExitMixin, leave, sign
from botrunner.strategies.momentum import Ease, Levels, RsiReturn
from fleet.config.exit_params import EOMRejectionExitParams


class EOMRejectionExitMixin(ExitMixin[EOMRejectionExitParams]):
    """Exit when price is turned back at resistance.

    That is: high ≥ resistance × resistance_threshold and close < open, ease of movement crosses below zero, RSI
    is above rsi_overbought and falling. Resistance is the nearest swing high above this bar's close. Short
    positions mirror it: low ≤ support × (2 - resistance_threshold), close > open, ease of movement crosses above
    zero, RSI below 100 - rsi_overbought and rising.

    Deviation from the original design: ease of movement takes only bars with high = low as flat (there, also
    those of coins whose prices are tiny).
    """

    params_model = EOMRejectionExitParams

    def __init__(self, strategy: Any, params: EOMRejectionExitParams) -> None:
        super().__init__(strategy, params)
        self._threshold = exact(params.resistance_threshold)
        self._levels = Levels(self.data, lookback=params.resistance_lookback)
        self._ease = Ease(self.data, period=params.eom_period)
        self._rsi = RsiReturn(self.data, period=params.rsi_period)

    def signal(self, position: OpenPosition) -> Signal | None:
        """All conditions at this bar."""
        side = sign(position)
        level = self.params.rsi_overbought if side > 0 else 100.0 - self.params.rsi_overbought
        met = (
            self._reaches_level(side)
            and side * self.data.close[0] < side * self.data.open[0]
            and self._ease.turns(-side)
            and self._rsi.returns(-side, level)
        )
        return leave("eom_rejection", position) if met else None

    def _reaches_level(self, side: int) -> bool:
        extreme = self.data.high[0] if side > 0 else self.data.low[0]
        level = self._levels.level(side)
        if isnan(level):
            return False
        near = exact(level) * (1 + side * (self._threshold - 1))
        return side * exact(extreme) >= side * near
