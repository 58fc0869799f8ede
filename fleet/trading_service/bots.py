"""Rows of `trading_bots` as the controller and the command line see them, and what they write there.

Statuses are written apart from the run protocol and never wait for a row: a person who keeps a transaction
open on a bot delays what is shown, not what is done. All ages are by the database's clock. Connection errors
surface as DatabaseAway.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import class_row, dict_row, scalar_row
from psycopg.types.json import Jsonb

from fleet.foreign import BYTES_LIMIT, load_json
from fleet.redaction import MESSAGE, safe_fields, safe_notification, safe_text
from fleet.states import BotStatus, ExitReason
from fleet.trading_service import run_events
from fleet.trading_service.adapt import object_read
from fleet.trading_service.db import Connection, database_errors

CONFIG_TEXT = f"left(config::text, {BYTES_LIMIT + 1})"
"""A config to be read by `load_json`: one that is too long is known by its first part."""

HISTORY_LIMIT = 32
"""Newest runs that are read with a bot: enough for six failures among some restarts that don't count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """A row of `trading_runs` without its config snapshot."""

    epoch: int
    config_version: int
    pod_name: str
    pod_uid: str | None
    node: str | None
    created_at: datetime
    claimed_by: str | None
    claimed_at: datetime | None
    live_at: datetime | None
    heartbeat_at: datetime | None
    progress_at: datetime | None
    phase: str | None
    waited_at: datetime | None
    stop_requested_at: datetime | None
    stop_reason: str | None
    fenced_at: datetime | None
    ended_at: datetime | None
    exit_code: int | None
    exit_reason: ExitReason | None
    error_message: str | None
    waits_for: str | None = None
    closes_out: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BotRecord:
    """A bot with its newest runs, as of one moment.

    Attributes:
        holding: it has an open position.
        now: the database's clock when this was read.
        runs: newest first, at most HISTORY_LIMIT.
    """

    id: int
    user_id: int
    name: str
    enabled: bool
    archived: bool
    config_version: int
    status: BotStatus
    error_message: str | None
    error_count: int
    updated_at: datetime
    holding: bool
    now: datetime
    runs: tuple[RunRecord, ...]

    @property
    def wanted(self) -> bool:
        """Whether a pod should run for it."""
        return self.enabled and not self.archived


_RUN_COLUMNS = (
    "epoch", "config_version", "pod_name", "pod_uid", "node", "created_at", "claimed_by", "claimed_at", "live_at",
    "heartbeat_at", "progress_at", "phase", "waited_at", "stop_requested_at", "stop_reason", "fenced_at",
    "ended_at", "exit_code", "exit_reason", "error_message", "waits_for",
    "closes_out",
)  # fmt: skip

_LOAD = f"""
    SELECT b.id, b.user_id, b.name, b.enabled, b.archived_at IS NOT NULL AS archived, b.config_version, b.status,
           b.error_message, b.error_count, b.updated_at, clock_timestamp() AS now,
           EXISTS (SELECT FROM trading_positions p WHERE p.bot_id = b.id AND p.status = 'open') AS holding,
           {", ".join(f"r.{column} AS run_{column}" for column in _RUN_COLUMNS)}
    FROM trading_bots b
    LEFT JOIN LATERAL (
        SELECT * FROM trading_runs WHERE bot_id = b.id ORDER BY epoch DESC LIMIT %(limit)s
    ) r ON true
    WHERE b.id = %(bot_id)s
    ORDER BY r.epoch DESC
"""

_UNSETTLED = """
    SELECT b.id
    FROM trading_bots b LEFT JOIN trading_runs r ON r.bot_id = b.id AND r.ended_at IS NULL
    WHERE CASE WHEN b.enabled AND b.archived_at IS NULL
        THEN r.bot_id IS NULL OR r.claimed_by IS NULL OR r.stop_requested_at IS NOT NULL
             OR r.config_version <> b.config_version OR b.status <> 'running' OR b.error_message IS NOT NULL
             OR b.error_count > 0
        ELSE r.bot_id IS NOT NULL OR b.status <> 'stopped' OR b.error_message IS NOT NULL
        END
    ORDER BY b.id
"""

_STATUS = f"""
    WITH shown AS (
        UPDATE trading_bots
        SET status = %(status)s, error_message = %(message)s, error_count = %(error_count)s
        WHERE id = (SELECT id FROM trading_bots WHERE id = %(bot_id)s FOR NO KEY UPDATE SKIP LOCKED)
          AND status = %(seen)s
        RETURNING id, user_id, config_version, status, error_message
    ), told AS ({run_events.REJECTED})
    SELECT FROM shown
"""

_TROUBLE = f"""
    UPDATE trading_bots SET status = '{BotStatus.STARTING}', error_message = %(message)s
    WHERE id IN (
        SELECT b.id FROM trading_bots b
        WHERE b.enabled AND b.archived_at IS NULL AND b.status IN ('{BotStatus.STOPPED}', '{BotStatus.STARTING}')
          AND b.error_message IS DISTINCT FROM %(message)s
          AND NOT EXISTS (
              SELECT FROM trading_runs r WHERE r.bot_id = b.id AND r.ended_at IS NULL AND r.claimed_by IS NOT NULL)
        FOR NO KEY UPDATE SKIP LOCKED)
"""

