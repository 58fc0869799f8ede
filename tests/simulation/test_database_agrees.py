"""The model of the database answers as PostgreSQL does, in simulated schedules and in calls by chance.

And the comparison is worth something: no condition of the model and none of the SQL can be dropped unnoticed.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fleet.trading_service import bots, lease, runs, shards, starts
from tests.simulation.database import first_difference
from tests.simulation.faults import run_schedule
from tests.simulation.guards import GUARDS
from tests.simulation.random_calls import calls_by_chance
from tests.simulation.replay import LOCK_TIMEOUT_MS, Difference, Postgres, on_postgres

pytestmark = pytest.mark.postgres

LONG = "BOTFLEET_REPLAYS" in os.environ
REPLAYS = int(os.environ.get("BOTFLEET_REPLAYS", "6"))
"""Rounds of calls by chance that are repeated on PostgreSQL, and half as many schedules."""

CALLS = 1000
"""In a round."""


@pytest.fixture
async def postgres(simulated_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Postgres]:
    monkeypatch.setattr(runs, "FENCE_LOCK_TIMEOUT_MS", LOCK_TIMEOUT_MS)
    async with on_postgres(simulated_url) as database:
        yield database


async def test_schedules(postgres: Postgres) -> None:
    for seed in range(REPLAYS // 2):
        recorded = run_schedule(seed, record=True).database.recorded
        assert recorded
        await postgres.replay(recorded)


async def test_calls_by_chance(postgres: Postgres) -> None:
    for seed in range(REPLAYS):
        await postgres.replay(calls_by_chance(seed, CALLS))


@pytest.mark.parametrize(("function", "condition"), [(name, each) for name in GUARDS for each in GUARDS[name]])
def test_no_condition_of_the_model_can_be_dropped(
    monkeypatch: pytest.MonkeyPatch, function: str, condition: str
) -> None:
    """The calls above meet each of them: a model without it records what the model with it doesn't answer."""
    for seed in range(REPLAYS):
        with monkeypatch.context() as weaker:
            weaker.delitem(GUARDS[function], condition)
            recorded = calls_by_chance(seed, CALLS)
        if first_difference(recorded) is not None:
            return
    pytest.fail(f"{function} without {condition!r} answers as before")


