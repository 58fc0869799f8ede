"""The outbox: from what happened to what was sent. For the worker (async); several workers share it.

A notification is first routed (one delivery for each channel, or the reason why there is none), then each message is
claimed, sent outside of any transaction, and concluded. A claim counts the attempt and makes the message invisible
for `lease_s`, so a worker that dies in between delays it and loses nothing; what it had sent already is sent again
with the same idempotency key. All times are the database's. Connection errors surface as DatabaseAway.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from typing import Any

from psycopg.rows import class_row, dict_row, scalar_row
from psycopg.types.json import Jsonb

from fleet.foreign import BYTES_LIMIT
from fleet.redaction import MESSAGE, safe_notification, safe_text
from fleet.trading_service.adapt import MESSAGE_LIMIT, text_for_people
from fleet.trading_service.db import Connection, database_errors

CHANNEL = "botfleet_outbox"
"""What a new notification is announced on."""

BODY_LIMIT = 20_000
"""Characters of a body that are kept and read: a summary tells of many bots."""

ROUTING_LOCK = 0x626F7466  # "botf"
"""Advisory lock: one worker routes at a time, so that groups are formed once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredNotification:
    """A notification with what is known about its bot and user; None where it has none.

    `facts` and `config` are documents as somebody wrote them, or Unreadable.
    """

    id: int
    bot_id: int | None
    user_id: int | None
    epoch: int | None
    kind: str
    severity: str
    title: str
    body: str
    facts: object
    created_at: datetime
    bot_name: str | None
    config: object
    user_name: str | None
    email: str | None
    telegram_chat_id: str | None
    webhook_url: str | None
    timezone: str | None
    quiet_from: time | None
    quiet_until: time | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A new delivery.

    Attributes:
        message_id: id of the notification that leads its message; its own if it is alone or the first.
        problem: why it is skipped; None for one that waits.
        due_at: when it may be sent.
    """

    notification_id: int
    channel: str
    message_id: int
    critical: bool
    kind: str
    bot_id: int | None
    target: str | None = None
    target_hash: str | None = None
    problem: str | None = None
    due_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedMessage:
    """A message that this worker may send now.

    Attributes:
        attempts: with this one.
        expires_at: no attempt is made after that.
    """

    message_id: int
    channel: str
    attempts: int
    expires_at: datetime
    created_at: datetime
    target_hash: str
    idempotency_key: str


_COLUMNS = f"""
    n.id, n.bot_id, n.user_id, n.epoch, n.kind, n.severity, left(n.title, {MESSAGE_LIMIT}) AS title,
    left(n.body, {BODY_LIMIT}) AS body, n.created_at,
    CASE WHEN octet_length(n.facts::text) <= {BYTES_LIMIT} THEN n.facts END AS facts,
    b.name AS bot_name, b.config, u.name AS user_name,
    u.email, u.telegram_chat_id, u.webhook_url, u.timezone, u.quiet_from, u.quiet_until
"""

_UNROUTED = f"""
    SELECT {_COLUMNS}
    FROM trading_notifications n
    LEFT JOIN trading_bots b ON b.id = n.bot_id
    LEFT JOIN users u ON u.id = n.user_id
    WHERE n.state = 'pending' AND n.routed_at IS NULL
    ORDER BY n.id LIMIT %(limit)s
"""

_OF_MESSAGE = f"""
    SELECT {_COLUMNS}
    FROM notification_deliveries d
    JOIN trading_notifications n ON n.id = d.notification_id
    LEFT JOIN trading_bots b ON b.id = n.bot_id
    LEFT JOIN users u ON u.id = n.user_id
    WHERE d.message_id = %(message_id)s AND d.channel = %(channel)s
    ORDER BY n.id
"""

_RECENT = """
    SELECT count(*) FROM notification_deliveries
    WHERE bot_id IS NOT DISTINCT FROM %(bot_id)s AND kind = %(kind)s AND channel = %(channel)s
      AND target_hash = %(target_hash)s AND message_id = notification_id AND state <> 'skipped'
      AND created_at > %(now)s - make_interval(secs => %(window_s)s)
