"""What admission decides by: who is starting, how long starts took, and which positions nobody watches.

Everything comes from the rows, so a restarted controller decides like the one before it. Three reads on one
connection, each over an index of few rows; the clock is the database's.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row, scalar_row

from fleet.trading_service.db import Connection, database_errors

SAMPLES = 500
"""Newest starts that are measured; with 64 at a time still eight rounds."""

LONGEST_CLAIM_S = 60.0
"""One that was claimed later waited for a node or an image: its time says nothing about the others."""

SAMPLE_AGE_S = 3600.0
"""Older starts say nothing about the machines and the exchange of now."""

HOLDERS = 1000
"""Most bots with an open position and no run that are named in one read."""


@dataclass(frozen=True, slots=True)
class StartingRun:
    """A current run that isn't live yet.

    Attributes:
        waited_at: when it last said that it waits for the exchange.
        holding: its bot has an open position. live: its config trades with real money.
    """

    bot_id: int
    user_id: int
    epoch: int
    created_at: datetime
    claimed_at: datetime | None
    waited_at: datetime | None
    holding: bool
    live: bool


@dataclass(frozen=True, slots=True)
class StartFacts:
    """One read.

    Attributes:
        now: the database's clock.
        spans: of the newest starts, newest first: begin and live, seconds before now. Without those that waited for
            a node, an image or an exchange.
        holders: wanted bots with an open position and no current run, as far as their status shows no reason.
    """

    now: datetime
    starting: tuple[StartingRun, ...]
    spans: tuple[tuple[float, float], ...]
    holders: tuple[int, ...]


_HOLDING = "EXISTS (SELECT FROM trading_positions p WHERE p.bot_id = b.id AND p.status = 'open')"

_STARTING = f"""
    SELECT r.bot_id, b.user_id, r.epoch, r.created_at, r.claimed_at, r.waited_at, {_HOLDING} AS holding,
           COALESCE(r.config #>> '{{broker,trading_mode}}' = 'live', false) AS live
    FROM trading_runs r JOIN trading_bots b ON b.id = r.bot_id
    WHERE r.ended_at IS NULL AND r.live_at IS NULL
    ORDER BY r.bot_id
"""

_SPANS = f"""
    SELECT EXTRACT(epoch FROM now() - created_at)::float8, EXTRACT(epoch FROM now() - live_at)::float8
    FROM trading_runs
    WHERE live_at > now() - make_interval(secs => {SAMPLE_AGE_S}) AND live_at <= now()
      AND claimed_at < created_at + make_interval(secs => {LONGEST_CLAIM_S}) AND waited_at IS NULL
    ORDER BY live_at DESC, bot_id LIMIT {SAMPLES}
"""

_HOLDERS = f"""
    SELECT DISTINCT b.id FROM trading_positions p JOIN trading_bots b ON b.id = p.bot_id
    WHERE p.status = 'open' AND b.enabled AND b.archived_at IS NULL AND b.status NOT IN ('error', 'disabled')
      AND NOT EXISTS (SELECT FROM trading_runs r WHERE r.bot_id = b.id AND r.ended_at IS NULL)
    ORDER BY b.id LIMIT {HOLDERS}
"""


async def start_facts(connection: Connection) -> StartFacts:
    """Read them.

    Raises:
        DatabaseAway: no answer.
    """
    with database_errors():
        async with connection.cursor(row_factory=class_row(StartingRun)) as runs:
            await runs.execute(_STARTING.encode())
            starting = await runs.fetchall()
        spans = await (await connection.execute(_SPANS.encode())).fetchall()
        async with connection.cursor(row_factory=scalar_row) as cursor:
            await cursor.execute(_HOLDERS.encode())
            holders = await cursor.fetchall()
            await cursor.execute("SELECT clock_timestamp()")
            now = await cursor.fetchone()
    assert now is not None
    return StartFacts(now, tuple(starting), tuple(spans), tuple(holders))
