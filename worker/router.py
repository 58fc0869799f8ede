"""Gives each new notification its route: silenced, or a delivery for each channel, at once or later, alone or grouped.

One short transaction for each batch, and one worker at a time, so that groups are formed once; nothing is sent here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import psycopg

from fleet.events import EventKind, wanted
from fleet.foreign import clean_text, object_of
from fleet.log import get_logger
from fleet.trading_service import outbox
from fleet.trading_service.db import Connection, Pool, database_errors
from fleet.trading_service.outbox import Delivery, Note
from worker.channels import routing
from worker.channels.outcome import Channel
from worker.channels.routing import Contact, Installed, Target

log = get_logger("router")

BATCH = 100


class _Unroutable(Exception):
    """What one notification made of its routing."""

    def __init__(self, note_id: int, error: Exception) -> None:
        super().__init__(f"can't be routed: {error!r}")
        self.note_id = note_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Router:
    """Routes notifications.

    Attributes:
        operator: who hears of what has no owner.
        max_age_s: from the time a message may be sent until it has failed.
    """

    pool: Pool
    installed: Installed
    operator: Contact
    max_age_s: float

    async def route_all(self) -> int:
        """Route until nothing is left, or another worker does; returns how many were routed.

        A notification that can't be routed ends as suppressed and says why; it never keeps others from being routed.

        Raises:
            DatabaseAway: no answer; a batch is routed whole or not at all.
        """
        done = 0
        while True:
            try:
                routed = await self._batch()
            except _Unroutable as fault:
                routed = await self._give_up(fault)
            else:
                if routed < BATCH:
                    return done + routed
            done += routed

    async def _give_up(self, fault: _Unroutable) -> int:
        log.error("notification_unroutable", id=fault.note_id, reason=clean_text(fault, 300))
        async with self.pool.connection() as connection:
            with database_errors():
                await outbox.mark_routed(connection, fault.note_id, state="suppressed", reason=str(fault))
        return 1

    async def _batch(self) -> int:
        async with self.pool.connection() as connection:
            with database_errors():
                async with connection.transaction():
                    if not await outbox.lock_routing(connection):
                        return 0
                    now, notes = await outbox.unrouted(connection, limit=BATCH)
                    for note in notes:
                        await self._routed(connection, note, now)
        return len(notes)

    async def _routed(self, connection: Connection, note: Note, now: datetime) -> None:
        try:
            await self._route(connection, note, now)
        except (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError):
            raise  # the database's fault, not the notification's
        except Exception as error:
            raise _Unroutable(note.id, error) from error

    async def _route(self, connection: Connection, note: Note, now: datetime) -> None:
        silent = silenced(note)
        if silent is not None:
            await outbox.mark_routed(connection, note.id, state="suppressed", reason=silent)
            return
        targets = targets_of(note, self.operator, self.installed)
        contact = contact_of(note, self.operator)
        deliveries = [await self._delivery(connection, note, target, contact, now) for target in targets]
        await outbox.add_deliveries(connection, deliveries, max_age_s=self.max_age_s)
        if not deliveries:
            await outbox.mark_routed(connection, note.id, state="suppressed", reason="no channel is enabled")
        elif all(delivery.problem for delivery in deliveries):
            reason = "; ".join(f"{delivery.channel}: {delivery.problem}" for delivery in deliveries)
            await outbox.mark_routed(connection, note.id, state="suppressed", reason=reason)
        else:
            await outbox.mark_routed(connection, note.id, state=None, reason=None)

    async def _delivery(
        self, connection: Connection, note: Note, target: Target, contact: Contact, now: datetime
    ) -> Delivery:
        channel, critical = target.channel, note.severity == "critical"
        plain = Delivery(
            notification_id=note.id,
            channel=channel,
            message_id=note.id,
            critical=critical,
            kind=note.kind,
            bot_id=note.bot_id,
            problem=target.problem,
            due_at=now,
        )
        if target.address is None:
            return plain
        marks = {
            "target": routing.masked(channel, target.address),
            "target_hash": routing.hashed(channel, target.address),
        }
        due_at, leader = now, None
        if not critical:
            due_at, leader = await self._held(connection, note, channel, marks["target_hash"], contact, now)
        return Delivery(
            notification_id=note.id,
            channel=channel,
            message_id=leader or note.id,
            critical=critical,
            kind=note.kind,
            bot_id=note.bot_id,
            due_at=due_at,
            **marks,
        )

    async def _held(
        self, connection: Connection, note: Note, channel: Channel, target_hash: str, contact: Contact, now: datetime
    ) -> tuple[datetime, int | None]:
        """When the notification may go, and whose message it joins."""
        until = routing.quiet_end(now, contact, zone_of(contact.timezone))
        if until is not None:
            leader = await outbox.open_group(
                connection,
                channel=channel,
                target_hash=target_hash,
                due_at=until,
                now=now,
                limit=routing.GROUP_LIMIT,
            )
            return until, leader
        recent = await outbox.recent_messages(
            connection,
            bot_id=note.bot_id,
            kind=note.kind,
            channel=channel,
            target_hash=target_hash,
            now=now,
            window_s=routing.BURST_WINDOW_S,
        )
        if recent < routing.BURST:
            return now, None
        due_at = now + timedelta(seconds=routing.BURST_WINDOW_S)
        leader = await outbox.open_group(
            connection,
            channel=channel,
            target_hash=target_hash,
            due_at=due_at,
            now=now,
            limit=routing.GROUP_LIMIT,
            kind=note.kind,
            bot_id=note.bot_id,
        )
        return due_at, leader


def silenced(note: Note) -> str | None:
    """Why the bot's owner doesn't want to be told; None if he does."""
    if note.bot_id is None or note.severity == "critical" or note.kind not in set(EventKind):
        return None
    if wanted(EventKind(note.kind), routing.switches_of(note.config)):
        return None
    return "silenced by the bot's notifications section"


def contact_of(note: Note, operator: Contact) -> Contact:
    """Where the one who is to be told can be reached."""
    if note.user_id is None:
        return operator
    owner = Contact(
        email=note.email,
        telegram_chat_id=note.telegram_chat_id,
        webhook_url=note.webhook_url,
        timezone=note.timezone or "UTC",
        quiet_from=note.quiet_from,
        quiet_until=note.quiet_until,
    )
    return owner if note.bot_id is None else routing.overriding(routing.switches_of(note.config), owner)


def targets_of(note: Note, operator: Contact, installed: Installed) -> list[Target]:
    """The channels of a notification; those of a test or of a summary are named in its facts."""
    contact = contact_of(note, operator)
    return [routing.target(channel, contact, installed) for channel in _channels(note, contact)]


def _channels(note: Note, contact: Contact) -> Iterable[Channel]:
    named = object_of(note.facts).get("channels")
    if isinstance(named, list):
        return [channel for channel in Channel if channel in named]
    if note.user_id is None or note.bot_id is None:
        return [channel for channel in Channel if contact.address(channel)]
    return routing.enabled(routing.switches_of(note.config))


def zone_of(name: str) -> tzinfo:
    """The timezone; UTC for a name that is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        log.warning("timezone_unknown", timezone=name[:100])
        return UTC
