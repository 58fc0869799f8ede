"""The controller's side of the run protocol: start, stop, end, fence.

The run's row is the lease. Every change is one statement, conditional on what must still be true when it takes
the row's lock, so a heartbeat or a claim that comes first wins and a repetition does nothing. None of them touches
or waits for a row of `trading_bots`. A fence waits for no lock at all: a run whose row or table somebody holds isn't
fenced, since its heartbeats can't be written either. A `ShardLease` makes each change conditional on the controller's
own lease as well. Connection errors and time-outs surface as DatabaseAway: the outcome is unknown, read again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from psycopg.errors import LockNotAvailable
from psycopg.rows import class_row, scalar_row
from psycopg.types.json import Jsonb

from fleet.redaction import MESSAGE, safe_fields
from fleet.states import ExitReason
from fleet.trading_service import run_events
from fleet.trading_service.bots import CONFIG_TEXT, document_of
from fleet.trading_service.db import Connection, database_errors
from fleet.trading_service.lease import HEARTBEAT, RunId, heartbeat_values

DECISION_VALID_S = 5.0
"""A fence decided on facts older than this is void: the database may have been away in between, and the bots'
heartbeats with it."""


FENCE_LOCK_TIMEOUT_MS = 100
"""How long a fence may queue for the lock of a table. Whatever holds it longer holds heartbeats up too, and a fence
that waits could come before them once it is let go."""


@dataclass(frozen=True, slots=True)
class ShardLease:
    """Which acquisition of which shard a controller acts under."""

    shard: int
    epoch: int


_LEASED = """(%(shard)s::int IS NULL OR EXISTS (
    SELECT FROM controller_shards WHERE shard = %(shard)s AND epoch = %(lease_epoch)s))"""

_START = f"""
    INSERT INTO trading_runs (bot_id, epoch, config, config_version, controller, runtime, pod_name, settings_hash,
        closes_out)
    SELECT b.id, %(epoch)s, b.config, b.config_version, %(controller)s, %(runtime)s, %(pod_name)s, %(settings_hash)s,
        %(closes_out)s
    FROM trading_bots b
    WHERE b.id = %(bot_id)s AND b.enabled AND b.archived_at IS NULL AND b.config_version = %(config_version)s
      AND NOT EXISTS (
          SELECT FROM trading_runs r WHERE r.bot_id = b.id AND (r.ended_at IS NULL OR r.epoch >= %(epoch)s))
      AND {_LEASED}
    ON CONFLICT DO NOTHING
"""

_CURRENT = "bot_id = %(bot_id)s AND epoch = %(epoch)s AND ended_at IS NULL"

_POD = f"UPDATE trading_runs SET pod_uid = %(uid)s WHERE {_CURRENT} AND {_LEASED}"

_STOP = f"""
    UPDATE trading_runs SET stop_requested_at = clock_timestamp(), stop_reason = %(reason)s
    WHERE {_CURRENT} AND stop_requested_at IS NULL AND {_LEASED}
"""

_ADOPT = f"""
    WITH adopted AS (
        UPDATE trading_runs
        SET config_version = %(config_version)s, limits = COALESCE(%(limits)s, limits)
        WHERE {_CURRENT} AND config_version < %(config_version)s AND {_LEASED}
        RETURNING bot_id, epoch, config_version
    ), told AS ({run_events.ADOPTED})
    SELECT FROM adopted
"""

_END = f"""
    WITH ended AS (
        UPDATE trading_runs
        SET ended_at = clock_timestamp(), exit_code = %(exit_code)s, exit_reason = %(reason)s,
            error_message = COALESCE(error_message, %(message)s)
        WHERE {_CURRENT} AND {_LEASED}
        RETURNING bot_id, epoch, exit_reason, exit_code, error_message
    ), told AS ({run_events.ENDED})
    SELECT FROM ended
"""

_FREE = f"SELECT FROM trading_runs WHERE {_CURRENT} FOR NO KEY UPDATE NOWAIT"
_EXPLAIN = f"""
    UPDATE trading_runs SET error_message = %(message)s
    WHERE bot_id = %(bot_id)s AND epoch = %(epoch)s AND ended_at IS NOT NULL
      AND error_message IS NOT DISTINCT FROM %(seen)s::text AND {_LEASED}
