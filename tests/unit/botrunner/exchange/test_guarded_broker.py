"""When requests leave, when they don't, and what people are told, on a clock of the test's own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from botrunner.exchange.broker import Usage
from botrunner.exchange.circuit_breaker import FAILURES, OPEN
from botrunner.exchange.errors import (
    CircuitOpen,
    ExchangeAway,
    ExchangePaused,
    ExchangeRefused,
    MarketHalted,
    UnknownSymbol,
)
from botrunner.exchange.guarded_broker import LOOK_AGAIN_S, GuardedBroker
from botrunner.exchange.outage import Outage
from botrunner.market.candle import Candle
from botrunner.market.rules import Market
from fleet.events import Event, EventKind
from tests.support import FakeClock


@dataclass
class Scripted:
    """Answers its time, or raises what it is told to."""

    error: Exception | None = None
    requests: int = 0
    name: str = "scripted"

    def market(self, symbol: str) -> Market:
        raise NotImplementedError

    def server_time_ms(self) -> int:
        self.requests += 1
        if self.error is not None:
            raise self.error
        return 7

    def candles(self, symbol: str, interval: str, *, since_ms: int, limit: int) -> list[Candle]:
        raise NotImplementedError


@dataclass
class World:
    broker: Scripted = field(default_factory=Scripted)
    clock: FakeClock = field(default_factory=FakeClock)
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        outage = Outage(bot_id=7, epoch=2, exchange="scripted", after_s=60)
        self.guarded = GuardedBroker(self.broker, clock=self.clock, outage=outage, report=self.events.append)

    def ask(self) -> Any:
        try:
            return self.guarded.server_time_ms()
        except ExchangeAway as error:
            return error

    def fail(self, times: int) -> None:
        self.broker.error = ExchangeAway("no answer")
        for _ in range(times):
            self.ask()


def test_it_opens_after_so_many_failures_in_a_row_only() -> None:
    world = World()
    world.fail(FAILURES - 1)
    world.broker.error = None
    assert world.ask() == 7
    world.fail(FAILURES - 1)
    assert world.guarded.state == "closed"
    world.fail(1)
    assert world.guarded.state == "open"


def test_no_request_leaves_while_it_is_open_and_one_may_try_then() -> None:
    world = World()
    world.fail(FAILURES)
    asked = world.broker.requests
    for _ in range(10):
        refused = world.ask()
        assert isinstance(refused, CircuitOpen)
        assert 0 < refused.retry_after_s <= OPEN.first_s
    assert world.broker.requests == asked
    world.clock.time += refused.retry_after_s
    world.broker.error = None
    assert world.ask() == 7
    assert (world.guarded.state, world.broker.requests) == ("closed", asked + 1)


def test_a_failed_trial_opens_it_again_for_longer_at_most() -> None:
    world = World()
    world.fail(FAILURES)
    for _ in range(20):
        refused = world.ask()
        assert isinstance(refused, CircuitOpen)
        world.clock.time += refused.retry_after_s
        asked = world.broker.requests
        assert type(world.ask()) is ExchangeAway
        assert (world.guarded.state, world.broker.requests) == ("open", asked + 1)
    left = world.ask().retry_after_s
    assert OPEN.first_s / 2 <= left <= OPEN.most_s


@pytest.mark.parametrize("seconds", [3.0, 259_200.0])
def test_an_exchange_that_asks_to_be_left_alone_is_left_alone(seconds: float) -> None:
    world = World()
    world.broker.error = ExchangeAway("429", retry_after_s=seconds)
    assert world.ask().retry_after_s == seconds
    world.broker.error = None
    world.clock.time += seconds - 0.01
    assert isinstance(world.ask(), CircuitOpen)
    assert world.broker.requests == 1
    world.clock.time += 0.01
    assert world.ask() == 7


@pytest.mark.parametrize("error", [UnknownSymbol("no"), ExchangeRefused("no"), MarketHalted("break")])
def test_a_refusal_is_an_answer(error: Exception) -> None:
    world = World(Scripted(error))
    for _ in range(3 * FAILURES):
        with pytest.raises(type(error)):
            world.guarded.server_time_ms()
    assert world.guarded.state == "closed"
    assert world.events == []


def test_people_are_told_once_of_a_long_outage_and_once_of_its_end() -> None:
    world = World()
    for _ in range(59):
        world.fail(1)
        world.clock.time += 1
    assert world.events == []
    for _ in range(200):
        world.fail(1)
        world.clock.time += 1
    world.clock.time += 60
    world.broker.error = None
    assert world.ask() == 7
    assert world.ask() == 7
    assert [event.kind for event in world.events] == [EventKind.EXCHANGE_AWAY, EventKind.BOT_RECOVERED]
    assert len({event.dedupe_key for event in world.events}) == 2
    # the next outage is another one
    world.fail(1)
    world.clock.time += 61
    world.fail(1)
    assert len({event.dedupe_key for event in world.events}) == 3


def test_a_short_outage_is_nobodys_business() -> None:
    world = World()
    world.fail(1)
    world.clock.time += 59
    world.broker.error = None
    world.ask()
    world.clock.time += 3600
    world.fail(1)
    assert world.events == []


@dataclass
class Address:
    """What other bots were told."""

    left: float = 0.0
    told_s: list[float] = field(default_factory=list)

    def left_s(self) -> float:
        return self.left

    def return_s(self) -> float:
        return 2.5

    def pause(self, seconds: float, reason: str) -> None:
        self.told_s.append(seconds)


@dataclass
class Metered(Scripted):
    """Says how much of the address's minute is used."""

    share: float = 0.0

    def usage(self) -> Usage | None:
        return Usage(self.share, turns_s=20.0)


