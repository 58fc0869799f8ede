"""A whole run in memory: a strategy through the real engine over listed candles, with all that is durable in a Store."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import backtrader as bt

from botrunner.engine.collaborators import Collaborators
from botrunner.engine.strategy_instance import StrategyInstance
from botrunner.exchange.errors import ExchangeAway
from botrunner.execution.paper.venue import paper_venue
from botrunner.market.candle import Candle
from botrunner.market.rules import Market
from botrunner.process.fence import Deadlines, Fence
from botrunner.process.progress import Progress
from botrunner.process.stop import StopRequest, StopSwitch
from botrunner.strategies.base import BaseStrategy, OpenPosition, Signal, SignalKind
from botrunner.trading.account_json import dump, load
from botrunner.trading.state import BarOutcome, BotState
from botrunner.trading.trades import Trade
from fleet.config import BotConfig, RunningConfig, parse_config
from fleet.events import Event
from fleet.states import ExitReason
from tests.support import FakeClock

M = 60_000
D = Decimal
START = 1_000_017
"""Number of the first minute: in the middle of a block."""
ENTRY, FALL, BARS = 60, 68, 72
"""Of `candles` with Honest: bar of the entry, bar that falls through a stop of 5 %, and how many there are."""
MARKET = Market(
    symbol="ETHBTC",
    base="ETH",
    quote="BTC",
    tick=D("0.000001"),
    step=D("0.0001"),
    min_quantity=D("0.0001"),
    min_notional=D("0.0001"),
)


class Killed(BaseException):
    """Stands for SIGKILL: nothing may catch it."""


class Crosses(BaseStrategy):
    """Enters when an endless-memory average is crossed upwards, leaves after some bars; counts in its state."""

    def __init__(self) -> None:
        self.average = bt.indicators.ExponentialMovingAverage(self.data.close, period=20)
        self.rsi = bt.indicators.RSI(self.data.close, period=14, safediv=True)
        self.seen = 0

    def decide(self, position: OpenPosition | None) -> Signal | None:
        self.seen += 1
        if position is None and self.data.close[0] > self.average[0] and self.rsi[0] > 50 + self.seen % 7:
            return Signal(SignalKind.ENTER, "crossed")
        if position is not None and position.bars_held >= 5:
            return Signal(SignalKind.EXIT, "held")
        return None

    def export_state(self) -> dict[str, Any]:
        return {"seen": self.seen, "average": repr(self.average[0]) if len(self.average) else None}

    def import_state(self, state: Mapping[str, Any]) -> None:
        self.seen = int(state.get("seen", 0))


def config(**sections: Any) -> BotConfig:
    return parse_config(
        {
            "symbol": "ETHBTC",
            "broker": {"cash": 10, **sections.pop("broker", {})},
            "strategy": {
                "type": "CustomStrategy",
                "parameters": {
                    "entry_logic": {"name": "RSIOrBBEntryMixin"},
                    "exit_logic": {"name": "TimeBasedExitMixin"},
                },
            },
            "data": {"interval": "1m", "lookback_bars": 50},
            **sections,
        }
    )


def walk(count: int, seed: int = 1, start: int = 1_000_017) -> list[Candle]:
    """A random walk of one-minute candles with a few gaps; begins in the middle of a block."""
    rng = random.Random(seed)
    price, candles = D("0.1"), []
    for number in range(count):
        if rng.random() < 0.01:
            continue
        opened = price
        price = max(D("0.01"), price * (1 + D(rng.randint(-30, 30)) / 10_000)).quantize(D("0.000001"))
        spread = D(rng.randint(0, 20)) / 1_000_000
        candles.append(
            Candle((start + number) * M, opened, max(opened, price) + spread, min(opened, price) - spread, price, D(5))
        )
    return candles


@dataclass
class Store:
    """The database: rows by key, as the real one would hold them."""

    checkpoint: tuple[dict[str, Any], Any, Any, int, dict[str, Any]] | None = None
    orders: dict[str, Any] = field(default_factory=dict)
    fills: dict[str, Any] = field(default_factory=dict)
    trades: dict[str, Any] = field(default_factory=dict)
    states: list[Any] = field(default_factory=list)

    def write(self, outcome: BarOutcome) -> None:
        assert self.checkpoint is None or self.checkpoint[1] == outcome.follows
        for order in outcome.orders:
            self.orders[order.client_order_id] = order
        for fill in outcome.fills:
            assert fill.exchange_trade_id not in self.fills, "a fill was written twice"
            self.fills[fill.exchange_trade_id] = fill
        for trade in outcome.trades:
            self.trades[trade.entry_order_id] = trade
        self.states.append((outcome.bar_at, outcome.strategy_state))
        self.checkpoint = (
            dump(outcome.account),
            outcome.bar_at,
            outcome.close,
            outcome.bars,
            dict(outcome.strategy_state),
        )


@dataclass
class MemoryLedger:
    """A ledger over a Store that kills the run around some commits."""

    store: Store
    kills: dict[int, str] = field(default_factory=dict)
    commits: int = 0

    def resume(self) -> tuple[BotState, dict[str, Any]] | None:
        if self.store.checkpoint is None:
            return None
        account, bar_at, close, bars, strategy = self.store.checkpoint
        return BotState(account=load(account), last_bar_at=bar_at, last_close=close, bars=bars), strategy

    def begin(self, state: BotState, strategy_state: dict[str, Any]) -> tuple[BotState, dict[str, Any]]:
        self.store.checkpoint = (dump(state.account), state.last_bar_at, state.last_close, 0, strategy_state)
        return state, strategy_state

    def reserve(self, value: Decimal, at: datetime, closed: Sequence[Trade]) -> None:
        """No limits of the owner."""

    def commit(self, outcome: BarOutcome) -> None:
        self.commits += 1
        when = self.kills.get(self.commits)
        if when == "before":
            raise Killed
        self.store.write(outcome)
        if when == "after":
            raise Killed


@dataclass
class ListSource:
    """Candles of a list; asks to stop at its end. Without `history_from` a bot begins at the first candle."""

    candles: list[Candle]
    stop: StopSwitch
    begin_after: int | None = None
    away: int = 0

    def latest_closed_ms(self) -> int | None:
        return self.begin_after

    def history(self, start_ms: int, end_ms: int) -> list[Candle]:
        return [c for c in self.candles if start_ms <= c.open_ms < end_ms]

    def poll(self, after_ms: int | None) -> list[Candle]:
        if self.away:
            self.away -= 1
            raise ExchangeAway("scripted")
        found = [c for c in self.candles if after_ms is None or c.open_ms > after_ms]
        if not found:
            self.stop.request(StopRequest(ExitReason.STOPPED))
        return found[:37]

    def wait_s(self, after_ms: int | None) -> float:
        return 0.0


@dataclass
class EventLedger(MemoryLedger):
    """Remembers the events of committed bars."""

    def __post_init__(self) -> None:
        self.events: list[Event] = []

    def commit(self, outcome: BarOutcome) -> None:
        super().commit(outcome)
        self.events += outcome.events


def candles() -> list[Candle]:
    """Even prices; one bar falls by a tenth, and the price stays there."""
    prices = [D("0.1")] * FALL + [D("0.09")] * (BARS - FALL)
    opens = [D("0.1"), *prices[:-1]]
    return [
        Candle((START + n) * M, o, max(o, c), min(o, c), c, D(5))
        for n, (o, c) in enumerate(zip(opens, prices, strict=True))
    ]


class Honest(BaseStrategy):
    """Enters at one bar, and does nothing else."""

    number = 0

    def __init__(self) -> None:
        self.mean = bt.indicators.SimpleMovingAverage(self.data.close, period=5)

    def bar(self) -> int:
        return round(bt.num2date(self.data.datetime[0]).timestamp() * 1000 / M) - START  # type: ignore[no-any-return]

    def decide(self, position: OpenPosition | None) -> Signal | None:
        return Signal(SignalKind.ENTER, "now") if self.bar() == ENTRY else None


def later(count: int) -> list[Candle]:
    return [Candle((START + BARS + n) * M, *[D("0.09")] * 4, D(5)) for n in range(count)]


def run(
    ledger: MemoryLedger, candles: list[Candle], made: BotConfig, strategy: type[Any] = Crosses, **changes: Any
) -> ExitReason:
    """Run until the candles end or `changes` of the collaborators say otherwise."""
    clock, stop = FakeClock(), StopSwitch()
    parts = Collaborators(
        strategy=strategy,
        source=ListSource(candles, stop),
        ledger=ledger,
        market=MARKET,
        venue=paper_venue(made, MARKET, bot_id=7),
        fence=Fence(Deadlines(), claimed_at=clock.monotonic()),
        progress=Progress(clock),
        stop=stop,
        clock=clock,
        on_live=lambda: None,
    )
    return StrategyInstance(bot_id=7, config=RunningConfig(made), parts=replace(parts, **changes)).run()
