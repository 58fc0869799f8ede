"""RSIBBExitMixin and RSIOrBBExitMixin."""

from __future__ import annotations

from typing import Any

from botrunner.strategies.base import OpenPosition, Signal
from botrunner.strategies.indicators import BollingerBands, WilderRSI
from botrunner.strategies.mixins import ExitMixin, leave, sign
from fleet.config.exit_params import Overbought, RSIBBExitParams, RSIOrBBExitParams


class _FallingBack:
    """RSI and close coming back from an extreme: from above for long positions, from below for short ones."""

    def __init__(self, data: Any, params: Overbought) -> None:
        self._data = data
        self._rsi = WilderRSI(data, period=params.rsi_period)
        self._bands = BollingerBands(data, period=params.bb_period, devfactor=params.bb_dev)
        self._overbought = params.rsi_overbought

    def rsi(self, position: OpenPosition) -> bool:
        """Whether RSI crosses back at this bar: under the level, or for shorts above 100 minus the level."""
        side = sign(position)
        level = self._overbought if side > 0 else 100.0 - self._overbought
        return bool(side * self._rsi[-1] >= side * level > side * self._rsi[0])

    def band(self, position: OpenPosition) -> bool:
        """Whether close crosses back at this bar: under the upper band, or for shorts above the lower one."""
        side = sign(position)
        band = self._bands.top if side > 0 else self._bands.bot
        was_out = side * self._data.close[-1] >= side * band[-1]
        return bool(was_out and side * self._data.close[0] < side * band[0])


class RSIBBExitMixin(ExitMixin[RSIBBExitParams]):
    """Exit when RSI falls back under rsi_overbought and close under the upper band, on the same bar.

    No deviation from the original design.
    """

    params_model = RSIBBExitParams

    def __init__(self, strategy: Any, params: RSIBBExitParams) -> None:
        super().__init__(strategy, params)
        self._back = _FallingBack(self.data, params)

    def signal(self, position: OpenPosition) -> Signal | None:
        """Both conditions at this bar."""
        return leave("rsi_bb", position) if self._back.rsi(position) and self._back.band(position) else None


class RSIOrBBExitMixin(ExitMixin[RSIOrBBExitParams]):
    """Exit when RSI falls back under rsi_overbought or close under the upper band.

    No deviation from the original design.
    """

    params_model = RSIOrBBExitParams

    def __init__(self, strategy: Any, params: RSIOrBBExitParams) -> None:
        super().__init__(strategy, params)
        self._back = _FallingBack(self.data, params)

    def signal(self, position: OpenPosition) -> Signal | None:
        """Either condition at this bar."""
        return leave("rsi_or_bb", position) if self._back.rsi(position) or self._back.band(position) else None
