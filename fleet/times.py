"""Exact conversions between aware UTC times and Unix milliseconds. Pure."""

from __future__ import annotations

from datetime import UTC, datetime


def from_ms(unix_ms: int) -> datetime:
    """Aware UTC of a Unix time in milliseconds, exact to the millisecond."""
    return datetime.fromtimestamp(unix_ms // 1000, UTC).replace(microsecond=unix_ms % 1000 * 1000)


def to_ms(moment: datetime) -> int:
    """Unix milliseconds of an aware time, exact (no float in between)."""
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1000 + delta.microseconds // 1000
