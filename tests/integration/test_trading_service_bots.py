"""Reading bots, and writing what people see."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from fleet.states import BotStatus, ExitReason
from fleet.trading_service import bots, runs
from fleet.trading_service.bots import Notification

pytestmark = pytest.mark.postgres


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[AsyncConnection[Any]]:
    async with await AsyncConnection.connect(database_url, autocommit=True) as connection:
        yield connection


async def add(db: AsyncConnection[Any], name: str, *, enabled: bool = True, **columns: str) -> int:
    cursor = await db.execute(
        "INSERT INTO trading_bots (name, enabled, config) VALUES (%s, %s, '{}') RETURNING id", (name, enabled)
    )
    found = await cursor.fetchone()
    for column, value in columns.items():
        await db.execute(f"UPDATE trading_bots SET {column} = {value} WHERE name = %s".encode(), (name,))
    return int(found[0])


async def start(db: AsyncConnection[Any], bot: int, epoch: int, version: int = 1) -> None:
    assert await runs.start_run(
        db,
        None,
        bot_id=bot,
        epoch=epoch,
        config_version=version,
        controller="c",
        runtime="process",
        pod_name=f"p{epoch}",
    )


async def stop(db: AsyncConnection[Any], bot: int, epoch: int) -> None:
    assert await runs.end_run(db, None, bot, epoch, reason=ExitReason.FAILED, exit_code=1, message="broke")


async def test_a_bot_comes_with_its_newest_runs(db: AsyncConnection[Any]) -> None:
    bot = await add(db, "a")
    assert await bots.load_bot(db, bot + 1) is None
    fresh = await bots.load_bot(db, bot)
    assert fresh is not None
    assert (fresh.name, fresh.wanted, fresh.runs, fresh.status) == ("a", True, (), BotStatus.STOPPED)
    for epoch in range(1, 40):
        await start(db, bot, epoch)
        await stop(db, bot, epoch)
    await start(db, bot, 40)
    full = await bots.load_bot(db, bot)
    assert full is not None
    assert [run.epoch for run in full.runs] == list(range(40, 40 - bots.HISTORY_LIMIT, -1))
    assert full.runs[0].ended_at is None
    assert (full.runs[1].exit_reason, full.runs[1].error_message) == (ExitReason.FAILED, "broke")
    await db.execute("UPDATE trading_bots SET archived_at = now()")
    archived = await bots.load_bot(db, bot)
    assert archived is not None
    assert not archived.wanted


async def test_a_config_is_read_only_in_the_version_asked_for(db: AsyncConnection[Any]) -> None:
    bot = await add(db, "a")
    assert await bots.load_config(db, bot, 1) == {}
    await db.execute("""UPDATE trading_bots SET config = '{"a": 1}'""")
    assert await bots.load_config(db, bot, 1) is None
    assert await bots.load_config(db, bot, 2) == {"a": 1}


async def test_a_status_is_written_unless_it_moved_on_or_is_locked(db: AsyncConnection[Any], database_url: str) -> None:
    bot = await add(db, "a")
    values = {"status": BotStatus.ERROR, "message": "bad", "error_count": 2}
    assert not await bots.update_bot_status(db, bot, seen=BotStatus.RUNNING, **values)
    with psycopg.connect(database_url) as person:
        person.execute("UPDATE trading_bots SET description = 'x'")
        async with asyncio.timeout(1):
            assert not await bots.update_bot_status(db, bot, seen=BotStatus.STOPPED, **values)
    assert await bots.update_bot_status(db, bot, seen=BotStatus.STOPPED, **values)
    found = await bots.load_bot(db, bot)
    assert found is not None
    assert (found.status, found.error_message, found.error_count) == (BotStatus.ERROR, "bad", 2)
    assert found.config_version == 1
    assert {count.status: count.bots for count in await bots.count_statuses(db)} == {"error": 1}


async def test_a_poll_finds_what_is_not_settled(db: AsyncConnection[Any]) -> None:
    running = "'running'"
    new = await add(db, "new")
    settled = await add(db, "settled", status=running)
    stopping = await add(db, "stopping", status=running)
    outdated = await add(db, "outdated", status=running)
    for bot in (settled, stopping, outdated):
        await start(db, bot, 1)
        await db.execute("UPDATE trading_runs SET claimed_by = 't' WHERE bot_id = %s", (bot,))
    await runs.request_stop(db, None, stopping, 1, reason="stopped")
    await db.execute("""UPDATE trading_bots SET config = '{"a": 1}' WHERE id = %s""", (outdated,))
    await add(db, "off", enabled=False)
    off_but_wrong = await add(db, "off but wrong", enabled=False, status="'error'")
    switched_off = await add(db, "switched off", status=running)
    await start(db, switched_off, 1)
    await db.execute("UPDATE trading_bots SET enabled = false WHERE id = %s", (switched_off,))
    await add(db, "archived", archived_at="now()")
    assert await bots.unsettled_bots(db) == [new, stopping, outdated, off_but_wrong, switched_off]
    assert await bots.get_enabled_bots(db) == [new, settled, stopping, outdated]
    assert await bots.get_enabled_bots(db, user_id=2) == []


async def test_a_notification_is_written_once(db: AsyncConnection[Any]) -> None:
    bot = await add(db, "a")
    notice = Notification(bot_id=bot, kind="k", severity="critical", title="t", body="b", key="1", facts={"n": 1})
    assert await bots.add_notification(db, notice)
    assert not await bots.add_notification(db, notice)
    cursor = await db.execute("SELECT user_id, kind, facts, state FROM trading_notifications")
    assert await cursor.fetchall() == [(1, "k", {"n": 1}, "pending")]


async def test_what_keeps_the_controller_from_starting_is_shown_where_somebody_waits(
    db: AsyncConnection[Any], database_url: str
) -> None:
    running, error = "'running'", "'error'"
    for name in ("waits", "waits with a run", "busy", "runs"):
        await add(db, name, **({"status": running} if name == "runs" else {}))
    await add(db, "off", enabled=False)
    await add(db, "archived", archived_at="now()")
    await add(db, "invalid", status=error, error_message="'bad'")
    cursor = await db.execute("SELECT id FROM trading_bots WHERE name IN ('waits with a run', 'runs') ORDER BY id")
    for (bot,) in await cursor.fetchall():
        await start(db, bot, 1)
    await db.execute("UPDATE trading_runs SET claimed_by = 't' WHERE bot_id = (SELECT max(bot_id) FROM trading_runs)")
    with psycopg.connect(database_url) as person:
        person.execute("UPDATE trading_bots SET description = 'x' WHERE name = 'busy'")
        async with asyncio.timeout(1):
            assert await bots.show_trouble(db, "no answer") == 2
        assert await bots.show_trouble(db, "no answer") == 0
    cursor = await db.execute("SELECT name, status FROM trading_bots WHERE error_message = 'no answer' ORDER BY id")
    assert await cursor.fetchall() == [("waits", "starting"), ("waits with a run", "starting")]


async def test_what_keeps_the_controller_from_starting_is_shown_clean_and_masked(db: AsyncConnection[Any]) -> None:
    await add(db, "waits")
    assert await bots.show_trouble(db, "no answer:\x00 https://u:hunter2@api/") == 1
    cursor = await db.execute("SELECT error_message FROM trading_bots WHERE name = 'waits'")
    [(shown,)] = await cursor.fetchall()
    assert "no answer" in shown
    assert "hunter2" not in shown
