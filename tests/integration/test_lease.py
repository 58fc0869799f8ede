"""The bot's side of the run protocol against a real PostgreSQL: who may write, and who may not any more."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from fleet.bar_record import BarRecord, Checkpoint
from fleet.errors import DatabaseAway, FencedError
from fleet.states import ENDED_BY_SIGNAL, ExitReason
from fleet.trading_service.db import connect
from fleet.trading_service.lease import RunId, claim, heartbeat, heartbeat_values, mark_live, release
from fleet.trading_service.ledger import (
    CheckpointConflict,
    commit_bar,
    first_checkpoint,
    load_checkpoint,
)

pytestmark = pytest.mark.postgres

Connection = psycopg.Connection[Any]
BAR = datetime(2018, 1, 10, 5, tzinfo=UTC)


@pytest.fixture
def database(database_url: str) -> Iterator[Connection]:
    with connect(database_url, application="test") as connection:
        connection.execute(
            "INSERT INTO trading_bots (name, enabled, config, status) VALUES ('a', true, '{}', 'starting')"
        )
        connection.execute(
            "INSERT INTO trading_runs (bot_id, epoch, config, config_version, controller, runtime, pod_name) "
            "VALUES (1, 1, '{\"x\": 1}', 1, 'c', 'process', 'p')"
        )
        yield connection


def run(token: str = "me", epoch: int = 1) -> RunId:
    return RunId(1, epoch, token)


def fence(connection: Connection) -> None:
    connection.execute(
        "UPDATE trading_runs SET fenced_at = now(), ended_at = now(), exit_reason = 'fenced_silent' WHERE bot_id = 1"
    )


def one(connection: Connection, query: str) -> Any:
    row = connection.execute(query).fetchone()
    assert row is not None
    return row[0] if len(row) == 1 else row


def test_a_claim_returns_the_snapshot(database: Connection) -> None:
    claimed = claim(database, run(), node="node-1")
    assert (claimed.name, claimed.config, claimed.config_version, claimed.user_id) == ("a", {"x": 1}, 1, 1)
    assert one(database, "SELECT node FROM trading_runs") == "node-1"


def test_a_claim_can_be_repeated_by_the_same_process_only(database: Connection) -> None:
    claim(database, run("me"))
    claim(database, run("me"))
    with pytest.raises(FencedError):
        claim(database, run("another"))


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE trading_runs SET fenced_at = now(), ended_at = now(), exit_reason = 'not_claimed'",
        "UPDATE trading_runs SET ended_at = now(), exit_reason = 'stopped'",
        "UPDATE trading_runs SET stop_requested_at = now()",
    ],
)
def test_no_claim_of_a_run_that_is_over_or_stopping(database: Connection, change: str) -> None:
    database.execute(change)
    with pytest.raises(FencedError):
        claim(database, run())


def test_of_many_processes_one_gets_the_run(database: Connection, database_url: str) -> None:
    barrier = threading.Barrier(12)

    def compete(number: int) -> bool:
        with connect(database_url, application=f"rival {number}") as connection:
            barrier.wait()
            try:
                claim(connection, run(f"rival {number}"))
            except FencedError:
                return False
            return True

    with ThreadPoolExecutor(12) as pool:
        assert sum(pool.map(compete, range(12))) == 1


def test_a_heartbeat_mirrors_what_people_read(database: Connection) -> None:
    claim(database, run())
    heartbeat(database, run(), progress_age_s=2.0)
    assert one(database, "SELECT status FROM trading_bots") == "starting"
    mark_live(database, run())
    heartbeat(database, run(), progress_age_s=2.0, peak_memory_bytes=90_000_000)
    status, fresh, started = one(
        database, "SELECT status, now() - last_heartbeat < interval '1 s', started_at IS NOT NULL FROM trading_bots"
    )
    assert (status, fresh, started) == ("running", True, True)
    assert 1.9 < one(database, "SELECT extract(epoch FROM heartbeat_at - progress_at)::float FROM trading_runs") < 2.1


def test_a_heartbeat_keeps_what_people_read_until_there_is_a_checkpoint(database: Connection) -> None:
    claim(database, run())
    database.execute("UPDATE trading_bots SET current_balance = 5, total_pnl = 6")
    heartbeat(database, run(), progress_age_s=0)
    assert one(database, "SELECT current_balance, total_pnl FROM trading_bots") == (5, 6)
    first_checkpoint(database, run(), checkpoint(None, 0, "10"))
    heartbeat(database, run(), progress_age_s=0)
    assert one(database, "SELECT current_balance, total_pnl FROM trading_bots") == (10, 0)


def test_a_heartbeat_without_a_word_says_nothing(database: Connection) -> None:
    claim(database, run())
    assert one(database, "SELECT node FROM trading_runs") is None
    heartbeat(database, run(), progress_age_s=0, peak_memory_bytes=7, phase="p")
    heartbeat(database, run(), progress_age_s=0)
    assert one(database, "SELECT peak_memory_bytes, phase, waited_at FROM trading_runs") == (None, None, None)
    assert heartbeat_values(run()) == {
        "bot_id": 1,
        "epoch": 1,
        "token": "me",
        "progress_age_s": 0.0,
        "peak_memory_bytes": None,
        "phase": None,
        "waiting": False,
    }


def test_a_heartbeat_says_how_far_the_start_has_come(database: Connection) -> None:
    claim(database, run())
    heartbeat(database, run(), progress_age_s=0, phase="loads\x00 its\nprogram", waiting=False)
    assert one(database, "SELECT phase, waited_at FROM trading_runs") == ("loads\ufffd its program", None)
    heartbeat(database, run(), progress_age_s=0, phase="waits for the exchange: " + "x" * 5000, waiting=True)
    assert one(database, "SELECT length(phase), waited_at >= heartbeat_at FROM trading_runs") == (300, True)
    heartbeat(database, run(), progress_age_s=0, phase="warms up")
    assert one(database, "SELECT phase, waited_at < heartbeat_at FROM trading_runs") == ("warms up", True)
    mark_live(database, run())
    assert one(database, "SELECT phase FROM trading_runs") is None


def test_a_heartbeat_brings_commands_back(database: Connection) -> None:
    claim(database, run())
    database.execute(
        "UPDATE trading_runs SET stop_requested_at = now(), stop_reason = 'superseded', limits = '{\"a\": 1}'"
    )
    reply = heartbeat(database, run(), progress_age_s=0)
    assert (reply.stop_requested, reply.stop_reason, reply.limits) == (True, "superseded", {"a": 1})


def test_a_user_who_holds_the_bots_row_stalls_no_heartbeat(database: Connection, database_url: str) -> None:
    claim(database, run())
    with psycopg.connect(database_url) as user:
        user.execute("UPDATE trading_bots SET description = 'editing' WHERE id = 1")
        began = time.monotonic()
        heartbeat(database, run(), progress_age_s=0)
        assert time.monotonic() - began < 1
        user.rollback()


def test_heartbeats_never_notify(database: Connection, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as listener:
        listener.execute("LISTEN botfleet_bots")
        claim(database, run())
        mark_live(database, run())
        assert [notice.payload for notice in listener.notifies(timeout=0.5)] == [str(run().bot_id)]  # a slot is free
        mark_live(database, run())
        heartbeat(database, run(), progress_age_s=0)
        assert list(listener.notifies(timeout=0.2)) == []
        database.execute("UPDATE trading_bots SET enabled = false")
        assert [note.payload for note in listener.notifies(timeout=5, stop_after=1)] == ["1"]


def test_after_a_fence_nothing_is_accepted(database: Connection) -> None:
    claim(database, run())
    first_checkpoint(database, run(), checkpoint(None, 0))
    fence(database)
    with pytest.raises(FencedError):
        heartbeat(database, run(), progress_age_s=0)
    with pytest.raises(FencedError):
        commit_bar(database, run(), record(None, BAR, 1))
    assert not release(database, run(), exit_code=0, reason=ExitReason.RELEASED)
    assert one(database, "SELECT count(*) FROM trading_orders") == 0
    assert one(database, "SELECT bars FROM trading_checkpoints") == 0


def test_a_fence_waits_for_a_commit_under_way_and_then_holds(database: Connection, database_url: str) -> None:
    """Either the bar is written and then fenced, or fenced and not written; never written after the fence."""
    claim(database, run())
    first_checkpoint(database, run(), checkpoint(None, 0))
    with (
        connect(database_url, application="obstacle") as obstacle,
        connect(database_url, application="fence") as controller,
        ThreadPoolExecutor(2) as pool,
    ):
        with obstacle.transaction():
            obstacle.execute("SELECT FROM trading_checkpoints FOR UPDATE")
            commit = pool.submit(commit_bar, database, run(), record(None, BAR, 1))
            wait_until_locked(obstacle, database.info.backend_pid)
            fenced = pool.submit(fence, controller)
            wait_until_locked(obstacle, controller.info.backend_pid)
            assert not commit.done()
            assert not fenced.done()
        commit.result(timeout=5)
        fenced.result(timeout=5)
    assert one(database, "SELECT bars FROM trading_checkpoints") == 1
    with pytest.raises(FencedError):
        commit_bar(database, run(), record(BAR, BAR.replace(minute=5), 2))


def wait_until_locked(connection: Connection, pid: int) -> None:
    """Until the session waits for a lock; it must, within a second."""
    deadline = time.monotonic() + 1
    while one(connection, f"SELECT wait_event_type IS DISTINCT FROM 'Lock' FROM pg_stat_activity WHERE pid = {pid}"):
        assert time.monotonic() < deadline, f"session {pid} doesn't wait for a lock"
        connection.execute("SELECT pg_stat_clear_snapshot()")


def test_release_frees_the_run_once(database: Connection) -> None:
    claim(database, run())
    assert release(database, run(), exit_code=0, reason=ExitReason.STOPPED)
    assert not release(database, run(), exit_code=1, reason=ExitReason.FAILED)
    assert one(database, "SELECT exit_code, exit_reason FROM trading_runs") == (0, "stopped")


@pytest.mark.parametrize(
    ("asked", "recorded"),
    [
        (None, ("released", ENDED_BY_SIGNAL)),
        ("superseded", ("superseded", None)),
        ("stopped", ("stopped", None)),
        ("hung", ("released", "its main loop had made no progress; asked to stop, it ended in good order")),
    ],
)
def test_an_end_that_was_asked_for_is_recorded_as_such(
    database: Connection, asked: str | None, recorded: tuple[str, str | None]
) -> None:
    """The pod's SIGTERM may come before the heartbeat that would have told why."""
    claim(database, run())
    if asked:
        database.execute("UPDATE trading_runs SET stop_requested_at = now(), stop_reason = %s", (asked,))
    release(database, run(), exit_code=0, reason=ExitReason.RELEASED, error_message=ENDED_BY_SIGNAL)
    assert one(database, "SELECT exit_reason, error_message FROM trading_runs") == recorded


