"""What the worker tells about the system itself: an outbox that is late, a database that was away."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from fleet.events import EventKind
from fleet.trading_service import outbox
from fleet.trading_service.db import Pool
from fleet.trading_service.outbox import Waiting

OUTAGE_S = 30.0
"""Shorter absences of the database are no news."""


@dataclass(slots=True, kw_only=True)
class HealthWatch:
    """Turns what the worker sees into health events.

    Attributes:
        backlog_s: lateness of the outbox that is worth an event.
    """

    pool: Pool
    backlog_s: float
    _late: bool = field(default=False, init=False)
    _answered_at: datetime | None = field(default=None, init=False)
    _missed: bool = field(default=False, init=False)

    def missed(self) -> None:
        """The database did not answer."""
        self._missed = True

    async def answered(self, now: datetime) -> None:
        """The database answered: if it had been away for long, say so."""
        before, self._answered_at = self._answered_at, now
        missed, self._missed = self._missed, False
        if before is None or not missed or (now - before).total_seconds() < OUTAGE_S:
            return
        away_s = (now - before).total_seconds()
        await self._tell(
            f"The database is back after {away_s:.0f} s",
            f"No answer since {before:%H:%M:%SZ}. Bots decide nothing without it and exit after 10 minutes; the "
            "controller starts them again. Check that each enabled bot runs: botfleet bots list",
            severity="warning",
            # several workers notice the same outage
            key=f"health:database:{int(now.timestamp() // 600)}",
        )

    async def look(self, waits: Waiting) -> None:
        """Say when the outbox gets late, and when it is not any more."""
        late = waits.overdue_s > self.backlog_s
        if late == self._late:
            return
        self._late = late
        now = datetime.now(UTC)
        if late:
            title = f"The outbox is {waits.overdue_s / 60:.0f} minutes late"
            body = (
                f"{waits.unrouted} notifications and {waits.waiting} messages wait. See which receiver fails: "
                "botfleet notify list --state pending"
            )
        else:
            title, body = "The outbox is up to date again", f"{waits.waiting} messages wait"
        severity = "critical" if late else "info"
        await self._tell(title, body, severity=severity, key=f"health:outbox:{late}:{int(now.timestamp() // 600)}")

    async def _tell(self, title: str, body: str, *, severity: str, key: str) -> None:
        async with self.pool.connection() as connection:
            await outbox.add(
                connection, kind=EventKind.HEALTH, severity=severity, title=title, body=body, dedupe_key=key
            )
