"""The controller's store against a real PostgreSQL: every call does what its name says, under the lease of its moment."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from controller.store import Store
from fleet.errors import DatabaseAway
from fleet.states import BotStatus, ExitReason
from fleet.trading_service.bots import Notification, StatusCount
from fleet.trading_service.lease import RunId, claim
from fleet.trading_service.runs import ShardLease, WatchLimits

pytestmark = pytest.mark.postgres

LIMITS = WatchLimits(quiet_s=15, dead_s=35, stalled_s=30, asked_s=35, claim_s=120, start_s=600)
POD = "bot-1-b-e1"


@dataclass
class World:
    """The store of a controller that holds shard 0, a bot (id 1), and somebody who looks at the rows."""

    store: Store
    see: psycopg.Connection[Any]
    lease: ShardLease

    def one(self, query: str) -> Any:
        row = self.see.execute(query.encode()).fetchone()
        return None if row is None else row[0] if len(row) == 1 else row

    async def start(self) -> None:
        assert await self.store.start_run(1, 1, config_version=1, pod_name=POD, closes_out=False) is True


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    with psycopg.connect(database_url, autocommit=True) as see:
        see.execute("INSERT INTO trading_bots (name, enabled, config) VALUES ('b', true, %s)", [Jsonb({"a": 1})])
        made: list[World] = []
        store = Store(
            database_url,
            connections=2,
            controller="c1",
            runtime="process",
            settings_hash="h1",
            lease=lambda: made[0].lease,
        )
        await store.open()
        lease = await store.acquire_shard(0, holder="c1", ttl_s=15)
        assert lease is not None
        made.append(World(store, see, lease))
        yield made[0]
        await store.close()


async def test_what_is_loaded(world: World) -> None:
    await world.start()
    bot = await world.store.load(1)
    assert bot is not None
    assert (bot.id, bot.name, [run.epoch for run in bot.runs]) == (1, "b", [1])
    assert await world.store.load(2) is None
    assert await world.store.load_config(1, 1) == {"a": 1}
    assert await world.store.load_config(1, 2) is None
    assert await world.store.load_run_config(1, 1) == {"a": 1}
    assert await world.store.unsettled() == [1]
    assert await world.store.current_runs() == {1: 1}
    assert await world.store.count_statuses() == [StatusCount("stopped", 1)]
    facts = await world.store.start_facts()
    assert [run.bot_id for run in facts.starting] == [1]


async def test_a_run_carries_who_started_it_and_how(world: World) -> None:
    await world.start()
    assert world.one("SELECT controller, runtime, settings_hash, pod_name FROM trading_runs") == (
        "c1", "process", "h1", POD,
    )  # fmt: skip
    assert await world.store.record_pod(1, 1, uid="u1") is True
    assert world.one("SELECT pod_uid FROM trading_runs") == "u1"
    assert await world.store.adopt_config(1, 1, config_version=2, limits={"x": 1}) is True
    assert world.one("SELECT config_version, limits FROM trading_runs") == (2, {"x": 1})
    assert await world.store.request_stop(1, 1, reason="stopped") is True
    assert world.one("SELECT stop_reason FROM trading_runs") == "stopped"
    assert await world.store.end_run(1, 1, reason=ExitReason.FAILED, exit_code=4, message="m") is True
    assert world.one("SELECT exit_reason, exit_code, error_message FROM trading_runs") == ("failed", 4, "m")
    assert await world.store.explain_end(1, 1, seen="m", message="because") is True
    assert world.one("SELECT error_message FROM trading_runs") == "because"
    assert await world.store.outdated_runs() == 0


def old(seconds: int, *columns: str) -> bytes:
    moved = ", ".join(f"{column} = clock_timestamp() - make_interval(secs => {seconds})" for column in columns)
    return f"UPDATE trading_runs SET {moved}".encode()


def fate(world: World, reason: ExitReason) -> dict[str, Any]:
    return {"reason": reason, "message": "m", "decided_at": world.one("SELECT clock_timestamp()")}


async def test_the_three_fences(world: World) -> None:
    store = world.store
    await world.start()
    assert await store.fence_unclaimed(1, 1, **fate(world, ExitReason.NOT_CLAIMED)) is True
    assert world.one("SELECT exit_reason, error_message FROM trading_runs WHERE epoch = 1") == ("not_claimed", "m")
    assert await store.start_run(1, 2, config_version=1, pod_name="p", closes_out=False) is True
    claim(world.see, RunId(1, 2, "me"))
    assert await store.fence_silent(1, 2, silent_s=35, **fate(world, ExitReason.FENCED_SILENT)) is False
    world.see.execute(old(36, "heartbeat_at"))
    assert await store.fence_silent(1, 2, silent_s=35, **fate(world, ExitReason.FENCED_SILENT)) is True
    assert world.one("SELECT exit_reason, error_message FROM trading_runs WHERE epoch = 2") == ("fenced_silent", "m")
    assert await store.start_run(1, 3, config_version=1, pod_name="p", closes_out=True) is True
    assert world.one("SELECT array_agg(closes_out ORDER BY epoch) FROM trading_runs") == [False, False, True]
    claim(world.see, RunId(1, 3, "me"))
    assert await store.request_stop(1, 3, reason="hung") is True
    world.see.execute(old(36, "stop_requested_at"))
    overdue = fate(world, ExitReason.FENCED_HUNG)
    assert await store.fence_stop_overdue(1, 3, asked_s=60, stalled_s=None, **overdue) is False
    assert await store.fence_stop_overdue(1, 3, asked_s=35, stalled_s=30, **overdue) is False  # it makes progress
    assert await store.fence_stop_overdue(1, 3, asked_s=35, stalled_s=None, **overdue) is True
    assert world.one("SELECT exit_reason, error_message FROM trading_runs WHERE epoch = 3") == ("fenced_hung", "m")


async def test_no_decision_under_a_lease_that_was_taken_over(world: World) -> None:
    """The controller that lost its shard may still be running, with plans made before."""
    store, held = world.store, world.lease
    await world.start()
    lost = ShardLease(held.shard, held.epoch - 1)
    world.lease = lost
    decisions = {
        "record_pod": store.record_pod(1, 1, uid="u1"),
        "request_stop": store.request_stop(1, 1, reason="stopped"),
        "adopt_config": store.adopt_config(1, 1, config_version=2, limits=None),
        "end_run": store.end_run(1, 1, reason=ExitReason.FAILED, exit_code=1, message="m"),
        "fence_unclaimed": store.fence_unclaimed(1, 1, **fate(world, ExitReason.NOT_CLAIMED)),
    }
    assert {name: await decision for name, decision in decisions.items()} == dict.fromkeys(decisions, False)
    claim(world.see, RunId(1, 1, "me"))
    world.see.execute(old(60, "heartbeat_at", "progress_at"))
    world.see.execute("UPDATE trading_runs SET stop_requested_at = '2026-01-01', stop_reason = 'hung'")
    assert not await store.fence_silent(1, 1, silent_s=35, **fate(world, ExitReason.FENCED_SILENT))
    assert not await store.fence_stop_overdue(1, 1, asked_s=35, stalled_s=None, **fate(world, ExitReason.FENCED_HUNG))
    assert await store.prove_heartbeats() is None
    world.see.execute("UPDATE trading_runs SET ended_at = now(), exit_reason = 'failed', exit_code = 1")
    assert not await store.explain_end(1, 1, seen=None, message="m")
    assert not await store.start_run(1, 2, config_version=1, pod_name="p", closes_out=False)
    assert not await store.renew_shard(lost)
    await store.release_shard(lost)
    await store.show_settings()
    assert world.one("SELECT holder, settings_hash FROM controller_shards") == ("c1", None)
    world.lease = held  # asked for anew with each call
    assert await store.start_run(1, 2, config_version=1, pod_name="p", closes_out=False)


async def test_shards(world: World) -> None:
    store, lease = world.store, world.lease
    assert lease == ShardLease(0, 1)
    assert await store.renew_shard(lease) is True
    assert await store.acquire_shard(0, holder="c2", ttl_s=15) is None
    assert await store.acquire_shard(1, holder="c2", ttl_s=15) == ShardLease(1, 1)
    await store.show_settings()
    assert world.one("SELECT settings_hash FROM controller_shards WHERE shard = 0") == "h1"
    await store.release_shard(lease)
    assert world.one("SELECT holder FROM controller_shards WHERE shard = 0") is None


async def test_what_people_read(world: World) -> None:
    store = world.store
    assert await store.show_trouble("nothing goes") == 1
    assert "nothing goes" in world.one("SELECT error_message FROM trading_bots")
    world.see.execute("UPDATE trading_bots SET status = 'stopped', error_message = NULL")
    seen = {"seen": BotStatus.STOPPED, "status": BotStatus.ERROR, "message": "m", "error_count": 3}
    assert await store.set_status(1, **seen) is True  # type: ignore[arg-type]
    assert world.one("SELECT status, error_message, error_count FROM trading_bots") == ("error", "m", 3)
    assert await store.set_status(1, **seen) is False  # type: ignore[arg-type]  # it has moved on
    note = Notification(bot_id=1, kind="bot_error", severity="warning", title="t", body="b", key="k")
    assert await store.notify(note) is True
    assert await store.notify(note) is False
    assert world.one("SELECT count(*) FROM trading_notifications WHERE dedupe_key = 'k'") == 1


async def test_what_is_watched(world: World) -> None:
    store = world.store
    await world.start()
    claim(world.see, RunId(1, 1, "me"))
    world.see.execute(old(20, "heartbeat_at"))
    watch = await store.watch(LIMITS)
    assert (watch.claimed, [run.bot_id for run in watch.quiet]) == (1, [1])
    assert await store.locked_runs([1]) == set()
    with world.see.transaction():
        world.see.execute("SELECT FROM trading_runs FOR UPDATE")
        assert await store.locked_runs([1]) == {1}
    assert await store.locked_runs([1]) == set()
    proved = await store.prove_heartbeats()
    assert proved is not None
    assert abs((datetime.now(UTC) - proved).total_seconds()) < 60
    await store.prove_connection()
    proofs = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'botfleet proof' AND datname = current_database()"
    deadline = time.monotonic() + 5
    while world.one(proofs):  # a server process takes a moment to end
        assert time.monotonic() < deadline
    store.settings_hash = "h2"
    assert await store.outdated_runs() == 1


async def test_since_when_the_database_answers(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    store, now = world.store, [1_000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    store._answering_since = None
    assert store.answering_s is None
    await store.load(1)
    assert store.answering_s == 0
    now[0] += 40
    await store.load(1)
    assert store.answering_s == 40  # since the first of them
    with pytest.raises(DatabaseAway):
        async with store.connection():
            raise psycopg.OperationalError("cut")
    assert store.answering_s is None
    with pytest.raises(KeyError):
        async with store.connection():
            raise KeyError("the caller's own")
    assert store.answering_s is None
    await store.load(1)
    now[0] += 2
    assert store.answering_s == 2


async def test_a_store_that_nobody_opened_or_that_is_closed_is_a_database_away(database_url: str) -> None:
    store = Store(
        database_url, connections=1, controller="c", runtime="r", settings_hash="h", lease=lambda: ShardLease(0, 1)
    )
    assert store.answering_s is None
    await store.open()
    assert await store.load(1) is None
    await store.close()
    with pytest.raises(DatabaseAway):
        await store.load(1)


async def test_a_connection_that_cannot_be_had_is_no_proof() -> None:
    store = Store(
        "postgresql://nobody@127.0.0.1:1/x",
        connections=1,
        controller="c",
        runtime="r",
        settings_hash="h",
        lease=lambda: ShardLease(0, 1),
    )
    with pytest.raises(DatabaseAway):
        await store.prove_connection()
