"""RSIOrBBEntryMixin."""

from __future__ import annotations

from typing import Any

from botrunner.strategies.base import Signal
from botrunner.strategies.entry.conditions import LowerBand, Oversold
from botrunner.strategies.entry.cooldown import PausingEntryMixin
from botrunner.strategies.mixins import enter
from fleet.config.entry_params import RSIOrBBEntryParams


class RSIOrBBEntryMixin(PausingEntryMixin[RSIOrBBEntryParams]):
    """Enter long when RSI is oversold or close is at the lower Bollinger band.

    Deviations from the original design: `bb_reentry` means that close crosses up through the band (there,
    close > lower band, which together with "or" holds on nearly every bar); `cooldown_bars` counts from the
    exit and survives restarts.
    """

    params_model = RSIOrBBEntryParams

    def __init__(self, strategy: Any, params: RSIOrBBEntryParams) -> None:
        super().__init__(strategy, params, cooldown_bars=params.cooldown_bars)
        oversold = Oversold(self.data, params)
        band = LowerBand(self.data, params)
        self._rsi = oversold.left if params.rsi_cross else oversold.met
        self._band = band.left if params.bb_reentry else band.met

    def signal_after_pause(self) -> Signal | None:
        """Either condition at this bar."""
        return enter("rsi_or_bb") if self._rsi() or self._band() else None
