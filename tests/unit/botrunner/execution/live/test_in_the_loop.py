"""The exchange venue in the bot's real main loop: StrategyInstance, Backtrader, the checkpoint, a scripted exchange."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from botrunner.engine.budget import GaveUp
from botrunner.execution.live.lookups import Timing
from botrunner.execution.live.transport import OrderStatus
from botrunner.execution.live.venue import ExchangeVenue
from botrunner.market.candle import Candle
from botrunner.process.fence import Deadlines, Fence
from botrunner.process.stop import StopRequest, StopSwitch
from botrunner.strategies.base import OpenPosition, Signal, SignalKind
from botrunner.trading.costs import costs_of
from botrunner.trading.order_ids import Leg
from fleet.config import BotConfig
from fleet.events import Event, EventKind
from fleet.states import ExitReason, OrderState
from fleet.times import to_ms
from tests.scripted_exchange.clock import BEGINS, VirtualClock
from tests.scripted_exchange.exchange import ScriptedExchange
from tests.scripted_exchange.kill_points import KillSwitch
from tests.scripted_exchange.transport import NO_FAULTS, Faults, Left, ScriptedTransport
from tests.scripted_exchange.world import TICK_MS, candles_of
from tests.unit.botrunner.engine.runs import MARKET, START, EventLedger, Honest, Killed, M, Store, config, run

ENTERS, LEAVES, BARS = 8, 11, 16
MADE = config(risk_management={"stop_loss_pct": 5}, trading={"position_size": 0.5})


class InAndOut(Honest):
    """Buys at one bar and sells some bars later."""

    def decide(self, position: OpenPosition | None) -> Signal | None:
        number = self.bar() + START - to_ms(BEGINS) // M
        if number == ENTERS:
            return Signal(SignalKind.ENTER, "in")
        return Signal(SignalKind.EXIT, "out") if number >= LEAVES and position is not None else None


@dataclass
class Clock:
    """The world's clock as the bot's."""

    world: VirtualClock

    def monotonic(self) -> float:
        return self.world.monotonic()

    def now(self) -> datetime:
        return self.world.exchange_time()

    def sleep(self, seconds: float) -> None:
        self.world.advance(max(1, round(seconds * 1000)))


class Rests(StopSwitch):
    """The main loop's rest lets the world's time pass."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def rest(self, seconds: float) -> None:
        self._clock.sleep(seconds)

    def wait(self, seconds: float) -> bool:
        self._clock.sleep(seconds)
        return super().wait(0)


@dataclass
class Closed:
    """A source of the candles that have closed by now; asks to stop after the last."""

    candles: list[Candle]
    clock: VirtualClock
    stop: StopSwitch

    def latest_closed_ms(self) -> int | None:
        return None

    def history(self, start_ms: int, end_ms: int) -> list[Candle]:
        return [candle for candle in self.candles if start_ms <= candle.open_ms < end_ms]

    def poll(self, after_ms: int | None) -> list[Candle]:
        if after_ms == self.candles[-1].open_ms:
            self.stop.request(StopRequest(ExitReason.STOPPED, urgent=True))
        now_ms = to_ms(self.clock.exchange_time())
        return [
            candle
            for candle in self.candles
            if candle.open_ms + M <= now_ms and (after_ms is None or candle.open_ms > after_ms)
        ]

    def wait_s(self, after_ms: int | None) -> float:
        return 0.5