"""

_OPEN_GROUP = """
    SELECT l.message_id FROM notification_deliveries l
    WHERE l.channel = %(channel)s AND l.target_hash = %(target_hash)s AND l.state = 'pending' AND l.attempts = 0
      AND l.message_id = l.notification_id AND NOT l.critical
      AND CASE WHEN %(kind)s::text IS NULL THEN l.next_attempt_at = %(due_at)s
          ELSE l.kind = %(kind)s AND l.bot_id IS NOT DISTINCT FROM %(bot_id)s AND l.next_attempt_at > %(now)s END
      AND (SELECT count(*) FROM notification_deliveries m WHERE m.message_id = l.message_id
           AND m.channel = l.channel) < %(limit)s
    ORDER BY l.message_id DESC LIMIT 1
    FOR UPDATE
"""

_DELIVERY = """
    INSERT INTO notification_deliveries (notification_id, channel, message_id, critical, kind, bot_id, target,
        target_hash, state, last_error, next_attempt_at, expires_at, idempotency_key)
    SELECT %(notification_id)s, %(channel)s, %(message_id)s, %(critical)s, %(kind)s, %(bot_id)s, %(target)s,
        %(target_hash)s, CASE WHEN %(problem)s::text IS NULL THEN 'pending' ELSE 'skipped' END, %(problem)s,
        COALESCE(l.next_attempt_at, %(due_at)s),
        COALESCE(l.expires_at, %(due_at)s + make_interval(secs => %(max_age_s)s)),
        COALESCE(l.idempotency_key, gen_random_uuid()::text)
    FROM (VALUES (1)) one
    LEFT JOIN notification_deliveries l ON l.notification_id = %(message_id)s AND l.channel = %(channel)s
    ON CONFLICT DO NOTHING
"""

_ROUTED = """
    UPDATE trading_notifications
    SET routed_at = clock_timestamp(), state = COALESCE(%(state)s, state), last_error = %(reason)s
    WHERE id = %(id)s
"""

_CLAIM = """
    WITH clock AS (SELECT clock_timestamp() AS now), due AS (
        SELECT channel, target_hash, critical, min(message_id) AS message_id
        FROM notification_deliveries, clock
        WHERE state = 'pending' AND message_id = notification_id AND next_attempt_at <= now
        GROUP BY channel, target_hash, critical
    ), allowed AS (
        SELECT due.message_id, due.channel FROM due, clock
        WHERE due.critical OR (
            -- one at a time to each receiver, in order; one that just failed is left alone for a while
            NOT EXISTS (
                SELECT FROM notification_deliveries o
                WHERE o.channel = due.channel AND o.target_hash = due.target_hash AND o.state = 'pending'
                  AND o.attempted_at > now - make_interval(secs => %(lease_s)s) AND o.next_attempt_at > now)
            AND (SELECT count(*) FROM notification_deliveries o
                 WHERE o.channel = due.channel AND o.target_hash = due.target_hash
                   AND o.message_id = o.notification_id
                   AND o.attempted_at > now - interval '60 seconds') < (%(per_minute)s::jsonb ->> due.channel)::int)
        ORDER BY due.critical DESC, due.message_id
    ), locked AS (
        SELECT l.message_id, l.channel FROM notification_deliveries l, clock
        WHERE (l.message_id, l.channel) IN (SELECT message_id, channel FROM allowed)
          AND l.message_id = l.notification_id AND l.state = 'pending' AND l.next_attempt_at <= now
        ORDER BY l.critical DESC, l.message_id LIMIT %(limit)s
        FOR UPDATE OF l SKIP LOCKED
    ), claimed AS (
        UPDATE notification_deliveries d
        SET attempts = d.attempts + 1, attempted_at = now,
            next_attempt_at = now + make_interval(secs => %(lease_s)s)
        FROM locked, clock
        WHERE d.message_id = locked.message_id AND d.channel = locked.channel AND d.state = 'pending'
        RETURNING d.*
    )
    SELECT message_id, channel, attempts, expires_at, created_at, target_hash, idempotency_key
    FROM claimed WHERE message_id = notification_id ORDER BY critical DESC, message_id
