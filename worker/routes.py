"""What becomes of a notification: silenced, or a delivery for each channel: at once, later, alone or in a group. Pure.

The clock, the rows and what is configured are arguments. What the outbox knows of earlier messages to the same receiver
(how many went lately, which one can still be joined) is asked for by `Hold` and handed in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from fleet.events import EventKind, wanted
from fleet.foreign import object_of
from fleet.trading_service.outbox import Delivery, StoredNotification
from worker.channels import routing
from worker.channels.outcome import Channel
from worker.channels.routing import Contact, Installed, Target

CRITICAL = "critical"
"""Knows neither switches, quiet hours, groups nor limits."""


@dataclass(frozen=True, slots=True)
class Hold:
    """A notification waits, and joins a message to the same receiver that waits as well, if there is one.

    Attributes:
        due_at: when its message goes, if it is the first of it.
        burst: (kind, bot_id) of messages that it may join; None: the digest that is due at `due_at`, whatever is in it.
    """

    due_at: datetime
    burst: tuple[str, int | None] | None = None


def silenced(notification: StoredNotification) -> str | None:
    """Why the bot's user doesn't want to be told; None if he does."""
    if notification.bot_id is None or notification.severity == CRITICAL or notification.kind not in set(EventKind):
        return None
    if wanted(EventKind(notification.kind), routing.switches_of(notification.config)):
        return None
    return "silenced by the bot's notifications section"


def contact_of(notification: StoredNotification, operator: Contact) -> Contact:
    """Where the one who is to be told can be reached."""
    if notification.user_id is None:
        return operator
    user = Contact(
        email=notification.email,
        telegram_chat_id=notification.telegram_chat_id,
        webhook_url=notification.webhook_url,
        timezone=notification.timezone or "UTC",
        quiet_from=notification.quiet_from,
        quiet_until=notification.quiet_until,
    )
    if notification.bot_id is None:
        return user
    return routing.overriding(routing.switches_of(notification.config), user)


def targets_of(notification: StoredNotification, operator: Contact, installed: Installed) -> list[Target]:
    """The channels of a notification; those of a test or of a summary are named in its facts."""
    contact = contact_of(notification, operator)
    return [routing.target(channel, contact, installed) for channel in _channels(notification, contact)]


def _channels(notification: StoredNotification, contact: Contact) -> Iterable[Channel]:
    named = object_of(notification.facts).get("channels")
    if isinstance(named, list):
        return [channel for channel in Channel if channel in named]
    if notification.user_id is None or notification.bot_id is None:
        return [channel for channel in Channel if contact.address(channel)]
    return routing.enabled(routing.switches_of(notification.config))


def may_wait(notification: StoredNotification, target: Target) -> bool:
    """Whether quiet hours and bursts can hold it: not what is critical, and not what is skipped."""
    return target.address is not None and notification.severity != CRITICAL


def quiet_hold(contact: Contact, zone: tzinfo, now: datetime) -> Hold | None:
    """The hold of quiet hours; None outside of them."""
    until = routing.quiet_end(now, contact, zone)
    return None if until is None else Hold(until)


def burst_hold(notification: StoredNotification, recent: int, now: datetime) -> Hold | None:
    """The hold of a burst; None while few messages like it go to the receiver.

    Args:
        notification: outside of quiet hours.
        recent: messages of its kind about its bot to this receiver within BURST_WINDOW_S.
        now: aware.
    """
    if recent < routing.BURST:
        return None
    due_at = now + timedelta(seconds=routing.BURST_WINDOW_S)
    return Hold(due_at, burst=(notification.kind, notification.bot_id))


def delivery(
    notification: StoredNotification, target: Target, now: datetime, *, hold: Hold | None, joined: int | None
) -> Delivery:
    """One channel's part.

    Args:
        notification: which.
        target: of this channel; without an address it is skipped, and says why.
        now: aware.
        hold: None: it goes at once.
        joined: the waiting message that it joins, by the id of that one's first notification; None: it begins one.
    """
    channel, address = target.channel, target.address
    return Delivery(
        notification_id=notification.id,
        channel=channel,
        message_id=notification.id if joined is None else joined,
        critical=notification.severity == CRITICAL,
        kind=notification.kind,
        bot_id=notification.bot_id,
        target=None if address is None else routing.masked(channel, address),
        target_hash=None if address is None else routing.hashed(channel, address),
        problem=target.problem,
        due_at=now if hold is None else hold.due_at,
    )


def suppressed(deliveries: Sequence[Delivery]) -> str | None:
    """Why nothing of a notification goes anywhere; None if something does."""
    if not deliveries:
        return "no channel is enabled"
    if all(delivery.problem for delivery in deliveries):
        return "; ".join(f"{delivery.channel}: {delivery.problem}" for delivery in deliveries)
    return None