class Bot:
    """Lives of one bot at one exchange, whose price stands still."""

    def __init__(self, faults: Faults = NO_FAULTS, made: BotConfig = MADE) -> None:
        self.clock = VirtualClock()
        prices = [Decimal("0.1")] * (BARS * M // TICK_MS)
        self.exchange = ScriptedExchange(
            self.clock, market=MARKET, prices=prices, tick_ms=TICK_MS, random=Random(1)
        )  # fmt: skip
        self.candles = candles_of(prices, bar_ms=M)
        self.store = Store()
        self.left: list[Left] = []
        self.faults = faults
        self.events: list[Event] = []
        self._made = made
        self._lives = 0

    def live(self, kills: dict[int, str] | None = None, **changes: Any) -> None:
        self._lives += 1
        clock = Clock(self.clock)
        stop = Rests(clock)
        fence = Fence(Deadlines(stop_s=1e9, exit_s=2e9), claimed_at=clock.monotonic())
        transport = ScriptedTransport(
            self.exchange, epoch=self._lives, may_send=lambda: True, faults=self.faults, random=Random(self._lives),
            kills=KillSwitch(), left=self.left,
        )  # fmt: skip
        venue = ExchangeVenue(
            transport,
            may_send=lambda: fence.may_send(clock.monotonic()),
            monotonic=clock.monotonic,
            costs=costs_of(self._made, MARKET),
            timing=Timing(),
        )
        source = Closed(self.candles, self.clock, stop)
        ledger = EventLedger(self.store, kills or {})
        ledger.events = self.events
        run(
            ledger, self.candles, self._made, InAndOut,
            clock=clock, stop=stop, source=source, fence=fence, venue=venue, between_bars=venue,
            exchange_ms=lambda: to_ms(self.clock.exchange_time()), **changes,
        )  # fmt: skip

    @property
    def gave_up(self) -> list[Event]:
        return [event for event in self.events if event.kind is EventKind.BOT_DISABLED]

    def history(self) -> list[tuple[Leg, int, OrderState]]:
        return [(order.leg, order.attempt, order.state) for order in self.store.orders.values()]


@pytest.fixture(autouse=True)
def _keeps_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A third of a second of each life, and nothing that matters here."""
    monkeypatch.setattr("botrunner.engine.strategy_instance.return_free_memory", lambda: None)


def test_the_loop_buys_rests_a_stop_and_sells() -> None:
    bot = Bot()
    bot.live()
    assert [(listed.leg, listed.status) for listed in bot.exchange.ledger.orders] == [
        (Leg.ENTRY, OrderStatus.FILLED),
        (Leg.STOP_LOSS, OrderStatus.CANCELED),
        (Leg.EXIT, OrderStatus.FILLED),
    ]
    assert bot.exchange.ledger.position == 0
    assert sorted(bot.store.fills) == [execution.exchange_trade_id for execution in bot.exchange.ledger.executions]
    assert bot.history()[0] == (Leg.ENTRY, 0, OrderState.FILLED)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("behind", range(8))
def test_a_loop_that_dies_around_any_commit_goes_on_with_what_the_exchange_has(behind: int, when: str) -> None:
    bot = Bot(Faults(dropped=0.5, answer_lost=0.3))
    with pytest.raises(Killed):
        bot.live({ENTERS + 1 + behind: when})
    bot.live()
    ledger = bot.exchange.ledger
    assert ledger.position == 0
    assert sorted(bot.store.fills) == sorted(execution.exchange_trade_id for execution in ledger.executions)
    assert len({listed.client_order_id for listed in ledger.orders}) == len(ledger.orders)
    assert ledger.oversold == []
    trades: list[Any] = list(bot.store.trades.values())
    assert all(not trade.is_open for trade in trades)


ANSWERS = [NO_FAULTS, Faults(answer_lost=1.0, dropped=1.0), Faults(not_sent=0.6, dropped=1.0)]
"""None, all or some of which get lost, while a position is closed."""


@pytest.mark.parametrize("faults", ANSWERS)
def test_a_bot_that_gives_up_closes_its_position_at_the_exchange(faults: Faults) -> None:
    bot = Bot(
        made=config(risk_management={"stop_loss_pct": 5}, trading={"position_size": 0.5, "on_failure": "flatten"})
    )
    with pytest.raises(Killed):
        bot.live({ENTERS + 4: "after"})
    assert bot.exchange.ledger.position > 0
    bot.faults = faults
    with pytest.raises(GaveUp, match="its position was closed"):
        bot.live(close_out="failed too often")
    assert bot.exchange.ledger.position == 0
    assert not any(listed.is_open for listed in bot.exchange.ledger.orders)
    [trade] = bot.store.trades.values()
    assert (trade.is_open, trade.exit_reason) == (False, "flatten_on_failure")
    assert [event.title for event in bot.gave_up] == ["Gave up and closed 50 ETHBTC @ 0.1"]


def test_a_bot_that_gives_up_without_the_exchanges_word_says_that_the_position_may_be_open() -> None:
    bot = Bot(
        made=config(risk_management={"stop_loss_pct": 5}, trading={"position_size": 0.5, "on_failure": "flatten"})
    )
    with pytest.raises(Killed):
        bot.live({ENTERS + 4: "after"})
    bot.faults = Faults(not_sent=1.0, dropped=1.0)
    with pytest.raises(GaveUp, match="the exchange hasn't confirmed"):
        bot.live(close_out="failed too often")
    [event] = bot.gave_up
    assert (event.title, event.urgency) == ("Gave up; 50 ETHBTC may still be open", "critical")
    assert event.body.startswith("failed too often. Its long position was to be closed")
    # once it is closed, that is told as well
    bot.faults = NO_FAULTS
    with pytest.raises(GaveUp, match="its position was closed"):
        bot.live(close_out="failed too often")
    assert [event.title for event in bot.gave_up[1:]] == ["Gave up and closed 50 ETHBTC @ 0.1"]


@pytest.mark.parametrize("faults", ANSWERS)
def test_a_bot_that_is_to_end_flat_waits_for_the_exchanges_word(faults: Faults) -> None:
    bot = Bot(made=config(risk_management={"stop_loss_pct": 5}, trading={"position_size": 0.5, "on_stop": "flatten"}))
    with pytest.raises(Killed):
        bot.live({ENTERS + 4: "after"})
    bot.faults, bot.candles = faults, bot.candles[: ENTERS + 2]  # with no more it is asked to stop
    bot.live()
    assert bot.exchange.ledger.position == 0
    [trade] = bot.store.trades.values()
    assert (trade.is_open, trade.exit_reason) == (False, "flatten_on_stop")
