"""What goes wrong reaches the database, the outbox, the CLI and every line of the log, with a real bot's process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from fleet.errors import FencedError
from fleet.trading_service.db import connect
from fleet.trading_service.error_counts import ErrorCount, add_errors, list_errors
from fleet.trading_service.lease import RunId, claim
from fleet.trading_service.ledger import write_notifications
from tests.integration.sandbox_bot import CONFIG, exchange
from tests.integration.sandbox_server import Server

__all__ = ["exchange"]

pytestmark = pytest.mark.postgres

Connection = psycopg.Connection[Any]
RUN = RunId(1, 1, "me")
COUNT = ErrorCount(kind="exchange_away", part="bot", count=3, first_age_s=20, last_age_s=1, message="503")
NOTE = {
    "kind": "feed_stale",
    "severity": "warning",
    "title": "t",
    "body": "b",
    "facts": {"x": "1"},
    "dedupe_key": "stale:1:1",
    "state": "pending",
}


@pytest.fixture
def database(database_url: str) -> Iterator[Connection]:
    with connect(database_url, application="test") as connection:
        yield connection


def new_bot(database: Connection, config: dict[str, Any]) -> None:
    database.execute("INSERT INTO trading_bots (name, enabled, config) VALUES ('errs', true, %s)", (Jsonb(config),))
    database.execute(
        "INSERT INTO trading_runs (bot_id, epoch, config, config_version, controller, runtime, pod_name) "
        "SELECT id, 1, config, config_version, 'test', 'process', 'p' FROM trading_bots"
    )


def test_errors_are_added_to_their_hour(database: Connection) -> None:
    new_bot(database, {})
    add_errors(database, RUN, [COUNT, replace(COUNT, kind="other")])
    add_errors(database, RUN, [replace(COUNT, count=2, first_age_s=0.5, last_age_s=0, message="nul \0 byte")])
    add_errors(database, RUN, [replace(COUNT, count=7, first_age_s=7_300, last_age_s=7_200)])
    rows = [row for row in list_errors(database, 1, hours=48) if row.kind == "exchange_away"]
    assert [row.count for row in rows if datetime.now(UTC) - row.last_seen > timedelta(hours=1)] == [7]
    newest = rows[0]
    assert sum(row.count for row in rows) == 12
    assert newest.last_message == "nul \ufffd byte"
    assert newest.hour <= newest.first_seen <= newest.last_seen


def test_events_between_bars_are_written_once_and_by_the_current_run_only(database: Connection) -> None:
    new_bot(database, {})
    with pytest.raises(FencedError):
        write_notifications(database, RUN, [NOTE])
    claim(database, RUN)
    for _ in range(3):
        write_notifications(database, RUN, [NOTE])
    rows = database.execute("SELECT kind, epoch, facts, user_id FROM trading_notifications").fetchall()
    assert rows == [("feed_stale", 1, {"x": "1"}, 1)]


def test_the_bots_role_may_count_and_nobody_else(database: Connection) -> None:
    new_bot(database, {})
    database.execute("SET ROLE botfleet_bot")
    add_errors(database, RUN, [COUNT])
    add_errors(database, RUN, [COUNT])
    database.execute("SET ROLE botfleet_user")
    assert len(list_errors(database, 1, hours=2)) >= 1
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        add_errors(database, RUN, [COUNT])


OUTAGE = {"kind": "rate_limit", "status": 429, "retry_after_s": 2}


def wait_until(what: str, holds: Callable[[], bool], bot: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert bot.poll() is None, f"the bot ended with {bot.returncode} before {what}"
        assert time.monotonic() < deadline, f"no {what} within 60 s"
        time.sleep(0.05)


def test_a_bot_through_an_outage(database: Connection, database_url: str, exchange: Server, tmp_path: Path) -> None:
    new_bot(database, CONFIG)
    log = tmp_path / "bot.log"

    def value(query: str) -> int:
        row = database.execute(query).fetchone()
        return int(row[0]) if row and row[0] is not None else 0

    def bars() -> int:
        return value("SELECT bars FROM trading_checkpoints")

    def told(kind: str) -> bool:
        return bool(value(f"SELECT count(*) FROM trading_notifications WHERE kind = '{kind}'"))

    with log.open("wb") as stderr:
        bot = subprocess.Popen(
            [sys.executable, "-m", "botrunner", "--bot-id", "1", "--epoch", "1"],
            env={
                **os.environ,
                "BOTFLEET_DATABASE_URL": database_url,
                "BOTFLEET_EXCHANGE_URLS": json.dumps({"binance": exchange.url}),
                "BOTFLEET_LOG_LEVEL": "DEBUG",
                "BOTFLEET_EXCHANGE_AWAY_S": "1",
            },
            stderr=stderr,
        )
        try:
            wait_until("the first trades", lambda: bars() > 5 and value("SELECT count(*) FROM trading_trades") > 0, bot)
            wait_until("the stream", lambda: exchange.call("/_sandbox/status")["streams"]["connections"] == 1, bot)
            exchange.call("/_sandbox/faults", method="POST", body={"kind": "drop", "route": "stream"})
            exchange.call("/_sandbox/faults", method="POST", body=OUTAGE)
            wait_until("an outage that is told", lambda: told("exchange_away"), bot)
            exchange.call("/_sandbox/faults", method="DELETE")
            before = bars()
            wait_until("its end", lambda: told("bot_recovered") and bars() > before + 3, bot)
            bot.terminate()
            assert bot.wait(20) == 0
        finally:
            bot.kill()

    lines = [json.loads(line) for line in log.read_text().splitlines()]
    check_lines(lines)
    counted = {row.kind: row for row in list_errors(database, 1, hours=2)}
    assert {"exchange_away", "circuit_open", "stream_lost:ConnectionClosedError"} <= counted.keys()
    warned = sum(line["level"] in ("warning", "error") and line["event"] == "exchange_away" for line in lines)
    assert sum(row.count for row in counted.values() if row.kind == "exchange_away") == warned
    # no candle of the outage was left out
    times = [row[0] for row in database.execute("SELECT DISTINCT signal_at FROM trading_orders ORDER BY 1")]
    assert times == sorted(times)
    assert value("SELECT extract(epoch FROM last_bar_at) / 60 FROM trading_checkpoints") == first_minute(lines) + bars()

    shown = subprocess.run(
        [sys.executable, "-m", "cli", "bots", "errors", "errs", "-o", "json"],
        env={**os.environ, "BOTFLEET_DATABASE_URL": database_url},
        capture_output=True,
        text=True,
        timeout=60,
    )
    trends = {row["kind"]: row for row in json.loads(shown.stdout)}
    assert trends["exchange_away"]["direction"] == "new"


def first_minute(lines: list[dict[str, Any]]) -> int:
    begun = next(line for line in lines if line["event"] == "begins")
    return int(datetime.fromisoformat(begun["after_bar_at"]).timestamp()) // 60


def check_lines(lines: list[dict[str, Any]]) -> None:
    """Every line names bot, run and part; one of a bar the bar; one of an order the order."""
    assert {(line["bot_id"], line["epoch"]) for line in lines} == {(1, 1)}
    assert len({line["run_id"] for line in lines}) == 1
    assert all(line["part"] and line["at"] and line["level"] for line in lines)
    for line in lines:
        if line["event"] in ("decided", "filled", "entry_denied"):
            assert datetime.fromisoformat(line["signal_at"]).second == 0
        if line["event"] == "filled":
            assert len(line["client_order_id"]) == 32
    entered = [
        line for line in lines if line["event"] == "decided" and line["signal"] == "enter" and not line["denial"]
    ]
    assert entered
    assert all(line["client_order_ids"] for line in entered)
    # threads speak as the same bot
    assert {"stream", "bot", "breaker", "main"} <= {line["part"] for line in lines}