"""

_CONCLUDE = """
    UPDATE notification_deliveries
    SET state = %(state)s, last_error = %(error)s, target = COALESCE(%(target)s, target),
        target_hash = COALESCE(%(target_hash)s, target_hash),
        delivered_at = CASE WHEN %(state)s = 'delivered' THEN clock_timestamp() END
    WHERE message_id = %(message_id)s AND channel = %(channel)s AND state = 'pending'
      -- a late success counts all the same; a late failure must not take a newer attempt's lease
      AND (%(state)s = 'delivered' OR attempts = %(attempts)s)
    RETURNING notification_id
"""

_POSTPONE = """
    UPDATE notification_deliveries
    SET next_attempt_at = clock_timestamp() + make_interval(secs => %(after_s)s), last_error = %(error)s
    WHERE message_id = %(message_id)s AND channel = %(channel)s AND state = 'pending' AND attempts = %(attempts)s
"""

_ROLL_UP = """
    UPDATE trading_notifications n
    SET state = f.state, delivered_at = f.delivered_at, attempts = f.attempts, last_error = f.last_error
    FROM (
        SELECT notification_id, min(delivered_at) AS delivered_at, max(attempts) AS attempts,
            CASE WHEN bool_or(state = 'delivered') THEN 'delivered' WHEN bool_or(state = 'failed') THEN 'failed'
                 ELSE 'suppressed' END AS state,
            string_agg(channel || ': ' || last_error, '; ' ORDER BY channel) FILTER (WHERE state <> 'delivered')
                AS last_error
        FROM notification_deliveries
        WHERE notification_id = ANY(%(ids)s)
        GROUP BY notification_id
        HAVING NOT bool_or(state = 'pending')
    ) f
    WHERE n.id = f.notification_id AND n.state IN ('pending', 'failed', 'suppressed')
"""

_WAITING = """
    SELECT
        (SELECT count(*) FROM trading_notifications WHERE state = 'pending' AND routed_at IS NULL) AS unrouted,
        (SELECT count(*) FROM notification_deliveries WHERE state = 'pending' AND message_id = notification_id)
            AS waiting,
        COALESCE(extract(epoch FROM clock_timestamp() - LEAST(
            (SELECT min(created_at) FROM trading_notifications WHERE state = 'pending' AND routed_at IS NULL),
            (SELECT min(next_attempt_at) FROM notification_deliveries
             WHERE state = 'pending' AND message_id = notification_id AND next_attempt_at < clock_timestamp())
        )), 0)::float8 AS overdue_s,
        extract(epoch FROM (
            SELECT min(next_attempt_at) FROM notification_deliveries
            WHERE state = 'pending' AND message_id = notification_id
        ) - clock_timestamp())::float8 AS next_s
"""

_ADD = """
    INSERT INTO trading_notifications (bot_id, user_id, kind, severity, title, body, facts, dedupe_key)
    VALUES (%(bot_id)s, %(user_id)s, %(kind)s, %(severity)s, %(title)s, %(body)s, %(facts)s, %(dedupe_key)s)
    ON CONFLICT (dedupe_key) DO NOTHING
"""


async def lock_routing(connection: Connection) -> bool:
    """Become the one who routes until this transaction's end; False when another worker does."""
    async with connection.cursor(row_factory=scalar_row) as cursor:
        await cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", (ROUTING_LOCK,))
        return bool(await cursor.fetchone())


async def unrouted(connection: Connection, *, limit: int) -> tuple[datetime, list[StoredNotification]]:
    """The database's clock and the oldest notifications that nobody has routed."""
    with database_errors():
        async with connection.cursor(row_factory=scalar_row) as cursor:
            await cursor.execute("SELECT clock_timestamp()")
            now = await cursor.fetchone()
        async with connection.cursor(row_factory=class_row(StoredNotification)) as cursor:
            await cursor.execute(_UNROUTED.encode(), {"limit": limit})
            notifications = await cursor.fetchall()
    assert now is not None
    return now, notifications