_NOTIFY = """
    INSERT INTO trading_notifications (bot_id, user_id, epoch, kind, severity, title, body, facts, dedupe_key)
    SELECT b.id, b.user_id, %(epoch)s, %(kind)s, %(severity)s, %(title)s,
        %(body)s || CASE WHEN %(kind)s = 'bot_disabled'
                AND EXISTS (SELECT FROM trading_positions p WHERE p.bot_id = b.id AND p.status = 'open')
            THEN '. A POSITION IS OPEN and nobody manages it' ELSE '' END,
        %(facts)s, %(key)s
    FROM (VALUES (1)) one LEFT JOIN trading_bots b ON b.id = %(bot_id)s
    WHERE b.id IS NOT NULL OR %(bot_id)s::bigint IS NULL
    ON CONFLICT (dedupe_key) DO NOTHING
"""


async def load_bot(connection: Connection, bot_id: int) -> BotRecord | None:
    """The bot and its newest runs in one query; None when there is no such row."""
    with database_errors():
        async with connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(_LOAD, {"bot_id": bot_id, "limit": HISTORY_LIMIT})
            rows = await cursor.fetchall()
    if not rows:
        return None
    first = rows[0]
    return BotRecord(
        id=first["id"],
        user_id=first["user_id"],
        name=first["name"],
        enabled=first["enabled"],
        archived=first["archived"],
        config_version=first["config_version"],
        status=BotStatus(first["status"]),
        error_message=first["error_message"],
        error_count=first["error_count"],
        updated_at=first["updated_at"],
        holding=first["holding"],
        now=first["now"],
        runs=tuple(_run(row) for row in rows if row["run_epoch"] is not None),
    )


def _run(row: Mapping[str, Any]) -> RunRecord:
    values = {column: row[f"run_{column}"] for column in _RUN_COLUMNS}
    reason = values.pop("exit_reason")
    return RunRecord(**values, exit_reason=None if reason is None else ExitReason(reason))


async def load_config(connection: Connection, bot_id: int, config_version: int) -> object:
    """The row's config, `Unreadable` if it isn't an object, or None when the row has another version by now."""
    return await document_of(
        connection,
        f"SELECT {CONFIG_TEXT} FROM trading_bots WHERE id = %s AND config_version = %s",
        (bot_id, config_version),
    )


async def document_of(connection: Connection, query: str, values: tuple[int, int]) -> object:
    """The object whose text the query gives, `Unreadable` if it isn't one, or None without a row."""
    with database_errors():
        async with connection.cursor(row_factory=scalar_row) as cursor:
            await cursor.execute(query.encode(), values)
            text = await cursor.fetchone()
    return None if text is None else object_read(load_json(text))


async def unsettled_bots(connection: Connection) -> list[int]:
    """Ids of bots that aren't, at first sight, what their row wants: what a poll must look at."""
    with database_errors():
        async with connection.cursor(row_factory=scalar_row) as cursor:
            await cursor.execute(_UNSETTLED)
            return await cursor.fetchall()


async def get_enabled_bots(connection: Connection, user_id: int | None = None) -> list[int]:
    """Ids of the bots that should run, of one user or of all."""
    with database_errors():
        async with connection.cursor(row_factory=scalar_row) as cursor:
            await cursor.execute(
                "SELECT id FROM trading_bots WHERE enabled AND archived_at IS NULL"
                " AND (%(user_id)s::bigint IS NULL OR user_id = %(user_id)s) ORDER BY id",
                {"user_id": user_id},
            )
            return await cursor.fetchall()


async def update_bot_status(
    connection: Connection,
    bot_id: int,
    *,
    seen: BotStatus,
    status: BotStatus,
    message: str | None,
    error_count: int,
) -> bool:
    """Write the status, unless the row is locked at this moment or no longer shows the status `seen`.

    A config that is shown as rejected is told in the same statement.

    Returns:
        False when nothing was written: read again, decide again.
    """
    status_now = {"seen": seen, "status": status, "message": message, "error_count": error_count}
    values = {"bot_id": bot_id, **safe_fields(status_now, message=MESSAGE)}
    with database_errors():
        return (await connection.execute(_STATUS.encode(), values)).rowcount == 1


async def show_trouble(connection: Connection, message: str) -> int:
    """Say of every bot that waits for its start what keeps the controller from starting any.

    Rows that are locked at this moment are left out.

    Returns:
        How many rows were written: those that did not say so already.
    """
    with database_errors():
        return (await connection.execute(_TROUBLE.encode(), {"message": safe_text(message, MESSAGE)})).rowcount


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """A line of the outbox. `key` makes it unique for ever: the same one is written once.

    Attributes:
        bot_id: None for what concerns the whole installation: its operators are told.
    """

    bot_id: int | None
    kind: str
    severity: str
    title: str
    body: str
    key: str
    epoch: int | None = None
    facts: Mapping[str, Any] | None = None


async def add_notification(connection: Connection, notification: Notification) -> bool:
    """Put it into the outbox; False when it is there already."""
    values = {
        "bot_id": notification.bot_id,
        "kind": notification.kind,
        "severity": notification.severity,
        "title": notification.title,
        "body": notification.body,
        "key": notification.key,
        "epoch": notification.epoch,
        "facts": notification.facts,
    }
    safe = safe_notification(values)
    safe["facts"] = None if notification.facts is None else Jsonb(safe["facts"])
    with database_errors():
        return (await connection.execute(_NOTIFY, safe)).rowcount == 1


@dataclass(frozen=True, slots=True)
class StatusCount:
    """How many bots show a status."""

    status: str
    bots: int


async def count_statuses(connection: Connection) -> list[StatusCount]:
    """Bots by status, archived ones left out."""
    with database_errors():
        async with connection.cursor(row_factory=class_row(StatusCount)) as cursor:
            await cursor.execute(
                "SELECT status, count(*) AS bots FROM trading_bots WHERE archived_at IS NULL GROUP BY status"
            )
            return await cursor.fetchall()