STUCK = "its main loop made no progress and did not leave when asked to"
HUNG_WELL = "its main loop had made no progress; asked to stop, it ended in good order"


@pytest.mark.parametrize(
    ("asked", "phase", "live", "reason", "stuck", "recorded"),
    [
        ("hung", "warms up", False, ExitReason.RELEASED, True, ("fenced_hung", f"{STUCK}; last: warms up")),
        ("hung", None, False, ExitReason.RELEASED, True, ("fenced_hung", STUCK)),
        ("hung", "warms up", True, ExitReason.RELEASED, True, ("fenced_hung", STUCK)),
        ("hung", None, True, ExitReason.RELEASED, False, ("released", HUNG_WELL)),
        ("hung", None, True, ExitReason.FAILED, True, ("failed", "m")),  # it says more itself
        ("stopped", None, True, ExitReason.RELEASED, True, ("stopped", None)),
        ("stopped", None, True, ExitReason.FAILED, False, ("failed", "m")),
        (None, None, True, ExitReason.RELEASED, True, ("released", "m")),
        (None, None, True, ExitReason.FAILED, False, ("failed", "m")),
    ],
)
def test_what_a_release_records(
    database: Connection,
    asked: str | None,
    phase: str | None,
    live: bool,
    reason: ExitReason,
    stuck: bool,
    recorded: tuple[str, str | None],
) -> None:
    claim(database, run())
    if live:
        mark_live(database, run())
    database.execute("UPDATE trading_runs SET phase = %s", (phase,))
    if asked:
        database.execute("UPDATE trading_runs SET stop_requested_at = now(), stop_reason = %s", (asked,))
    assert release(database, run(), exit_code=0, reason=reason, error_message="m", stuck=stuck)
    assert one(database, "SELECT exit_reason, error_message FROM trading_runs") == recorded


