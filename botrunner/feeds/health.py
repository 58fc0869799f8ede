"""Is the feed alive, and is a candle fresh enough to act on? By the exchange's clock alone. Pure."""

from __future__ import annotations

from fleet.events import Event, EventKind
from fleet.times import from_ms

STALE_INTERVALS = 2
STALE_LEAST_MS, STALE_MOST_MS = 300_000, 3_600_000
STALE_GRACE_MS = 30_000
"""A candle is overdue by two more intervals, five minutes at least and an hour at most, and half a minute: a market
that misses three in a row is halted, or the feed is broken; a quiet one may miss some short ones."""

LATE_MIN_MS = 10_000
"""Candles of seconds may be this late."""


def overdue_ms(last_open_ms: int, server_ms: int, *, interval_ms: int) -> int:
    """How long ago the candle after the last one should have closed; negative while it still runs."""
    return server_ms - (last_open_ms + 2 * interval_ms)


def is_stale(last_open_ms: int, server_ms: int, *, interval_ms: int) -> bool:
    """Whether candles have failed to come for so long that somebody should know."""
    allowed = min(max(STALE_INTERVALS * interval_ms, STALE_LEAST_MS), STALE_MOST_MS) + STALE_GRACE_MS
    return overdue_ms(last_open_ms, server_ms, interval_ms=interval_ms) > allowed


def is_late(open_ms: int, server_ms: int, *, interval_ms: int) -> bool:
    """Whether a decision on this closed candle would be one on yesterday's news: the next has closed already."""
    return server_ms - (open_ms + interval_ms) >= max(interval_ms, LATE_MIN_MS)


class FeedWatch:
    """Tells once that candles stay away, and once that they are back.

    Args:
        bot_id, symbol, interval: name the events. A restarted bot doesn't repeat them: they are named by the candle.
    """

    def __init__(self, *, bot_id: int, symbol: str, interval: str, interval_ms: int) -> None:
        self._bot_id = bot_id
        self._symbol = symbol
        self._interval = interval
        self._interval_ms = interval_ms
        self._stale_since_ms: int | None = None

    @property
    def stale(self) -> bool:
        """Whether candles stay away now."""
        return self._stale_since_ms is not None

    def looked(self, *, last_open_ms: int, server_ms: int) -> Event | None:
        """The exchange was asked and had nothing after this candle."""
        if self.stale or not is_stale(last_open_ms, server_ms, interval_ms=self._interval_ms):
            return None
        self._stale_since_ms = last_open_ms
        return Event(
            kind=EventKind.FEED_STALE,
            title=f"No candles of {self._symbol} ({self._interval})",
            body=f"The last one closed at {from_ms(last_open_ms + self._interval_ms):%Y-%m-%d %H:%M:%S} UTC, the "
            f"exchange's clock shows {from_ms(server_ms):%Y-%m-%d %H:%M:%S}: the market is halted, or its feed broken.",
            facts={"symbol": self._symbol, "last_bar_at": from_ms(last_open_ms).isoformat()},
            dedupe_key=f"stale:{self._bot_id}:{self._symbol}:{self._interval}:{last_open_ms}",
        )

    def came(self) -> Event | None:
        """A new closed candle came."""
        since_ms, self._stale_since_ms = self._stale_since_ms, None
        if since_ms is None:
            return None
        return Event(
            kind=EventKind.BOT_RECOVERED,
            title=f"Candles of {self._symbol} ({self._interval}) come again",
            body="They are worked through in order.",
            facts={"symbol": self._symbol},
            dedupe_key=f"fresh:{self._bot_id}:{self._symbol}:{self._interval}:{since_ms}",
        )
