"""ATRExitMixin."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

from pydantic import JsonValue

from botrunner.strategies.base import Direction, OpenPosition, Signal, State
from botrunner.strategies.indicators import WilderATR
from botrunner.strategies.mixins import TrackingExitMixin, leave, optional_float, sign
from fleet.config.exit_params import ATRExitParams
from fleet.exit_kinds import ExitKind


class ATRExitMixin(TrackingExitMixin[ATRExitParams]):
    """Exit when close falls to the highest high since the entry minus sl_multiplier × ATR as of the entry.

    The stop only ever moves in the position's favour: the ATR is frozen when the entry is filled and the best
    price never falls. Short positions mirror it (lowest low, plus).

    Deviations from the original design: the highest high starts at the entry price, not at the high of the
    signal's bar, which came before the entry; the ATR is taken when the entry is filled, not when it is
    ordered; both survive restarts.
    """

    params_model = ATRExitParams

    def __init__(self, strategy: Any, params: ATRExitParams) -> None:
        super().__init__(strategy, params)
        self._indicator = WilderATR(self.data, period=params.atr_period)
        self._frozen: float | None = None

    def on_entered(self, position: OpenPosition) -> None:
        """Freeze the ATR of this bar; while there are too few bars, that of the first bar with one."""
        super().on_entered(position)
        atr = float(self._indicator[0])
        self._frozen = atr if isfinite(atr) else None

    def on_exited(self) -> None:
        """Forget this trade's ATR."""
        super().on_exited()
        self._frozen = None

    def signal(self, position: OpenPosition) -> Signal | None:
        """Whether close has reached the stop."""
        extreme = self.data.high[0] if position.direction is Direction.LONG else self.data.low[0]
        best = self.followed(position, extreme)
        if self._frozen is None:
            self._frozen = float(self._indicator[0])
        side = sign(position)
        stop = best - side * self.params.sl_multiplier * self._frozen
        return leave("atr_stop", position, ExitKind.STOP) if side * self.data.close[0] <= side * stop else None

    def export_state(self) -> State:
        """Best price and frozen ATR."""
        return {**super().export_state(), "atr": self._frozen}

    def import_state(self, state: Mapping[str, JsonValue]) -> None:
        """Best price and frozen ATR."""
        super().import_state(state)
        self._frozen = optional_float(state, "atr")
