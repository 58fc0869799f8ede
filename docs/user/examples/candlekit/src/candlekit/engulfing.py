"""EngulfingEntryMixin: an entry mixin without state, for both directions."""

from __future__ import annotations

from typing import Any

import backtrader as bt
from pydantic import Field

from botrunner.strategies.base import Direction, Signal
from botrunner.strategies.exact import exact
from botrunner.strategies.mixins import EntryMixin, enter
from fleet.config.params import MixinParams


class EngulfingParams(MixinParams):
    """Parameters of EngulfingEntryMixin. MixinParams refuses unknown keys, texts for numbers, and NaN."""

    min_body: float = Field(
        0.001, ge=0, le=1, description="Smallest body of the second candle, as a fraction of close."
    )
    short: bool = Field(False, description="Also sell bearish patterns short; needs trading.allow_short.")

    @property
    def bars_needed(self) -> int:
        """The candle and the one before."""
        return 2


class EngulfingEntryMixin(EntryMixin[EngulfingParams]):
    """Enter when a candle's body engulfs the body of the candle before, which went the other way."""

    params_model = EngulfingParams

    def __init__(self, strategy: Any, params: EngulfingParams) -> None:
        super().__init__(strategy, params)
        # an indicator, because memory holds only the candles that indicators declare
        self._pattern = _Engulfing(self.data)
        # a ratio of a price, in decimals as typed: in floats a body of exactly so much may come out as less
        self._min_body = exact(params.min_body)

    def signal(self) -> Signal | None:
        """The pattern at this candle, if its body is large enough."""
        opened, closed = exact(self.data.open[0]), exact(self.data.close[0])
        if abs(closed - opened) < closed * self._min_body:
            return None
        if self._pattern.direction[0] > 0:
            return enter("bullish_engulfing")
        if self._pattern.direction[0] < 0 and self.params.short:
            return enter("bearish_engulfing", Direction.SHORT)
        return None


class _Engulfing(bt.Indicator):
    """`direction` +1 bullish, -1 bearish, 0 neither."""

    lines: Any = ("direction",)

    def __init__(self) -> None:
        self.addminperiod(2)

    def next(self) -> None:
        """Compare two bodies."""
        opened, closed = self.data.open[0], self.data.close[0]
        opened_before, closed_before = self.data.open[-1], self.data.close[-1]
        bullish = closed_before < opened_before and opened <= closed_before and closed > opened_before
        bearish = closed_before > opened_before and opened >= closed_before and closed < opened_before
        self.lines.direction[0] = 1.0 if bullish else -1.0 if bearish else 0.0
