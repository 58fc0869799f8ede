"""Periods of UTC days: the day, the ISO week from Monday, the month, everything."""

from __future__ import annotations

from datetime import date, timedelta
from enum import StrEnum

FIRST_DAY = date(1970, 1, 1)
"""Where the period `all` starts: before any candle."""


class Period(StrEnum):
    """What metrics are calculated for."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    ALL = "all"


def start_of(period: Period, day: date) -> date:
    """First day of the period that a day is in."""
    match period:
        case Period.DAY:
            return day
        case Period.WEEK:
            return day - timedelta(days=day.weekday())
        case Period.MONTH:
            return day.replace(day=1)
        case Period.ALL:
            return FIRST_DAY
