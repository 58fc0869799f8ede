"""Deletes rows that are kept for a while only. May take minutes in a large fleet, so a turn has its own connection."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from fleet.log import get_logger
from fleet.trading_service import bars, error_counts
from fleet.trading_service.db import connect_async

log = get_logger("retention")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionJob:
    """Args: keep_bars, keep_errors: how long rows of trading_bars and trading_errors stay."""

    url: str
    keep_bars: timedelta
    keep_errors: timedelta

    async def turn(self, _now: datetime) -> None:
        """Delete what is older than it is kept.

        Raises:
            DatabaseAway: no answer; what was deleted stays deleted.
        """
        async with await connect_async(self.url, "worker retention") as connection:
            gone_bars = await bars.prune_bars(connection, self.keep_bars)
            gone_errors = await error_counts.prune_errors(connection, self.keep_errors)
        if gone_bars or gone_errors:
            log.info("pruned", bars=gone_bars, errors=gone_errors)
