"""Daily, weekly and monthly summaries: at a fixed hour of the user's wall clock, about the period that has ended.

Exactly once for each user and period: the key is the period's name. Bots of one user share a message, unless their
config sends their messages elsewhere. After an outage only the newest period of each kind is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from enum import StrEnum
from typing import Any

from fleet.config import NotificationsSection
from fleet.errors import DatabaseAway
from fleet.events import EventKind, number
from fleet.foreign import clean_text
from fleet.log import get_logger
from fleet.trading_service import outbox
from fleet.trading_service.db import Pool
from fleet.trading_service.outbox import Row
from worker.channels import routing
from worker.timezones import zone_of

log = get_logger("summaries")

LISTED = 200
"""Bots that a summary names, the oldest first: a message that nobody could read, or store, helps nobody."""


class Span(StrEnum):
    """How long a period is."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


KINDS: Mapping[Span, EventKind] = {
    Span.DAY: EventKind.DAILY_SUMMARY,
    Span.WEEK: EventKind.WEEKLY_SUMMARY,
    Span.MONTH: EventKind.MONTHLY_SUMMARY,
}


@dataclass(frozen=True, slots=True)
class Period:
    """From `begin` up to, not including, `end`; aware times in UTC. `name`: 2026-11-23, 2026-W47, 2026-10."""

    span: Span
    name: str
    begin: datetime
    end: datetime


def ended_period(span: Span, now: datetime, zone: tzinfo, *, hour: int) -> Period:
    """The newest period whose summary is due: it ended, and it is `hour` o'clock of the next one or later."""
    local = now.astimezone(zone)
    today = local.date() if local.hour >= hour else local.date() - timedelta(days=1)
    match span:
        case Span.DAY:
            first, after = today - timedelta(days=1), today
            name = first.isoformat()
        case Span.WEEK:
            after = today - timedelta(days=today.weekday())
            first = after - timedelta(days=7)
            year, week, _ = first.isocalendar()
            name = f"{year}-W{week:02}"
        case Span.MONTH:
            after = today.replace(day=1)
            first = (after - timedelta(days=1)).replace(day=1)
            name = f"{first:%Y-%m}"
    return Period(span, name, _midnight(first, zone), _midnight(after, zone))


def _midnight(day: date, zone: tzinfo) -> datetime:
    return datetime.combine(day, time(), tzinfo=zone).astimezone(UTC)


def asked_for(span: Span, switches: NotificationsSection) -> bool:
    """Whether a bot's config asks for this summary."""
    if span is Span.DAY:
        return switches.daily_summary or switches.performance_summaries == "daily"
    return switches.performance_summaries == {Span.WEEK: "weekly", Span.MONTH: "monthly"}[span]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summaries:
    """Writes summaries into the outbox.

    Attributes:
        hour: of the user's wall clock.
    """

    pool: Pool
    hour: int

    async def write(self, now: datetime) -> int:
        """Write those that are due and not written yet; returns how many were new.

        Raises:
            DatabaseAway: no answer; what is written is written, the rest is for the next turn.
        """
        async with self.pool.connection() as connection:
            bots = await outbox.summary_bots(connection)
        written = 0
        for span in Span:
            for group in grouped(bots, span):
                try:
                    written += await self._write(group, span, now)
                except DatabaseAway:
                    raise
                except Exception as error:
                    # one user's rows keep nobody else from being told
                    log.error("summary_failed", group=group.key, span=span, error=clean_text(repr(error), 300))
        return written

    async def _write(self, group: Group, span: Span, now: datetime) -> bool:
        period = ended_period(span, now, zone_of(group.bots[0]["timezone"]), hour=self.hour)
        bots = [bot for bot in group.bots if bot["created_at"] < period.end]
        if not bots:
            return False
        kind = KINDS[span]
        key = f"{kind}:{group.key}:{period.name}"
        async with self.pool.connection() as connection:
            known = await connection.execute("SELECT FROM trading_notifications WHERE dedupe_key = %s", (key,))
            if known.rowcount:
                return False
            ids = [bot["id"] for bot in bots]
            trades = await outbox.trades_between(connection, ids, period.begin, period.end)
            return await outbox.add(
                connection,
                kind=kind,
                severity="info",
                title=title(period, trades),
                body="\n".join(told(bots, trades)),
                facts={
                    "period": period.name,
                    "begin": period.begin.isoformat(),
                    "end": period.end.isoformat(),
                    "channels": list(group.channels),
                    "bots": [facts(bot, trades) for bot in bots[:LISTED]],
                    "more_bots": max(0, len(bots) - LISTED),
                },
                dedupe_key=key,
                bot_id=group.bot_id,
                user_id=bots[0]["user_id"],
            )


