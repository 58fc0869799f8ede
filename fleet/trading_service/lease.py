"""The bot's side of the run protocol: claim, heartbeat, live, release.

The run's row is the lease. Every function is one conditional UPDATE of that row, as are the controller's fence and end
are, so PostgreSQL's row lock decides between them: once a run is fenced or ended, none of these succeeds any more.
Errors of the connection surface as DatabaseAway; the caller's deadline (the bot's fence) is what bounds the harm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import psycopg
from psycopg.rows import class_row

from fleet.errors import FencedError
from fleet.foreign import Unreadable, clean_text
from fleet.redaction import MESSAGE, safe_fields
from fleet.states import ExitReason
from fleet.trading_service import run_events
from fleet.trading_service.adapt import object_read
from fleet.trading_service.db import database_errors

PHASE_LIMIT = 300
"""Characters of `trading_runs.phase`; it may quote an exchange."""


@dataclass(frozen=True, slots=True)
class RunId:
    """Which run, and which process claims to be it (`token`, random per process)."""

    bot_id: int
    epoch: int
    token: str


@dataclass(frozen=True, slots=True)
class Claim:
    """What a bot learns when it becomes its run's only process.

    Attributes:
        closes_out: the run only closes what the bot holds, by `trading.on_failure`.
    """

    user_id: int
    name: str
    config: Mapping[str, Any] | Unreadable
    config_version: int
    limits: Mapping[str, Any] | Unreadable | None
    closes_out: bool = False


@dataclass(frozen=True, slots=True)
class HeartbeatReply:
    """Commands that come back with an acknowledged heartbeat."""

    stop_requested: bool
    stop_reason: str | None
    limits: Mapping[str, Any] | Unreadable | None


_CLAIM = """
    UPDATE trading_runs r
    SET claimed_by = %(token)s, claimed_at = COALESCE(r.claimed_at, clock_timestamp()),
        node = COALESCE(%(node)s, r.node),
        heartbeat_at = clock_timestamp(), progress_at = clock_timestamp()
    FROM trading_bots b
    WHERE r.bot_id = %(bot_id)s AND r.epoch = %(epoch)s AND b.id = r.bot_id
      AND (r.claimed_by IS NULL OR r.claimed_by = %(token)s)
      AND r.ended_at IS NULL AND r.stop_requested_at IS NULL
    RETURNING b.user_id, b.name, r.config, r.config_version, r.limits, r.closes_out
"""

HEARTBEAT = """
    WITH beat AS (
        UPDATE trading_runs
        SET heartbeat_at = clock_timestamp(),
            progress_at = clock_timestamp() - make_interval(secs => %(progress_age_s)s),
            peak_memory_bytes = %(peak_memory_bytes)s, phase = %(phase)s,
            waited_at = CASE WHEN %(waiting)s THEN clock_timestamp() ELSE waited_at END
        WHERE bot_id = %(bot_id)s AND epoch = %(epoch)s AND claimed_by = %(token)s AND ended_at IS NULL
        RETURNING bot_id, claimed_at, live_at, heartbeat_at, stop_requested_at, stop_reason, limits
    ), mirror AS (
        -- what people read; skipped while somebody holds the bot's row, so that nobody can stall a lease
        UPDATE trading_bots b
        SET last_heartbeat = beat.heartbeat_at, started_at = beat.claimed_at,
            current_balance = COALESCE(c.balance, b.current_balance),
            total_pnl = COALESCE(c.total_pnl, b.total_pnl),
            status = CASE WHEN b.status = 'starting' AND beat.live_at IS NOT NULL AND beat.stop_requested_at IS NULL
                          THEN 'running' ELSE b.status END
        FROM beat LEFT JOIN trading_checkpoints c ON c.bot_id = beat.bot_id
        WHERE b.id = beat.bot_id
          AND b.id IN (SELECT id FROM trading_bots WHERE id = %(bot_id)s FOR NO KEY UPDATE SKIP LOCKED)
    )
    SELECT stop_requested_at IS NOT NULL AS stop_requested, stop_reason, limits FROM beat
"""

_LIVE = f"""
    WITH live AS (
        UPDATE trading_runs SET live_at = clock_timestamp(), progress_at = clock_timestamp(), phase = NULL
        WHERE bot_id = %(bot_id)s AND epoch = %(epoch)s AND claimed_by = %(token)s AND ended_at IS NULL
          AND live_at IS NULL
        RETURNING bot_id, epoch, config_version
    ), told AS ({run_events.WENT_LIVE})
    -- the controller lets the next bot start
    SELECT pg_notify('botfleet_bots', bot_id::text) FROM live