"""

_FENCE = f"""
    WITH ended AS (
        UPDATE trading_runs
        SET fenced_at = clock_timestamp(), ended_at = clock_timestamp(), exit_reason = %(reason)s,
            error_message = COALESCE(error_message, %(message)s)
        WHERE {_CURRENT} AND {_LEASED}
          AND clock_timestamp() < %(decided_at)s + make_interval(secs => {DECISION_VALID_S})
          AND {{guard}}
        RETURNING bot_id, epoch, exit_reason, exit_code, error_message
    ), told AS ({run_events.ENDED})
    SELECT FROM ended
"""

_FENCE_UNCLAIMED = _FENCE.format(guard="claimed_by IS NULL")

_FENCE_SILENT = _FENCE.format(
    guard="COALESCE(heartbeat_at, claimed_at, created_at) < clock_timestamp() - make_interval(secs => %(silent_s)s)"
)

_FENCE_STOP_OVERDUE = _FENCE.format(
    guard="stop_requested_at < clock_timestamp() - make_interval(secs => %(asked_s)s)"
    " AND (%(stalled_s)s::float8 IS NULL OR heartbeat_at - progress_at > make_interval(secs => %(stalled_s)s))"
)

_PROOF = """
    UPDATE controller_shards SET holder = holder WHERE shard = %(shard)s AND epoch = %(lease_epoch)s
    RETURNING clock_timestamp()
"""

_UNLOCKED = "SELECT bot_id FROM trading_runs WHERE bot_id = ANY(%s) AND ended_at IS NULL FOR NO KEY UPDATE SKIP LOCKED"

_WATCH = """
    SELECT bot_id, claimed, beat_at, due
    FROM (
        SELECT bot_id, claimed_by IS NOT NULL AS claimed, beat_at,
               beat_at < t - make_interval(secs => CASE WHEN claimed_by IS NULL THEN %(claim_s)s ELSE %(dead_s)s END)
               OR COALESCE(CASE WHEN live_at IS NULL
                       THEN GREATEST(claimed_at, waited_at) < t - make_interval(secs => %(start_s)s)
                       ELSE heartbeat_at - progress_at > make_interval(secs => %(stalled_s)s) END, false)
               OR COALESCE(stop_requested_at < t - make_interval(secs => %(asked_s)s), false) AS due
        FROM trading_runs,
             LATERAL (SELECT COALESCE(heartbeat_at, claimed_at, created_at) AS beat_at, clock_timestamp() AS t) x
        WHERE ended_at IS NULL
    ) current
    WHERE due OR (claimed AND beat_at < clock_timestamp() - make_interval(secs => %(quiet_s)s))
"""


def _values(bot_id: int, epoch: int, lease: ShardLease | None, **more: object) -> dict[str, Any]:
    return {
        "bot_id": bot_id,
        "epoch": epoch,
        "shard": lease.shard if lease else None,
        "lease_epoch": lease.epoch if lease else None,
        **(safe_fields(more, message=MESSAGE) if "message" in more else more),
    }


async def _changed(connection: Connection, statement: str, values: Mapping[str, Any]) -> bool:
    with database_errors():
        return (await connection.execute(statement.encode(), values)).rowcount == 1


async def _fenced(connection: Connection, statement: str, values: Mapping[str, Any]) -> bool:
    """Fence, unless somebody holds the run's row or one of the tables."""
    with database_errors():
        try:
            async with connection.transaction():
                await connection.execute(f"SET LOCAL lock_timeout = {FENCE_LOCK_TIMEOUT_MS}".encode())
                await connection.execute(_FREE.encode(), values)
                return (await connection.execute(statement.encode(), values)).rowcount == 1
        except LockNotAvailable:
            return False


async def start_run(
    connection: Connection,
    lease: ShardLease | None,
    bot_id: int,
    epoch: int,
    *,
    config_version: int,
    controller: str,
    runtime: str,
    pod_name: str,
    settings_hash: str | None = None,
    closes_out: bool = False,
) -> bool:
    """Insert the next run with a snapshot of the row's config.

    Args:
        lease: under which the controller acts; None: nobody's shard.
        bot_id: whose run.
        epoch: one more than the newest run's that the caller has seen.
        config_version: that the caller has validated; the row must still have it, and still be wanted.
        controller: who starts it, for people.
        runtime: `kubernetes` or `process`.
        pod_name: of its pod.
        settings_hash: of the settings that its pod gets besides the config.
        closes_out: the run is to close what the bot holds and to end, without its strategy.

    Returns:
        False when the row has changed, a run is current, the epoch is taken or the lease lost: read again.
    """
    values = _values(
        bot_id,
        epoch,
        lease,
        config_version=config_version,
        controller=controller,
        runtime=runtime,
        pod_name=pod_name,
        settings_hash=settings_hash,
        closes_out=closes_out,
    )
    return await _changed(connection, _START, values)


