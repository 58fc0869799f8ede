"""What time it is at the exchange, as bounds: an answer took a while, and nobody knows where on its way. Pure.

Nothing here reads the machine's clock of day, which may be hours off.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

DRIFT = 1e-4
"""By how much two clocks go apart, seconds per second; cheap quartz is ten times better."""


@dataclass(frozen=True, slots=True)
class ExchangeClock:
    """The exchange's clock as it was read once.

    Attributes:
        read: what the exchange said, aware UTC.
        asked_s, heard_s: when it was asked and when the answer was there, monotonic seconds.
    """

    read: datetime
    asked_s: float
    heard_s: float

    def earliest(self, now_s: float) -> datetime:
        """A time that the exchange's clock has reached at this monotonic time."""
        return self.read + timedelta(seconds=(now_s - self.heard_s) * (1 - DRIFT))

    def latest(self, now_s: float) -> datetime:
        """A time that the exchange's clock hasn't passed at this monotonic time."""
        return self.read + timedelta(seconds=(now_s - self.asked_s) * (1 + DRIFT))

    def better(self, other: ExchangeClock, *, now_s: float) -> ExchangeClock:
        """Which of two readings says more at this monotonic time."""
        return min(self, other, key=lambda reading: reading.latest(now_s) - reading.earliest(now_s))
