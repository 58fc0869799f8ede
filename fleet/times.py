"""Exact conversions between aware UTC times, Unix milliseconds and days. Pure."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta


def from_ms(unix_ms: int) -> datetime:
    """Aware UTC of a Unix time in milliseconds, exact to the millisecond."""
    return datetime.fromtimestamp(unix_ms // 1000, UTC).replace(microsecond=unix_ms % 1000 * 1000)


def to_ms(moment: datetime) -> int:
    """Unix milliseconds of an aware time, exact (no float in between)."""
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1000 + delta.microseconds // 1000


def day_of_close(close_at: datetime) -> date:
    """The UTC day that a bar belongs to, of the bar's close: a bar that closes at midnight is the old day's last."""
    return (close_at.astimezone(UTC) - timedelta(microseconds=1)).date()