@dataclass(frozen=True, slots=True)
class Group:
    """Bots whose summary is one message.

    Attributes:
        bot_id: None for a message about several bots of a user.
        channels: on which it goes out.
    """

    key: str
    bot_id: int | None
    channels: tuple[str, ...]
    bots: tuple[Row, ...]


def grouped(bots: Sequence[Row], span: Span) -> Iterator[Group]:
    """The messages of a span: one for each user, and one for each bot with receivers of its own."""
    shared: dict[int, list[Row]] = {}
    channels: dict[int, set[str]] = {}
    for bot in bots:
        switches = routing.switches_of(bot["config"])
        if not asked_for(span, switches):
            continue
        on = routing.enabled(switches)
        if switches.notify_email or switches.notify_telegram_chat_id or switches.webhook_url:
            yield Group(f"bot:{bot['id']}", bot["id"], tuple(sorted(on)), (bot,))
        else:
            shared.setdefault(bot["user_id"], []).append(bot)
            channels.setdefault(bot["user_id"], set()).update(on)
    for user_id, owned in shared.items():
        yield Group(f"user:{user_id}", None, tuple(sorted(channels[user_id])), tuple(owned))


def title(period: Period, trades: Sequence[Row]) -> str:
    """The summary's headline."""
    count = sum(row["trades"] for row in trades)
    wins = sum(row["wins"] for row in trades)
    what = f"{count} trades, {wins} won" if count else "no trades"
    return f"{period.span.capitalize()} {period.name}: {what}"


def told(bots: Sequence[Row], trades: Sequence[Row]) -> Iterator[str]:
    """The summary's text: the first bots by line, the others by number."""
    yield from lines(bots[:LISTED], trades)
    if len(bots) > LISTED:
        yield f"… and {len(bots) - LISTED} more: botfleet bots list"


def lines(bots: Sequence[Row], trades: Sequence[Row]) -> Iterator[str]:
    """One line for each bot; amounts are in the market's quote currency."""
    for bot in bots:
        own = [row for row in trades if row["bot_id"] == bot["id"]]
        state = str(bot["status"]) + (", position open" if bot["in_position"] else "")
        what = "; ".join(_traded(row) for row in own) or "no trades"
        balance = "" if bot["current_balance"] is None else f", balance {number(bot['current_balance'])}"
        yield f"{bot['name']} ({state}): {what}{balance}, total {number(bot['total_pnl'], signed=True)}"


def _traded(row: Row) -> str:
    rate = Decimal(row["wins"]) / row["trades"] * 100
    return (
        f"{row['symbol']} {row['trades']} trades, {rate:.0f} % won, net {number(row['net_pnl'], signed=True)}, "
        f"fees {number(row['fees'])}, best {number(row['best'], signed=True)}, "
        f"worst {number(row['worst'], signed=True)}"
    )


def facts(bot: Row, trades: Sequence[Row]) -> dict[str, Any]:
    """A bot's part for programs: numbers as texts."""
    return {
        "id": bot["id"],
        "name": bot["name"],
        "status": bot["status"],
        "balance": None if bot["current_balance"] is None else f"{bot['current_balance']:f}",
        "total_pnl": f"{bot['total_pnl']:f}",
        "markets": [
            {
                "symbol": row["symbol"],
                "trades": row["trades"],
                "wins": row["wins"],
                **{name: f"{row[name]:f}" for name in ("net_pnl", "fees", "best", "worst")},
            }
            for row in trades
            if row["bot_id"] == bot["id"]
        ],
    }
