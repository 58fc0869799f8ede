"""RSIOrBBEntryMixin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import JsonValue

from botrunner.strategies.base import Signal, State
from botrunner.strategies.entry.conditions import lower_band, oversold
from botrunner.strategies.entry.cooldown import Cooldown
from botrunner.strategies.mixins import EntryMixin, enter
from fleet.config.mixins import RSIOrBBEntryParams


class RSIOrBBEntryMixin(EntryMixin[RSIOrBBEntryParams]):
    """Enter long when RSI is oversold or close is at the lower Bollinger band.

    Deviations from the original design: `bb_reentry` means that close crosses up through the band (there,
    close > lower band, which together with "or" holds on nearly every bar); `cooldown_bars` counts from the
    exit and survives restarts.
    """

    params_model = RSIOrBBEntryParams

    def __init__(self, strategy: Any, params: RSIOrBBEntryParams) -> None:
        super().__init__(strategy, params)
        oversold_ = oversold(self.data, params)
        band = lower_band(self.data, params)
        self._rsi = oversold_.left if params.rsi_cross else oversold_.met
        self._band = band.left if params.bb_reentry else band.met
        self._cooldown = Cooldown(params.cooldown_bars)

    def signal(self) -> Signal | None:
        """Either condition at this bar, unless within the cooldown."""
        if not self._cooldown.passed():
            return None
        return enter("rsi_or_bb") if self._rsi() or self._band() else None

    def on_exited(self) -> None:
        """The cooldown begins."""
        self._cooldown.start()

    def export_state(self) -> State:
        """The cooldown."""
        return self._cooldown.export_state()

    def import_state(self, state: Mapping[str, JsonValue]) -> None:
        """The cooldown."""
        self._cooldown.import_state(state)
