"""What the ledger does while the database answers, doesn't, or says no: against functions that stand for its calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from botrunner.ledger import ledger as module
from botrunner.ledger.ledger import Ledger
from botrunner.trading.account import Account
from botrunner.trading.events import Event
from botrunner.trading.risk import Denial
from botrunner.trading.state import BotState
from fleet.bar_record import BarRecord, Checkpoint
from fleet.config import RunningConfig
from fleet.errors import DatabaseAway, FencedError
from fleet.events import EventKind
from fleet.trading_service.lease import RunId
from fleet.trading_service.tenants import ClosedInBar
from tests.support import FakeClock
from tests.unit.botrunner.bars import BAR, CANDLE, CLOSED, TRADE, config, outcome, stored

D = Decimal
RUN = RunId(7, 1, "t")
AWAY = DatabaseAway("no answer")
MIDNIGHT_MS = 1_515_542_400_000
"""2018-01-10 00:00:00 UTC."""


class Connection:
    def __init__(self) -> None:
        self.closed = False
        self.cancelled: list[float] = []

    def close(self) -> None:
        self.closed = True

    def cancel_safe(self, *, timeout: float) -> None:
        self.cancelled.append(timeout)
        raise psycopg.OperationalError("it is gone")


class Database:
    """Stands for the calls; `answers` by name are given in turn, an exception is raised, the rest is the default."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers: dict[str, list[Any]] = {}
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.connections: list[Connection] = []
        self.named: list[dict[str, Any]] = []
        monkeypatch.setattr(module, "connect", self.connect)
        for name in ("load_checkpoint", "first_checkpoint", "commit_bar", "reserve_entry", "write_notifications"):
            monkeypatch.setattr(module, name, self._call(name))

    def connect(self, url: str, **how: Any) -> Connection:
        self.named.append({"url": url, **how})
        answer = self.answers.get("connect", [])
        if answer:
            raise answer.pop(0)
        self.connections.append(Connection())
        return self.connections[-1]

    def _call(self, name: str) -> Callable[..., Any]:
        def call(connection: Connection, *arguments: Any) -> Any:
            assert connection is self.connections[-1]
            assert not connection.closed
            self.calls.append((name, arguments))
            answers = self.answers.get(name, [])
            answer = answers.pop(0) if answers else None
            if isinstance(answer, Exception):
                raise answer
            return arguments[1] if name == "first_checkpoint" and answer is None else answer

        return call

    def asked(self, name: str) -> list[tuple[Any, ...]]:
        return [arguments for each, arguments in self.calls if each == name]


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Database:
    return Database(monkeypatch)


class Recorder:
    def __init__(self) -> None:
        self.seen: list[Any] = []

    def row(self, seen: Any, *, begins: bool) -> Any:
        self.seen.append(begins)
        return {"seen": True}

    def committed(self, seen: Any) -> None:
        self.seen.append(seen)


def made(inputs: Any = None, clock: FakeClock | None = None) -> Ledger:
    ledger = Ledger(
        url="postgresql://db",
        run=RUN,
        config=RunningConfig(config()),
        exchange="paper-binance",
        owner=1,
        clock=clock or FakeClock(),
        waiting=lambda: None,
        inputs=inputs,
    )
    ledger.set_quote_currency("BTC")
    return ledger


def event(title: str) -> Event:
    return Event(kind=EventKind.BOT_ERROR, title=title, body="b", dedupe_key=title)


def test_one_connection_for_everything_and_a_new_one_after_a_failure(database: Database) -> None:
    ledger = made()
    ledger.commit(outcome())
    ledger.commit(outcome())
    assert database.named == [{"url": "postgresql://db", "application": "bot-7-e1 ledger"}]
    database.connections[0].closed = True  # by the server
    ledger.commit(outcome())
    assert len(database.connections) == 2
    ledger.close()
    assert database.connections[1].closed
    ledger.close()
    ledger.commit(outcome())
    assert len(database.connections) == 3