def shared(world: World) -> tuple[GuardedBroker, Address]:
    address = Address()
    outage = Outage(bot_id=7, epoch=2, exchange="scripted", after_s=60)
    guarded = GuardedBroker(
        world.broker, clock=world.clock, outage=outage, report=world.events.append, rate_limit=address
    )
    return guarded, address


def test_no_request_leaves_while_another_bots_pause_holds() -> None:
    world = World()
    guarded, address = shared(world)
    address.left = 7_000.0
    for _ in range(3 * FAILURES):
        with pytest.raises(ExchangePaused) as paused:
            guarded.server_time_ms()
        # a person may end it: it is looked at again
        assert paused.value.retry_after_s == LOOK_AGAIN_S
    address.left = 2.0
    with pytest.raises(ExchangePaused, match="another 2 s") as paused:
        guarded.server_time_ms()
    assert paused.value.retry_after_s == 2.0
    address.left = 0.0
    # a question that wasn't asked is no failure of the exchange's
    assert (guarded.server_time_ms(), guarded.state, world.broker.requests) == (7, "closed", 1)


def test_what_the_exchange_tells_one_bot_is_told_to_the_others() -> None:
    world = World()
    guarded, address = shared(world)
    for error in (ExchangeAway("503"), ExchangeAway("418", retry_after_s=120.0)):
        world.broker.error = error
        with pytest.raises(ExchangeAway):
            guarded.server_time_ms()
    assert address.told_s == [120.0]


def test_a_bot_that_sees_the_address_near_its_limit_waits_for_the_minutes_turn() -> None:
    exchange = Metered(share=0.79)
    world = World(exchange)
    guarded, _ = shared(world)
    assert (guarded.server_time_ms(), guarded.server_time_ms()) == (7, 7)
    exchange.share = 0.8
    assert guarded.server_time_ms() == 7
    exchange.share = 0.1
    with pytest.raises(ExchangePaused, match="most of its requests"):
        guarded.server_time_ms()
    world.clock.time += 20.0 + 2.5 - 0.01
    with pytest.raises(ExchangePaused):
        guarded.server_time_ms()
    assert world.broker.requests == 3
    world.clock.time += 0.01
    assert guarded.server_time_ms() == 7
    assert world.events == []
