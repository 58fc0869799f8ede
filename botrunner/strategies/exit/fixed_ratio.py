"""FixedRatioExitMixin."""

from __future__ import annotations

from typing import Any

from botrunner.strategies.base import OpenPosition, Signal
from botrunner.strategies.exact import exact
from botrunner.strategies.mixins import ExitMixin, leave, sign
from fleet.config.exit_params import FixedRatioExitParams
from fleet.exit_kinds import ExitKind


class FixedRatioExitMixin(ExitMixin[FixedRatioExitParams]):
    """Exit when close is take_profit above or stop_loss below the entry price (for shorts, mirrored).

    Deviation from the original design: the entry price is that of the fill, not of the signal.
    """

    params_model = FixedRatioExitParams

    def __init__(self, strategy: Any, params: FixedRatioExitParams) -> None:
        super().__init__(strategy, params)
        self._take_profit, self._stop_loss = exact(params.take_profit), exact(params.stop_loss)

    def signal(self, position: OpenPosition) -> Signal | None:
        """Whether close has reached either price."""
        entry, side = position.entry_price, sign(position)
        close = side * exact(self.data.close[0])
        if close >= side * entry * (1 + side * self._take_profit):
            return leave("take_profit", position, ExitKind.TARGET)
        if close <= side * entry * (1 - side * self._stop_loss):
            return leave("stop_loss", position, ExitKind.STOP)
        return None