async def recent_messages(
    connection: Connection,
    *,
    bot_id: int | None,
    kind: str,
    channel: str,
    target_hash: str,
    now: datetime,
    window_s: float,
) -> int:
    """How many messages of this kind about this bot went, or will go, to this receiver within the window."""
    values = {
        "bot_id": bot_id,
        "kind": kind,
        "channel": channel,
        "target_hash": target_hash,
        "now": now,
        "window_s": window_s,
    }
    async with connection.cursor(row_factory=scalar_row) as cursor:
        await cursor.execute(_RECENT, values)
        return int(await cursor.fetchone() or 0)


async def open_group(
    connection: Connection,
    *,
    channel: str,
    target_hash: str,
    due_at: datetime,
    now: datetime,
    limit: int,
    kind: str | None = None,
    bot_id: int | None = None,
) -> int | None:
    """The message that a notification can still join: not tried yet, and locked against being claimed meanwhile.

    Args:
        connection: in a transaction.
        channel: of the message. target_hash: its receiver.
        due_at: its time, for a digest.
        now: the database's clock.
        limit: most notifications in it.
        kind: for a burst: its kind, about `bot_id`; None looks for the digest that is due at `due_at`.
        bot_id: see kind.
    """
    values = {
        "channel": channel,
        "target_hash": target_hash,
        "due_at": due_at,
        "now": now,
        "limit": limit,
        "kind": kind,
        "bot_id": bot_id,
    }
    async with connection.cursor(row_factory=scalar_row) as cursor:
        await cursor.execute(_OPEN_GROUP, values)
        return await cursor.fetchone()


async def add_deliveries(connection: Connection, deliveries: Sequence[Delivery], *, max_age_s: float) -> None:
    """Write what a notification's route is; a joined message gives time and key."""
    for delivery in deliveries:
        values = {name: getattr(delivery, name) for name in Delivery.__dataclass_fields__}
        await connection.execute(_DELIVERY, {**values, "max_age_s": max_age_s})


async def mark_routed(connection: Connection, notification_id: int, *, state: str | None, reason: str | None) -> None:
    """Close a notification's routing; a state ends it (`suppressed`)."""
    await connection.execute(_ROUTED, {"id": notification_id, "state": state, "reason": text_for_people(reason)})


async def claim_messages(
    connection: Connection, *, limit: int, lease_s: float, per_minute: Mapping[str, int]
) -> list[ClaimedMessage]:
    """Messages to send now, at most one for each receiver, critical ones first and without any limit.

    Args:
        connection: in autocommit mode.
        limit: how many.
        lease_s: how long nobody else may claim them; longer than an attempt takes.
        per_minute: attempts to each receiver of a channel within any 60 s; counted from the history, so a
            restart forgets none.
    """
    with database_errors():
        async with connection.cursor(row_factory=class_row(ClaimedMessage)) as cursor:
            await cursor.execute(_CLAIM, {"limit": limit, "lease_s": lease_s, "per_minute": Jsonb(dict(per_minute))})
            return await cursor.fetchall()


async def notifications_of(connection: Connection, message: ClaimedMessage) -> list[StoredNotification]:
    """The notifications of a message, oldest first."""
    with database_errors():
        async with connection.cursor(row_factory=class_row(StoredNotification)) as cursor:
            await cursor.execute(_OF_MESSAGE.encode(), {"message_id": message.message_id, "channel": message.channel})
            return await cursor.fetchall()


async def conclude(
    connection: Connection,
    message: ClaimedMessage,
    *,
    state: str,
    error: str | None,
    target: str | None = None,
    target_hash: str | None = None,
) -> int:
    """Record how a message ended: `delivered`, `failed` or `skipped`; returns how many notifications that concerns."""
    values = {
        "message_id": message.message_id,
        "channel": message.channel,
        "attempts": message.attempts,
        "state": state,
        "error": None if error is None else safe_text(error, MESSAGE),
        "target": target,
        "target_hash": target_hash,
    }
    with database_errors():
        async with connection.transaction():
            async with connection.cursor(row_factory=scalar_row) as cursor:
                await cursor.execute(_CONCLUDE, values)
                ids = await cursor.fetchall()
            if ids:
                await roll_up(connection, ids)
    return len(ids)


