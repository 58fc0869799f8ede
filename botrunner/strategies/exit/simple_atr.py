"""SimpleATRExitMixin."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

from pydantic import JsonValue

from botrunner.strategies.base import OpenPosition, Signal, State
from botrunner.strategies.indicators import WilderATR
from botrunner.strategies.mixins import ExitMixin, leave, optional_float, sign
from fleet.config.exit_params import SimpleATRExitParams
from fleet.exit_kinds import ExitKind


class SimpleATRExitMixin(ExitMixin[SimpleATRExitParams]):
    """Exit when close reaches a stop that trails close by atr_multiplier × the current ATR.

    The stop only ever moves in the position's favour. It starts at the entry price minus the distance and,
    with use_breakeven, is moved to the entry price once close has gained breakeven_atr × ATR. A bar is judged
    against the stop of the bars before it. Short positions mirror it.

    Deviation from the original design: the stop starts when the entry is filled and survives restarts.
    """

    params_model = SimpleATRExitParams

    def __init__(self, strategy: Any, params: SimpleATRExitParams) -> None:
        super().__init__(strategy, params)
        self._atr = WilderATR(self.data, period=params.atr_period)
        self._stop: float | None = None

    def on_entered(self, position: OpenPosition) -> None:
        """The first stop; while there are too few bars for an ATR, the first bar with one sets it."""
        distance = self.params.atr_multiplier * float(self._atr[0])
        first = float(position.entry_price) - sign(position) * distance
        self._stop = first if isfinite(first) else None

    def on_exited(self) -> None:
        """Forget this trade's stop."""
        self._stop = None

    def signal(self, position: OpenPosition) -> Signal | None:
        """Whether close has reached the stop; if not, move the stop."""
        if self._stop is None:
            self.on_entered(position)
        assert self._stop is not None
        side, close, atr = sign(position), float(self.data.close[0]), float(self._atr[0])
        if side * close <= side * self._stop:
            return leave("atr_stop", position, ExitKind.STOP)
        stops = [self._stop, close - side * self.params.atr_multiplier * atr]
        entry = float(position.entry_price)
        if self.params.use_breakeven and side * (close - entry) >= self.params.breakeven_atr * atr:
            stops.append(entry)
        self._stop = max(stops) if side > 0 else min(stops)
        return None

    def export_state(self) -> State:
        """The stop."""
        return {"stop": self._stop}

    def import_state(self, state: Mapping[str, JsonValue]) -> None:
        """The stop."""
        self._stop = optional_float(state, "stop")
