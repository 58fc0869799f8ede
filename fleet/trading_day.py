"""Which UTC day something belongs to: a fill, a decision, an equity. Pure.

`utc_day` is the only answer: limits, equity by day, metrics, messages and the SQL of a tenant's limits (through
`day_bounds`) ask it.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta


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
