"""What admission reads: who is starting, how long starts took, which positions nobody watches."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from fleet.states import ExitReason
from fleet.trading_service import runs
from fleet.trading_service.bots import load_bot
from fleet.trading_service.starts import start_facts

pytestmark = pytest.mark.postgres


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[AsyncConnection[Any]]:
    async with await AsyncConnection.connect(database_url, autocommit=True) as connection:
        yield connection


async def add(db: AsyncConnection[Any], name: str, config: object = None, **columns: str) -> int:
    cursor = await db.execute(
        "INSERT INTO trading_bots (name, enabled, config) VALUES (%s, true, %s) RETURNING id",
        (name, Jsonb({} if config is None else config)),
    )
    found = await cursor.fetchone()
    assert found is not None
    for column, value in columns.items():
        await db.execute(f"UPDATE trading_bots SET {column} = {value} WHERE name = %s".encode(), (name,))
    return int(found[0])


async def start(db: AsyncConnection[Any], bot: int, **moments: float) -> None:
    """A run; moments in seconds before now."""
    version = (await (await db.execute("SELECT config_version FROM trading_bots WHERE id = %s", (bot,))).fetchone())[0]
    assert await runs.start_run(
        db, None, bot_id=bot, epoch=1, config_version=version, controller="c", runtime="process", pod_name="p"
    )
    for column, seconds in moments.items():
        statement = f"UPDATE trading_runs SET {column} = now() - make_interval(secs => %s) WHERE bot_id = %s"
        await db.execute(statement.encode(), (seconds, bot))


async def open_position(db: AsyncConnection[Any], bot: int, status: str = "open") -> None:
    await db.execute(
        "INSERT INTO trading_positions (bot_id, symbol, direction, opened_at, qty_open, avg_price, status)"
        " VALUES (%s, 'BTCUSDT', 'long', now(), 1, 1, %s)",
        (bot, status),
    )


async def test_who_is_starting(db: AsyncConnection[Any]) -> None:
    live = await add(db, "live", {"broker": {"trading_mode": "live"}})
    await start(db, live, created_at=9, claimed_at=8, waited_at=2)
    paper = await add(db, "paper", {"broker": {"trading_mode": "paper"}})
    await start(db, paper)
    await open_position(db, paper)
    # snapshots of before configs had to be objects
    await db.execute("ALTER TABLE trading_bots DROP CONSTRAINT trading_bots_config_check")
    for name, config in (("null", None), ("text", "live"), ("list", ["broker"]), ("odd", {"broker": "live"})):
        await start(db, await add(db, name, config))
    running = await add(db, "running")
    await start(db, running, created_at=9, claimed_at=8, live_at=5)
    over = await add(db, "over")
    await start(db, over)
    await runs.end_run(db, None, over, 1, reason=ExitReason.FAILED, exit_code=1, message=None)
    facts = await start_facts(db)
    assert [(run.bot_id, run.holding, run.live) for run in facts.starting][:2] == [
        (live, False, True),
        (paper, True, False),
    ]
    assert len(facts.starting) == 6
    first = facts.starting[0]
    assert first.claimed_at is not None
    assert first.waited_at is not None
    assert 7.9 < (facts.now - first.claimed_at).total_seconds() < 12
    record = await load_bot(db, paper)
    assert record is not None
    assert record.holding
    assert record.runs[0].phase is None


async def test_how_long_starts_took(db: AsyncConnection[Any]) -> None:
    for name, moments in {
        "quick": {"created_at": 100, "claimed_at": 99, "live_at": 97},
        "newer": {"created_at": 90, "claimed_at": 88, "live_at": 80},
        "waited for the exchange": {"created_at": 90, "claimed_at": 88, "waited_at": 70, "live_at": 60},
        "waited for a node": {"created_at": 900, "claimed_at": 88, "live_at": 60},
        "long ago": {"created_at": 9000, "claimed_at": 8999, "live_at": 8997},
        "starting": {"created_at": 90, "claimed_at": 88},
    }.items():
        await start(db, await add(db, name), **moments)
    facts = await start_facts(db)
    assert [(round(begin), round(live)) for begin, live in facts.spans] == [(90, 80), (100, 97)]


async def test_positions_that_nobody_watches(db: AsyncConnection[Any]) -> None:
    waiting, running, flat = await add(db, "waiting"), await add(db, "running"), await add(db, "flat")
    await start(db, running, live_at=1)
    unwanted = [
        await add(db, "off", enabled="false"),
        await add(db, "archived", archived_at="now()"),
        await add(db, "broken", status="'error'"),
        await add(db, "given up", status="'disabled'"),
    ]
    for bot in (waiting, running, *unwanted):
        await open_position(db, bot)
    await open_position(db, flat, "closed")
    assert (await start_facts(db)).holders == (waiting,)
