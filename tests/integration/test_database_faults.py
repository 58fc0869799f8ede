"""A database that can be read and not written, or whose rows somebody holds: nobody is fenced, everybody goes on.

Real bots under a real controller. `BOTFLEET_FULL_TIMES=1 pytest tests/integration/test_database_faults.py` takes the
default times and faults of 60 and 50 s instead of shortened ones.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.integration.controller_process import Fleet
from tests.support import fresh_database

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


@contextmanager
def real_bots(url: str, folder: Path) -> Iterator[Fleet]:
    command = json.dumps(["python", "-m", "botrunner"])
    times = {**NOT_HUNG, **(DEFAULTS if FULL else SHORT)}
    fleet = Fleet(url, folder, BOTFLEET_BOT_COMMAND=command, **times)
    try:
        yield fleet
    finally:
        fleet.close()


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


LOCKS: dict[str, Callable[[str], Any]] = {
    "runs locked": held("LOCK TABLE trading_runs IN ACCESS EXCLUSIVE MODE"),
    "runs locked for writes": held("LOCK TABLE trading_runs IN EXCLUSIVE MODE"),
    "bots locked": held("LOCK TABLE trading_bots IN ACCESS EXCLUSIVE MODE"),
    "one run locked": held("SELECT FROM trading_runs WHERE bot_id = 1 FOR UPDATE"),
}


@pytest.fixture(scope="module")
def locked(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[None]]]:
    """All locks beside each other, each on a database of its own with its own controller and bots: they mostly wait."""

    def suffer(lock: str) -> None:
        with fresh_database(postgres_url) as url, real_bots(url, tmp_path_factory.mktemp("fleet")) as fleet:
            nobody_is_fenced(fleet, LOCKS[lock])

    with ThreadPoolExecutor(len(LOCKS)) as pool:
        yield {lock: pool.submit(suffer, lock) for lock in LOCKS}


@pytest.mark.parametrize("lock", LOCKS)
def test_nobody_is_fenced_for_a_lock(locked: dict[str, Future[None]], lock: str) -> None:
    locked[lock].result()


def test_nobody_is_fenced_while_the_server_is_read_only(
    database_url: str, tmp_path: Path, locked: dict[str, Future[None]]
) -> None:
    wait(locked.values())  # the server is theirs as well
    with real_bots(database_url, tmp_path) as fleet:
        nobody_is_fenced(fleet, read_only)


def nobody_is_fenced(fleet: Fleet, fault: Callable[[str], Any]) -> None:
    """Bots that trade go on after the fault, in the same runs and processes."""
    candles = fleet.folder / "BTC_USDT-1h.csv"
    rows = (f"{1_500_000_000_000 // 3_600_000 * 3_600_000 + 3_600_000 * number},10,11,9,10,5" for number in range(20))
    candles.write_text("\n".join(["timestamp,open,high,low,close,volume", *rows]) + "\n")
    data = {"interval": "1h", "data_source": "file", "file_path": str(candles)}
    bots = [fleet.add_bot(f"bot {number}", data=data) for number in range(BOTS)]
    fleet.start()
    for bot in bots:
        fleet.wait(lambda bot=bot: fleet.running(bot, epoch=1), within_s=90)
    pids = {bot: claimant(fleet, bot) for bot in bots}

    with fault(fleet.url) as seconds:
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
