"""Staleness and lateness, by the exchange's clock."""

from __future__ import annotations

import pytest

from botrunner.feeds.health import FeedWatch, is_late, is_stale
from fleet.events import EventKind

M = 60_000
HOUR = 60 * M


@pytest.mark.parametrize(
    ("interval_ms", "overdue_ms", "stale"),
    [
        pytest.param(M, 5 * M + 30_000, False, id="a quiet market misses some short ones: five minutes and the grace"),
        pytest.param(M, 5 * M + 30_001, True, id="more"),
        pytest.param(5 * M, 10 * M + 30_000, False, id="two more of five minutes and the grace"),
        pytest.param(5 * M, 10 * M + 30_001, True, id="more of those"),
        pytest.param(HOUR, HOUR + 30_000, False, id="an hour is the most"),
        pytest.param(HOUR, HOUR + 30_001, True, id="not two more hours"),
        pytest.param(24 * HOUR, HOUR + 30_001, True, id="nor two more days"),
        pytest.param(1000, 5 * M + 30_000, False, id="candles of seconds too"),
        pytest.param(M, -M, False, id="the next one still runs"),
    ],
)
def test_what_counts_as_stale(interval_ms: int, overdue_ms: int, stale: bool) -> None:
    last = 1_000 * interval_ms
    assert is_stale(last, last + 2 * interval_ms + overdue_ms, interval_ms=interval_ms) is stale


@pytest.mark.parametrize(
    ("interval_ms", "after_close_ms", "late"),
    [(M, 0, False), (M, M - 1, False), (M, M, True), (1000, 9_999, False), (1000, 10_000, True), (M, -3 * HOUR, False)],
)
def test_what_counts_as_late(interval_ms: int, after_close_ms: int, late: bool) -> None:
    opened = 1_000 * interval_ms
    assert is_late(opened, opened + interval_ms + after_close_ms, interval_ms=interval_ms) is late


def test_told_once_and_once_more_when_it_is_over() -> None:
    watch = FeedWatch(bot_id=7, symbol="X", interval="1m", interval_ms=M)
    told = [watch.looked(last_open_ms=100 * M, server_ms=(100 + minutes) * M) for minutes in range(10)]
    events = [event for event in told if event]
    assert [event.kind for event in events] == [EventKind.FEED_STALE]
    assert told.index(events[0]) == 8  # the next closes at 102, is overdue by 5.5 at 107.5
    back = watch.came()
    assert back is not None
    assert back.kind is EventKind.BOT_RECOVERED
    assert watch.came() is None
    # a restarted bot names the same silence the same way: the outbox takes it once
    again = FeedWatch(bot_id=7, symbol="X", interval="1m", interval_ms=M).looked(
        last_open_ms=100 * M, server_ms=200 * M
    )
    assert again is not None
    assert again.dedupe_key == events[0].dedupe_key
