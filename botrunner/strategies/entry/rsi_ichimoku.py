"""RSIIchimokuEntryMixin."""

from __future__ import annotations

from typing import Any

from botrunner.strategies.base import Signal
from botrunner.strategies.entry.conditions import Oversold
from botrunner.strategies.indicators import IchimokuCloud
from botrunner.strategies.mixins import EntryMixin, enter
from fleet.config.entry_params import RSIIchimokuEntryParams


class RSIIchimokuEntryMixin(EntryMixin[RSIIchimokuEntryParams]):
    """Enter long when close is above the cloud, RSI is oversold and close crosses above the conversion line.

    Deviation from the original design: the cloud is displaced once, so this bar is compared with the cloud
    drawn kijun_period bars ago (there it is displaced twice).
    """

    params_model = RSIIchimokuEntryParams

    def __init__(self, strategy: Any, params: RSIIchimokuEntryParams) -> None:
        super().__init__(strategy, params)
        self._oversold = Oversold(self.data, params)
        self._cloud = IchimokuCloud(
            self.data, tenkan=params.tenkan_period, kijun=params.kijun_period, senkou=params.senkou_period
        )

    def signal(self) -> Signal | None:
        """All three conditions at this bar."""
        above = self.data.close[0] > self._cloud.top[0]
        return enter("rsi_ichimoku") if above and self._oversold.met() and self._crosses_tenkan() else None

    def _crosses_tenkan(self) -> bool:
        close, tenkan = self.data.close, self._cloud.tenkan
        return bool(close[-1] <= tenkan[-1] and close[0] > tenkan[0])