def test_a_release_without_a_word_records_none(database: Connection) -> None:
    claim(database, run())
    assert release(database, run(), exit_code=1, reason=ExitReason.FAILED)
    assert one(database, "SELECT exit_reason, error_message FROM trading_runs") == ("failed", None)


def test_one_current_run_per_bot_is_a_law_of_the_database(database: Connection) -> None:
    with pytest.raises(psycopg.errors.UniqueViolation, match="trading_runs_current_idx"):
        database.execute(
            "INSERT INTO trading_runs (bot_id, epoch, config, config_version, controller, runtime, pod_name) "
            "VALUES (1, 2, '{}', 1, 'c', 'process', 'p')"
        )


def test_a_stopped_process_cannot_hold_its_run_for_ever(database: Connection, database_url: str) -> None:
    with connect(database_url, application="stopped bot") as stopped:
        assert one(stopped, "SHOW idle_in_transaction_session_timeout") == "10s"
        assert one(stopped, "SHOW lock_timeout") == "3s"


# --- ledger --------------------------------------------------------------------------------------------------------


def checkpoint(bar_at: datetime | None, bars: int, balance: str = "10") -> Checkpoint:
    return Checkpoint(
        symbol="ETHBTC",
        interval="5m",
        last_bar_at=bar_at,
        bars=bars,
        balance=Decimal(balance),
        total_pnl=Decimal(0),
        broker_state={"price": 0.1 + 0.2},
        strategy_state={},
    )


