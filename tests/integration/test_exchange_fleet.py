"""A fleet of real bots on one address of the real sandbox exchange: what it asks, and what a ban makes of it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.integration.controller_process import Fleet
from tests.integration.sandbox_server import Server

pytestmark = pytest.mark.postgres

BOTS = 20
BAN_S = 15
CONFIG = {
    "symbol": "BTCUSDT",
    "broker": {"type": "binance", "trading_mode": "paper", "cash": 10_000},
    "strategy": {
        "type": "CustomStrategy",
        "parameters": {
            "entry_logic": {"name": "RSIOrBBEntryMixin"},
            "exit_logic": {"name": "TimeBasedExitMixin", "params": {"max_bars": 2}},
        },
    },
    "data": {"interval": "1m", "lookback_bars": 50},
}
UNHURRIED = {
    # twenty bots import for 2 s of CPU each, on whatever else the machine does
    "BOTFLEET_HUNG_AFTER_S": "200",
    "BOTFLEET_CLAIM_DEADLINE_S": "300",
    "BOTFLEET_HEARTBEAT_INTERVAL_S": "1",
    "BOTFLEET_T_STOP_S": "30",
    "BOTFLEET_T_DEAD_S": "90",
    "BOTFLEET_CONTACT_GAP_S": "20",
    "BOTFLEET_GRACE_S": "30",
}


@pytest.fixture
def exchange() -> Iterator[Server]:
    command = [sys.executable, "-m", "sandbox_exchange", "--port", "0", "--speed", "20", "--candles", "synthetic:7"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        yield Server(process)
    finally:
        process.terminate()
        process.communicate(timeout=15)


@pytest.fixture
def fleet(database_url: str, tmp_path: Path, exchange: Server) -> Iterator[Fleet]:
    fleet = Fleet(
        database_url,
        tmp_path,
        BOTFLEET_BOT_COMMAND=json.dumps([sys.executable, "-m", "botrunner"]),
        BOTFLEET_EXCHANGE_URLS=json.dumps({"binance": exchange.url}),
        **UNHURRIED,
    )
    yield fleet
    fleet.close()


def count(fleet: Fleet, query: str) -> int:
    row = fleet.connection.execute(f"SELECT count(*) AS n FROM {query}".encode()).fetchone()
    assert row is not None
    return int(row["n"])


def bars(fleet: Fleet) -> dict[int, int]:
    rows = fleet.connection.execute("SELECT bot_id, bars FROM trading_checkpoints").fetchall()
    return {row["bot_id"]: row["bars"] for row in rows}


def asked(exchange: Server, *, after: float, before: float) -> list[dict[str, Any]]:
    return [one for one in exchange.call("/_sandbox/requests") if after < one["at_s"] < before]


def test_twenty_bots_ask_for_rules_once_and_one_ban_silences_them_all(fleet: Fleet, exchange: Server) -> None:
    fleet.start()
    fleet.connection.execute(
        "INSERT INTO trading_bots (name, enabled, config) SELECT 'bot ' || n, true, %s FROM generate_series(1, %s) n",
        (Jsonb(CONFIG), BOTS),
    )
    fleet.wait(lambda: count(fleet, "trading_bots WHERE status = 'running'") == BOTS, within_s=240)
    fleet.wait(lambda: len(bars(fleet)) == BOTS and min(bars(fleet).values()) >= 2, within_s=60)
    status = exchange.call("/_sandbox/status")
    assert status["requests_by_route"]["exchangeInfo"] == 1
    assert set(status["requests_by_verdict"]) == {"200"}

    ban = {"kind": "rate_limit", "status": 418, "retry_after_s": BAN_S, "count": 1}
    exchange.call("/_sandbox/faults", method="POST", body=ban)
    fleet.wait(lambda: count(fleet, "exchange_pauses") == 1, within_s=20)
    told = fleet.connection.execute(
        "SELECT *, extract(epoch FROM until)::float AS ends_s FROM exchange_pauses"
    ).fetchone()
    assert told is not None
    says_so = "trading_bots WHERE status = 'running' AND error_message LIKE 'binance wants no request from this%'"
    fleet.wait(lambda: count(fleet, says_so) == BOTS, within_s=BAN_S / 2)
    all_know = time.time()
    before = bars(fleet)
    assert all_know < told["ends_s"] - BAN_S / 3

    # nobody but those who hadn't heard yet, for a heartbeat, and nobody at all once everybody had
    fleet.wait(lambda: time.time() > told["ends_s"], within_s=BAN_S)
    assert asked(exchange, after=all_know, before=told["ends_s"]) == []
    assert bars(fleet) == before
    fleet.wait(lambda: all(bars(fleet)[bot] > before[bot] + 2 for bot in before), within_s=40)
    fleet.wait(lambda: count(fleet, "trading_bots WHERE status = 'running' AND error_message IS NULL") == BOTS)
    # they came back one after the other, two seconds for twenty
    returned = asked(exchange, after=told["ends_s"], before=told["ends_s"] + 3)
    assert len({round(one["at_s"], 1) for one in returned}) > 5
    verdicts = exchange.call("/_sandbox/status")["requests_by_verdict"]
    assert (verdicts["418"], verdicts.get("429", 0)) == (1, 0)
    # nobody hung, fenced or restarted for it
    assert count(fleet, "trading_runs") == BOTS
    assert count(fleet, "trading_runs WHERE ended_at IS NOT NULL") == 0

    # a start of all at once asks for no rules any more
    fleet.connection.execute("UPDATE trading_bots SET enabled = false")
    fleet.wait(lambda: count(fleet, "trading_bots WHERE status = 'stopped'") == BOTS, within_s=60)
    fleet.connection.execute("UPDATE trading_bots SET enabled = true")
    fleet.wait(lambda: count(fleet, "trading_bots WHERE status = 'running'") == BOTS, within_s=240)
    assert exchange.call("/_sandbox/status")["requests_by_route"]["exchangeInfo"] == 1


def test_what_a_bot_says_it_waits_for_is_shown_as_plain_text(database_url: str, tmp_path: Path) -> None:
    fleet = Fleet(database_url, tmp_path)
    try:
        fleet.start()
        bot = fleet.add_bot()
        fleet.wait(lambda: fleet.running(bot))
        for words, shown in (("waits [/x]\x1b[31m for\nyou \u202e", "waits [/x] for you \ufffd"), (None, None)):
            fleet.connection.execute("UPDATE trading_runs SET waits_for = %s", [words])
            fleet.connection.execute("SELECT pg_notify('botfleet_bots', %s)", [str(bot)])
            fleet.wait(lambda: fleet.bot(bot)["error_message"] == shown, within_s=4)  # noqa: B023
            assert fleet.bot(bot)["status"] == "running"
        with pytest.raises(psycopg.errors.CheckViolation):
            fleet.connection.execute("UPDATE trading_runs SET waits_for = repeat('x', 501)")
    finally:
        fleet.close()
