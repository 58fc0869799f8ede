"""Exact conversions between aware UTC times, Unix milliseconds and days. Pure.

`utc_day` is the only answer to the question which day something belongs to: limits, equity by day, metrics, messages
and the SQL of a tenant's limits (through `day_bounds`) ask it.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta


def from_ms(unix_ms: int) -> datetime:
    """Aware UTC of a Unix time in milliseconds, exact to the millisecond."""
    return datetime.fromtimestamp(unix_ms // 1000, UTC).replace(microsecond=unix_ms % 1000 * 1000)


def to_ms(moment: datetime) -> int:
    """Unix milliseconds of an aware time, exact (no float in between)."""
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1000 + delta.microseconds // 1000


def utc_day(moment: datetime) -> date:
    """The UTC day of an aware moment: of a fill, of a decision at a bar's close, of an equity at a close.

    Midnight belongs to the day that it begins, so what happens at the close of a day's last bar is the next day's.
    """
    return moment.astimezone(UTC).date()


def day_bounds(day: date) -> tuple[datetime, datetime]:
    """When a UTC day begins and when the next does: begin ≤ moment < end for exactly the moments whose `utc_day` it is.

    For SQL, where a day added to a moment has 23 or 25 hours in a session with another time zone.
    """
    begin = datetime.combine(day, time(), tzinfo=UTC)
    return begin, begin + timedelta(days=1)
