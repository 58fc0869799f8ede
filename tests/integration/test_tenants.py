"""Limits of an owner over all bots, against a real database: who gets the last room, and when it is free again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from fleet.bar_record import BarRecord, Checkpoint
from fleet.errors import FencedError
from fleet.trading_day import day_bounds, utc_day
from fleet.trading_service.db import connect
from fleet.trading_service.lease import RunId, claim
from fleet.trading_service.ledger import commit_bar, first_checkpoint
from fleet.trading_service.tenants import (
    ClosedInBar,
    EntryRequest,
    TenantLimit,
    clear_limits,
    list_limits,
    reserve_entry,
    set_limits,
)

pytestmark = pytest.mark.postgres

Connection = psycopg.Connection[Any]
D = Decimal
BAR = datetime(2018, 1, 10, 12, tzinfo=UTC)
BOTS = 6


@pytest.fixture
def database(database_url: str) -> Iterator[Connection]:
    """Bots 1 to 6 run; the last belongs to another owner."""
    with connect(database_url, application="test") as connection:
        connection.execute("INSERT INTO users (name) VALUES ('other')")
        for bot_id in range(1, BOTS + 1):
            connection.execute(
                "INSERT INTO trading_bots (user_id, name, enabled, config) VALUES (%s, %s, true, '{}')",
                (2 if bot_id == BOTS else 1, str(bot_id)),
            )
            connection.execute(
                "INSERT INTO trading_runs (bot_id, epoch, config, config_version, controller, runtime, pod_name) "
                "VALUES (%s, 1, '{}', 1, 'c', 'process', 'p')",
                (bot_id,),
            )
            claim(connection, run(bot_id))
            first_checkpoint(connection, run(bot_id), checkpoint(None, 0))
        yield connection


def run(bot_id: int) -> RunId:
    return RunId(bot_id, 1, f"me-{bot_id}")


def limit(database: Connection, **limits: Any) -> None:
    unset = {"max_exposure": None, "max_open_positions": None, "max_daily_loss": None}
    set_limits(database, user_id=1, trade_type="paper", currency="BTC", **{**unset, **limits})


def reserve(database: Connection, bot_id: int, value: str = "1", **changes: Any) -> TenantLimit | None:
    request = {"trade_type": "paper", "currency": "BTC", "value": D(value), "at": BAR, **changes}
    return reserve_entry(database, run(bot_id), EntryRequest(**request))


def checkpoint(bar_at: datetime | None, bars: int) -> Checkpoint:
    return Checkpoint(
        symbol="ETHBTC", interval="5m", last_bar_at=bar_at, bars=bars, balance=D(10), total_pnl=D(0),
        broker_state={}, strategy_state={},
    )  # fmt: skip


def commit(
    database: Connection,
    bot_id: int,
    *,
    value: str,
    state: str = "filled",
    net_pnl: str | None = None,
    bar: int = 1,
    exit_time: datetime = BAR,
) -> None:
    """A bar with an entry order in a state; filled: with its position, closed again when there is a profit."""
    order_id = f"{bot_id:031x}{bar:x}"
    order = {
        "client_order_id": order_id, "symbol": "ETHBTC", "signal_at": BAR + timedelta(hours=bar), "leg": "entry",
        "attempt": 0, "side": "buy", "type": "market", "price": None, "quantity": D(value), "state": state,
        "exchange_order_id": None, "filled_quantity": D(0), "average_price": None, "reason": "test",
    }  # fmt: skip
    closed = net_pnl is not None
    trade = {
        "trade_type": "paper", "strategy_name": "s", "symbol": "ETHBTC", "interval": "5m", "direction": "long",
        "entry_order_id": order_id, "exit_order_id": None, "signal_at": BAR, "entry_time": BAR,
        "exit_time": exit_time if closed else None, "entry_price": D(1), "exit_price": None, "entry_value": D(value),
        "exit_value": None, "size": D(value), "commission": D(0), "gross_pnl": None,
        "net_pnl": D(net_pnl) if net_pnl else None, "pnl_percentage": None, "entry_logic_name": None,
        "entry_logic_params": None, "exit_logic_name": None, "exit_logic_params": None, "exit_reason": None,
        "status": "closed" if closed else "open", "quote_currency": "BTC", "extra_metadata": None,
    }  # fmt: skip
    position = {
        "symbol": "ETHBTC", "direction": "long", "opened_at": BAR + timedelta(hours=bar), "closed_at": None,
        "qty_open": D(0) if closed else D(value), "avg_price": D(1), "realized_pnl": D(0),
        "status": "closed" if closed else "open", "trade": trade,
    }  # fmt: skip
    before = BAR + timedelta(hours=bar - 1) if bar > 1 else None
    record = BarRecord(
        expected_last_bar_at=before, checkpoint=checkpoint(BAR + timedelta(hours=bar), bar), orders=[order],
        positions=[position] if state == "filled" else [],
    )  # fmt: skip
    commit_bar(database, run(bot_id), record)


def test_without_limits_everything_is_allowed(database: Connection) -> None:
    assert [reserve(database, bot_id, "1e9") for bot_id in range(1, BOTS + 1)] == [None] * BOTS


def test_exposure_counts_positions_and_reservations_of_other_bots(database: Connection) -> None:
    limit(database, max_exposure=D(3))
    commit(database, 1, value="1")
    assert reserve(database, 2, "1") is None
    assert reserve(database, 3, "1.00000001") is TenantLimit.MAX_EXPOSURE
    assert reserve(database, 3, "1") is None
    # asking again replaces one's own reservation
    assert reserve(database, 3, "1") is None
    assert reserve(database, 4, "0.00000001") is TenantLimit.MAX_EXPOSURE
    assert reserve(database, 6, "100") is None, "another owner's bot"
    assert reserve(database, 4, "100", currency="ETH") is None, "another currency"
    assert reserve(database, 4, "100", trade_type="live") is None, "paper and live are never added"


def test_a_position_replaces_its_reservation(database: Connection) -> None:
    limit(database, max_exposure=D(3))
    assert reserve(database, 1, "3") is None
    assert reserve(database, 2, "1") is TenantLimit.MAX_EXPOSURE
    commit(database, 1, value="2")
    assert reserve(database, 2, "1") is None


@pytest.mark.parametrize(
    ("state", "free"), [("acked", False), ("partial", False), ("expired", True), ("rejected", True)]
)
def test_a_reservation_lasts_as_long_as_its_order(database: Connection, state: str, free: bool) -> None:
    limit(database, max_exposure=D(3))
    assert reserve(database, 1, "3") is None
    commit(database, 1, value="3", state=state)
    database.execute("UPDATE tenant_reservations SET reserved_at = reserved_at - interval '1 hour'")
    assert (reserve(database, 2, "1") is None) == free


def test_a_dead_bots_reservation_without_an_order_runs_out(database: Connection) -> None:
    limit(database, max_exposure=D(3))
    assert reserve(database, 1, "3") is None
    assert reserve(database, 2, "1") is TenantLimit.MAX_EXPOSURE
    database.execute("UPDATE tenant_reservations SET reserved_at = reserved_at - interval '61 seconds'")
    assert reserve(database, 2, "1") is None


def test_open_positions_are_counted(database: Connection) -> None:
    limit(database, max_open_positions=2)
    commit(database, 1, value="1")
    assert reserve(database, 2) is None
    assert reserve(database, 3) is TenantLimit.MAX_OPEN_POSITIONS
    limit(database, max_open_positions=0)
    assert reserve(database, 2) is TenantLimit.MAX_OPEN_POSITIONS


@pytest.mark.parametrize(
    ("at", "forbidden"),
    [(BAR, True), (BAR.replace(hour=0), True), (BAR - timedelta(hours=13), False), (BAR + timedelta(hours=12), False)],
)
def test_the_days_loss_is_that_of_the_utc_day(database: Connection, at: datetime, forbidden: bool) -> None:
    limit(database, max_daily_loss=D(5))
    commit(database, 1, value="1", net_pnl="-3")
    assert reserve(database, 3, at=at) is None
    commit(database, 2, value="1", net_pnl="-2")
    assert (reserve(database, 3, at=at) is TenantLimit.MAX_DAILY_LOSS) == forbidden


def closed(order_id: str, net_pnl: str, at: datetime = BAR) -> ClosedInBar:
    return ClosedInBar(entry_order_id=order_id, exit_at=at, net_pnl=D(net_pnl))


def test_what_the_bar_itself_has_closed_counts_before_it_is_a_row_and_once_when_it_is(database: Connection) -> None:
    limit(database, max_daily_loss=D(5))
    commit(database, 1, value="1", net_pnl="-3")
    own, others = f"{3:031x}1", f"{1:031x}1"
    assert reserve(database, 3, closed=(closed(own, "-1.99"),)) is None
    assert reserve(database, 3, closed=(closed(own, "-2"),)) is TenantLimit.MAX_DAILY_LOSS
    assert reserve(database, 3, closed=(closed(own, "-1"), closed("x", "-1"))) is TenantLimit.MAX_DAILY_LOSS
    assert reserve(database, 3, closed=(closed(own, "-2", BAR - timedelta(days=1)),)) is None, "another day"
    assert reserve(database, 3, closed=(closed(own, "-9"), closed("x", "8"))) is None, "a profit makes up for it"
    # a bar that comes again although it was committed
    commit(database, 3, value="1", net_pnl="-1.5")
    assert reserve(database, 3) is None
    assert reserve(database, 3, closed=(closed(own, "-1.5"),)) is None
    # whose trade an id is, is part of it
    assert reserve(database, 3, closed=(closed(others, "-1.5"),)) is TenantLimit.MAX_DAILY_LOSS


def test_an_exit_and_an_entry_at_one_bar_are_one_position_to_the_others(database: Connection) -> None:
    limit(database, max_open_positions=2, max_exposure=D(10))
    commit(database, 1, value="4")
    commit(database, 2, value="4")
    # bot 1 has closed its position at this bar, which no row says yet, and enters again
    assert reserve(database, 1, "5", closed=(closed(f"{1:031x}1", "-1"),)) is None
    assert reserve(database, 3, "1") is TenantLimit.MAX_OPEN_POSITIONS
    limit(database, max_exposure=D(10))
    assert reserve(database, 3, "1.00000001") is TenantLimit.MAX_EXPOSURE
    assert reserve(database, 3, "1") is None


MIDNIGHT = datetime(2018, 3, 25, tzinfo=UTC)
"""The day on which Berlin's has 23 hours."""
AROUND_MIDNIGHT = [
    MIDNIGHT + day * timedelta(days=1) + offset
    for day in (0, 1, 2)
    for offset in (
        -timedelta(hours=1, minutes=30),
        -timedelta(milliseconds=1),
        -timedelta(microseconds=1),
        timedelta(0),
        timedelta(microseconds=1),
        timedelta(hours=1),
    )
]


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Pacific/Kiritimati"])
def test_python_and_postgresql_agree_on_the_day_of_every_moment(database: Connection, zone: str) -> None:
    """Whatever the session's time zone: the day itself, its bounds, and the day's loss of an owner."""
    database.execute("SELECT set_config('TimeZone', %s, false)", (zone,))
    for moment in AROUND_MIDNIGHT:
        day = utc_day(moment)
        begins, ends = day_bounds(day)
        found = database.execute(
            "SELECT (%(at)s::timestamptz AT TIME ZONE 'UTC')::date, %(at)s >= %(begins)s AND %(at)s < %(ends)s,"
            " date_trunc('day', %(at)s::timestamptz, 'UTC')",
            {"at": moment, "begins": begins, "ends": ends},
        ).fetchone()
        assert found == (day, True, begins)
    limit(database, max_daily_loss=D(5))
    for bar, lost_at in enumerate(AROUND_MIDNIGHT[:12], start=1):
        commit(database, 1, value="1", net_pnl="-5", exit_time=lost_at, bar=bar)
        for asked_at in AROUND_MIDNIGHT:
            forbidden = reserve(database, 3, at=asked_at) is TenantLimit.MAX_DAILY_LOSS
            assert forbidden == (utc_day(lost_at) == utc_day(asked_at)), (lost_at, asked_at)
            from_bar = reserve(database, 6, at=asked_at, closed=(closed("x", "-5", lost_at),))
            assert from_bar is None, "another owner has no limit"
        database.execute("DELETE FROM trading_trades")


