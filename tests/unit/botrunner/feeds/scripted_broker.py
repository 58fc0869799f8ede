"""A broker whose answers are scripted, and candles of one price."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from botrunner.feeds.source import ExchangeCandles
from botrunner.market.candle import Candle
from botrunner.market.rules import Market
from tests.support import FakeClock

M = 60_000


def candle(minute: int, price: str = "1") -> Candle:
    p = Decimal(price)
    return Candle(minute * M, p, p, p, p, Decimal(1))


@dataclass
class ScriptedBroker:
    """Serves the candles that exist, as an exchange would, the running one included."""

    minutes: list[Candle]
    now_ms: int
    name: str = "scripted"
    asked: list[tuple[int, int]] = field(default_factory=list)

    def market(self, symbol: str) -> Market:
        raise NotImplementedError

    def server_time_ms(self) -> int:
        return self.now_ms

    def candles(self, symbol: str, interval: str, *, since_ms: int, limit: int) -> list[Candle]:
        self.asked.append((since_ms, limit))
        return [c for c in self.minutes if since_ms <= c.open_ms <= self.now_ms][:limit]


def source(broker: ScriptedBroker) -> ExchangeCandles:
    return ExchangeCandles(broker, symbol="X", interval="1m", interval_ms=M, clock=FakeClock())


def opens(candles: list[Candle]) -> list[int]:
    return [c.open_ms // M for c in candles]
