"""AdvancedATRExitMixin."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

import backtrader as bt
from pydantic import JsonValue

from botrunner.strategies.base import OpenPosition, Signal, State
from botrunner.strategies.higher_timeframe import HigherTimeframeATR
from botrunner.strategies.indicators import WilderATR
from botrunner.strategies.mixins import ExitMixin, leave, optional_float, sign
from fleet.config.exit_params import AdvancedATRExitParams
from fleet.exit_kinds import ExitKind


class AdvancedATRExitMixin(ExitMixin[AdvancedATRExitParams]):
    """Exit when low has reached a stop that comes closer as the gain grows; it only ever moves in favour.

    ATR is the largest of the fast one, the slow one and, with use_htf_atr, that of long candles. The first stop is
    k_init × ATR below the entry price; that distance is the trade's risk, R. After a bar that didn't reach the stop
    it moves up to: highest high since the entry - k × ATR; the entry price, once a close has gained arm_at_R × R;
    the lowest low of the last swing_lookback bars - struct_buffer_atr × ATR, once the trade is that old. k is
    k_init, from a close of arm_at_R on k_run, from phase2_at_R on k_phase2. Short positions mirror it.

    Deviations from the original design: the higher timeframe is a real one, built from completed long candles of
    the bot's own (there it is the bot's timeframe), of htf_compression bars instead of a fixed `htf` of 4 hours; a
    bar that gains 2 R reaches the last phase at once, and its k counts from that bar on; the lows before the entry
    don't count; R and the stop are set when the entry is filled and survive restarts. Left out are the parameters
    which the design parses and doesn't use or which it can't keep: anchor and update_on (always the highest high,
    at the close of a bar), the alphas and atr_floor (no effect at their defaults), breakeven_offset_atr,
    use_swing_ratchet (always on), the tightening of stagnant trades (a placeholder there), noise and step filters
    (off by default), partial take-profits (a signal closes the whole position), fill_policy and tick_size (orders
    are the bot's work).
    """

    params_model = AdvancedATRExitParams

    def __init__(self, strategy: Any, params: AdvancedATRExitParams) -> None:
        super().__init__(strategy, params)
        slowest = max(params.p_fast, params.p_slow)
        self._atrs = [WilderATR(self.data, period=params.p_fast), WilderATR(self.data, period=params.p_slow)]
        if params.use_htf_atr:
            self._atrs.append(HigherTimeframeATR(self.data, period=slowest, compression=params.htf_compression))
        self._lowest = bt.ind.Lowest(self.data.low, period=params.swing_lookback)
        self._highest = bt.ind.Highest(self.data.high, period=params.swing_lookback)
        self._forget()

    def _forget(self) -> None:
        self._stop: float | None = None
        self._risk: float | None = None
        self._best: float | None = None
        self._best_close: float | None = None

    def on_entered(self, position: OpenPosition) -> None:
        """The first stop and the risk; while there are too few bars for an ATR, the first bar with one sets them."""
        self._forget()
        risk = self.params.k_init * self._atr()
        if isfinite(risk):
            entry = float(position.entry_price)
            self._risk, self._stop = risk, entry - sign(position) * risk
            self._best = self._best_close = entry

    def on_exited(self) -> None:
        """Forget this trade."""
        self._forget()

    def signal(self, position: OpenPosition) -> Signal | None:
        """Whether this bar has reached the stop; if not, move the stop."""
        if self._stop is None:
            self.on_entered(position)
        assert self._stop is not None
        side = sign(position)
        worst = self.data.low[0] if side > 0 else self.data.high[0]
        if side * worst <= side * self._stop:
            return leave("atr_stop", position, ExitKind.STOP)
        better = max if side > 0 else min
        self._stop = better(self._stop, *self._stops(position))
        return None

    def _stops(self, position: OpenPosition) -> list[float]:
        side, params, atr = sign(position), self.params, self._atr()
        better, extreme = (max, self.data.high[0]) if side > 0 else (min, self.data.low[0])
        assert self._best is not None
        assert self._best_close is not None
        assert self._risk is not None
        self._best = better(self._best, float(extreme))
        self._best_close = better(self._best_close, float(self.data.close[0]))
        entry = float(position.entry_price)
        gain = side * (self._best_close - entry)
        k, stops = params.k_init, []
        if gain >= params.arm_at_R * self._risk > 0.0:
            k = params.k_phase2 if gain >= params.phase2_at_R * self._risk else params.k_run
            stops.append(entry)
        stops.append(self._best - side * k * atr)
        if position.bars_held >= params.swing_lookback:
            swing = self._lowest[0] if side > 0 else self._highest[0]
            stops.append(float(swing) - side * params.struct_buffer_atr * atr)
        return stops

    def _atr(self) -> float:
        """The largest; NaN while one of them has too few bars."""
        values = [float(atr[0]) for atr in self._atrs]
        return max(values) if all(map(isfinite, values)) else float("nan")

    def export_state(self) -> State:
        """Stop, risk, best price and best close."""
        return {"stop": self._stop, "risk": self._risk, "best": self._best, "best_close": self._best_close}

    def import_state(self, state: Mapping[str, JsonValue]) -> None:
        """Stop, risk, best price and best close; all or none: with one missing, the trade is followed anew."""
        values = [optional_float(state, key) for key in ("stop", "risk", "best", "best_close")]
        if None in values:
            self._forget()
        else:
            self._stop, self._risk, self._best, self._best_close = values
