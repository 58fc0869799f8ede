"""Gives each new notification its route: asks the outbox what `worker.routes` needs to know, and writes its decisions.

One short transaction for each batch, and one worker at a time, so that groups are formed once; nothing is sent here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import psycopg

from fleet.foreign import clean_text
from fleet.log import get_logger
from fleet.trading_service import outbox
from fleet.trading_service.db import Connection, Pool, database_errors
from fleet.trading_service.outbox import Delivery, StoredNotification
from worker.channels.routing import BURST_WINDOW_S, GROUP_LIMIT, Contact, Installed, Target, hashed
from worker.routes import Hold, burst_hold, contact_of, delivery, may_wait, quiet_hold, silenced, suppressed, targets_of
from worker.timezones import zone_of

log = get_logger("router")

BATCH = 100


class _Unroutable(Exception):
    """What one notification made of its routing."""

    def __init__(self, notification_id: int, error: Exception) -> None:
        super().__init__(f"can't be routed: {error!r}")
        self.notification_id = notification_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Router:
    """Routes notifications.

    Attributes:
        operator: who hears of what is no user's.
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
        log.error("notification_unroutable", id=fault.notification_id, reason=clean_text(fault, 300))
        async with self.pool.connection() as connection:
            with database_errors():
                await outbox.mark_routed(connection, fault.notification_id, state="suppressed", reason=str(fault))
        return 1

    async def _batch(self) -> int:
        async with self.pool.connection() as connection:
            with database_errors():
                async with connection.transaction():
                    if not await outbox.lock_routing(connection):
                        return 0
                    now, notifications = await outbox.unrouted(connection, limit=BATCH)
                    for notification in notifications:
                        await self._routed(connection, notification, now)
        return len(notifications)

    async def _routed(self, connection: Connection, notification: StoredNotification, now: datetime) -> None:
        try:
            await self._route(connection, notification, now)
        except (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError):
            raise  # the database's fault, not the notification's
        except Exception as error:
            raise _Unroutable(notification.id, error) from error

    async def _route(self, connection: Connection, notification: StoredNotification, now: datetime) -> None:
        reason = silenced(notification)
        if reason is None:
            targets = targets_of(notification, self.operator, self.installed)
            deliveries = [await self._delivery(connection, notification, target, now) for target in targets]
            await outbox.add_deliveries(connection, deliveries, max_age_s=self.max_age_s)
            reason = suppressed(deliveries)
        state = None if reason is None else "suppressed"
        await outbox.mark_routed(connection, notification.id, state=state, reason=reason)

    async def _delivery(
        self, connection: Connection, notification: StoredNotification, target: Target, now: datetime
    ) -> Delivery:
        if target.address is None or not may_wait(notification, target):
            return delivery(notification, target, now, hold=None, joined=None)
        target_hash = hashed(target.channel, target.address)
        contact = contact_of(notification, self.operator)
        hold = quiet_hold(contact, zone_of(contact.timezone), now)
        if hold is None:
            recent = await outbox.recent_messages(
                connection,
                bot_id=notification.bot_id,
                kind=notification.kind,
                channel=target.channel,
                target_hash=target_hash,
                now=now,
                window_s=BURST_WINDOW_S,
            )
            hold = burst_hold(notification, recent, now)
        joined = None if hold is None else await self._waiting(connection, target, target_hash, hold, now)
        return delivery(notification, target, now, hold=hold, joined=joined)

    async def _waiting(
        self, connection: Connection, target: Target, target_hash: str, hold: Hold, now: datetime
    ) -> int | None:
        """The message that a held notification joins."""
        kind, bot_id = hold.burst or (None, None)
        return await outbox.open_group(
            connection,
            channel=target.channel,
            target_hash=target_hash,
            due_at=hold.due_at,
            now=now,
            limit=GROUP_LIMIT,
            kind=kind,
            bot_id=bot_id,
        )