ORDER = {
    "client_order_id": "a" * 32,
    "symbol": "ETHBTC",
    "signal_at": BAR,
    "leg": "entry",
    "attempt": 0,
    "side": "buy",
    "type": "market",
    "price": None,
    "quantity": Decimal("1.5"),
    "state": "filled",
    "exchange_order_id": "x",
    "filled_quantity": Decimal("1.5"),
    "average_price": Decimal("0.1"),
    "reason": "test",
}
FILL = {
    "exchange": "paper-binance",
    "account": "bot-1",
    "exchange_trade_id": "t1",
    "client_order_id": "a" * 32,
    "price": Decimal("0.1"),
    "quantity": Decimal("1.5"),
    "fee": Decimal("0.00015"),
    "fee_currency": "BTC",
    "filled_at": BAR,
}


def record(follows: datetime | None, bar_at: datetime, bars: int, **rows: Any) -> BarRecord:
    return BarRecord(expected_last_bar_at=follows, checkpoint=checkpoint(bar_at, bars), **rows)


SEEN = {
    "bar_at": BAR,
    "symbol": "ETHBTC",
    "interval": "5m",
    **dict.fromkeys(("open", "high", "low", "close"), Decimal("0.1")),
    "volume": Decimal(7),
    "equity": Decimal(10),
    "position": Decimal(0),
}
OPENING = {"symbol": "ETHBTC", "interval": "5m", "day": BAR.date(), "equity": Decimal(10), "at": BAR}


def test_a_bar_is_written_whole_and_once(database: Connection) -> None:
    claim(database, run())
    first_checkpoint(database, run(), checkpoint(None, 0))
    bar = record(None, BAR, 1, orders=[ORDER], fills=[FILL], bar=SEEN, opening=OPENING)
    commit_bar(database, run(), bar)
    commit_bar(database, run(), bar)  # the answer to the first got lost
    assert one(database, "SELECT count(*), sum(close), max(symbol) FROM trading_bars") == (1, Decimal("0.1"), "ETHBTC")
    assert one(database, "SELECT day, open, bars FROM trading_equity") == (BAR.date(), 10, 0)
    assert one(database, "SELECT count(*), sum(quantity) FROM trading_fills") == (1, Decimal("1.5"))
    stored = load_checkpoint(database, 1)
    assert stored is not None
    assert (stored.last_bar_at, stored.bars) == (BAR, 1)
    assert stored.broker_state["price"] == 0.1 + 0.2


def test_a_bar_that_fails_half_way_leaves_nothing(database: Connection) -> None:
    claim(database, run())
    first_checkpoint(database, run(), checkpoint(None, 0))
    with pytest.raises(psycopg.errors.CheckViolation):
        commit_bar(database, run(), record(None, BAR, 1, orders=[ORDER], fills=[{**FILL, "quantity": 0}]))
    assert one(database, "SELECT count(*) FROM trading_orders") == 0
    assert one(database, "SELECT bars FROM trading_checkpoints") == 0


def test_a_checkpoint_that_somebody_else_moved_is_a_conflict(database: Connection) -> None:
    claim(database, run())
    first_checkpoint(database, run(), checkpoint(BAR, 3))
    with pytest.raises(CheckpointConflict, match="another process"):
        commit_bar(database, run(), record(None, BAR.replace(minute=10), 1))


def test_the_first_checkpoint_stays_the_first(database: Connection) -> None:
    claim(database, run())
    first_checkpoint(database, run(), checkpoint(BAR, 0, "10"))
    assert first_checkpoint(database, run(), checkpoint(BAR.replace(hour=9), 0, "99")).balance == 10


