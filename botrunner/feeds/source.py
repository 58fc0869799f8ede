"""Where closed candles come from: an exchange, or a file.

Guarantees: candles are closed by the exchange's own clock, come in order, each once; a gap is asked for a second time
before it is accepted and flagged. The newest candle, whose end only that clock tells, isn't believed while the clock
jumps. A candle that was revised later is logged and changes nothing: the bar was decided on what was known. The local
clock's date is never looked at.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from botrunner.exchange.broker import Broker
from botrunner.exchange.poll_turns import ALONE, Turn
from botrunner.market.candle import Candle, is_sound
from fleet.clock import Clock
from fleet.foreign import clean_text
from fleet.log import get_logger

log = get_logger("feed")

PAGE = 1000
"""Candles per request; Binance's maximum."""

POLL_MIN_S = 0.2
POLL_MAX_S = 10.0
"""Bounds of the wait between two questions to the exchange; a third of what counts as a hung main loop."""


RATE_SAMPLE_S = 1.0
"""Samples closer together tell jitter, not speed."""

JUMP_LEAST_S = 5.0
JUMP_SHARE = 0.5
"""The exchange's clock jumped when it is off what its rate predicts by more than five seconds (a slow answer) and by
more than half of what has passed."""

REMEMBERED = 3
"""Newest candles handed out that are compared with what the exchange says later: revisions come soon or never."""


class CandleSource(Protocol):
    """Closed candles of one market."""

    def latest_closed_ms(self) -> int | None:
        """Open time of the newest closed candle, where a new bot begins; None: begin with the first there is."""

    def history(self, start_ms: int, end_ms: int) -> list[Candle]:
        """Closed candles with start ≤ open < end."""

    def poll(self, after_ms: int | None) -> list[Candle]:
        """Closed candles that follow; empty when there are none yet. Raises ExchangeAway."""

    def wait_s(self, after_ms: int | None) -> float:
        """How long to wait before the next poll is worth it."""


class ExchangeClock:
    """The exchange's time between questions: offset to and rate against the local monotonic clock.

    The rate is 1 at a real exchange; at a simulated one it is its speed.
    """

    def __init__(self) -> None:
        self._sample: tuple[float, int] | None = None
        self._rate = self._unproven = 1.0
        self.jumped = False

    def sampled(self, *, monotonic: float, server_ms: int) -> None:
        """The server told its time; `jumped` says whether it fits what it told before."""
        self.jumped = self._is_jump(monotonic, server_ms)
        if self._sample is not None:
            passed = monotonic - self._sample[0]
            if passed < RATE_SAMPLE_S:
                return
            self._learn((server_ms - self._sample[1]) / 1000 / passed)
        self._sample = (monotonic, server_ms)

    def _learn(self, measured: float) -> None:
        """Take over a rate that fits the old one; another one when it is measured twice: a jump is seen once."""
        rate = measured if measured > 2 else 1.0
        if self.jumped and abs(rate - self._unproven) > JUMP_SHARE * rate:
            self._unproven = rate
            return
        self.jumped = False
        self._rate = self._unproven = rate

    def now_ms(self, monotonic: float) -> int | None:
        """What the exchange's clock shows; None before it told."""
        if self._sample is None:
            return None
        return self._sample[1] + int((monotonic - self._sample[0]) * 1000 * self._rate)

    def seconds_until(self, server_ms: int, *, monotonic: float) -> float:
        """Local seconds until the exchange's clock shows that time."""
        now_ms = self.now_ms(monotonic)
        return 0.0 if now_ms is None else (server_ms - now_ms) / 1000 / self._rate

    def seconds_of(self, milliseconds: int) -> float:
        """Local seconds that so much of the exchange's time takes."""
        return milliseconds / 1000 / self._rate

    def _is_jump(self, monotonic: float, server_ms: int) -> bool:
        expected_ms = self.now_ms(monotonic)
        if self._sample is None or expected_ms is None:
            return False
        off_s = abs(server_ms - expected_ms) / 1000
        return off_s > max(JUMP_LEAST_S, JUMP_SHARE * self._rate * (monotonic - self._sample[0]))


@dataclass(frozen=True, slots=True)
class LocalTurn:
    """A bot's turn (`exchange.poll_turns`) in local seconds, from now on.

    Attributes:
        after_s: until it asks for the candle. least_s: between two questions for one that is overdue.
    """

    after_s: float = 0.0
    least_s: float = 0.0


