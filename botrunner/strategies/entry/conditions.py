"""Conditions that several entry mixins share, each with its indicator."""

from __future__ import annotations

from typing import Any

from botrunner.strategies.indicators import BollingerBands, MeanVolume, WilderRSI
from fleet.config.mixins import RSIBand


class Oversold:
    """RSI ≤ level."""

    def __init__(self, data: Any, *, period: int, level: float) -> None:
        self._rsi = WilderRSI(data, period=period)
        self._level = level

    def met(self) -> bool:
        """Whether it holds at this bar."""
        return bool(self._rsi[0] <= self._level)

    def left(self) -> bool:
        """Whether RSI crosses up through the level at this bar."""
        return bool(self._rsi[-1] <= self._level < self._rsi[0])


class LowerBand:
    """close ≤ lower Bollinger band, or < with `touch` false."""

    def __init__(self, data: Any, *, period: int, dev: float, touch: bool) -> None:
        self._data = data
        self._bands = BollingerBands(data, period=period, devfactor=dev)
        self._touch = touch

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

    def __init__(self, data: Any, *, period: int, ratio: float) -> None:
        self._data = data
        self._mean = MeanVolume(data, period=period)
        self._ratio = ratio

    def met(self) -> bool:
        """Whether it holds at this bar."""
        return bool(self._data.volume[0] > self._mean[0] * self._ratio)


def oversold(data: Any, params: RSIBand) -> Oversold:
    """The RSI condition of `params`."""
    return Oversold(data, period=params.rsi_period, level=params.rsi_oversold)


def lower_band(data: Any, params: RSIBand) -> LowerBand:
    """The band condition of `params`."""
    return LowerBand(data, period=params.bb_period, dev=params.bb_dev, touch=params.use_bb_touch)
