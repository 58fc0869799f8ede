"""Do errors get more or fewer? Pure: from the hourly counts to a rate now and a rate before, by kind."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

NOW_HOURS = 1
"""`now` is the hour that runs and so many before it: one alone would begin at zero sixty minutes long."""

BEFORE_HOURS = 24
FACTOR = 2.0
"""A rate twice or half as high is a change; less is noise at counts of a few an hour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorHour:
    """One row of trading_errors: errors of one kind in one hour (UTC)."""

    hour: datetime
    kind: str
    part: str
    count: int
    first_seen: datetime
    last_seen: datetime
    epoch: int
    last_message: str


class Direction(StrEnum):
    """Where a kind of error is going."""

    NEW = "new"
    """None before."""
    RISING = "rising"
    STEADY = "steady"
    FALLING = "falling"
    GONE = "gone"
    """None now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """One kind of error of one bot.

    Attributes:
        now_per_hour: in the hour that runs and the one before. before_per_hour: in the 24 hours before those.
        total: in all rows. last_seen, last_message: of the newest.
    """

    kind: str
    part: str
    now_per_hour: float
    before_per_hour: float
    total: int
    last_seen: datetime
    last_message: str

    @property
    def direction(self) -> Direction:
        """Rate now against rate before."""
        if not self.now_per_hour:
            return Direction.GONE
        if not self.before_per_hour:
            return Direction.NEW
        if self.now_per_hour >= FACTOR * self.before_per_hour:
            return Direction.RISING
        return Direction.FALLING if self.now_per_hour * FACTOR <= self.before_per_hour else Direction.STEADY


def trends(rows: Iterable[ErrorHour], *, now: datetime) -> list[Trend]:
    """Trends by kind and part, the most frequent now first.

    Args:
        rows: of one bot, in any order.
        now: aware UTC.
    """
    kinds: dict[tuple[str, str], list[ErrorHour]] = defaultdict(list)
    for row in rows:
        kinds[row.kind, row.part].append(row)
    found = [_trend(kind, part, hours, now) for (kind, part), hours in kinds.items()]
    return sorted(found, key=lambda it: (-it.now_per_hour, -it.total, it.kind, it.part))


def _trend(kind: str, part: str, hours: list[ErrorHour], now: datetime) -> Trend:
    running = now.replace(minute=0, second=0, microsecond=0)
    now_begin = running - timedelta(hours=NOW_HOURS)
    before_begin = now_begin - timedelta(hours=BEFORE_HOURS)
    recent = sum(row.count for row in hours if row.hour >= now_begin)
    before = sum(row.count for row in hours if before_begin <= row.hour < now_begin)
    newest = max(hours, key=lambda row: row.last_seen)
    return Trend(
        kind=kind,
        part=part,
        now_per_hour=recent / ((now - now_begin) / timedelta(hours=1)),
        before_per_hour=before / BEFORE_HOURS,
        total=sum(row.count for row in hours),
        last_seen=newest.last_seen,
        last_message=newest.last_message,
    )
