"""What people do with notifications by hand: look at the history, try again, ask for a test. Synchronous.

And what the history says to a monitoring system, for the worker (async).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import class_row, dict_row
from psycopg.types.json import Jsonb

from fleet.errors import NotFound, PermanentError
from fleet.events import EventKind
from fleet.trading_service.db import Connection, database_errors

Row = dict[str, Any]

STATES = ("pending", "delivered", "failed", "suppressed")

_LIST = """
    SELECT n.id, n.created_at, n.bot_id, b.name AS bot, u.name AS owner, n.epoch, n.kind, n.severity, n.title, n.body,
        n.facts, n.state, n.delivered_at, n.last_error, n.dedupe_key,
        COALESCE((SELECT jsonb_agg(jsonb_build_object(
            'channel', d.channel, 'state', d.state, 'target', d.target, 'attempts', d.attempts,
            'next_attempt_at', CASE WHEN d.state = 'pending' THEN d.next_attempt_at END,
            'delivered_at', d.delivered_at, 'last_error', d.last_error, 'idempotency_key', d.idempotency_key,
            'message_id', d.message_id) ORDER BY d.channel)
            FROM notification_deliveries d WHERE d.notification_id = n.id), '[]'::jsonb) AS deliveries
    FROM trading_notifications n
    LEFT JOIN trading_bots b ON b.id = n.bot_id
    LEFT JOIN users u ON u.id = n.user_id
    WHERE (%(bot_id)s::bigint IS NULL OR n.bot_id = %(bot_id)s) AND (%(state)s::text IS NULL OR n.state = %(state)s)
      AND (%(kind)s::text IS NULL OR n.kind = %(kind)s) AND (%(id)s::bigint IS NULL OR n.id = %(id)s)
    ORDER BY n.id DESC LIMIT %(limit)s
"""

_RETRY = """
    UPDATE notification_deliveries d
    SET state = 'pending', attempts = 0, attempted_at = NULL, last_error = NULL, next_attempt_at = clock_timestamp(),
        expires_at = clock_timestamp() + interval '1 day', target_hash = COALESCE(d.target_hash, '')
    FROM notification_deliveries asked
    WHERE asked.notification_id = %(id)s AND (%(channel)s::text IS NULL OR asked.channel = %(channel)s)
      -- a message is sent whole, with its key
      AND d.message_id = asked.message_id AND d.channel = asked.channel AND d.state IN ('failed', 'skipped')
    RETURNING d.channel, d.notification_id
"""


def list_notifications(
    connection: psycopg.Connection[Any],
    *,
    bot_id: int | None = None,
    state: str | None = None,
    kind: str | None = None,
    notification_id: int | None = None,
    limit: int = 20,
) -> list[Row]:
    """The newest notifications, each with its deliveries."""
    values = {"bot_id": bot_id, "state": state, "kind": kind, "id": notification_id, "limit": limit}
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(_LIST, values).fetchall()
    for row in rows:
        # made by this query, but of texts of any length
        row["deliveries"] = row["deliveries"] if isinstance(row["deliveries"], list) else []
    return rows


def get_notification(connection: psycopg.Connection[Any], notification_id: int) -> Row:
    """One of them.

    Raises:
        NotFound: there is none with this id.
    """
    rows = list_notifications(connection, notification_id=notification_id)
    if not rows:
        raise NotFound(f"there is no notification {notification_id}: `botfleet notify list` shows the newest")
    return rows[0]


def retry(connection: psycopg.Connection[Any], notification_id: int, channel: str | None) -> list[str]:
    """Try what failed or was skipped once more; returns the channels.

    Raises:
        NotFound: there is no such notification. PermanentError: nothing of it failed.
    """
    with connection.transaction():
        row = get_notification(connection, notification_id)
        done = connection.execute(_RETRY, {"id": notification_id, "channel": channel}).fetchall()
        if not done:
            raise PermanentError(_why_nothing(row, channel))
        connection.execute(
            "UPDATE trading_notifications SET state = 'pending', last_error = NULL WHERE id = ANY(%s)",
            ([concerned for _, concerned in done],),
        )
        connection.execute("SELECT pg_notify('botfleet_outbox', '')")
    return sorted({tried for tried, _ in done})


def _why_nothing(row: Row, channel: str | None) -> str:
    where = f" on {channel}" if channel else ""
    if not row["deliveries"]:
        return f"notification {row['id']} has no deliveries: {row['last_error'] or 'the worker has not routed it yet'}"
    states = ", ".join(f"{delivery['channel']} {delivery['state']}" for delivery in row["deliveries"])
    return f"nothing of notification {row['id']} failed{where}: {states}"


def add_test(
    connection: psycopg.Connection[Any], *, channels: Sequence[str], bot_id: int | None, user_id: int | None, key: str
) -> int:
    """Put a test message into the outbox; returns its id.

    Args:
        connection: in autocommit mode.
        channels: on which it goes out, whatever the bot's switches say.
        bot_id: whose receivers are tested; None: the user's own.
        user_id: whose, without a bot; None with no bot: those who run the installation.
        key: unique.
    """
    if bot_id is not None:
        found = connection.execute("SELECT user_id FROM trading_bots WHERE id = %s", (bot_id,)).fetchone()
        user_id = found[0] if found else None
    row = connection.execute(
        """
        INSERT INTO trading_notifications (bot_id, user_id, kind, severity, title, body, facts, dedupe_key)
        VALUES (%s, %s, %s, 'critical', 'Test message', %s, %s, %s) RETURNING id
        """,
        (
            bot_id,
            user_id,
            EventKind.TEST,
            "If you can read this, messages of Botfleet reach you here. It was asked for with `botfleet notify test`.",
            Jsonb({"channels": list(channels)}),
            key,
        ),
    ).fetchone()
    assert row is not None
    return int(row[0])


@dataclass(frozen=True, slots=True)
class BreachCount:
    """How often a limit came into force for a bot."""

    bot_id: int
    limit: str
    count: int


async def count_breaches(connection: Connection) -> list[BreachCount]:
    """Risk breaches by bot and limit, silenced ones included; archived bots left out.

    Raises:
        DatabaseAway: no answer.
    """
    with database_errors():
        async with connection.cursor(row_factory=class_row(BreachCount)) as cursor:
            await cursor.execute(
                """
                SELECT n.bot_id, COALESCE(n.facts ->> 'limit', '') AS limit, count(*) AS count
                FROM trading_notifications n JOIN trading_bots b ON b.id = n.bot_id
                WHERE n.kind = %s AND b.archived_at IS NULL GROUP BY 1, 2 ORDER BY 1, 2
                """,
                (EventKind.RISK_BREACH,),
            )
            return await cursor.fetchall()