class ExchangeCandles:
    """Closed candles of one market of a broker, by REST.

    Args:
        turn: when this bot asks, among those that share the exchange and the address.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        symbol: str,
        interval: str,
        interval_ms: int,
        clock: Clock,
        turn: Callable[[], Turn] = lambda: ALONE,
    ) -> None:
        self._turn = turn
        self._broker = broker
        self._symbol = symbol
        self._interval = interval
        self._interval_ms = interval_ms
        self._clock = clock
        self._time = ExchangeClock()
        self._suspected_gap_ms: int | None = None
        self._followed_ms = 0
        self._handed: deque[Candle] = deque(maxlen=REMEMBERED)

    def exchange_ms(self) -> int | None:
        """What the exchange's clock shows now; None before it told. Asks nobody."""
        return self._time.now_ms(self._clock.monotonic())

    def latest_closed_ms(self) -> int | None:
        """Open time of the newest closed candle; of the last that could be, in a market without candles."""
        server_ms = self._server_ms()
        newest_ms = server_ms // self._interval_ms * self._interval_ms - self._interval_ms
        rows = self._fetch(newest_ms - PAGE // 2 * self._interval_ms, server_ms)
        return rows[-1].open_ms if rows else newest_ms

    def history(self, start_ms: int, end_ms: int) -> list[Candle]:
        """Closed candles with start ≤ open < end, page by page."""
        found: list[Candle] = []
        while start_ms < end_ms:
            page = [c for c in self._fetch(start_ms, end_ms - 1 + self._interval_ms) if c.open_ms < end_ms]
            found += page
            if len(page) < PAGE:
                break
            start_ms = page[-1].open_ms + self._interval_ms
        return found

    def poll(self, after_ms: int | None) -> list[Candle]:
        """Closed candles after the given one; what lies behind a gap only on the second sight of it."""
        assert after_ms is not None, "a bot on an exchange begins at a known candle"
        server_ms = self._server_ms()
        if after_ms + 2 * self._interval_ms > server_ms:
            return []
        since_ms = min([after_ms + self._interval_ms, *(candle.open_ms for candle in self._handed)])
        rows = self._fetch(since_ms, server_ms)
        self._compare(rows)
        fresh = [candle for candle in rows if candle.open_ms > after_ms]
        if fresh and not self._is_over(fresh[-1], server_ms):
            fresh.pop()
        found = self._confirmed(after_ms, fresh)
        self._handed.extend(found)
        return found

    def wait_s(self, after_ms: int | None) -> float:
        """Until the bot's turn after the next candle's close by the exchange's clock, within POLL_MIN_S and POLL_MAX_S;
        for an overdue one longer, where many share the address."""
        if after_ms is None:
            return POLL_MIN_S
        turn = self._turn()
        due_ms = after_ms + 2 * self._interval_ms + turn.after_ms
        wait = self._time.seconds_until(due_ms, monotonic=self._clock.monotonic())
        if wait <= 0:
            return max(self._time.seconds_of(turn.least_ms), POLL_MIN_S)
        return min(max(wait, POLL_MIN_S), POLL_MAX_S)

    def turn(self, open_ms: int) -> LocalTurn:
        """When to ask for the candle that opened then and is said to have closed now."""
        turn = self._turn()
        after_s = self._time.seconds_of(turn.after_ms)
        due_ms = open_ms + self._interval_ms + turn.after_ms
        left_s = self._time.seconds_until(due_ms, monotonic=self._clock.monotonic())
        return LocalTurn(min(max(left_s, 0.0), after_s), self._time.seconds_of(turn.least_ms))

    def _server_ms(self) -> int:
        server_ms = self._broker.server_time_ms()
        self._time.sampled(monotonic=self._clock.monotonic(), server_ms=server_ms)
        return server_ms

    def _is_over(self, newest: Candle, server_ms: int) -> bool:
        """Whether the newest candle is certainly closed: seen right after its end by a clock that doesn't jump.

        Every older one is: another candle follows it. A clock that is wrong by hours shows the running candle as
        one that closed long ago without a successor; it is believed once there is one.
        """
        if self._followed_ms > newest.open_ms:
            return True
        return not self._time.jumped and server_ms - (newest.open_ms + self._interval_ms) < self._interval_ms

    def _compare(self, rows: list[Candle]) -> None:
        """Log what was handed out and now looks different; once per change."""
        now = {candle.open_ms: candle for candle in rows}
        for index, before in enumerate(self._handed):
            after = now.get(before.open_ms, before)
            if after != before:
                log.warning("candle_revised", symbol=self._symbol, was=str(before), now=str(after))
                self._handed[index] = after

    def _fetch(self, since_ms: int, server_ms: int) -> list[Candle]:
        """One page of candles that were closed at `server_ms`, sound, in order and once each."""
        rows = self._broker.candles(self._symbol, self._interval, since_ms=since_ms, limit=PAGE)
        sound = [row for row in rows if is_sound(row)]
        if len(sound) < len(rows):
            first = next(row for row in rows if not is_sound(row))
            log.warning(
                "candle_unsound",
                symbol=self._symbol,
                rows=len(rows) - len(sound),
                candle=clean_text(first, 300, lines=False),
            )
        self._followed_ms = max((row.open_ms for row in sound), default=0)
        closed: list[Candle] = []
        for candle in sorted(sound, key=lambda row: row.open_ms):
            if candle.open_ms < since_ms or candle.open_ms + self._interval_ms > server_ms:
                continue
            if closed and candle.open_ms == closed[-1].open_ms:
                log.warning("candle_duplicate", symbol=self._symbol, open_ms=candle.open_ms)
                continue
            closed.append(candle)
        return closed

    def _confirmed(self, after_ms: int, candles: list[Candle]) -> list[Candle]:
        expected_ms = after_ms + self._interval_ms
        for index, candle in enumerate(candles):
            if candle.open_ms != expected_ms and self._suspected_gap_ms != expected_ms:
                self._suspected_gap_ms = expected_ms
                return candles[:index]
            if candle.open_ms != expected_ms:
                missing = (candle.open_ms - expected_ms) // self._interval_ms
                log.info("candle_gap", symbol=self._symbol, from_ms=expected_ms, missing=missing)
            expected_ms = candle.open_ms + self._interval_ms
        return candles


class FileCandles:
    """Candles of a file.

    Args:
        candles: in order, each once.
        pace_s: seconds between two candles, as an exchange would have them; 0: all at once.
        clock: measures them.
    """

    def __init__(self, candles: Sequence[Candle], *, pace_s: float = 0.0, clock: Clock | None = None) -> None:
        self._candles = candles
        self._opens = [candle.open_ms for candle in candles]
        self._pace_s = pace_s
        self._clock = clock
        self._next_at: float | None = None

    def latest_closed_ms(self) -> int | None:
        """None: a file is traded from its first candle on."""
        return None

    def history(self, start_ms: int, end_ms: int) -> list[Candle]:
        """Candles with start ≤ open < end."""
        return list(self._candles[bisect_left(self._opens, start_ms) : bisect_left(self._opens, end_ms)])

    def poll(self, after_ms: int | None) -> list[Candle]:
        """All candles that follow; with a pace the next one, when its time has come."""
        first = 0 if after_ms is None else bisect_left(self._opens, after_ms + 1)
        if self._clock is None or not self._pace_s:
            return list(self._candles[first:])
        now = self._clock.monotonic()
        if self._next_at is not None and now < self._next_at:
            return []
        found = list(self._candles[first : first + 1])
        if found:
            # from the last one's time, not from now: what the bot needs to think doesn't add up
            self._next_at = max(self._next_at or now, now - self._pace_s) + self._pace_s
        return found

    def wait_s(self, after_ms: int | None) -> float:  # noqa: ARG002 - a file doesn't grow
        """Until the next candle's time; a file doesn't grow."""
        if self._clock is None or self._next_at is None:
            return POLL_MAX_S
        return min(max(self._next_at - self._clock.monotonic(), POLL_MIN_S), POLL_MAX_S)


def read_candles(path: Path, *, interval_ms: int | None = None) -> list[Candle]:
    """The candles of a file; of the interval that they have, if none is given.

    Raises:
        CandleFileInvalid: see `feeds.files.reader`.
    """
    from botrunner.feeds.files.reader import Wanted, read_candle_file

    return read_candle_file(path, Wanted(interval_ms)).candles
