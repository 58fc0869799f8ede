"""The run protocol's SQL: what comes first wins, and repetitions change nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from fleet.errors import DatabaseAway, FencedError
from fleet.states import ExitReason
from fleet.trading_service import admin, runs, shards
from fleet.trading_service.bots import load_bot
from fleet.trading_service.lease import RunId, claim, heartbeat, mark_live, release
from fleet.trading_service.runs import ShardLease, WatchLimits

pytestmark = pytest.mark.postgres

LIMITS = WatchLimits(quiet_s=15, dead_s=35, stalled_s=30, asked_s=35, claim_s=120, start_s=600)


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[AsyncConnection[Any]]:
    """The controller's connection."""
    async with await AsyncConnection.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def bot_db(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """The bot's connection."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def bot(bot_db: psycopg.Connection[Any]) -> int:
    row = bot_db.execute(
        "INSERT INTO trading_bots (name, enabled, config) VALUES ('b', true, %s) RETURNING id", [Jsonb({"a": 1})]
    ).fetchone()
    assert row is not None
    return int(row[0])


async def start(
    db: AsyncConnection[Any], bot: int, epoch: int = 1, *, lease: ShardLease | None = None, **changes: Any
) -> bool:
    values: dict[str, Any] = {
        "config_version": 1,
        "controller": "c",
        "runtime": "process",
        "pod_name": f"bot-{bot}-e{epoch}",
    }
    return await runs.start_run(db, lease, bot, epoch, **(values | changes))


async def end(db: AsyncConnection[Any], bot: int, epoch: int = 1, *, lease: ShardLease | None = None) -> bool:
    return await runs.end_run(db, lease, bot, epoch, reason=ExitReason.FAILED, exit_code=1, message="broke")


async def row(db: AsyncConnection[Any], bot: int, epoch: int = 1) -> dict[str, Any]:
    async with db.cursor(row_factory=dict_row) as cursor:
        await cursor.execute("SELECT * FROM trading_runs WHERE bot_id = %s AND epoch = %s", (bot, epoch))
        found = await cursor.fetchone()
    assert found is not None
    return found


async def age(db: AsyncConnection[Any], bot: int, **seconds: float) -> None:
    """Move moments of the newest run into the past."""
    for column, value in seconds.items():
        statement = (
            f"UPDATE trading_runs SET {column} = clock_timestamp() - make_interval(secs => %s) WHERE bot_id = %s"
        )
        await db.execute(statement.encode(), (value, bot))


def fate(**changes: Any) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {"reason": ExitReason.FENCED_SILENT, "message": "silent", "decided_at": now, **changes}


async def test_a_start_takes_the_config_as_it_is(db: AsyncConnection[Any], bot: int) -> None:
    assert await start(db, bot)
    found = await row(db, bot)
    assert (found["config"], found["config_version"], found["claimed_by"]) == ({"a": 1}, 1, None)
    assert await runs.current_runs(db) == {bot: 1}
    assert await runs.load_run_config(db, bot, 1) == {"a": 1}


@pytest.mark.parametrize(
    "change",
    ["enabled = false", "archived_at = now()", "config = '{}'"],
)
async def test_a_start_needs_the_row_that_was_validated(db: AsyncConnection[Any], bot: int, change: str) -> None:
    await db.execute(f"UPDATE trading_bots SET {change} WHERE id = %s".encode(), (bot,))
    assert not await start(db, bot)


async def test_a_start_needs_the_end_of_the_last_run(db: AsyncConnection[Any], bot: int) -> None:
    assert await start(db, bot)
    assert not await start(db, bot, 2)
    assert await end(db, bot)
    assert not await start(db, bot, 1)  # an epoch is never used twice
    assert await start(db, bot, 2)


async def test_of_two_starts_at_once_one_wins(db: AsyncConnection[Any], bot: int, database_url: str) -> None:
    async with await AsyncConnection.connect(database_url) as other:  # not yet committed
        assert await start(other, bot)
        second = asyncio.create_task(start(db, bot))
        await asyncio.sleep(0.1)
        assert not second.done()  # waits for the first one's fate
        await other.commit()
        assert not await second


async def test_an_open_transaction_on_the_bot_stalls_nothing(
    db: AsyncConnection[Any], bot: int, bot_db: psycopg.Connection[Any], database_url: str
) -> None:
    with psycopg.connect(database_url) as person:
        person.execute("UPDATE trading_bots SET description = 'x' WHERE id = %s", [bot])
        async with asyncio.timeout(1):
            assert await start(db, bot)
            claim(bot_db, RunId(bot, 1, "t"))
            assert not heartbeat(bot_db, RunId(bot, 1, "t"), progress_age_s=0).stop_requested
            assert await runs.request_stop(db, None, bot, 1, reason="stopped")
            assert await end(db, bot)


async def test_claim_and_fence_exclude_each_other(
    db: AsyncConnection[Any], bot: int, bot_db: psycopg.Connection[Any]
) -> None:
    await start(db, bot)
    claim(bot_db, RunId(bot, 1, "t"))
    assert not await runs.fence_unclaimed(db, None, bot, 1, **fate())
    await end(db, bot)
    await start(db, bot, 2)
    assert await runs.fence_unclaimed(db, None, bot, 2, **fate(reason=ExitReason.NOT_CLAIMED))
    with pytest.raises(FencedError):
        claim(bot_db, RunId(bot, 2, "t"))
    found = await row(db, bot, 2)
    assert found["fenced_at"] == found["ended_at"] or found["fenced_at"] <= found["ended_at"]
    assert (found["exit_reason"], found["error_message"]) == ("not_claimed", "silent")


async def test_a_fence_waits_for_nobody(
    db: AsyncConnection[Any], bot: int, bot_db: psycopg.Connection[Any], database_url: str
) -> None:
    """Whoever holds the row keeps heartbeats from being written; a fence in the queue could come before them."""
    run = RunId(bot, 1, "t")
    await start(db, bot)
    claim(bot_db, run)
    await age(db, bot, heartbeat_at=36)
    for hold in (
        "UPDATE trading_runs SET heartbeat_at = clock_timestamp()",  # a heartbeat that isn't committed yet
        "SELECT FROM trading_runs FOR UPDATE",
        "SELECT FROM trading_runs FOR SHARE",
        "LOCK TABLE trading_runs",
        "LOCK TABLE trading_runs IN SHARE MODE",
        "LOCK TABLE trading_notifications",  # where the end would be told
    ):
        with psycopg.connect(database_url) as person:
            person.execute(hold.encode())
            before = time.monotonic()
            assert not await runs.fence_silent(db, None, bot, 1, silent_s=35, **fate()), hold
            assert time.monotonic() - before < 1, hold
            person.rollback()
            heartbeat(bot_db, run, progress_age_s=0)  # nothing stands between a bot and its row
        await age(db, bot, heartbeat_at=36)
    assert await runs.fence_silent(db, None, bot, 1, silent_s=35, **fate())


HINDRANCES = [
    "LOCK TABLE trading_runs",
    "LOCK TABLE trading_runs IN SHARE MODE",  # reads go on
    "LOCK TABLE trading_bots IN EXCLUSIVE MODE",  # the mirror of what people read
    "LOCK TABLE trading_checkpoints",
    "LOCK TABLE controller_shards IN EXCLUSIVE MODE",
]


@pytest.mark.parametrize("hindrance", HINDRANCES)
async def test_what_hinders_heartbeats_hinders_their_proof(
    db: AsyncConnection[Any], bot: int, database_url: str, hindrance: str
) -> None:
    lease = await shards.acquire_shard(db, 0, holder="c", ttl_s=15)
    assert lease is not None
    first = await runs.prove_heartbeats(db, lease)
    assert first is not None
    assert abs((datetime.now(UTC) - first).total_seconds()) < 5
    await db.execute("SET lock_timeout = '200ms'")
    with psycopg.connect(database_url) as person:
        person.execute(hindrance.encode())
        with pytest.raises(DatabaseAway):
            await runs.prove_heartbeats(db, lease)
    assert (await runs.prove_heartbeats(db, lease) or first) > first


async def test_a_read_only_database_proves_nothing(db: AsyncConnection[Any], database_url: str) -> None:
    lease = await shards.acquire_shard(db, 0, holder="c", ttl_s=15)
    assert lease is not None
    await db.execute("SET default_transaction_read_only = on")
    await db.execute("SELECT FROM trading_runs")
    with pytest.raises(DatabaseAway, match="read-only"):
        await runs.prove_heartbeats(db, lease)


async def test_the_proof_takes_every_lock_that_a_heartbeat_takes_and_leaves_nothing(
    db: AsyncConnection[Any], bot: int, bot_db: psycopg.Connection[Any], database_url: str
) -> None:
    def locks(connection: psycopg.Connection[Any]) -> set[tuple[str, str]]:
        rows = connection.execute(
            "SELECT relation::regclass::text, mode FROM pg_locks"
            " WHERE pid = pg_backend_pid() AND locktype = 'relation' AND relation <> 'pg_locks'::regclass"
        )
        return {(name, mode) for name, mode in rows if not name.startswith("pg_")}

    await start(db, bot)
    claim(bot_db, RunId(bot, 1, "t"))
    with psycopg.connect(database_url) as process:
        heartbeat(process, RunId(bot, 1, "t"), progress_age_s=0)
        of_heartbeat = locks(process)
    with psycopg.connect(database_url) as controller:
        with pytest.raises(FencedError):
            heartbeat(controller, RunId(0, 0, ""), progress_age_s=0)
        assert locks(controller) >= of_heartbeat
    assert {name for name, _ in of_heartbeat} >= {"trading_runs", "trading_bots", "trading_checkpoints"}
    lease = await shards.acquire_shard(db, 0, holder="c", ttl_s=15)
    assert lease is not None
    before = await row(db, bot)
    await runs.prove_heartbeats(db, lease)
    assert await row(db, bot) == before
    assert await runs.prove_heartbeats(db, ShardLease(0, lease.epoch + 1)) is None


async def test_the_controllers_role_may_prove_heartbeats(db: AsyncConnection[Any]) -> None:
    lease = await shards.acquire_shard(db, 0, holder="c", ttl_s=15)
    assert lease is not None
    await db.execute("SET ROLE botfleet_controller")
    assert await runs.prove_heartbeats(db, lease) is not None
    assert await runs.locked_runs(db, [1]) == {1}


async def test_locked_rows_are_found_and_not_waited_for(
    db: AsyncConnection[Any], bot: int, bot_db: psycopg.Connection[Any], database_url: str
) -> None:
    await start(db, bot)
    claim(bot_db, RunId(bot, 1, "t"))
    assert await runs.locked_runs(db, [bot]) == set()
    assert await runs.locked_runs(db, []) == set()
    with psycopg.connect(database_url) as person:
        person.execute("SELECT FROM trading_runs FOR SHARE")
        assert await runs.locked_runs(db, [bot]) == {bot}
        person.execute("COMMIT; BEGIN; SELECT FROM trading_runs FOR KEY SHARE")  # a foreign key's: hinders nobody
        assert await runs.locked_runs(db, [bot]) == set()
        heartbeat(bot_db, RunId(bot, 1, "t"), progress_age_s=0)


@pytest.mark.parametrize("how", ["released", "ended", "fenced", "by hand"])
async def test_every_end_of_a_run_is_told_at_once_and_once(
    db: AsyncConnection[Any], bot: int, bot_db: psycopg.Connection[Any], database_url: str, how: str
) -> None:
    await start(db, bot)
    with psycopg.connect(database_url, autocommit=True) as listener:
        listener.execute("LISTEN botfleet_bots")
        run = RunId(bot, 1, "t")
        claim(bot_db, run)
        heartbeat(bot_db, run, progress_age_s=0)
        await runs.record_pod(db, None, bot, 1, uid="u")
        assert list(listener.notifies(timeout=0.2)) == []
        await age(db, bot, heartbeat_at=36)
        match how:
            case "released":
                assert release(bot_db, run, exit_code=0, reason=ExitReason.RELEASED)
            case "ended":
                assert await end(db, bot)
            case "fenced":
                assert await runs.fence_silent(db, None, bot, 1, silent_s=35, **fate())
            case _:
                await db.execute("UPDATE trading_runs SET ended_at = now(), exit_reason = 'stopped'")
        assert [note.payload for note in listener.notifies(timeout=5, stop_after=1)] == [str(bot)]
        await db.execute("UPDATE trading_runs SET ended_at = now()")
        assert list(listener.notifies(timeout=0.2)) == []


async def test_silence_is_measured_by_the_database(
    db: AsyncConnection[Any], bot: int, bot_db: psycopg.Connection[Any]
) -> None:
    await start(db, bot)
    claim(bot_db, RunId(bot, 1, "t"))
    await age(db, bot, heartbeat_at=34)
    assert not await runs.fence_silent(db, None, bot, 1, silent_s=35, **fate())
    await age(db, bot, heartbeat_at=36)
    stale = datetime.now(UTC) - timedelta(seconds=runs.DECISION_VALID_S + 1)
    assert not await runs.fence_silent(db, None, bot, 1, silent_s=35, **fate(decided_at=stale))
    assert await runs.fence_silent(db, None, bot, 1, silent_s=35, **fate())
    assert not await runs.fence_silent(db, None, bot, 1, silent_s=35, **fate())
    with pytest.raises(FencedError):
        heartbeat(bot_db, RunId(bot, 1, "t"), progress_age_s=0)
    assert not release(bot_db, RunId(bot, 1, "t"), exit_code=0, reason=ExitReason.RELEASED)
    assert (await row(db, bot))["exit_reason"] == "fenced_silent"


async def test_a_stop_is_asked_for_once_and_obeyed(
    db: AsyncConnection[Any], bot: int, bot_db: psycopg.Connection[Any]
) -> None:
    await start(db, bot)
    claim(bot_db, RunId(bot, 1, "t"))
    assert await runs.request_stop(db, None, bot, 1, reason="superseded")
    assert not await runs.request_stop(db, None, bot, 1, reason="stopped")
    reply = heartbeat(bot_db, RunId(bot, 1, "t"), progress_age_s=0)
    assert (reply.stop_requested, reply.stop_reason) == (True, "superseded")
    assert release(bot_db, RunId(bot, 1, "t"), exit_code=0, reason=ExitReason.SUPERSEDED)
    assert not await end(db, bot)
    assert (await row(db, bot))["exit_code"] == 0


async def test_a_run_that_does_not_stop_is_fenced_after_its_grace(
    db: AsyncConnection[Any], bot: int, bot_db: psycopg.Connection[Any]
) -> None:
    await start(db, bot)
    claim(bot_db, RunId(bot, 1, "t"))
    await runs.request_stop(db, None, bot, 1, reason="hung")
    assert not await runs.fence_stop_overdue(db, None, bot, 1, asked_s=35, stalled_s=None, **fate())
    await age(db, bot, stop_requested_at=36)
    heartbeat(bot_db, RunId(bot, 1, "t"), progress_age_s=29)
    assert not await runs.fence_stop_overdue(db, None, bot, 1, asked_s=35, stalled_s=30, **fate())
    heartbeat(bot_db, RunId(bot, 1, "t"), progress_age_s=31)
    assert await runs.fence_stop_overdue(db, None, bot, 1, asked_s=35, stalled_s=30, **fate())


async def test_a_config_is_adopted_forwards_only(
    db: AsyncConnection[Any], bot: int, bot_db: psycopg.Connection[Any]
) -> None:
    await start(db, bot)
    claim(bot_db, RunId(bot, 1, "t"))
    limits = {"risk_management": {"max_daily_trades": 1}}
    assert await runs.adopt_config(db, None, bot, 1, config_version=3, limits=limits)
    assert not await runs.adopt_config(db, None, bot, 1, config_version=2, limits={})
    assert heartbeat(bot_db, RunId(bot, 1, "t"), progress_age_s=0).limits == limits


async def test_the_bots_own_words_stay(db: AsyncConnection[Any], bot: int, bot_db: psycopg.Connection[Any]) -> None:
    await start(db, bot)
    await db.execute("UPDATE trading_runs SET error_message = 'its own'")
    assert await end(db, bot)
    assert (await row(db, bot))["error_message"] == "its own"


async def test_a_controller_without_its_lease_decides_nothing(
    db: AsyncConnection[Any], bot: int, bot_db: psycopg.Connection[Any]
) -> None:
    old = await shards.acquire_shard(db, 0, holder="old", ttl_s=15)
    assert old == ShardLease(0, 1)
    assert await shards.acquire_shard(db, 0, holder="new", ttl_s=15) is None
    await db.execute("UPDATE controller_shards SET renewed_at = now() - interval '16 s'")
    new = await shards.acquire_shard(db, 0, holder="new", ttl_s=15)
    assert new == ShardLease(0, 2)
    assert not await shards.renew_shard(db, old)
    assert not await start(db, bot, lease=old)
    assert await start(db, bot, lease=new)
    assert not await runs.record_pod(db, old, bot, 1, uid="u")
    assert not await runs.fence_unclaimed(db, old, bot, 1, **fate())
    claim(bot_db, RunId(bot, 1, "t"))
    assert not await runs.request_stop(db, old, bot, 1, reason="stopped")
    assert not await runs.adopt_config(db, old, bot, 1, config_version=2, limits=None)
    assert not await end(db, bot, lease=old)
    await shards.release_shard(db, old)  # not its own any more
    assert await shards.acquire_shard(db, 0, holder="third", ttl_s=15) is None
    await shards.release_shard(db, new)
    assert await shards.acquire_shard(db, 0, holder="third", ttl_s=15) == ShardLease(0, 3)
    assert await shards.acquire_shard(db, 0, holder="third", ttl_s=15) == ShardLease(0, 4)


async def test_the_watch_finds_what_is_late(db: AsyncConnection[Any], bot_db: psycopg.Connection[Any]) -> None:
    late: dict[str, dict[str, float]] = {
        "fresh": {},
        "quiet": {"heartbeat_at": 16, "progress_at": 17},
        "dead": {"heartbeat_at": 36, "progress_at": 36},
        "stalled": {"progress_at": 31},
        "starting": {"progress_at": 31, "claimed_at": 500},
        "never live": {"claimed_at": 601},
        "back from the exchange": {"claimed_at": 9000, "waited_at": 500},
        "stop overdue": {"stop_requested_at": 36},
        "unclaimed": {},
        "forgotten": {"created_at": 121},
    }
    ids = {}
    for name, ages in late.items():
        found = bot_db.execute(
            "INSERT INTO trading_bots (name, enabled, config) VALUES (%s, true, '{}') RETURNING id", [name]
        ).fetchone()
        assert found is not None
        ids[name] = found[0]
        await start(db, found[0])
        if name not in ("unclaimed", "forgotten"):
            claim(bot_db, RunId(found[0], 1, "t"))
        if "claimed_at" not in ages:
            mark_live(bot_db, RunId(found[0], 1, "t"))
        await age(db, found[0], **ages)
    watch = await runs.watch_runs(db, LIMITS)
    names = {number: name for name, number in ids.items()}
    assert {names[run.bot_id]: run.due for run in watch.quiet} == {
        "quiet": False,
        "dead": True,
        "stalled": True,
        "never live": True,
        "stop overdue": True,
        "forgotten": True,
    }
    assert watch.claimed == 8
    record = await load_bot(db, ids["dead"])
    assert record is not None
    assert abs((watch.now - record.now).total_seconds()) < 5


async def test_a_lost_connection_is_the_database_being_away(database_url: str, bot: int) -> None:
    async with await AsyncConnection.connect(database_url, autocommit=True) as connection:
        await connection.execute("SET statement_timeout = '200ms'")
        with psycopg.connect(database_url) as person:
            person.execute("LOCK TABLE trading_runs")
            with pytest.raises(DatabaseAway):
                await start(connection, bot)
        await connection.close()
        with pytest.raises(DatabaseAway):
            await start(connection, bot)


async def test_an_end_is_explained_once_and_only_where_nobody_else_did(db: AsyncConnection[Any], bot: int) -> None:
    await start(db, bot)
    assert not await runs.explain_end(db, None, bot, 1, seen=None, message="evicted")  # it isn't over
    await runs.end_run(db, None, bot, 1, reason=ExitReason.RELEASED, exit_code=0, message=None)
    assert not await runs.explain_end(db, None, bot, 1, seen="something", message="evicted")
    lease = await shards.acquire_shard(db, 0, holder="a", ttl_s=15)
    assert lease is not None
    stale = ShardLease(0, lease.epoch - 1)
    assert not await runs.explain_end(db, stale, bot, 1, seen=None, message="evicted")
    assert await runs.explain_end(db, lease, bot, 1, seen=None, message="evicted")
    assert not await runs.explain_end(db, lease, bot, 1, seen=None, message="drained")
    assert (await row(db, bot))["error_message"] == "evicted"


async def test_runs_of_other_settings_are_told_apart(
    db: AsyncConnection[Any], bot_db: psycopg.Connection[Any], bot: int
) -> None:
    lease = await shards.acquire_shard(db, 0, holder="a", ttl_s=15)
    assert lease is not None
    await shards.show_settings(db, lease, settings_hash="new")
    await shards.show_settings(db, ShardLease(0, lease.epoch - 1), settings_hash="of a controller that lost its lease")

    def outdated() -> object:
        return admin.list_bots(bot_db)[0]["outdated"]

    assert outdated() is None  # it has no run
    for epoch, settings_hash, older in ((1, "new", False), (2, "old", True), (3, None, True)):
        await start(db, bot, epoch, settings_hash=settings_hash)
        assert (outdated(), await runs.outdated_runs(db, settings_hash="new")) == (older, int(older))
        await end(db, bot, epoch)
        assert (outdated(), await runs.outdated_runs(db, settings_hash="new")) == (None, 0)
    assert [run["settings_hash"] for run in admin.list_runs(bot_db, bot, limit=9)] == [None, "old", "new"]


async def test_a_restart_is_asked_for_like_a_new_version(
    db: AsyncConnection[Any], bot_db: psycopg.Connection[Any], bot: int
) -> None:
    assert admin.restart_bot(bot_db, bot) is None
    await start(db, bot)
    assert admin.restart_bot(bot_db, bot) is None  # nobody has claimed it
    run = RunId(bot, 1, "t")
    claim(bot_db, run)
    assert admin.restart_bot(bot_db, bot) == 1
    assert admin.restart_bot(bot_db, bot) is None
    reply = heartbeat(bot_db, run, progress_age_s=0)
    assert (reply.stop_requested, reply.stop_reason) == (True, "superseded")
    release(bot_db, run, exit_code=0, reason=ExitReason.SUPERSEDED)
    assert (await row(db, bot))["exit_reason"] == "superseded"