def test_a_broken_connection_says_so(database: Connection, database_url: str) -> None:
    claim(database, run())
    with connect(database_url, application="victim") as victim:
        database.execute("SELECT pg_terminate_backend(%s)", (victim.info.backend_pid,))
        for call in (
            lambda: heartbeat(victim, run(), progress_age_s=0),
            lambda: mark_live(victim, run()),
            lambda: release(victim, run(), exit_code=0, reason=ExitReason.RELEASED),
            lambda: claim(victim, run()),
        ):
            with pytest.raises(DatabaseAway):
                call()


# --- the schema's own rules ----------------------------------------------------------------------------------------


def test_a_row_with_history_refuses_delete_and_says_what_to_do(database: Connection) -> None:
    with pytest.raises(psycopg.errors.RestrictViolation) as caught:
        database.execute("DELETE FROM trading_bots WHERE id = 1")
    assert "archived_at" in str(caught.value.diag.message_hint)
    with pytest.raises(psycopg.errors.RestrictViolation):
        database.execute("TRUNCATE trading_bots CASCADE")


def test_a_row_without_history_can_be_deleted(database: Connection) -> None:
    database.execute("INSERT INTO trading_bots (name, config) VALUES ('typo', '{}')")
    assert database.execute("DELETE FROM trading_bots WHERE name = 'typo'").rowcount == 1


def test_the_version_moves_with_config_and_enabled_only(database: Connection) -> None:
    def version(change: str) -> int:
        found: int = one(database, f"UPDATE trading_bots SET {change} WHERE id = 1 RETURNING config_version")
        return found

    assert version("description = 'x', status = 'running'") == 1
    assert version("config_version = 99") == 1
    assert version("enabled = false") == 2
    assert version("enabled = false") == 2
    assert version("config = '{\"a\": 1}'") == 3


@pytest.mark.parametrize(
    ("role", "statement", "allowed"),
    [
        ("botfleet_user", "UPDATE trading_bots SET enabled = false", True),
        ("botfleet_user", "UPDATE trading_bots SET status = 'running'", False),
        ("botfleet_user", "UPDATE trading_trades SET net_pnl = 1", False),
        ("botfleet_user", "SELECT * FROM broker_accounts", False),
        ("botfleet_controller", "UPDATE trading_bots SET status = 'stopping'", True),
        ("botfleet_controller", "UPDATE trading_bots SET enabled = false", False),
        ("botfleet_controller", "UPDATE trading_orders SET state = 'filled'", False),
        ("botfleet_bot", "SELECT id, name FROM trading_bots", True),
        ("botfleet_bot", "SELECT config FROM trading_bots", False),
        ("botfleet_bot", "UPDATE trading_bots SET config = '{}'", False),
        ("botfleet_bot", "UPDATE trading_runs SET epoch = 9", False),
        ("botfleet_bot", "DELETE FROM trading_trades", False),
        ("botfleet_bot", "DELETE FROM trading_bars", False),
        ("botfleet_bot", "UPDATE trading_equity SET close = 1", False),
        ("botfleet_user", "SELECT * FROM trading_bars, trading_equity", True),
        ("botfleet_worker", "DELETE FROM trading_bars", True),
        ("botfleet_worker", "UPDATE trading_bars SET close = 1", False),
        ("botfleet_worker", "UPDATE trading_bots SET config = '{}'", False),
    ],
)
def test_roles_write_their_own_columns(database: Connection, role: str, statement: str, allowed: bool) -> None:
    with database.transaction(force_rollback=True):
        database.execute(f"SET LOCAL ROLE {role}")
        if allowed:
            database.execute(statement)
            return
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            database.execute(statement)


def test_the_bots_role_can_do_all_that_a_bot_does(database: Connection) -> None:
    database.execute("SET ROLE botfleet_bot")
    claim(database, run())
    mark_live(database, run())
    heartbeat(database, run(), progress_age_s=0)
    first_checkpoint(database, run(), checkpoint(None, 0))
    note = {
        "kind": "k",
        "severity": "info",
        "title": "t",
        "body": "b",
        "facts": {},
        "dedupe_key": "d",
        "state": "pending",
    }
    rows = {"orders": [ORDER], "fills": [FILL], "notifications": [note], "bar": SEEN, "opening": OPENING}
    commit_bar(database, run(), record(None, BAR, 1, **rows))
    assert release(database, run(), exit_code=0, reason=ExitReason.RELEASED)


def test_metadata_and_migrations_agree(postgres_url: str) -> None:
    from alembic import command

    from fleet.migrations import _config

    command.check(_config(postgres_url))


def test_bad_configs_are_stored_for_the_controller_to_judge(database: Connection) -> None:
    database.execute("INSERT INTO trading_bots (name, config) VALUES ('odd', %s)", (Jsonb({"": [1, None, "x"]}),))