LEASED = "epoch = %(lease_epoch)s"
SQL: list[tuple[Any, str, str, str]] = [
    (lease, "_CLAIM", "r.claimed_by IS NULL OR r.claimed_by = %(token)s", "true"),
    (lease, "_CLAIM", "r.ended_at IS NULL", "true"),
    (lease, "_CLAIM", "r.stop_requested_at IS NULL", "true"),
    (lease, "HEARTBEAT", "claimed_by = %(token)s", "true"),
    (lease, "HEARTBEAT", "ended_at IS NULL", "true"),
    (lease, "HEARTBEAT", "beat.live_at IS NOT NULL", "true"),
    (lease, "HEARTBEAT", "beat.stop_requested_at IS NULL", "true"),
    (lease, "HEARTBEAT", "SKIP LOCKED", ""),
    (lease, "_LIVE", "claimed_by = %(token)s", "true"),
    (lease, "_LIVE", "ended_at IS NULL", "true"),
    (lease, "_LIVE", "AND live_at IS NULL", ""),
    (lease, "_RELEASE", "claimed_by = %(token)s", "true"),
    (lease, "_RELEASE", "AND ended_at IS NULL", ""),
    (lease, "_RELEASE", "AND stop_reason IN ('stopped', 'superseded')", ""),
    (runs, "_START", "b.enabled", "true"),
    (runs, "_START", "b.archived_at IS NULL", "true"),
    (runs, "_START", "b.config_version = %(config_version)s", "true"),
    (runs, "_START", "r.epoch >= %(epoch)s", "false"),
    (runs, "_START", LEASED, "true"),
    (runs, "_POD", "ended_at IS NULL", "true"),
    (runs, "_POD", LEASED, "true"),
    (runs, "_STOP", "ended_at IS NULL", "true"),
    (runs, "_STOP", "stop_requested_at IS NULL", "true"),
    (runs, "_STOP", LEASED, "true"),
    (runs, "_ADOPT", "ended_at IS NULL", "true"),
    (runs, "_ADOPT", "config_version < %(config_version)s", "true"),
    (runs, "_ADOPT", LEASED, "true"),
    (runs, "_END", "AND ended_at IS NULL", ""),
    (runs, "_END", LEASED, "true"),
    (runs, "_EXPLAIN", "ended_at IS NOT NULL", "true"),
    (runs, "_EXPLAIN", "error_message IS NOT DISTINCT FROM %(seen)s::text", "true"),
    (runs, "_EXPLAIN", LEASED, "true"),
    (runs, "_FENCE_UNCLAIMED", "AND ended_at IS NULL", ""),
    (runs, "_FENCE_UNCLAIMED", "claimed_by IS NULL", "true"),
    (runs, "_FENCE_UNCLAIMED", LEASED, "true"),
    (runs, "_FENCE_UNCLAIMED", "clock_timestamp() < %(decided_at)s", "clock_timestamp() > %(decided_at)s"),
    (runs, "_FENCE_SILENT", "AND ended_at IS NULL", ""),
    (runs, "_FENCE_SILENT", "COALESCE(heartbeat_at, claimed_at, created_at)", "created_at"),
    (runs, "_FENCE_SILENT", LEASED, "true"),
    (runs, "_FENCE_STOP_OVERDUE", "AND ended_at IS NULL", ""),
    (runs, "_FENCE_STOP_OVERDUE", "stop_requested_at <", "created_at <"),
    (runs, "_FENCE_STOP_OVERDUE", "%(stalled_s)s::float8 IS NULL OR", "true OR"),
    (runs, "_FENCE_STOP_OVERDUE", LEASED, "true"),
    (runs, "_PROOF", LEASED, "true"),
    (runs, "_UNLOCKED", "ended_at IS NULL", "true"),
    (runs, "_WATCH", "THEN %(claim_s)s ELSE %(dead_s)s", "THEN %(dead_s)s ELSE %(dead_s)s"),
    (runs, "_WATCH", "GREATEST(claimed_at, waited_at)", "claimed_at"),
    (runs, "_WATCH", "CASE WHEN live_at IS NULL", "CASE WHEN true"),
    (runs, "_WATCH", "OR (claimed AND ", "OR ("),
    (bots, "_STATUS", "AND status = %(seen)s", ""),
    (bots, "_STATUS", "SKIP LOCKED", ""),
    (
        bots,
        "_NOTIFY",
        "ON CONFLICT (dedupe_key) DO NOTHING",
        "ON CONFLICT (dedupe_key) DO UPDATE SET severity = 'info'",
    ),
    (shards, "_ACQUIRE", "s.holder = EXCLUDED.holder", "false"),
    (shards, "_ACQUIRE", "OR s.renewed_at <", "OR true OR s.renewed_at <"),
    (shards, "_RENEW", "epoch = %(epoch)s", "true"),
    (starts, "_STARTING", "r.live_at IS NULL", "true"),
    (starts, "_SPANS", "waited_at IS NULL", "true"),
    (starts, "_SPANS", "claimed_at < created_at + ", "now() > created_at + "),
    (starts, "_HOLDERS", "b.enabled", "true"),
    (starts, "_HOLDERS", "b.archived_at IS NULL", "true"),
    (starts, "_HOLDERS", "b.status NOT IN ('error', 'disabled')", "true"),
]
"""Weaker statements. Not here is that no run of the bot is current when one starts: a unique index says it as well."""


@pytest.mark.parametrize(("module", "statement", "condition", "weaker"), SQL if LONG else SQL[::6])
async def test_no_condition_of_the_sql_can_be_dropped(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch, module: Any, statement: str, condition: str, weaker: str
) -> None:
    """Nor of the SQL; most of these only in the long run."""
    text = getattr(module, statement)
    assert condition in text, "the statement has changed: say its condition anew"
    monkeypatch.setattr(module, statement, text.replace(condition, weaker))
    with pytest.raises(Difference):
        await test_calls_by_chance(postgres)
