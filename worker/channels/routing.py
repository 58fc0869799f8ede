"""Who is told where, and not before when. Pure: the clock, the rows and what is configured are arguments."""

from __future__ import annotations

import hashlib
import ipaddress
import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta, tzinfo
from urllib.parse import urlsplit

from pydantic import TypeAdapter, ValidationError

from fleet.backoff import between_s, nominal_s
from fleet.config import NotificationsSection
from fleet.config.values import ChatId, Email, WebUrl
from worker.channels.outcome import Channel

BURST = 5
"""Messages of one kind about one bot that go out one by one within BURST_WINDOW_S; later ones are grouped."""
BURST_WINDOW_S = 60.0
GROUP_LIMIT = 200
"""Notifications in one message."""

LONGEST_LABEL = 63
"""Characters between two dots of a host's name (RFC 1035); resolvers raise for longer ones."""

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""The well-known prefix (RFC 6052): the last 32 bits are the IPv4 address behind the translator."""

_PUBLIC_V6 = ipaddress.IPv6Network("2000::/3")
"""All of IPv6 that is given out as global unicast; what else `is_global` says yes to (site-local, IPv4-compatible,
64:ff9b:1::/48 for translators of one's own) leads inside or nowhere."""

FIRST_RETRY_S = 2.0
MAX_RETRY_S = 900.0

_FORMS: Mapping[Channel, TypeAdapter[str]] = {
    Channel.TELEGRAM: TypeAdapter(ChatId),
    Channel.EMAIL: TypeAdapter(Email),
    Channel.WEBHOOK: TypeAdapter(WebUrl),
}
_WHAT = {Channel.TELEGRAM: "chat id", Channel.EMAIL: "e-mail address", Channel.WEBHOOK: "webhook URL"}
_WHERE = {
    Channel.TELEGRAM: "notifications.notify_telegram_chat_id in the bot's config, or users.telegram_chat_id",
    Channel.EMAIL: "notifications.notify_email in the bot's config, or users.email",
    Channel.WEBHOOK: "notifications.webhook_url in the bot's config, or users.webhook_url",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """Where somebody can be reached, and when it is quiet there (both None: never)."""

    email: str | None = None
    telegram_chat_id: str | None = None
    webhook_url: str | None = None
    timezone: str = "UTC"
    quiet_from: time | None = None
    quiet_until: time | None = None

    def address(self, channel: Channel) -> str | None:
        """On that channel."""
        return {
            Channel.TELEGRAM: self.telegram_chat_id,
            Channel.EMAIL: self.email,
            Channel.WEBHOOK: self.webhook_url,
        }[channel]


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """What this installation can do.

    Attributes:
        missing: why a channel can't be used, by channel; what isn't named can.
        allow_private: whether webhooks may go to addresses that aren't public.
        http_hosts: hosts that may get webhooks without TLS.
    """

    missing: Mapping[Channel, str]
    allow_private: bool = False
    http_hosts: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """One channel of a notification: an address, or why there is none."""

    channel: Channel
    address: str | None
    problem: str | None = None


def switches_of(config: object) -> NotificationsSection:
    """A config's `notifications`, as far as they are valid: what a broken config says about messages still counts."""
    raw = config.get("notifications") if isinstance(config, Mapping) else None
    section = dict(raw) if isinstance(raw, Mapping) else {}
    while True:
        try:
            return NotificationsSection.model_validate(section)
        except ValidationError as error:
            wrong = {fault["loc"][0] for fault in error.errors() if fault["loc"]} & section.keys()
            if not wrong:
                return NotificationsSection()
            section = {key: value for key, value in section.items() if key not in wrong}


def enabled(switches: NotificationsSection) -> list[Channel]:
    """The channels that a bot's config asks for."""
    flags = {
        Channel.TELEGRAM: switches.telegram_enabled,
        Channel.EMAIL: switches.email_enabled,
        Channel.WEBHOOK: switches.webhook_enabled,
    }
    return [channel for channel, on in flags.items() if on]


def overriding(switches: NotificationsSection, user: Contact) -> Contact:
    """The user's contact with what the bot's config says instead."""
    return Contact(
        email=switches.notify_email or user.email,
        telegram_chat_id=switches.notify_telegram_chat_id or user.telegram_chat_id,
        webhook_url=switches.webhook_url or user.webhook_url,
        timezone=user.timezone,
        quiet_from=user.quiet_from,
        quiet_until=user.quiet_until,
    )


def target(channel: Channel, contact: Contact, installed: Installed) -> Target:
    """Where a notification goes on a channel that was asked for."""
    if channel in installed.missing:
        return Target(channel, None, f"not configured in this installation: {installed.missing[channel]}")
    address = contact.address(channel)
    if not address:
        return Target(channel, None, f"nobody to send to: set {_WHERE[channel]}")
    try:
        _FORMS[channel].validate_python(address)
    except ValidationError:
        return Target(channel, None, f"{address[:100]!r} is no {_WHAT[channel]}: correct {_WHERE[channel]}")
    problem = forbidden(address, installed) if channel is Channel.WEBHOOK else None
    return Target(channel, None if problem else address, problem)


def forbidden(url: str, installed: Installed) -> str | None:
    """Why a webhook must not go there; None if it may. Names are judged again when they are resolved."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        return "the webhook URL can't be read"
    if not all(0 < len(label) <= LONGEST_LABEL for label in host.removesuffix(".").split(".")):
        return f"the webhook URL's host is no name: each part between dots has 1 to {LONGEST_LABEL} characters"
    if parts.scheme != "https" and host not in installed.http_hosts:
        return f"webhooks go to https:// only; BOTFLEET_WEBHOOK_HTTP_HOSTS may except {host or 'a host'}"
    if installed.allow_private:
        return None
    if host == "localhost" or host.endswith((".localhost", ".local", ".internal", ".svc")):
        return f"{host} is an internal name; BOTFLEET_WEBHOOK_ALLOW_PRIVATE=true would allow it"
    try:
        return forbidden_address(host)
    except ValueError:
        return None


def forbidden_address(address: str) -> str | None:
    """Why an IP address isn't one for webhooks: loopback, private, link-local and metadata addresses aren't.

    Raises:
        ValueError: it is no IP address.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        ip = _embedded(ip) or ip
    if ip.is_global and not ip.is_multicast and (ip.version == 4 or ip in _PUBLIC_V6):
        return None
    return f"{address} is not a public address; BOTFLEET_WEBHOOK_ALLOW_PRIVATE=true would allow it"


def _embedded(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address where packets to this one end: mapped, translated by NAT64, through 6to4.

    Not Teredo's, whose whole range isn't global.
    """
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
    return ip.ipv4_mapped or ip.sixtofour


def masked(channel: Channel, address: str) -> str:
    """The address as history shows it: enough to recognise, too little to use (a URL's path is often a secret)."""
    if channel is Channel.WEBHOOK:
        parts = urlsplit(address)
        return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}/…"
    if channel is Channel.EMAIL:
        name, _, domain = address.rpartition("@")
        return f"{name[:1]}…@{domain}"
    return f"…{address[-4:]}"


def hashed(channel: Channel, address: str) -> str:
    """Tells equal addresses without showing them."""
    return hashlib.sha256(f"{channel} {address}".encode()).hexdigest()[:32]


def quiet_end(now: datetime, contact: Contact, zone: tzinfo) -> datetime | None:
    """When the quiet hours end that `now` lies in; None outside of them.

    Local wall-clock times: the end of a night in which clocks change is where the wall clock shows it.
    """
    begin, end = contact.quiet_from, contact.quiet_until
    if begin is None or end is None or begin == end:
        return None
    local = now.astimezone(zone)
    clock = local.time()
    inside = begin <= clock < end if begin < end else clock >= begin or clock < end
    if not inside:
        return None
    day = local.date() if clock < end else local.date() + timedelta(days=1)
    return datetime.combine(day, end, tzinfo=zone).astimezone(now.tzinfo)


def next_attempt_s(attempts: int, chance: random.Random, *, asked_s: float | None) -> float:
    """Seconds until the next attempt: doubling with jitter, never sooner than the receiver asked for.

    Args:
        attempts: made so far, at least 1.
        chance: for the jitter: half to one and a half of the nominal wait.
        asked_s: the receiver's Retry-After.
    """
    nominal = nominal_s(attempts, first_s=FIRST_RETRY_S, most_s=MAX_RETRY_S)
    return max(between_s(nominal * 0.5, nominal * 1.5, chance.random()), asked_s or 0.0)