def test_of_bots_that_enter_at_once_only_as_many_as_there_is_room_for(database: Connection, database_url: str) -> None:
    limit(database, max_exposure=D(2))
    answers: list[TenantLimit | None] = []
    start = threading.Barrier(5)

    def enter(bot_id: int) -> None:
        with connect(database_url, application="test") as connection:
            start.wait()
            answers.append(reserve(connection, bot_id))

    threads = [threading.Thread(target=enter, args=(bot_id,)) for bot_id in range(1, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers, key=str) == [None] * 2 + [TenantLimit.MAX_EXPOSURE] * 3


def test_a_fenced_run_reserves_nothing(database: Connection) -> None:
    database.execute("UPDATE trading_runs SET ended_at = now(), exit_reason = 'failed' WHERE bot_id = 1")
    with pytest.raises(FencedError):
        reserve(database, 1)
    assert database.execute("SELECT count(*) FROM tenant_reservations").fetchone() == (0,)


def test_the_bots_role_may_reserve_but_not_move_the_limits(database: Connection) -> None:
    limit(database, max_exposure=D(2))
    database.execute("SET ROLE botfleet_bot")
    assert reserve(database, 1) is None
    commit(database, 1, value="1")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        limit(database, max_exposure=D(3))


def test_limits_are_listed_with_what_is_in_use(database: Connection) -> None:
    limit(database, max_exposure=D(9))
    commit(database, 1, value="2")
    commit(database, 2, value="1", net_pnl="-3")
    [row] = list_limits(database, now=BAR)
    assert (row["user_name"], row["exposure"], row["positions"], row["pnl"]) == ("default", 2, 1, -3)
    assert clear_limits(database, user_id=1, trade_type="paper", currency="BTC")
    assert not clear_limits(database, user_id=1, trade_type="paper", currency="BTC")
    assert list_limits(database, now=BAR) == []


@pytest.mark.parametrize("column", ["max_exposure", "max_daily_loss"])
def test_a_limit_that_is_no_number_leaves_no_room_and_raises_nothing(database: Connection, column: str) -> None:
    database.execute(
        f"INSERT INTO tenant_limits (user_id, trade_type, currency, {column}) VALUES (1, 'paper', 'BTC', 'NaN')".encode()
    )
    assert reserve(database, 1) == TenantLimit(column)


def test_what_one_bot_reserved_is_no_number_and_raises_nothing_in_others(database: Connection) -> None:
    limit(database, max_exposure=D(10))
    assert reserve(database, 1) is None
    database.execute("UPDATE tenant_reservations SET amount = 'NaN'")
    assert reserve(database, 2) is TenantLimit.MAX_EXPOSURE
