"""A database that can be read and not written, or whose rows somebody holds: nobody is fenced, everybody goes on.

Real bots under a real controller. `BOTFLEET_FULL_TIMES=1 pytest tests/integration/test_database_faults.py` takes the
default times and faults of 60 and 50 s instead of shortened ones.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.integration.controller_process import Fleet

pytestmark = pytest.mark.postgres

FULL = bool(os.environ.get("BOTFLEET_FULL_TIMES"))
T_DEAD_S = 35.0 if FULL else 15.0
READ_ONLY_S = 60.0 if FULL else T_DEAD_S + 3
LOCKED_S = 50.0 if FULL else T_DEAD_S + 3
AFTERWARDS_S = 15.0 if FULL else 6.0
"""A fence that waited for its chance would come at once; bots come back within seconds."""

DEFAULTS = {
    "BOTFLEET_HEARTBEAT_INTERVAL_S": "5",
    "BOTFLEET_T_STOP_S": "15",
    "BOTFLEET_ORDER_TIMEOUT_S": "5",
    "BOTFLEET_CLOCK_DRIFT_S": "2",
    "BOTFLEET_T_DEAD_S": "35",
    "BOTFLEET_CONTACT_GAP_S": "10",
    "BOTFLEET_WATCH_INTERVAL_S": "2",
    "BOTFLEET_SHARD_TTL_S": "15",
}
SHORT = {
    # a bot comes back later than the controller, as with the default times
    "BOTFLEET_HEARTBEAT_INTERVAL_S": "3",
    "BOTFLEET_T_STOP_S": "6",
    "BOTFLEET_T_DEAD_S": f"{T_DEAD_S:g}",
}
NOT_HUNG = {"BOTFLEET_HUNG_AFTER_S": "30", "BOTFLEET_CLAIM_DEADLINE_S": "120"}
"""A real bot takes longer to start than the fake ones, on a busy machine above all."""

BOTS = 2


@pytest.fixture
def fleet(database_url: str, tmp_path: Path) -> Iterator[Fleet]:
    command = json.dumps(["python", "-m", "botrunner"])
    times = {**NOT_HUNG, **(DEFAULTS if FULL else SHORT)}
    fleet = Fleet(database_url, tmp_path, BOTFLEET_BOT_COMMAND=command, **times)
    yield fleet
    for controller in fleet.controllers:
        controller.kill()
        controller.wait()
    for file in (tmp_path / "state" / "runs").glob("*.json"):
        os.kill(json.loads(file.read_text())["pid"], 9)
    fleet.connection.close()


@contextmanager
def read_only(url: str) -> Iterator[float]:
    def switch(value: str) -> None:
        head = url.rpartition("/")[0]
        with psycopg.connect(f"{head}/postgres", autocommit=True) as admin:
            admin.execute("SET default_transaction_read_only = off")
            admin.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}".encode())
            admin.execute("SELECT pg_reload_conf()")

    switch("on")
    try:
        yield READ_ONLY_S
    finally:
        switch("off")


def held(statement: str) -> Callable[[str], Any]:
    @contextmanager
    def hold(url: str) -> Iterator[float]:
        with psycopg.connect(url) as person:
            person.execute(statement.encode())
            yield LOCKED_S
            person.rollback()

    return hold


FAULTS: dict[str, Callable[[str], Any]] = {
    "read-only": read_only,
    "runs locked": held("LOCK TABLE trading_runs IN ACCESS EXCLUSIVE MODE"),
    "runs locked for writes": held("LOCK TABLE trading_runs IN EXCLUSIVE MODE"),
    "bots locked": held("LOCK TABLE trading_bots IN ACCESS EXCLUSIVE MODE"),
    "one run locked": held("SELECT FROM trading_runs WHERE bot_id = 1 FOR UPDATE"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_nobody_is_fenced_for_the_databases_fault(fleet: Fleet, tmp_path: Path, fault: str) -> None:
    candles = tmp_path / "BTC_USDT-1h.csv"
    rows = (f"{1_500_000_000_000 // 3_600_000 * 3_600_000 + 3_600_000 * number},10,11,9,10,5" for number in range(20))
    candles.write_text("\n".join(["timestamp,open,high,low,close,volume", *rows]) + "\n")
    data = {"interval": "1h", "data_source": "file", "file_path": str(candles)}
    bots = [fleet.add_bot(f"bot {number}", data=data) for number in range(BOTS)]
    fleet.start()
    for bot in bots:
        fleet.wait(lambda bot=bot: fleet.running(bot, epoch=1), within_s=90)
    pids = {bot: claimant(fleet, bot) for bot in bots}

    with FAULTS[fault](fleet.url) as seconds:
        time.sleep(seconds)

    def beating(bot: int) -> bool:
        row = fleet.connection.execute(
            "SELECT claimed_by, clock_timestamp() - heartbeat_at < interval '6 s' AS fresh FROM trading_runs"
            " WHERE bot_id = %s AND ended_at IS NULL",
            [bot],
        ).fetchone()
        return row is not None and row["claimed_by"] == pids[bot] and row["fresh"]

    for bot in bots:
        took_s = fleet.wait(lambda bot=bot: beating(bot), within_s=T_DEAD_S)
        assert took_s < T_DEAD_S
    time.sleep(AFTERWARDS_S)
    for bot in bots:
        (run,) = fleet.runs(bot)
        assert (run["epoch"], run["ended_at"], run["claimed_by"]) == (1, None, pids[bot]), fleet.logs()[-3000:]
        assert (fleet.bot(bot)["status"], fleet.bot(bot)["error_count"]) == ("running", 0)


def claimant(fleet: Fleet, bot: int) -> str:
    return str(fleet.runs(bot)[-1]["claimed_by"])
