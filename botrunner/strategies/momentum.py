"""Conditions that the EOM mixins share, each with its indicator and in either direction.

`side` is +1 for upwards and -1 for downwards. An indicator without a value yet (NaN) meets no condition.
"""

from __future__ import annotations

from decimal import Decimal
from math import isnan
from typing import Any

from botrunner.strategies.exact import exact
from botrunner.strategies.indicators import MACD, EaseOfMovement, Mean, MeanVolume, WilderATR, WilderRSI
from botrunner.strategies.levels import SupportResistance


class Ease:
    """Ease of movement against zero."""

    def __init__(self, data: Any, *, period: int) -> None:
        self._eom = EaseOfMovement(data, period=period)

    def points(self, side: int) -> bool:
        """Whether it is on that side of zero."""
        return bool(side * self._eom[0] > 0.0)

    def grows(self, side: int) -> bool:
        """Whether it is on that side of zero and further than at the bar before."""
        return self.points(side) and bool(side * self._eom[0] > side * self._eom[-1])

    def turns(self, side: int) -> bool:
        """Whether it crosses zero to that side at this bar."""
        return self.points(side) and bool(side * self._eom[-1] <= 0.0)


class Levels:
    """Resistance is the level on side +1, support on side -1."""

    def __init__(self, data: Any, *, lookback: int) -> None:
        self._data = data
        self._levels = SupportResistance(data, lookback=lookback)

    def level(self, side: int, ago: int = 0) -> float:
        """The nearest level beyond the close of a bar, NaN if there is none."""
        line = self._levels.resistance if side > 0 else self._levels.support
        return float(line[ago])

    def broken(self, side: int, threshold: Decimal) -> bool:
        """Whether close is beyond the previous bar's level by more than the fraction `threshold` of it.

        A bar's own levels lie beyond its own close by definition: no close breaks them.
        """
        level = self.level(side, -1)
        return not isnan(level) and side * exact(self._data.close[0]) > side * exact(level) * (1 + side * threshold)


class MacdCross:
    """MACD and its signal."""

    def __init__(self, data: Any, *, fast: int, slow: int, signal: int) -> None:
        self._macd = MACD(data, fast=fast, slow=slow, signal=signal)

    def crosses(self, side: int) -> bool:
        """Whether MACD crosses its signal to that side at this bar; its histogram then moves that way too."""
        return bool(side * self._macd.hist[-1] <= 0.0 < side * self._macd.hist[0])


class RsiReturn:
    """RSI on its way back from an extreme."""

    def __init__(self, data: Any, *, period: int) -> None:
        self._rsi = WilderRSI(data, period=period)

    def below(self, level: float) -> bool:
        """Whether RSI < level."""
        return bool(self._rsi[0] < level)

    def returns(self, side: int, level: float) -> bool:
        """Side +1: RSI < level and higher than at the bar before; side -1: RSI > level and lower than before."""
        return bool(side * self._rsi[0] < side * level and side * self._rsi[0] > side * self._rsi[-1])


class Volume:
    """Volume beside its mean, this bar included."""

    def __init__(self, data: Any, *, period: int) -> None:
        self._data = data
        self._mean = MeanVolume(data, period=period)

    def above(self) -> bool:
        """Whether volume > mean."""
        return bool(self._data.volume[0] > self._mean[0])

    def at_least(self, ratio: float) -> bool:
        """Whether volume ≥ mean × ratio."""
        return bool(self._data.volume[0] >= self._mean[0] * ratio)


class Volatility:
    """ATR beside its own mean of `mean_period` bars, this one included."""

    def __init__(self, data: Any, *, period: int, mean_period: int) -> None:
        self._atr = WilderATR(data, period=period)
        self._mean = Mean(self._atr, period=mean_period)

    def above(self, ratio: float) -> bool:
        """Whether ATR > mean × ratio."""
        return bool(self._atr[0] > self._mean[0] * ratio)

    def relative(self) -> float:
        """ATR ÷ mean; 1 where nothing has moved at all."""
        return float(self._atr[0] / self._mean[0]) if self._mean[0] > 0.0 else 1.0
