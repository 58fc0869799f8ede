"""TrailingStopExitMixin."""

from __future__ import annotations

from typing import Any

from botrunner.strategies.base import OpenPosition, Signal
from botrunner.strategies.indicators import WilderATR
from botrunner.strategies.mixins import TrackingExitMixin, leave, sign
from fleet.config.exit_params import TrailingStopExitParams
from fleet.exit_kinds import ExitKind


class TrailingStopExitMixin(TrackingExitMixin[TrailingStopExitParams]):
    """Exit when close is more than a distance below the highest close since the entry (for shorts, mirrored).

    The distance is trail_pct of the highest close or, with use_atr, atr_multiplier × the current ATR. The stop
    is active once a close has reached the entry price plus activation_pct of it, then until the exit.

    Deviations from the original design: the highest close belongs to one trade and starts at its entry price
    (there it never resets between trades); it survives restarts.
    """

    params_model = TrailingStopExitParams

    def __init__(self, strategy: Any, params: TrailingStopExitParams) -> None:
        super().__init__(strategy, params)
        self._atr = WilderATR(self.data, period=params.atr_period) if params.use_atr else None

    def signal(self, position: OpenPosition) -> Signal | None:
        """Whether close is beyond the active stop."""
        close, side = float(self.data.close[0]), sign(position)
        best = self.followed(position, close)
        activation = float(position.entry_price) * (1 + side * self.params.activation_pct)
        if side * best < side * activation:
            return None
        stop = best - side * self._distance(best)
        return leave("trailing_stop", position, ExitKind.STOP) if side * close < side * stop else None

    def _distance(self, best: float) -> float:
        if self._atr is None:
            return best * self.params.trail_pct
        return float(self.params.atr_multiplier * self._atr[0])