async def roll_up(connection: Connection, ids: Sequence[int]) -> None:
    """Bring notifications to the state that follows from their deliveries, once none of them waits."""
    # concurrent conclusions of a notification's last two channels must see each other
    await connection.execute(
        "SELECT FROM trading_notifications WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE", (list(ids),)
    )
    await connection.execute(_ROLL_UP, {"ids": list(ids)})


async def postpone(connection: Connection, message: ClaimedMessage, *, after_s: float, error: str) -> None:
    """Give a message back to be tried again later."""
    values = {
        "message_id": message.message_id,
        "channel": message.channel,
        "attempts": message.attempts,
        "after_s": after_s,
        "error": safe_text(error, MESSAGE),
    }
    with database_errors():
        await connection.execute(_POSTPONE, values)


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits.

    Attributes:
        unrouted: notifications without a route. waiting: messages that aren't sent.
        overdue_s: how long the oldest of either could have been handled already.
        next_s: seconds until the next message is due, negative when it is; None when none waits.
    """

    unrouted: int
    waiting: int
    overdue_s: float
    next_s: float | None


async def waiting(connection: Connection) -> Waiting:
    """Counts for metrics and for how long to sleep."""
    with database_errors():
        async with connection.cursor(row_factory=class_row(Waiting)) as cursor:
            await cursor.execute(_WAITING)
            row = await cursor.fetchone()
    assert row is not None
    return row


async def add(
    connection: Connection,
    *,
    kind: str,
    severity: str,
    title: str,
    body: str,
    dedupe_key: str,
    facts: Mapping[str, Any] | None = None,
    bot_id: int | None = None,
    user_id: int | None = None,
) -> bool:
    """Put a notification into the outbox; False when one with this key is there."""
    values = {
        "kind": kind,
        "severity": severity,
        "title": title,
        "body": body,
        "dedupe_key": dedupe_key,
        "facts": facts,
        "bot_id": bot_id,
        "user_id": user_id,
    }
    safe = safe_notification(values)
    safe["facts"] = None if facts is None else Jsonb(safe["facts"])
    with database_errors():
        return (await connection.execute(_ADD, safe)).rowcount == 1


Row = dict[str, Any]


async def summary_bots(connection: Connection) -> list[Row]:
    """Every bot that isn't archived, with its user and what a summary's head needs."""
    with database_errors():
        async with connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(
                """
                SELECT b.id, b.user_id, b.name, b.config, b.status, b.enabled, b.created_at, b.current_balance,
                    b.total_pnl, b.error_message, u.name AS user_name, u.timezone,
                    EXISTS (SELECT FROM trading_positions p WHERE p.bot_id = b.id AND p.status = 'open') AS in_position
                FROM trading_bots b JOIN users u ON u.id = b.user_id
                WHERE b.archived_at IS NULL ORDER BY b.user_id, b.id
                """
            )
            return await cursor.fetchall()


async def trades_between(connection: Connection, bot_ids: Sequence[int], begin: datetime, end: datetime) -> list[Row]:
    """For each bot its closed trades' sums in [begin, end): by exit time."""
    with database_errors():
        async with connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(
                """
                SELECT bot_id, symbol, count(*) AS trades, count(*) FILTER (WHERE net_pnl > 0) AS wins,
                    sum(net_pnl) AS net_pnl, sum(commission) AS fees, max(net_pnl) AS best, min(net_pnl) AS worst
                FROM trading_trades
                WHERE bot_id = ANY(%(ids)s) AND status = 'closed' AND exit_time >= %(begin)s AND exit_time < %(end)s
                GROUP BY bot_id, symbol ORDER BY bot_id, symbol
                """,
                {"ids": list(bot_ids), "begin": begin, "end": end},
            )
            return await cursor.fetchall()
