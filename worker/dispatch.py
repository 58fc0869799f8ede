"""Claims messages, sends them, records what came of it; several at a time, one at a time to each receiver.

No transaction is open while something is on the network. Whatever ends this process, the message's lease runs out and
the next attempt carries the same idempotency key.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from fleet.errors import DatabaseAway
from fleet.foreign import clean_text, object_of
from fleet.log import get_logger
from fleet.redaction import safe_text
from fleet.trading_service import outbox
from fleet.trading_service.db import Pool
from fleet.trading_service.outbox import ClaimedMessage, StoredNotification
from worker.channels import routing
from worker.channels.messages import Item, Message
from worker.channels.outcome import Channel, Delivered, Outcome, Refused, Senders, TryAgain
from worker.channels.routing import Contact, Installed
from worker.metrics import Metrics
from worker.routes import targets_of

log = get_logger("dispatch")

ERROR_LIMIT = 500
"""Characters of `last_error`."""


@dataclass(slots=True, kw_only=True)
class Dispatcher:
    """Sends what is due.

    Attributes:
        senders: the configured channels.
        lease_s: how long a claim holds.
        per_minute: rate limit by channel.
        chance: jitter.
    """

    pool: Pool
    senders: Senders
    installed: Installed
    operator: Contact
    metrics: Metrics
    concurrency: int
    send_timeout_s: float
    lease_s: float
    per_minute: dict[str, int]
    chance: random.Random
    _running: set[asyncio.Task[None]] = field(default_factory=set, init=False)
    _closed: bool = field(default=False, init=False)

    async def send_due(self) -> int:
        """Start what is due and there is room for; returns how many were started.

        Raises:
            DatabaseAway: no answer; what was claimed without our knowing is due again after its lease.
        """
        room = 0 if self._closed else self.concurrency - len(self._running)
        if room <= 0:
            return 0
        async with self.pool.connection() as connection:
            claimed = await outbox.claim_messages(
                connection, limit=room, lease_s=self.lease_s, per_minute=self.per_minute
            )
        for message in claimed:
            task = asyncio.create_task(self._deliver(message), name=f"message {message.message_id}")
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return len(claimed)

    async def any_done(self) -> None:
        """Wait until one of the messages on their way is done; for ever if there are none."""
        if self._running:
            await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.Event().wait()

    def close(self) -> None:
        """Claim nothing more."""
        self._closed = True

    async def drain(self, *, within_s: float) -> int:
        """Let what is on its way arrive; what doesn't in time is cancelled. Returns how many those were."""
        if not self._running:
            return 0
        _, left = await asyncio.wait(self._running, timeout=within_s)
        for task in left:
            task.cancel()
        return len(left)

    async def _deliver(self, claimed: ClaimedMessage) -> None:
        try:
            async with self.pool.connection() as connection:
                notifications = await outbox.notifications_of(connection, claimed)
            await self._try(claimed, notifications)
        except DatabaseAway as error:
            log.warning("outcome_not_recorded", message_id=claimed.message_id, error=clean_text(error, 300))
        except Exception as error:
            # one message must not end the program, nor be tried for ever
            log.exception("delivery_crashed", message_id=claimed.message_id, channel=claimed.channel)
            await self._crashed(claimed, error)

    async def _crashed(self, claimed: ClaimedMessage, error: Exception) -> None:
        try:
            await self._again(claimed, f"could not be sent: {error!r}", asked_s=None)
        except Exception as failure:
            log.error("outcome_not_recorded", message_id=claimed.message_id, error=clean_text(repr(failure), 300))

    async def _try(self, claimed: ClaimedMessage, notifications: list[StoredNotification]) -> None:
        channel = Channel(claimed.channel)
        first = notifications[0]
        target = next((t for t in targets_of(first, self.operator, self.installed) if t.channel is channel), None)
        if target is None:
            await self._end(claimed, "skipped", "the channel was switched off meanwhile")
        elif target.address is None:
            await self._end(claimed, "skipped", target.problem)
        else:
            message = Message(claimed.idempotency_key, first.user_id, tuple(map(item_of, notifications)))
            outcome = await self._send(channel, message, target.address)
            await self._record(claimed, channel, target.address, outcome)

    async def _send(self, channel: Channel, message: Message, address: str) -> Outcome:
        try:
            async with asyncio.timeout(self.send_timeout_s + 2):
                return await self.senders[channel].send(message, address=address)
        except TimeoutError:
            return TryAgain(f"no answer within {self.send_timeout_s:g} s")

    async def _record(self, claimed: ClaimedMessage, channel: Channel, address: str, outcome: Outcome) -> None:
        marks = {"target": routing.masked(channel, address), "target_hash": routing.hashed(channel, address)}
        match outcome:
            case Delivered():
                await self._end(claimed, "delivered", None, **marks)
                late = datetime.now(UTC) - claimed.created_at
                self.metrics.delivery_seconds.labels(channel).observe(max(0.0, late.total_seconds()))
            case Refused(error):
                await self._end(claimed, "failed", error, **marks)
            case TryAgain(error, asked_s):
                await self._again(claimed, error, asked_s=asked_s, **marks)

    async def _again(self, claimed: ClaimedMessage, error: str, *, asked_s: float | None, **marks: str) -> None:
        """Later, unless its time is up by then."""
        after_s = routing.next_attempt_s(claimed.attempts, self.chance, asked_s=asked_s)
        if datetime.now(UTC) + timedelta(seconds=after_s) > claimed.expires_at:
            given_up = f"given up after {claimed.attempts} attempts, last: {error}"
            await self._end(claimed, "failed", given_up, **marks)
        else:
            await self._postpone(claimed, after_s, error)

    async def _end(self, claimed: ClaimedMessage, state: str, error: str | None, **marks: str) -> None:
        text = None if error is None else safe_text(error, ERROR_LIMIT)
        async with self.pool.connection() as connection:
            concerned = await outbox.conclude(connection, claimed, state=state, error=text, **marks)
        self.metrics.notifications.labels(claimed.channel, state).inc()
        say = log.info if state == "delivered" else log.error
        say(
            f"message_{state}",
            message_id=claimed.message_id,
            channel=claimed.channel,
            attempts=claimed.attempts,
            notifications=concerned,
            error=text,
        )

    async def _postpone(self, claimed: ClaimedMessage, after_s: float, error: str) -> None:
        text = safe_text(error, ERROR_LIMIT)
        async with self.pool.connection() as connection:
            await outbox.postpone(connection, claimed, after_s=after_s, error=text)
        self.metrics.notifications.labels(claimed.channel, "retried").inc()
        log.warning(
            "message_retried",
            message_id=claimed.message_id,
            channel=claimed.channel,
            attempts=claimed.attempts,
            after_s=round(after_s, 1),
            error=text,
        )


def item_of(notification: StoredNotification) -> Item:
    """A notification as a message tells it."""
    user = notification.user_name or "botfleet"
    mode = object_of(object_of(notification.config).get("broker")).get("trading_mode")
    return Item(
        id=notification.id,
        kind=notification.kind,
        severity=notification.severity,
        title=notification.title,
        body=notification.body,
        at=notification.created_at,
        subject=f"{user}/{notification.bot_name}" if notification.bot_name else user,
        mode="" if notification.bot_id is None else "live" if mode == "live" else "paper",
        bot_id=notification.bot_id,
        epoch=notification.epoch,
        facts=object_of(notification.facts),
    )
