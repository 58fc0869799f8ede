"""Time zones by the names that users give."""

from __future__ import annotations

from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fleet.log import get_logger

log = get_logger("timezones")


def zone_of(name: str) -> tzinfo:
    """The time zone; UTC for a name that is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        log.warning("timezone_unknown", timezone=name[:100])
        return UTC
