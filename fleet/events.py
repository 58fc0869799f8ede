"""What a person may be told: kinds of events, how urgent each is, and which switch of a bot's config silences it.

An event is written in the transaction that makes it true (`trading_notifications`, the outbox); delivery is somebody
else's work. A silenced event is still written, as history. Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from fleet.amounts import readable

if TYPE_CHECKING:
    from fleet.config import NotificationsSection


class Severity(StrEnum):
    """How urgent: only `critical` breaks quiet hours and rate limits."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class EventKind(StrEnum):
    """`trading_notifications.kind`."""

    POSITION_OPENED = "position_opened"
    POSITION_CLOSED = "position_closed"
    STOP_LOSS = "stop_loss"
    """A protective stop closed the position."""
    TAKE_PROFIT = "take_profit"
    """The target closed the position."""
    ORDER_FILLED = "order_filled"
    ORDER_REJECTED = "order_rejected"
    ENTRIES_LOST = "entries_lost"
    """Several entries in a row expired or were refused for the same reason."""
    RISK_BREACH = "risk_breach"
    """A limit of risk_management, or of the tenant, is reached: no new positions."""
    MILESTONE = "milestone"
    """A profit target or a round number of trades."""
    DAILY_SUMMARY = "daily_summary"
    WEEKLY_SUMMARY = "weekly_summary"
    MONTHLY_SUMMARY = "monthly_summary"
    BOT_STARTED = "bot_started"
    BOT_STOPPED = "bot_stopped"
    BOT_RESTARTED = "bot_restarted"
    CONFIG_APPLIED = "config_applied"
    CONFIG_REJECTED = "config_rejected"
    BOT_ERROR = "bot_error"
    """Something failed and is tried again, or a decision could not be made."""
    BOT_RECOVERED = "bot_recovered"
    BOT_DISABLED = "bot_disabled"
    """Given up after too many failures."""
    POSITION_UNWATCHED = "position_unwatched"
    """A position is open, and its bot can't run."""
    FEED_STALE = "feed_stale"
    EXCHANGE_AWAY = "exchange_away"
    SERVICE_STARTED = "service_started"
    SERVICE_STOPPED = "service_stopped"
    OBSERVER_SUSPICIOUS = "observer_suspicious"
    """Most heartbeats vanished at once: the observer is suspected, nobody is fenced."""
    HEALTH = "health"
    """A change of the system's health."""
    TEST = "test"
    """Somebody asked whether messages arrive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened.

    Attributes:
        title: one line. body: plain text. Neither ever holds a secret.
        facts: JSON for programs; numbers as texts.
        dedupe_key: unique for ever; the same event written again (a retry, a replay) changes nothing.
        severity: None takes the kind's own.
    """

    kind: EventKind
    title: str
    body: str
    dedupe_key: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    severity: Severity | None = None

    @property
    def urgency(self) -> Severity:
        """Its own severity, or that of its kind."""
        return self.severity or severity_of(self.kind)


SEVERITIES: Mapping[EventKind, Severity] = MappingProxyType(
    {
        EventKind.STOP_LOSS: Severity.WARNING,
        EventKind.ORDER_REJECTED: Severity.WARNING,
        EventKind.ENTRIES_LOST: Severity.WARNING,
        EventKind.RISK_BREACH: Severity.WARNING,
        EventKind.BOT_ERROR: Severity.WARNING,
        EventKind.FEED_STALE: Severity.WARNING,
        EventKind.EXCHANGE_AWAY: Severity.WARNING,
        EventKind.CONFIG_REJECTED: Severity.WARNING,
        EventKind.HEALTH: Severity.WARNING,
        EventKind.SERVICE_STOPPED: Severity.WARNING,
        EventKind.BOT_DISABLED: Severity.CRITICAL,
        EventKind.POSITION_UNWATCHED: Severity.CRITICAL,
        EventKind.OBSERVER_SUSPICIOUS: Severity.CRITICAL,
    }
)
"""Severity of kinds that aren't plain information."""

_SWITCHES: Mapping[EventKind, str] = MappingProxyType(
    {
        EventKind.POSITION_OPENED: "position_opened",
        EventKind.POSITION_CLOSED: "position_closed",
        EventKind.STOP_LOSS: "position_closed",
        EventKind.TAKE_PROFIT: "position_closed",
        EventKind.ORDER_FILLED: "order_executions",
        EventKind.ORDER_REJECTED: "error_notifications",
        EventKind.ENTRIES_LOST: "error_notifications",
        EventKind.BOT_ERROR: "error_notifications",
        EventKind.BOT_RECOVERED: "error_notifications",
        EventKind.CONFIG_REJECTED: "error_notifications",
        EventKind.FEED_STALE: "error_notifications",
        EventKind.EXCHANGE_AWAY: "error_notifications",
        EventKind.RISK_BREACH: "risk_alerts",
        EventKind.MILESTONE: "milestones",
        EventKind.BOT_STARTED: "bot_events",
        EventKind.BOT_STOPPED: "bot_events",
        EventKind.BOT_RESTARTED: "bot_events",
        EventKind.CONFIG_APPLIED: "bot_events",
    }
)


def severity_of(kind: EventKind) -> Severity:
    """How urgent events of a kind are unless they say otherwise."""
    return SEVERITIES.get(kind, Severity.INFO)


def switch_of(kind: EventKind) -> str | None:
    """The key of a bot's `notifications` that silences a kind; None: it can't be silenced there."""
    return _SWITCHES.get(kind)


def number(value: Decimal, *, places: int = 8, signed: bool = False) -> str:
    """An amount for people; see `fleet.amounts.readable`."""
    return readable(value, places=places, signed=signed)


def wanted(kind: EventKind, switches: NotificationsSection) -> bool:
    """Whether a bot's owner wants to be told; critical kinds have no switch.

    Summaries follow `daily_summary` and `performance_summaries` and are asked for by whoever makes them.
    """
    switch = _SWITCHES.get(kind)
    return True if switch is None else bool(getattr(switches, switch))
