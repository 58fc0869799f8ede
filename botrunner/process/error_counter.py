"""Counts what goes wrong in a bot, by kind, until the heartbeat's thread writes it to the database.

Every line that a bot logs as a warning or worse is counted where lines are made (`fleet.log`), so nothing has to be
reported twice and nothing can be forgotten. Counting takes a lock and no I/O; writing happens beside the heartbeat,
apart from the trading loop, and what couldn't be written is kept. Times are ages on the monotonic clock: the
database, whose clock counts, turns them into moments.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from fleet.clock import Clock
from fleet.redaction import safe_text
from fleet.trading_service.error_counts import ErrorCount

FLUSH_S = 30.0
"""Between two writes: a person looks at trends by the hour."""

KINDS_MAX = 100
"""Different kinds kept between two writes; more are counted as `other`."""

MESSAGE_MAX = 500
LEVELS = ("warning", "error", "critical")


@dataclass(frozen=True, slots=True)
class _Entry:
    count: int
    first_s: float
    last_s: float
    message: str


class ErrorCounter:
    """Thread-safe.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[tuple[str, str], _Entry] = {}
        self._written_at = clock.monotonic()

    def see(self, level: str, event: Mapping[str, Any]) -> None:
        """A log line, secrets masked."""
        if level in LEVELS:
            self.count(kind=kind_of(event), part=str(event.get("part", "")), message=message_of(event))

    def count(self, *, kind: str, part: str, message: str) -> None:
        """Count one."""
        now = self._clock.monotonic()
        entry = _Entry(1, now, now, safe_text(message, MESSAGE_MAX))
        with self._lock:
            key = (kind[:100], part[:100])
            if key not in self._entries and len(self._entries) >= KINDS_MAX:
                key = ("other", "")
            self._merge(key, entry)

    def due(self) -> bool:
        """Whether it is time to write."""
        return bool(self._entries) and self._clock.monotonic() - self._written_at >= FLUSH_S

    def take(self) -> list[ErrorCount]:
        """All counts, to be written; they are gone from here."""
        now = self._clock.monotonic()
        with self._lock:
            taken, self._entries = self._entries, {}
            self._written_at = now
        return [
            ErrorCount(
                kind=kind,
                part=part,
                count=entry.count,
                first_age_s=now - entry.first_s,
                last_age_s=now - entry.last_s,
                message=entry.message,
            )
            for (kind, part), entry in taken.items()
        ]

    def give_back(self, counts: list[ErrorCount]) -> None:
        """What was taken last couldn't be written: keep it for the next time."""
        with self._lock:
            taken_at = self._written_at
            for it in counts:
                entry = _Entry(it.count, taken_at - it.first_age_s, taken_at - it.last_age_s, it.message)
                self._merge((it.kind, it.part), entry)

    def _merge(self, key: tuple[str, str], entry: _Entry) -> None:
        had = self._entries.get(key)
        if had is None:
            self._entries[key] = entry
            return
        newer = entry if entry.last_s >= had.last_s else had
        self._entries[key] = replace(
            newer, count=had.count + entry.count, first_s=min(had.first_s, entry.first_s), message=newer.message
        )


def kind_of(event: Mapping[str, Any]) -> str:
    """The line's event, with the type of error where it names one: `strategy_error:ZeroDivisionError`."""
    name, kind = str(event.get("event", "")), event.get("type")
    return f"{name}:{kind}" if isinstance(kind, str) else name


def message_of(event: Mapping[str, Any]) -> str:
    """What the line says about the cause."""
    for key in ("error", "reason", "message", "note"):
        if event.get(key):
            return str(event[key])
    exception = event.get("exception")
    if isinstance(exception, list) and exception and isinstance(exception[0], dict):
        return f"{exception[0].get('exc_type', '')}: {exception[0].get('exc_value', '')}"
    if isinstance(exception, str):  # in the form for terminals
        return exception.rstrip().rpartition("\n")[2]
    return ""
