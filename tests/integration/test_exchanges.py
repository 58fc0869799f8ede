"""What bots of one address tell one another, through a real database."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, TypeVar

import psycopg
import pytest
import structlog
from psycopg.types.json import Jsonb

from botrunner.exchange.errors import ExchangeAway, MarketHalted, UnknownSymbol
from botrunner.exchange.market_rules_cache import MarketRulesCache
from botrunner.exchange.poll_turns import return_s
from botrunner.exchange.shared_rate_limit import SharedRateLimit, venue_of
from botrunner.exchange.shared_rules import CLAIM_S, dump_rules
from botrunner.market.candle import Candle
from botrunner.market.rules import Market
from fleet.clock import SystemClock
from fleet.errors import DatabaseAway
from fleet.trading_service.db import connect
from fleet.trading_service.exchanges import (
    Address,
    claim_rules,
    count_sharing,
    read_pause,
    read_rules,
    store_rules,
    tell_pause,
)
from fleet.trading_service.lease import RunId, claim
from tests.support import FakeClock

pytestmark = pytest.mark.postgres

Connection = psycopg.Connection[Any]
T = TypeVar("T")
HERE = Address(exchange="binance", venue="sandbox:8080", origin="")
D = Decimal
MARKET = Market(
    symbol="BTCUSDT",
    base="BTC",
    quote="USDT",
    tick=D("0.01"),
    step=D("0.00001"),
    min_quantity=D("0.00001"),
    min_notional=D(5),
)
BOTS = 20


@pytest.fixture
def database(database_url: str) -> Iterator[Connection]:
    with connect(database_url, application="test") as connection:
        connection.execute(
            "INSERT INTO trading_bots (name, enabled, config) "
            "SELECT 'bot ' || n, true, %s FROM generate_series(1, %s) AS n",
            (Jsonb({"broker": {"type": "binance"}}), BOTS),
        )
        connection.execute(
            "INSERT INTO trading_runs (bot_id, epoch, config, config_version, controller, runtime, pod_name, node) "
            "SELECT id, 1, config, 1, 'test', 'process', 'p', 'node-' || id % 2 FROM trading_bots"
        )
        yield connection


@dataclass
class Bot:
    """One bot's part in the address, on a clock of its own."""

    number: int
    where: Address = HERE
    clock: FakeClock = field(default_factory=FakeClock)
    hurried: int = 0

    def __post_init__(self) -> None:
        self.run = RunId(self.number, 1, f"token {self.number}")
        self.shared = SharedRateLimit(run=self.run, address=self.where, clock=self.clock, send_now=self._hurry)

    def _hurry(self) -> None:
        self.hurried += 1


def says(database: Connection, bot: int) -> str | None:
    row = database.execute("SELECT waits_for FROM trading_runs WHERE bot_id = %s", (bot,)).fetchone()
    assert row is not None
    return row[0] if row[0] is None else str(row[0])


def test_a_pause_that_one_bot_was_told_holds_for_all_of_its_address(database: Connection) -> None:
    teller, other, elsewhere = Bot(1), Bot(2), Bot(3, replace(HERE, venue=""))
    for bot in (teller, other, elsewhere):
        claim(database, bot.run)
        bot.shared.begin(lambda look: look(database))
    assert other.shared.left_s() == 0
    teller.shared.pause(120.0, "418 I'm a teapot <html>\0")
    assert teller.hurried == 1
    for bot in (teller, other, elsewhere):
        bot.shared.sync(database)
    # each comes back at a time of its own
    assert other.shared.left_s() == pytest.approx(120 + return_s(2, sharing=BOTS), abs=1)
    assert teller.shared.left_s() == pytest.approx(120 + return_s(1, sharing=BOTS), abs=1)
    assert elsewhere.shared.left_s() == 0
    for bot in (1, 2):
        assert "binance wants no request from this address until" in (says(database, bot) or "")
        assert "told bot 1: 418 I'm a teapot <html>" in (says(database, bot) or "")
    assert says(database, 3) is None
    # a new process learns it before its first request
    late = Bot(4)
    late.shared.begin(lambda look: look(database))
    assert late.shared.left_s() > 119
    # its end needs no database
    other.clock.time += 120 + return_s(2, sharing=BOTS) + 1
    assert other.shared.left_s() == 0


