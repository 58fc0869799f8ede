"""Mixins that are asked bar by bar, over made-up indicators and positions."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from botrunner.strategies.base import Direction, OpenPosition, StrategyHost

SHORT_RSI = {"rsi_period": 2, "bb_period": 2}


class Scripted(StrategyHost):
    """A host that holds a given position throughout and writes down what the strategy says."""

    def __init__(self, position: OpenPosition | None, *, tell: bool = True) -> None:
        self.position = position
        self.tell = tell
        self.said: list[str | None] = []
        self.states: list[dict[str, Any]] = []

    def on_bar(self, strategy: Any) -> None:
        if self.position and self.tell and not self.said:
            strategy.on_entered(self.position)
            self.said.append(None)
        else:
            if self.position:
                self.position = replace(self.position, bars_held=self.position.bars_held + 1)
            signal = strategy.decide(self.position)
            self.said.append(signal.reason if signal else None)
        self.states.append(strategy.export_state())


def held(price: float, direction: Direction = Direction.LONG, *, bar: int = 1) -> OpenPosition:
    """Filled at the close of a five-minute bar."""
    at = datetime.fromtimestamp(300 * bar, UTC)
    return OpenPosition(direction, Decimal(1), Decimal(repr(price)), at, 0)


def exits(
    engine: Any,
    mixin: str,
    params: dict[str, Any],
    bars: Any,
    position: OpenPosition,
    *,
    tell: bool = True,
) -> Scripted:
    host = Scripted(position, tell=tell)
    engine.run(bars, engine.custom("RSIOrBBEntryMixin", mixin, SHORT_RSI, params), host)
    return host


def entries(engine: Any, mixin: str, params: dict[str, Any], bars: Any) -> list[str | None]:
    host = Scripted(None)
    engine.run(bars, engine.custom(mixin, "TimeBasedExitMixin", params), host)
    return host.said