def test_a_bar_is_insisted_on_for_as_long_as_the_database_is_away(database: Database) -> None:
    clock = FakeClock()
    ledger = made(clock=clock)
    database.answers = {"commit_bar": [AWAY, AWAY, AWAY], "connect": [AWAY]}
    before = clock.monotonic()
    ledger.commit(outcome())
    assert len(database.asked("commit_bar")) == 4
    assert clock.monotonic() > before
    assert [connection.closed for connection in database.connections] == [True, True, True, False]
    records = {id(arguments[1]) for arguments in database.asked("commit_bar")}
    assert len(records) == 1  # the same bar each time
    assert all(arguments[0] == RUN for arguments in database.asked("commit_bar"))


def test_a_fenced_bot_insists_on_nothing(database: Database) -> None:
    database.answers = {"commit_bar": [FencedError("over")]}
    with pytest.raises(FencedError):
        made().commit(outcome())
    assert len(database.asked("commit_bar")) == 1


def test_a_bot_that_never_traded_begins_and_is_stored(database: Database) -> None:
    ledger = made()
    assert ledger.resume() is None
    assert database.asked("load_checkpoint") == [(7,)]
    state = BotState(account=Account(cash=D(10)))
    begun, kept = ledger.begin(state, {"seen": 1})
    [(run, first)] = database.asked("first_checkpoint")
    assert run == RUN
    assert (first.balance, first.bars, first.last_bar_at) == (10, 0, None)
    assert (begun.account, kept) == (state.account, {"seen": 1})


def test_of_two_processes_that_begin_the_second_goes_on_from_the_first(database: Database) -> None:
    ledger = made()
    ledger.resume()
    database.answers = {"first_checkpoint": [stored(config(), Account(cash=D(8)))]}
    begun, kept = ledger.begin(BotState(account=Account(cash=D(10))), {"seen": 1})
    assert (begun.account.cash, begun.last_bar_at, kept) == (8, BAR, {"seen": 3})


def test_what_is_stored_is_gone_on_from(database: Database) -> None:
    ledger = made()
    database.answers = {"load_checkpoint": [AWAY, stored(config(), Account(cash=D(9)))]}
    resumed = ledger.resume()
    assert resumed is not None
    state, kept = resumed
    assert (state.account.cash, state.last_bar_at, state.last_close, kept) == (9, BAR, D("0.1"), {"seen": 3})


def test_a_bot_that_moves_to_another_market_says_with_what(database: Database) -> None:
    ledger = made()
    before: Checkpoint = replace(stored(config(), Account(cash=D(9))), symbol="LTCBTC")
    database.answers = {"load_checkpoint": [before]}
    ledger.resume()
    state = BotState(account=Account(cash=D(9)))
    assert ledger.begin(state, {}) == (state, {})
    [(run, move)] = database.asked("commit_bar")
    assert run == RUN
    assert isinstance(move, BarRecord)
    assert move.expected_last_bar_at == BAR
    assert (move.checkpoint.symbol, move.checkpoint.last_bar_at) == ("ETHBTC", None)
    opening = ledger.record(outcome(candle=CANDLE)).opening
    assert opening is not None
    assert opening["equity"] == 9


def test_the_opening_of_a_market_is_written_with_its_first_bar_alone(database: Database) -> None:
    ledger = made()
    ledger.resume()
    ledger.begin(BotState(account=Account(cash=D(10))), {})
    for expected in (True, False):
        ledger.commit(outcome(candle=CANDLE))
        [*_, (_, record)] = database.asked("commit_bar")
        assert (record.opening is not None) is expected


def test_inputs_count_as_recorded_when_their_bar_is_durable(database: Database) -> None:
    recorder = Recorder()
    ledger = made(recorder)
    bar = outcome(bars=3)
    database.answers = {"commit_bar": [AWAY, FencedError("over")]}
    with pytest.raises(FencedError):
        ledger.commit(bar)
    assert recorder.seen == [False]
    ledger.commit(bar)
    assert recorder.seen == [False, False, bar]
    [*_, (_, record)] = database.asked("commit_bar")
    assert record.inputs == {"seen": True}
    assert made().record(bar).inputs is None


