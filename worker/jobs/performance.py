"""Performance metrics of bots with new bars, and the figures for Prometheus.

It may take minutes in a large fleet, so each turn has a connection of its own and no time limit but the server's for a
single statement; a turn that is cut short goes on with the next one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from fleet.log import get_logger
from fleet.trading_service import notifications, performance
from fleet.trading_service.db import connect_async
from worker.metrics import Metrics

log = get_logger("performance")


@dataclass(frozen=True, slots=True, kw_only=True)
class PerformanceJob:
    """Measures."""

    url: str
    metrics: Metrics

    async def turn(self, _now: datetime) -> None:
        """Refresh the metrics of every bot with new bars, then the figures for Prometheus.

        Raises:
            DatabaseAway: no answer; bots done before stay done.
        """
        async with await connect_async(self.url, "worker performance") as connection:
            done = await performance.refresh(connection)
            if done.bots or done.failed:
                log.info("performance_refreshed", bots=done.bots, skipped=done.skipped, failed=list(done.failed))
            self.metrics.take_bots(await performance.gauges(connection), await notifications.count_breaches(connection))
