"""Virtual time: nothing here waits, and everything happens in an order that the seed decides."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count

BEGINS = datetime(2026, 1, 5, tzinfo=UTC)
"""The exchange's time when a world begins; a bar's open."""

MONOTONIC_BEGINS_S = 1000.0
"""Of the bot's monotonic clock, so that nobody takes it for the exchange's."""


class VirtualClock:
    """Milliseconds since the world began, and what is to happen at which of them."""

    def __init__(self) -> None:
        self.ms = 0
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = count()

    def at(self, ms: int, happens: Callable[[], None]) -> None:
        """Let something happen at a time, at the earliest now."""
        heapq.heappush(self._queue, (max(ms, self.ms), next(self._numbers), happens))

    def advance(self, ms: int) -> None:
        """Let time pass, and everything happen that is due."""
        until = self.ms + ms
        while self._queue and self._queue[0][0] <= until:
            self.ms, _, happens = heapq.heappop(self._queue)
            happens()
        self.ms = until

    def monotonic(self) -> float:
        """The bot's monotonic clock, seconds."""
        return MONOTONIC_BEGINS_S + self.ms / 1000

    def exchange_time(self) -> datetime:
        """The exchange's clock."""
        return time_of(self.ms)


def time_of(ms: int) -> datetime:
    """The exchange's time so many milliseconds after the world began."""
    return BEGINS + timedelta(milliseconds=ms)
