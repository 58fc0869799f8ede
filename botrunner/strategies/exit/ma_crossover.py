"""MACrossoverExitMixin."""

from __future__ import annotations

from typing import Any

import backtrader as bt

from botrunner.strategies.base import OpenPosition, Signal
from botrunner.strategies.mixins import ExitMixin, leave, sign
from fleet.config.exit_params import MACrossoverExitParams

_AVERAGES: dict[str, Any] = {"SMA": bt.ind.SMA, "EMA": bt.ind.EMA}


class MACrossoverExitMixin(ExitMixin[MACrossoverExitParams]):
    """Exit when the fast moving average crosses below the slow one (for shorts, above).

    No deviation from the original design.
    """

    params_model = MACrossoverExitParams

    def __init__(self, strategy: Any, params: MACrossoverExitParams) -> None:
        super().__init__(strategy, params)
        average = _AVERAGES[params.ma_type]
        self._fast = average(self.data.close, period=params.fast_period)
        self._slow = average(self.data.close, period=params.slow_period)

    def signal(self, position: OpenPosition) -> Signal | None:
        """Whether the averages cross at this bar."""
        side = sign(position)
        was_ahead = side * self._fast[-1] >= side * self._slow[-1]
        crossed = was_ahead and side * self._fast[0] < side * self._slow[0]
        return leave("ma_crossover", position) if crossed else None
