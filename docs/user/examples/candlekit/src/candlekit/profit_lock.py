"""ProfitLockExitMixin: an exit mixin with state that survives restarts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, JsonValue

from botrunner.strategies.base import OpenPosition, Signal, State
from botrunner.strategies.exact import exact
from botrunner.strategies.mixins import ExitMixin, leave, optional_float, sign
from fleet.config.params import MixinParams
from fleet.exit_kinds import ExitKind


class ProfitLockParams(MixinParams):
    """Parameters of ProfitLockExitMixin."""

    trigger: float = Field(0.01, gt=0, le=10, description="Gain, as a fraction of the entry price, that locks.")
    keep: float = Field(0.5, gt=0, lt=1, description="Fraction of the best gain that is kept.")
    max_loss: float = Field(0.02, gt=0, lt=1, description="Loss, as a fraction of the entry price, that ends it.")


class ProfitLockExitMixin(ExitMixin[ProfitLockParams]):
    """Exit when a position that was `trigger` in profit has given back all but `keep` of its best gain.

    Gains are measured at closes. Before that, exit when close is `max_loss` against the entry price.
    """

    params_model = ProfitLockParams

    def __init__(self, strategy: Any, params: ProfitLockParams) -> None:
        super().__init__(strategy, params)
        self._trigger, self._keep, self._max_loss = map(exact, (params.trigger, params.keep, params.max_loss))
        self._best: float | None = None

    def on_exited(self) -> None:
        """Forget the trade: nothing of it counts for the next one."""
        self._best = None

    def signal(self, position: OpenPosition) -> Signal | None:
        """Compare this close's gain with the best one."""
        side, close = sign(position), float(self.data.close[0])
        self._best = close if self._best is None else side * max(side * self._best, side * close)
        # ratios of prices are compared in decimals, as typed: in floats a gain of exactly 10 % may come out as less
        entry = position.entry_price
        gain, best = side * (exact(close) - entry), side * (exact(self._best) - entry)
        if best >= entry * self._trigger and gain <= best * self._keep:
            return leave("profit_lock", position, ExitKind.STOP)
        return leave("max_loss", position, ExitKind.STOP) if gain <= -entry * self._max_loss else None

    def export_state(self) -> State:
        """The best close: no indicator line, and the next candle's answer depends on it."""
        return {"best_close": self._best}

    def import_state(self, state: Mapping[str, JsonValue]) -> None:
        """Go on from it."""
        self._best = optional_float(state, "best_close")
