"""RSIBBVolumeEntryMixin."""

from __future__ import annotations

from typing import Any

from botrunner.strategies.base import Signal
from botrunner.strategies.entry.conditions import BusyVolume, LowerBand, Oversold
from botrunner.strategies.mixins import EntryMixin, enter
from fleet.config.entry_params import RSIBBVolumeEntryParams


class RSIBBVolumeEntryMixin(EntryMixin[RSIBBVolumeEntryParams]):
    """Enter long when RSI is oversold, close is at the lower Bollinger band and volume is above its mean.

    No deviation from the original design.
    """

    params_model = RSIBBVolumeEntryParams

    def __init__(self, strategy: Any, params: RSIBBVolumeEntryParams) -> None:
        super().__init__(strategy, params)
        self._oversold = Oversold(self.data, params)
        self._band = LowerBand(self.data, params)
        self._volume = BusyVolume(self.data, params)

    def signal(self) -> Signal | None:
        """All three conditions at this bar."""
        met = self._oversold.met() and self._band.met() and self._volume.met()
        return enter("rsi_bb_volume") if met else None
