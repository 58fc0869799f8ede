"""When a bar of a feed opened and closes, and how long its bars are."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import backtrader as bt

_UNIT_S = {bt.TimeFrame.Seconds: 1, bt.TimeFrame.Minutes: 60, bt.TimeFrame.Days: 86_400, bt.TimeFrame.Weeks: 604_800}
_UNIX_EPOCH_DAY = 719_163
"""1 January 1970 in Backtrader's day numbers (proleptic Gregorian ordinal)."""


def bar_seconds(data: Any) -> int:
    """Length of the feed's bars, in seconds."""
    return int(_UNIT_S[data._timeframe] * data._compression)


def opened_at(data: Any, ago: int = 0) -> int:
    """Open of the bar `ago` bars from the current one (0, -1, …), in Unix seconds; Backtrader has it in days with a
    fraction."""
    return round((float(data.datetime[ago]) - _UNIX_EPOCH_DAY) * 86_400)


def closes_at(data: Any) -> datetime:
    """Close of the current bar, UTC: the time of a decision."""
    return datetime.fromtimestamp(opened_at(data) + bar_seconds(data), UTC)
