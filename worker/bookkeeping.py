"""What the worker does with the bots' records on a timer: metrics of their performance, figures for Prometheus, and
deleting what is kept for a while only.

These jobs may take minutes in a large fleet, so each turn has a connection of its own and no time limit but the
server's for a single statement; a turn that is cut short goes on with the next one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from fleet.log import get_logger
from fleet.trading_service import bars, error_counts, notifications, performance
from fleet.trading_service.db import Connection, connect_async
from worker.metrics import Metrics

log = get_logger("bookkeeping")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bookkeeping:
    """Args: keep_bars, keep_errors: how long rows of trading_bars and trading_errors stay."""

    url: str
    metrics: Metrics
    keep_bars: timedelta
    keep_errors: timedelta

    async def measure(self, _now: datetime) -> None:
        """Refresh the performance metrics of every bot with new bars, then the figures for Prometheus.

        Raises:
            DatabaseAway: no answer; bots done before stay done.
        """
        async with self._connection("performance") as connection:
            done = await performance.refresh(connection)
            if done.bots or done.failed:
                log.info("performance_refreshed", bots=done.bots, skipped=done.skipped, failed=list(done.failed))
            self.metrics.take_bots(await performance.gauges(connection), await notifications.count_breaches(connection))

    async def prune(self, _now: datetime) -> None:
        """Delete what is older than it is kept.

        Raises:
            DatabaseAway: no answer; what was deleted stays deleted.
        """
        async with self._connection("retention") as connection:
            gone_bars = await bars.prune_bars(connection, self.keep_bars)
            gone_errors = await error_counts.prune_errors(connection, self.keep_errors)
        if gone_bars or gone_errors:
            log.info("pruned", bars=gone_bars, errors=gone_errors)

    @asynccontextmanager
    async def _connection(self, purpose: str) -> AsyncIterator[Connection]:
        connection = await connect_async(self.url, f"worker {purpose}")
        try:
            yield connection
        finally:
            await connection.close()