async def record_pod(connection: Connection, lease: ShardLease | None, bot_id: int, epoch: int, *, uid: str) -> bool:
    """Note which object was created for the run; from then on its absence means that it vanished."""
    return await _changed(connection, _POD, _values(bot_id, epoch, lease, uid=uid))


async def request_stop(
    connection: Connection, lease: ShardLease | None, bot_id: int, epoch: int, *, reason: str
) -> bool:
    """Ask the run to end with its next heartbeat; the first reason stays. False: asked before, or over."""
    return await _changed(connection, _STOP, _values(bot_id, epoch, lease, reason=reason))


async def adopt_config(
    connection: Connection,
    lease: ShardLease | None,
    bot_id: int,
    epoch: int,
    *,
    config_version: int,
    limits: Mapping[str, Any] | None,
) -> bool:
    """Raise the run to a config version that it can take over while running.

    Args:
        connection: as everywhere here.
        lease: under which the controller acts.
        bot_id: whose run.
        epoch: of the current run.
        config_version: the new one.
        limits: the hot sections to hand over with the next heartbeat; None leaves what was handed over before.
    """
    handed = None if limits is None else Jsonb(dict(limits))
    return await _changed(
        connection, _ADOPT, _values(bot_id, epoch, lease, config_version=config_version, limits=handed)
    )


async def end_run(
    connection: Connection,
    lease: ShardLease | None,
    bot_id: int,
    epoch: int,
    *,
    reason: ExitReason,
    exit_code: int | None,
    message: str | None,
) -> bool:
    """Record that the run's process is dead. False when the run had ended before: that record stays."""
    values = _values(bot_id, epoch, lease, reason=reason, exit_code=_code(exit_code), message=message)
    return await _changed(connection, _END, values)


def _code(exit_code: int | None) -> int | None:
    """As the column takes it; a runtime's answer may be any number."""
    return None if exit_code is None or not -(2**31) <= exit_code < 2**31 else exit_code


async def explain_end(
    connection: Connection,
    lease: ShardLease | None,
    bot_id: int,
    epoch: int,
    *,
    seen: str | None,
    message: str,
) -> bool:
    """Say why a run ended that could not know it. False when its row says something else than what was `seen`."""
    return await _changed(connection, _EXPLAIN, _values(bot_id, epoch, lease, seen=seen, message=message))


async def outdated_runs(connection: Connection, *, settings_hash: str) -> int:
    """How many current runs were started with other settings; a run of before settings were recorded has others."""
    with database_errors():
        async with connection.cursor(row_factory=scalar_row) as cursor:
            await cursor.execute(
                "SELECT count(*) FROM trading_runs WHERE ended_at IS NULL AND settings_hash IS DISTINCT FROM %s",
                (settings_hash,),
            )
            count: int | None = await cursor.fetchone()
    return count or 0


async def fence_unclaimed(
    connection: Connection,
    lease: ShardLease | None,
    bot_id: int,
    epoch: int,
    *,
    reason: ExitReason,
    message: str | None,
    decided_at: datetime,
) -> bool:
    """End a run that nobody has claimed; from then on nobody can. False when a claim came first, or holds the row."""
    values = _values(bot_id, epoch, lease, reason=reason, message=message, decided_at=decided_at)
    return await _fenced(connection, _FENCE_UNCLAIMED, values)


async def fence_silent(
    connection: Connection,
    lease: ShardLease | None,
    bot_id: int,
    epoch: int,
    *,
    reason: ExitReason,
    message: str | None,
    decided_at: datetime,
    silent_s: float,
) -> bool:
    """Take the right to trade from a run without a heartbeat for `silent_s`.

    Returns:
        False when a heartbeat came first, or somebody holds the row: it is not waited for.
    """
    values = _values(bot_id, epoch, lease, reason=reason, message=message, decided_at=decided_at, silent_s=silent_s)
    return await _fenced(connection, _FENCE_SILENT, values)


