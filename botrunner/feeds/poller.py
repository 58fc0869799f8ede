"""Asks for closed candles when it is worth it, and hands them over in order, each until its bar is committed.

When to ask is `feeds.pace`'s to say: after the next candle's close, at once when a stream says that it closed, ever
more slowly while nothing comes. A source that doesn't answer delays and loses nothing. Candles that stay away are told
to people once (`feeds.health`). One thread; only `_closed` is called from the stream's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from botrunner.exchange.errors import CircuitOpen, ExchangeAway
from botrunner.exchange.stream import CandleStream
from botrunner.feeds.health import FeedWatch, overdue_ms
from botrunner.feeds.pace import PollPace
from botrunner.feeds.source import CandleSource, LocalTurn
from botrunner.market.candle import Candle
from fleet.clock import Clock
from fleet.events import Event
from fleet.log import get_logger
from fleet.times import from_ms

log = get_logger("bot")

LEAST_WAIT_S = 0.01
"""Between two looks for a candle."""


class CandlePoller:
    """The candles of one market that a bot hasn't worked through yet.

    Args:
        source: is asked for them.
        clock: measures the waits.
        interval_ms: of the candles.
        exchange_ms: what the exchange's clock shows; None where there is none.
        turn: when to ask for the candle of this open, among the bots that share the exchange.
        watch: tells when candles stay away; None where they can't.
        note: is given what it tells. Raises FencedError.
        stream: makes a stream that calls back, from its thread, with each candle that closed; None without streams.
        wake: ends the main loop's rest; called from the stream's thread.
    """

    def __init__(
        self,
        source: CandleSource,
        *,
        clock: Clock,
        interval_ms: int,
        exchange_ms: Callable[[], int | None],
        turn: Callable[[int], LocalTurn],
        watch: FeedWatch | None,
        note: Callable[[Iterable[Event]], None],
        stream: Callable[[Callable[[int], None]], CandleStream] | None,
        wake: Callable[[], None],
    ) -> None:
        self._source = source
        self._clock = clock
        self._interval_ms = interval_ms
        self._exchange_ms = exchange_ms
        self._turn = turn
        self._watch = watch
        self._note = note
        self._make_stream = stream
        self._wake = wake
        self._stream: CandleStream | None = None
        self._pace = PollPace()
        self._pending: deque[Candle] = deque()
        self._after_ms: int | None = None
        self._hint_ms = -1

    def follow(self, after_ms: int | None) -> None:
        """Go on behind the candle of this open time; None: with the first there is."""
        self._after_ms = after_ms

    def listen(self) -> None:
        """Open the stream, if there is one."""
        if self._make_stream is not None:
            self._stream = self._make_stream(self._closed)
            self._stream.start()

    def close(self) -> None:
        """Close the stream."""
        if self._stream is not None:
            self._stream.stop()

    def next_candle(self) -> Candle | None:
        """The oldest candle whose bar isn't committed, asked for if the time has come; None while there is none.

        Raises:
            FencedError: what people should be told of the feed couldn't be written, as the run isn't current.
        """
        if not self._pending:
            self._poll()
        return self._pending[0] if self._pending else None

    def committed(self, candle: Candle) -> None:
        """Its bar is done: the next candle is the one behind it."""
        self._after_ms = candle.open_ms
        while self._pending and self._pending[0].open_ms <= candle.open_ms:
            self._pending.popleft()

    def next_open_ms(self) -> int | None:
        """Open time of the next candle as far as it is known: behind a gap it will be another."""
        if not self._pending and self._after_ms is not None:
            return self._after_ms + self._interval_ms
        candle = self.next_candle()
        return None if candle is None else candle.open_ms

    def wait_s(self, most_s: float) -> float:
        """How long to rest before the next look, seconds."""
        return min(most_s, max(self._pace.left_s(self._clock.monotonic()), LEAST_WAIT_S))

    def _closed(self, open_ms: int) -> None:
        """The stream says so; called from its thread."""
        self._hint_ms = max(self._hint_ms, open_ms)
        self._wake()

    def _poll(self) -> None:
        """Ask when the time has come, or the stream says so; without an answer the waits get longer."""
        last_ms, now = self._after_ms, self._clock.monotonic()
        hint_ms, self._hint_ms = self._hint_ms, -1
        if hint_ms > (-1 if last_ms is None else last_ms):
            self._pace.hinted(now, after_s=self._turn(hint_ms).after_s)
        if not self._pace.due(now):
            return
        try:
            found = self._source.poll(last_ms)
        except ExchangeAway as error:
            paused_s = error.retry_after_s if isinstance(error, CircuitOpen) else 0.0
            wait_s = self._pace.failed(self._clock.monotonic(), paused_s=paused_s)
            log.warning("exchange_away", error=str(error), failures=self._pace.failures, retry_in_s=round(wait_s, 1))
            return
        self._pending.extend(found)
        now = self._clock.monotonic()
        if found:
            self._pace.found(now, wait_s=self._source.wait_s(found[-1].open_ms))
        else:
            self._pace.nothing(
                now,
                wait_s=self._source.wait_s(last_ms),
                overdue=self._is_overdue(last_ms),
                least_s=self._turn(last_ms or 0).least_s,
            )
        self._tell(found, last_ms)

    def _is_overdue(self, last_ms: int | None) -> bool:
        server_ms = self._exchange_ms()
        if last_ms is None or server_ms is None:
            return False
        return overdue_ms(last_ms, server_ms, interval_ms=self._interval_ms) > 0

    def _tell(self, found: list[Candle], last_ms: int | None) -> None:
        """Tell people, once each, that candles stay away and that they came again."""
        watch, server_ms = self._watch, self._exchange_ms()
        if watch is None or server_ms is None:
            return
        event = watch.came() if found else None
        if not found and last_ms is not None:
            event = watch.looked(last_open_ms=last_ms, server_ms=server_ms)
        if event is not None:
            tell = log.warning if watch.stale else log.info
            tell("feed_stale" if watch.stale else "feed_recovered", last_bar_at=last_ms and from_ms(last_ms))
            self._note([event])
