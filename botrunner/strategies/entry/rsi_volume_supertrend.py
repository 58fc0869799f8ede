"""RSIVolumeSupertrendEntryMixin."""

from __future__ import annotations

from typing import Any

from botrunner.strategies.base import Signal
from botrunner.strategies.entry.conditions import BusyVolume, Oversold, Uptrend
from botrunner.strategies.mixins import EntryMixin, enter
from fleet.config.entry_params import RSIVolumeSupertrendEntryParams


class RSIVolumeSupertrendEntryMixin(EntryMixin[RSIVolumeSupertrendEntryParams]):
    """Enter long when RSI is oversold, volume is above its mean and SuperTrend points up.

    No deviation from the original design.
    """

    params_model = RSIVolumeSupertrendEntryParams

    def __init__(self, strategy: Any, params: RSIVolumeSupertrendEntryParams) -> None:
        super().__init__(strategy, params)
        self._conditions = (Oversold(self.data, params), BusyVolume(self.data, params), Uptrend(self.data, params))

    def signal(self) -> Signal | None:
        """All three conditions at this bar."""
        return enter("rsi_volume_supertrend") if all(condition.met() for condition in self._conditions) else None
