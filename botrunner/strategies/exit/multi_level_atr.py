"""MultiLevelAtrExitMixin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import JsonValue

from botrunner.strategies.base import Direction, OpenPosition, Signal, State
from botrunner.strategies.higher_timeframe import HigherTimeframeATR
from botrunner.strategies.indicators import WilderATR
from botrunner.strategies.mixins import TrackingExitMixin, leave, optional_float, sign
from botrunner.strategies.momentum import Volatility
from fleet.config.exit_params import MultiLevelAtrExitParams
from fleet.exit_kinds import ExitKind


class MultiLevelAtrExitMixin(TrackingExitMixin[MultiLevelAtrExitParams]):
    """Exit when close falls below the highest of three stops; that one only ever moves in the position's favour.

    Strategic: entry price - htf_sl_multiplier × ATR of candles htf_compression times as long. Tactical: highest
    high since the entry - ltf_sl_multiplier × ATR. Break-even: entry price + be_buffer_multiplier × micro ATR,
    once close has gained be_activation_atr × ATR. With use_dynamic_k the first two distances are multiplied by ATR
    relative to its own mean of vol_sma_period bars. Short positions mirror it.

    Deviations from the original design: the higher timeframe is a real one, built from completed long candles of
    the bot's own (there it is the bot's timeframe); dynamic k compares ATR with the mean of ATR (there, with the
    mean of the close); the micro ATR is of the bot's timeframe, there being no finer one; the highest high starts
    at the entry price and, like the stop, belongs to one trade and survives restarts.
    """

    params_model = MultiLevelAtrExitParams

    def __init__(self, strategy: Any, params: MultiLevelAtrExitParams) -> None:
        super().__init__(strategy, params)
        self._htf = HigherTimeframeATR(self.data, period=params.htf_atr_period, compression=params.htf_compression)
        self._ltf = WilderATR(self.data, period=params.ltf_atr_period)
        self._micro = WilderATR(self.data, period=params.micro_atr_period)
        self._volatility = (
            Volatility(self.data, period=params.ltf_atr_period, mean_period=params.vol_sma_period)
            if params.use_dynamic_k
            else None
        )
        self._stop: float | None = None

    def on_entered(self, position: OpenPosition) -> None:
        """A new trade: no stop yet, the next bar sets the first."""
        super().on_entered(position)
        self._stop = None

    def on_exited(self) -> None:
        """Forget this trade's stop."""
        super().on_exited()
        self._stop = None

    def signal(self, position: OpenPosition) -> Signal | None:
        """Move the stop, then judge close against it."""
        side = sign(position)
        extreme = self.data.high[0] if position.direction is Direction.LONG else self.data.low[0]
        stops = self._stops(position, self.followed(position, extreme))
        if self._stop is not None:
            stops.append(self._stop)
        self._stop = max(stops) if side > 0 else min(stops)
        return leave("atr_stop", position, ExitKind.STOP) if side * self.data.close[0] < side * self._stop else None

    def _stops(self, position: OpenPosition, best: float) -> list[float]:
        side, entry = sign(position), float(position.entry_price)
        factor = self._volatility.relative() if self._volatility else 1.0
        stops = [
            entry - side * self.params.htf_sl_multiplier * factor * float(self._htf[0]),
            best - side * self.params.ltf_sl_multiplier * factor * float(self._ltf[0]),
        ]
        gain, needed = side * (float(self.data.close[0]) - entry), self.params.be_activation_atr * float(self._ltf[0])
        if gain > 0.0 and gain >= needed:
            stops.append(entry + side * self.params.be_buffer_multiplier * float(self._micro[0]))
        return stops

    def export_state(self) -> State:
        """Best price and stop."""
        return {**super().export_state(), "stop": self._stop}

    def import_state(self, state: Mapping[str, JsonValue]) -> None:
        """Best price and stop."""
        super().import_state(state)
        self._stop = optional_float(state, "stop")