def test_the_row_says_so_until_the_bot_asks_again(database: Connection, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as listener:
        listener.execute("LISTEN botfleet_bots")
        bot = Bot(2)
        claim(database, bot.run)
        tell_pause(database, HERE, bot_id=1, seconds=0.2, reason="429")
        bot.shared.sync(database)
        assert [notice.payload for notice in listener.notifies(timeout=5, stop_after=1)] == ["2"]
        assert says(database, 2) is not None
        for _ in range(3):
            bot.shared.sync(database)
        database.execute("SELECT pg_sleep(0.3)")
        bot.shared.sync(database)
        assert bot.shared.left_s() > 0, "its own turn comes a little later"
        assert says(database, 2) is not None
        bot.clock.time += 10
        bot.shared.sync(database)
        assert says(database, 2) is None
        # told at each change, not at each heartbeat
        assert [notice.payload for notice in listener.notifies(timeout=0.5)] == ["2"]


def test_a_person_can_end_a_pause(database: Connection) -> None:
    bot = Bot(2)
    tell_pause(database, HERE, bot_id=1, seconds=7200, reason="a misunderstanding")
    bot.shared.sync(database)
    assert bot.shared.left_s() > 7000
    with database.transaction():
        database.execute("SET LOCAL ROLE botfleet_user")
        database.execute("DELETE FROM exchange_pauses WHERE exchange = 'binance'")
    bot.shared.sync(database)
    assert bot.shared.left_s() == 0


def test_no_bot_can_pause_the_others_for_longer_than_an_exchange_bans(database: Connection) -> None:
    tell_pause(database, HERE, bot_id=1, seconds=1e12, reason="x" * 5000)
    row = read_pause(database, HERE)
    assert row is not None
    assert row.left_s == pytest.approx(3 * 24 * 3600, abs=5)
    assert len(row.reason) <= 300
    with pytest.raises(psycopg.errors.CheckViolation):
        database.execute("UPDATE exchange_pauses SET until = 'infinity'")
    # a time that hasn't come counts for nothing, and doesn't stay
    database.execute("UPDATE exchange_pauses SET told_at = now() + interval '1 day', until = now() + interval '2 days'")
    assert read_pause(database, HERE) is None
    tell_pause(database, HERE, bot_id=1, seconds=60, reason="429")
    row = read_pause(database, HERE)
    assert row is not None
    assert row.left_s < 61


def test_a_shorter_pause_does_not_end_a_longer_one(database: Connection) -> None:
    tell_pause(database, HERE, bot_id=1, seconds=600, reason="418")
    tell_pause(database, HERE, bot_id=2, seconds=10, reason="429")
    row = read_pause(database, HERE)
    assert row is not None
    assert (row.told_by, row.reason) == (1, "418")


def test_who_shares_an_address(database: Connection) -> None:
    assert count_sharing(database, HERE) == BOTS
    assert count_sharing(database, replace(HERE, origin="node-1")) == BOTS // 2
    database.execute("UPDATE trading_runs SET ended_at = now(), exit_reason = 'stopped' WHERE bot_id <= 4")
    database.execute("UPDATE trading_runs SET config = 'null' WHERE bot_id = 5")
    database.execute("""UPDATE trading_runs SET config = '{"broker": {"type": "kraken"}}' WHERE bot_id = 6""")
    database.execute("""UPDATE trading_runs SET config = '{"data": {"data_source": "file"}}' WHERE bot_id = 7""")
    assert count_sharing(database, HERE) == BOTS - 6


def test_the_bots_role_can_do_this_and_nothing_more(database: Connection) -> None:
    database.execute("SET ROLE botfleet_bot")
    bot = Bot(1)
    claim(database, bot.run)
    bot.shared.pause(60, "429")
    bot.shared.sync(database)
    assert claim_rules(database, HERE, "BTCUSDT", bot_id=1, seen=None, claim_s=CLAIM_S)
    store_rules(database, HERE, "BTCUSDT", bot_id=1, rules=dump_rules(MARKET) or {})
    assert says(database, 1) is not None
    for statement in ("DELETE FROM exchange_pauses", "DELETE FROM exchange_markets", "UPDATE trading_runs SET epoch=2"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            database.execute(statement.encode())


def test_missing_rights_cost_the_shared_facts_and_not_the_heartbeat(database: Connection) -> None:
    bot = Bot(1)
    database.execute("REVOKE ALL ON exchange_pauses, exchange_markets FROM botfleet_bot")
    database.execute("SET ROLE botfleet_bot")
    with structlog.testing.capture_logs() as logs:
        for _ in range(5):
            bot.shared.sync(database)
    assert [log["event"] for log in logs] == ["address_unshared"]
    book = rulebook(lambda question: question(database), exchange := Exchange())
    assert book.market("BTCUSDT") == MARKET
    assert exchange.asked == 1


# --- rules ---------------------------------------------------------------------------------------------------------


@dataclass
class Exchange:
    """Answers after a while, or raises what it is told to."""

    error: Exception | None = None
    takes_s: float = 0.0
    market_: Market = MARKET
    asked: int = 0
    name: str = "binance"

    def market(self, symbol: str) -> Market:
        self.asked += 1
        threading.Event().wait(self.takes_s)
        if self.error is not None:
            raise self.error
        return self.market_

    def server_time_ms(self) -> int:
        raise NotImplementedError

    def candles(self, symbol: str, interval: str, *, since_ms: int, limit: int) -> list[Candle]:
        raise NotImplementedError


def rulebook(
    consult: Callable[[Callable[[Connection], Any]], Any],
    exchange: Exchange,
    *,
    bot: int = 1,
    clock: Any = None,
    waits: list[float] | None = None,
) -> MarketRulesCache:
    clock = clock or SystemClock()

    def pause(seconds: float) -> bool:
        if waits is not None:
            waits.append(seconds)
        clock.sleep(seconds)
        return False

    return MarketRulesCache(
        exchange, address=HERE, bot_id=bot, consult=consult, pause=pause, alive=lambda: None, clock=clock
    )


def test_bots_that_start_at_once_ask_once(database: Connection, database_url: str) -> None:
    exchange, found, ready = Exchange(takes_s=1.0), [], threading.Barrier(BOTS)

    def start(bot: int) -> None:
        with connect(database_url, application=f"bot {bot}") as connection:
            book = rulebook(lambda question: question(connection), exchange, bot=bot)
            ready.wait(30)
            found.append(book.market("BTCUSDT"))

    threads = [threading.Thread(target=start, args=(bot,)) for bot in range(1, BOTS + 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [MARKET] * BOTS
    assert exchange.asked == 1
    assert read_rules(database, HERE, "BTCUSDT").claim_age_s is None


def test_a_quicker_bots_answer_is_not_asked_for_again(database: Connection) -> None:
    seen = read_rules(database, HERE, "BTCUSDT").fetched_at
    assert claim_rules(database, HERE, "BTCUSDT", bot_id=1, seen=seen, claim_s=CLAIM_S)
    assert not claim_rules(database, HERE, "BTCUSDT", bot_id=2, seen=seen, claim_s=CLAIM_S)
    store_rules(database, HERE, "BTCUSDT", bot_id=1, rules=dump_rules(MARKET) or {})
    assert not claim_rules(database, HERE, "BTCUSDT", bot_id=2, seen=seen, claim_s=CLAIM_S)


def test_old_rules_are_better_than_none_and_too_old_ones_are_not(database: Connection) -> None:
    exchange = Exchange()
    book = rulebook(lambda question: question(database), exchange)
    book.market("BTCUSDT")
    exchange.error = ExchangeAway("503")
    for age, usable in (("2 hours", True), ("6 days", True), ("8 days", False)):
        database.execute("UPDATE exchange_markets SET claimed_at = NULL, fetched_at = now() - %s::interval", (age,))
        with structlog.testing.capture_logs() as logs:
            if usable:
                assert book.market("BTCUSDT") == MARKET
                assert [log["event"] for log in logs] == ["market_rules_stale"]
            else:
                with pytest.raises(ExchangeAway, match="503"):
                    book.market("BTCUSDT")


@pytest.mark.parametrize(
    "poison",
    [
        {"tick": "0", "step": "0"},
        {**(dump_rules(MARKET) or {}), "step": "0"},
        {**(dump_rules(MARKET) or {}), "quote": "EUR"},
        {"deep": [[[[[]]]]], "digits": 10**300},
    ],
    ids=lambda poison: ",".join(poison)[:30],
)
def test_a_poisoned_row_costs_a_question_and_is_replaced(database: Connection, poison: dict[str, Any]) -> None:
    database.execute(
        "INSERT INTO exchange_markets (exchange, venue, symbol, rules, fetched_at, claimed_at) "
        "VALUES ('binance', 'sandbox:8080', 'BTCUSDT', %s, now(), now() + interval '1 year')",
        (Jsonb(poison),),
    )
    exchange = Exchange()
    assert rulebook(lambda question: question(database), exchange).market("BTCUSDT") == MARKET
    assert rulebook(lambda question: question(database), exchange, bot=2).market("BTCUSDT") == MARKET
    assert exchange.asked == 1


@pytest.mark.parametrize("rules", ["[]", "7", '"' + "x" * 3000 + '"', '{"x": "' + "x" * 3000 + '"}'])
def test_no_row_is_ever_large(database: Connection, rules: str) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        database.execute(
            "INSERT INTO exchange_markets (exchange, venue, symbol, rules, fetched_at) "
            "VALUES ('binance', '', 'X', %s::jsonb, now())",
            (rules,),
        )


@pytest.mark.parametrize("error", [ExchangeAway("503"), MarketHalted("BREAK"), UnknownSymbol("no such market")])
def test_after_a_failure_the_next_bot_does_not_ask_at_once(database: Connection, error: Exception) -> None:
    exchange, waits, clock = Exchange(error=error), [], FakeClock()
    consult: Callable[[Callable[[Connection], Any]], Any] = lambda question: question(database)  # noqa: E731
    with pytest.raises(type(error)):
        rulebook(consult, exchange).market("BTCUSDT")
    other = rulebook(consult, exchange, bot=2, clock=clock, waits=waits)
    with pytest.raises(ExchangeAway, match="being asked for by other bots"):
        other.market("BTCUSDT")
    assert exchange.asked == 1
    assert 30 <= sum(waits) <= 31
    database.execute("UPDATE exchange_markets SET claimed_at = now() - interval '11 seconds'")
    exchange.error = None
    assert other.market("BTCUSDT") == MARKET


def test_a_lock_on_the_shared_rows_keeps_no_bot_from_starting(database: Connection, database_url: str) -> None:
    exchange = Exchange()
    rulebook(lambda question: question(database), exchange).market("BTCUSDT")
    database.execute("UPDATE exchange_markets SET fetched_at = now() - interval '2 hours'")
    tell_pause(database, HERE, bot_id=1, seconds=60, reason="429")
    with psycopg.connect(database_url) as person:
        person.execute("SELECT * FROM exchange_markets, exchange_pauses FOR UPDATE")
        began = time.monotonic()
        assert rulebook(lambda question: question(database), exchange).market("BTCUSDT") == MARKET
        bot = Bot(2)
        bot.shared.begin(lambda look: look(database))
        assert bot.shared.left_s() > 50
        assert time.monotonic() - began < 8
    assert exchange.asked == 2


def test_a_database_that_is_away_costs_a_question(database: Connection) -> None:
    def away(_: Any) -> Any:
        raise DatabaseAway("no answer")

    assert rulebook(away, exchange := Exchange()).market("BTCUSDT") == MARKET
    assert exchange.asked == 1
    bot = Bot(1)
    bot.shared.begin(away)
    assert bot.shared.left_s() == 0


def test_rules_that_others_could_not_check_keep_nobody_waiting(database: Connection) -> None:
    exchange, waits = Exchange(market_=replace(MARKET, can_short=True)), []
    for bot in (1, 2):
        book = rulebook(lambda question: question(database), exchange, bot=bot, waits=waits)
        assert book.market("BTCUSDT").can_short
    assert (exchange.asked, waits) == (2, [])


@pytest.mark.parametrize(
    ("url", "venue"),
    [
        (None, ""),
        ("", ""),
        ("http://sandbox:8080", "sandbox:8080"),
        ("https://user:secret@proxy.example/binance", "proxy.example"),
        ("https://user:secret@[::1]:99999", "[::1]:99999"),  # no port has this number
    ],
)
def test_a_venue_is_a_host_and_never_a_secret(url: str | None, venue: str) -> None:
    assert venue_of(url) == venue