@pytest.mark.parametrize(("begins", "bars", "first"), [(False, 1, True), (False, 2, False), (True, 2, True)])
def test_which_bar_is_the_first(database: Database, begins: bool, bars: int, first: bool) -> None:
    recorder = Recorder()
    ledger = made(recorder)
    if begins:
        ledger.resume()
        ledger.begin(BotState(account=Account(cash=D(10))), {})
    ledger.record(outcome(bars=bars))
    assert recorder.seen == [first]


@pytest.mark.parametrize(("reached", "denial"), [(None, None), ("max_exposure", Denial.TENANT_MAX_EXPOSURE)])
def test_room_in_the_owners_limits(database: Database, reached: str | None, denial: Denial | None) -> None:
    database.answers = {"reserve_entry": [AWAY, reached]}
    assert made().reserve(D("1.5"), BAR, (TRADE, CLOSED)) is denial
    [_, (run, request)] = database.asked("reserve_entry")
    assert run == RUN
    assert (request.trade_type, request.currency, request.value, request.at) == ("paper", "BTC", D("1.5"), BAR)
    assert request.closed == (
        ClosedInBar(entry_order_id=CLOSED.entry_order_id, exit_at=CLOSED.exit_at, net_pnl=CLOSED.net_pnl),
    )


def test_events_between_bars_are_kept_until_they_are_written(database: Database) -> None:
    ledger = made()
    database.answers = {"write_notifications": [AWAY, None]}
    ledger.note([event("one")])
    assert database.connections[0].closed
    ledger.note([event("two")])
    ledger.note([event("three")])
    written = [[row["title"] for row in rows] for _, rows in database.asked("write_notifications")]
    assert written == [["one"], ["one", "two"], ["three"]]
    assert all(run == RUN for run, _ in database.asked("write_notifications"))


def test_events_that_wait_are_written_after_the_next_bar(database: Database) -> None:
    ledger = made()
    ledger.commit(outcome())
    assert database.asked("write_notifications") == []
    database.answers = {"write_notifications": [AWAY]}
    ledger.note([event("one")])
    ledger.commit(outcome())
    assert [name for name, _ in database.calls] == [
        "commit_bar", "write_notifications", "commit_bar", "write_notifications",
    ]  # fmt: skip
    assert [row["title"] for row in database.asked("write_notifications")[-1][1]] == ["one"]


def test_only_the_latest_events_are_kept(database: Database) -> None:
    ledger = made()
    database.answers = {"write_notifications": [AWAY]}
    ledger.note([event(str(number)) for number in range(module.PENDING_MAX + 5)])
    ledger.note([])
    titles = [row["title"] for row in database.asked("write_notifications")[-1][1]]
    assert (len(titles), titles[0]) == (module.PENDING_MAX, "5")


def test_a_question_is_asked_once(database: Database) -> None:
    ledger = made()
    assert ledger.consult(lambda connection: connection) is database.connections[0]  # type: ignore[comparison-overlap]

    def unanswered(_: object) -> object:
        raise AWAY

    with pytest.raises(DatabaseAway):
        ledger.consult(unanswered)
    assert database.connections[0].closed
    assert len(database.connections) == 1


def test_an_abandoned_ledger_writes_nothing_and_ends_what_is_under_way(database: Database) -> None:
    ledger = made()
    ledger.abandon()  # nothing is under way
    assert database.connections == []
    other = made()
    other.commit(outcome())
    other.abandon()
    assert database.connections[0].cancelled == [module.ABANDON_S]
    for call in (lambda: other.commit(outcome()), lambda: other.note([event("x")]), lambda: other.consult(len)):
        with pytest.raises(FencedError, match="bot 7 is being released"):
            call()
    assert len(database.calls) == 1


def test_a_copy_of_the_process_touches_neither_connection_nor_rows(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = made()
    ledger.commit(outcome())

    def ended() -> None:
        raise SystemExit(3)

    monkeypatch.setattr(module, "end_if_copy", ended)
    for call in (ledger.close, lambda: ledger.commit(outcome())):
        with pytest.raises(SystemExit):
            call()
    assert not database.connections[0].closed
    assert len(database.calls) == 1
