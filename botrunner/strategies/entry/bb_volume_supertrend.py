"""BBVolumeSuperTrendEntryMixin."""

from __future__ import annotations

from typing import Any

from botrunner.strategies.base import Signal
from botrunner.strategies.entry.conditions import BusyVolume, LowerBand, Uptrend
from botrunner.strategies.mixins import EntryMixin, enter
from fleet.config.entry_params import BBVolumeSuperTrendEntryParams


class BBVolumeSuperTrendEntryMixin(EntryMixin[BBVolumeSuperTrendEntryParams]):
    """Enter long when close is at the lower Bollinger band, volume is above its mean and SuperTrend
    points up.

    No deviation from the original design.
    """

    params_model = BBVolumeSuperTrendEntryParams

    def __init__(self, strategy: Any, params: BBVolumeSuperTrendEntryParams) -> None:
        super().__init__(strategy, params)
        self._conditions = (LowerBand(self.data, params), BusyVolume(self.data, params), Uptrend(self.data, params))

    def signal(self) -> Signal | None:
        """All three conditions at this bar."""
        return enter("bb_volume_supertrend") if all(condition.met() for condition in self._conditions) else None