"""

_RELEASE = f"""
    WITH ended AS (
    UPDATE trading_runs
    SET ended_at = clock_timestamp(), exit_code = %(exit_code)s,
        error_message = CASE
            WHEN %(exit_reason)s::text <> 'released' OR stop_requested_at IS NULL THEN %(error_message)s::text
            WHEN stop_reason = 'hung' AND %(stuck)s THEN
                'its main loop made no progress and did not leave when asked to'
                || CASE WHEN live_at IS NULL THEN COALESCE('; last: ' || phase, '') ELSE '' END
            WHEN stop_reason = 'hung' THEN 'its main loop had made no progress; asked to stop, it ended in good order'
            END,
        -- SIGTERM is quicker than the heartbeat's reply: the row knows whether the end was asked for
        exit_reason = CASE
            WHEN %(exit_reason)s::text = 'released' AND stop_requested_at IS NOT NULL
                AND stop_reason IN ('stopped', 'superseded') THEN stop_reason
            WHEN %(exit_reason)s::text = 'released' AND stop_reason = 'hung' AND %(stuck)s THEN 'fenced_hung'
            ELSE %(exit_reason)s::text END
    WHERE bot_id = %(bot_id)s AND epoch = %(epoch)s AND claimed_by = %(token)s AND ended_at IS NULL
    RETURNING bot_id, epoch, exit_reason, exit_code, error_message
    ), told AS ({run_events.ENDED})
    SELECT FROM ended
"""


def _key(run: RunId) -> dict[str, Any]:
    return {"bot_id": run.bot_id, "epoch": run.epoch, "token": run.token}


def claim(connection: psycopg.Connection[Any], run: RunId, *, node: str | None = None) -> Claim:
    """Become the run's only process. Safe to repeat with the same token after a lost answer.

    Raises:
        FencedError: the run doesn't exist, is claimed by another process, was fenced, ended, or asked to stop.
        DatabaseAway: no answer.
    """
    with database_errors(), connection.cursor(row_factory=class_row(Claim)) as cursor:
        row = cursor.execute(_CLAIM, {**_key(run), "node": node}).fetchone()
    if row is None:
        raise FencedError(f"run {run.epoch} of bot {run.bot_id} can't be claimed: it isn't waiting for a process")
    return replace(row, config=object_read(row.config), limits=_limits(row.limits))


def _limits(document: object) -> Mapping[str, Any] | Unreadable | None:
    return None if document is None else object_read(document)


def heartbeat_values(
    run: RunId,
    *,
    progress_age_s: float = 0.0,
    peak_memory_bytes: int | None = None,
    phase: str | None = None,
    waiting: bool = False,
) -> dict[str, Any]:
    """The parameters of HEARTBEAT, for everybody who sends one; see `heartbeat`."""
    return {
        **_key(run),
        "progress_age_s": progress_age_s,
        "peak_memory_bytes": peak_memory_bytes,
        "phase": None if phase is None else clean_text(phase, PHASE_LIMIT, lines=False),
        "waiting": waiting,
    }


def heartbeat(
    connection: psycopg.Connection[Any],
    run: RunId,
    *,
    progress_age_s: float,
    peak_memory_bytes: int | None = None,
    phase: str | None = None,
    waiting: bool = False,
) -> HeartbeatReply:
    """Renew the right to trade and fetch commands.

    Args:
        connection: in autocommit mode.
        run: the claimed run.
        progress_age_s: seconds since the main loop last made progress.
        peak_memory_bytes: the process's largest resident size so far.
        phase: how far its start has come, in a few words; None once it is live.
        waiting: it waits for somebody else, e.g. the exchange: its start takes no time meanwhile.

    Raises:
        FencedError: the run is no longer this process's.
        DatabaseAway: no answer; whether the heartbeat counted is unknown.
    """
    values = heartbeat_values(
        run, progress_age_s=progress_age_s, peak_memory_bytes=peak_memory_bytes, phase=phase, waiting=waiting
    )
    with database_errors(), connection.cursor(row_factory=class_row(HeartbeatReply)) as cursor:
        row = cursor.execute(HEARTBEAT, values).fetchone()
    if row is None:
        raise FencedError(f"run {run.epoch} of bot {run.bot_id} is no longer current")
    return replace(row, limits=_limits(row.limits))


def mark_live(connection: psycopg.Connection[Any], run: RunId) -> None:
    """Note that warm-up is over and decisions begin, and tell it. Does nothing when noted before."""
    with database_errors():
        connection.execute(_LIVE.encode(), _key(run))


def release(
    connection: psycopg.Connection[Any],
    run: RunId,
    *,
    exit_code: int,
    reason: ExitReason,
    error_message: str | None = None,
    stuck: bool = False,
) -> bool:
    """Give the run back; from then on a next one may start.

    Args:
        connection: in autocommit mode.
        run: the claimed run.
        exit_code, reason, error_message: of the end.
        stuck: the main loop didn't leave, another thread ends the process: a run that was called hung has failed.

    Returns:
        False when it had been fenced or ended already.
    """
    end = {"exit_code": exit_code, "exit_reason": reason, "error_message": error_message, "stuck": stuck}
    values = {**_key(run), **safe_fields(end, error_message=MESSAGE)}
    with database_errors():
        return connection.execute(_RELEASE.encode(), values).rowcount == 1
