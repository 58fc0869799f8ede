"""Conditions that several entry mixins share, each with its indicator."""

from __future__ import annotations

from typing import Any

from botrunner.strategies.indicators import BollingerBands, MeanVolume, SuperTrend, WilderRSI
from fleet.config import entry_params


class Oversold:
    """RSI ≤ level."""

    def __init__(self, data: Any, params: entry_params.Oversold) -> None:
        self._rsi = WilderRSI(data, period=params.rsi_period)
        self._level = params.rsi_oversold

    def met(self) -> bool:
        """Whether it holds at this bar."""
        return bool(self._rsi[0] <= self._level)

    def left(self) -> bool:
        """Whether RSI crosses up through the level at this bar."""
        return bool(self._rsi[-1] <= self._level < self._rsi[0])


class LowerBand:
    """close ≤ lower Bollinger band, or < with use_bb_touch false."""

    def __init__(self, data: Any, params: entry_params.LowerBand) -> None:
        self._data = data
        self._bands = BollingerBands(data, period=params.bb_period, devfactor=params.bb_dev)
        self._touch = params.use_bb_touch

    def met(self) -> bool:
        """Whether it holds at this bar."""
        return self._below(0)

    def above(self) -> bool:
        """Whether close > lower band at this bar."""
        return bool(self._data.close[0] > self._bands.bot[0])

    def left(self) -> bool:
        """Whether close crosses up through the lower band at this bar."""
        return self._below(-1) and self.above()

    def _below(self, ago: int) -> bool:
        close, band = self._data.close[ago], self._bands.bot[ago]
        return bool(close <= band if self._touch else close < band)


class BusyVolume:
    """volume > mean volume × ratio, the mean including this bar."""

    def __init__(self, data: Any, params: entry_params.BusyVolume) -> None:
        self._data = data
        self._mean = MeanVolume(data, period=params.vol_ma_period)
        self._ratio = params.min_volume_ratio

    def met(self) -> bool:
        """Whether it holds at this bar."""
        return bool(self._data.volume[0] > self._mean[0] * self._ratio)


class Uptrend:
    """SuperTrend points up."""

    def __init__(self, data: Any, params: entry_params.Uptrend) -> None:
        self._trend = SuperTrend(data, period=params.st_period, multiplier=params.st_multiplier)

    def met(self) -> bool:
        """Whether it holds at this bar."""
        return bool(self._trend.direction[0] > 0)