async def fence_stop_overdue(
    connection: Connection,
    lease: ShardLease | None,
    bot_id: int,
    epoch: int,
    *,
    reason: ExitReason,
    message: str | None,
    decided_at: datetime,
    asked_s: float,
    stalled_s: float | None,
) -> bool:
    """Take the right to trade from a run that was asked to stop at least `asked_s` ago and hasn't.

    Args:
        connection: as everywhere here.
        lease: under which the controller acts.
        bot_id: whose run.
        epoch: of the run.
        reason: recorded as the run's end.
        message: recorded unless the bot left one.
        decided_at: the database's clock when the facts were read.
        asked_s: seconds since the stop was requested.
        stalled_s: seconds without progress, as told by its last heartbeat, that are needed as well, for a bot
            that may take its time; or None.
    """
    values = _values(
        bot_id,
        epoch,
        lease,
        reason=reason,
        message=message,
        decided_at=decided_at,
        asked_s=asked_s,
        stalled_s=stalled_s,
    )
    return await _fenced(connection, _FENCE_STOP_OVERDUE, values)


async def load_run_config(connection: Connection, bot_id: int, epoch: int) -> object:
    """The config snapshot of a run, `Unreadable` if it isn't an object, or None when there is no such run."""
    query = f"SELECT {CONFIG_TEXT} FROM trading_runs WHERE bot_id = %s AND epoch = %s"
    return await document_of(connection, query, (bot_id, epoch))


async def current_runs(connection: Connection) -> dict[int, int]:
    """Epoch of the current run by bot id."""
    with database_errors():
        cursor = await connection.execute("SELECT bot_id, epoch FROM trading_runs WHERE ended_at IS NULL")
        return dict(await cursor.fetchall())


async def prove_heartbeats(connection: Connection, lease: ShardLease) -> datetime | None:
    """Find out whether heartbeats can be written, by writing one for nobody.

    That is a bot's own statement for a run that doesn't exist: it meets whatever a heartbeat meets (a read-only
    server, locks on its tables, a schema that lacks something) and leaves nothing behind. The shard's own row is
    written beside it, so that the commit reaches the disk and the standbys.

    Returns:
        A moment, by the database's clock, at which that was possible; None: the shard is another controller's.

    Raises:
        DatabaseAway: it isn't possible, or there was no answer.
    """
    nobody = heartbeat_values(RunId(bot_id=0, epoch=0, token=""))
    with database_errors():
        async with connection.transaction(), connection.cursor(row_factory=scalar_row) as cursor:
            await cursor.execute(HEARTBEAT, nobody)
            await cursor.execute(_PROOF, {"shard": lease.shard, "lease_epoch": lease.epoch})
            at: datetime | None = await cursor.fetchone()
    return at


async def locked_runs(connection: Connection, bot_ids: Sequence[int]) -> set[int]:
    """Which of these bots' current runs can't get a heartbeat at this moment, since somebody holds their rows.

    A run that has just ended, or whose bot is writing to it, is among them.
    """
    if not bot_ids:
        return set()
    with database_errors():
        async with connection.cursor(row_factory=scalar_row) as cursor:
            await cursor.execute(_UNLOCKED, [list(bot_ids)])
            return set(bot_ids) - set(await cursor.fetchall())


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchLimits:
    """Ages in seconds from which on a current run is worth a look.

    Attributes:
        quiet_s: without a heartbeat; dead_s: the same, and due.
        stalled_s: without progress, as told by the last heartbeat; asked_s: since a stop was requested;
        claim_s: from creation to claim; start_s: from the claim, or the last wait for an exchange, to live.
    """

    quiet_s: float
    dead_s: float
    stalled_s: float
    asked_s: float
    claim_s: float
    start_s: float


@dataclass(frozen=True, slots=True)
class QuietRun:
    """A current run that is late; `due`: so late that something must be decided."""

    bot_id: int
    claimed: bool
    beat_at: datetime
    due: bool


@dataclass(frozen=True, slots=True)
class Watch:
    """What the watch query saw.

    Attributes:
        now: the database's clock.
        claimed: number of current runs that a process has claimed.
        quiet: those that are late in any way.
    """

    now: datetime
    claimed: int
    quiet: tuple[QuietRun, ...]


async def watch_runs(connection: Connection, limits: WatchLimits) -> Watch:
    """All current runs that are late; one pass over the partial index of current runs."""
    with database_errors():
        async with connection.cursor(row_factory=class_row(QuietRun)) as cursor:
            await cursor.execute(_WATCH.encode(), asdict(limits))
            quiet = await cursor.fetchall()
        counts = await connection.execute(
            "SELECT clock_timestamp(), count(claimed_by) FROM trading_runs WHERE ended_at IS NULL"
        )
        now, claimed = await counts.fetchone() or (None, 0)
    assert now is not None
    return Watch(now, claimed, tuple(quiet))
