"""RSIBBEntryMixin."""

from __future__ import annotations

from typing import Any

from botrunner.strategies.base import Signal
from botrunner.strategies.entry.conditions import LowerBand, Oversold
from botrunner.strategies.entry.cooldown import PausingEntryMixin
from botrunner.strategies.mixins import enter
from fleet.config.entry_params import RSIBBEntryParams


class RSIBBEntryMixin(PausingEntryMixin[RSIBBEntryParams]):
    """Enter long when RSI is oversold and close is at the lower Bollinger band.

    Deviation from the original design: `cooldown_bars` counts from the exit and survives restarts.
    """

    params_model = RSIBBEntryParams

    def __init__(self, strategy: Any, params: RSIBBEntryParams) -> None:
        super().__init__(strategy, params, cooldown_bars=params.cooldown_bars)
        oversold = Oversold(self.data, params)
        band = LowerBand(self.data, params)
        self._rsi = oversold.left if params.rsi_cross else oversold.met
        self._band = band.above if params.bb_reentry else band.met

    def signal_after_pause(self) -> Signal | None:
        """Both conditions at this bar."""
        return enter("rsi_bb") if self._rsi() and self._band() else None
