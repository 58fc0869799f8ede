"""One symbol's candles as an observer at a simulated time sees them: nothing of the future, at every interval."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import islice

from sandbox_exchange.candles import DAY_MS, Candle, CandleSource, aggregate, is_multiple, merge, partial


class CandleCache:
    """Decoded days of all series, least recently used first out.

    Args:
        max_candles: bound on what is kept; a candle takes about 800 bytes.
    """

    def __init__(self, *, max_candles: int = 20_000) -> None:
        self._max_candles = max_candles
        self._days: OrderedDict[tuple[str, int, int], tuple[Candle, ...]] = OrderedDict()
        self._candles = 0

    def get(self, key: tuple[str, int, int]) -> tuple[Candle, ...] | None:
        """The day of (symbol, interval, day number), if kept."""
        candles = self._days.get(key)
        if candles is not None:
            self._days.move_to_end(key)
        return candles

    def put(self, key: tuple[str, int, int], candles: tuple[Candle, ...]) -> None:
        """Keep a day that is not kept yet, and let go of the oldest."""
        self._days[key] = candles
        self._candles += len(candles) + 1
        while self._candles > self._max_candles and len(self._days) > 1:
            _, dropped = self._days.popitem(last=False)
            self._candles -= len(dropped) + 1


class Series:
    """A source placed in simulated time.

    Args:
        source: where the candles come from.
        shift_ms: whole days added to the source's own times.
        repeat: put the source behind itself again and again, a whole number of days later each time. Prices
            stay as they are, so there is a seam: the first open need not follow the last close.
        cache: shared by all series.
    """

    def __init__(self, *, source: CandleSource, shift_ms: int, repeat: bool, cache: CandleCache) -> None:
        if shift_ms % DAY_MS:
            raise ValueError(f"shift of {shift_ms} ms is not a whole number of days; intervals would move")
        self.source = source
        self.shift_ms = shift_ms
        self._cache = cache
        self._period_ms: int | None = None
        if repeat and source.end is not None:
            self._period_ms = -((source.first_open - source.end) // DAY_MS) * DAY_MS

    @property
    def interval_ms(self) -> int:
        """The finest interval there is."""
        return self.source.interval_ms

    @property
    def first_open(self) -> int:
        """Simulated open time of the first candle."""
        return self.source.first_open + self.shift_ms

    @property
    def end(self) -> int | None:
        """Simulated end of the last candle; None if there is always a next one."""
        if self._period_ms is not None or self.source.end is None:
            return None
        return self.source.end + self.shift_ms

    @property
    def repeats_every_ms(self) -> int | None:
        """After what time the same candles come again; None if they do not."""
        return self._period_ms

    def serves(self, interval_ms: int) -> bool:
        """Whether candles of this interval can be had."""
        return is_multiple(interval_ms, self.source.interval_ms)

    def klines(
        self,
        *,
        interval_ms: int,
        now: int,
        start: int | None = None,
        end: int | None = None,
        limit: int | None = None,
    ) -> list[Candle]:
        """Candles visible at `now`, the running one included, oldest first.

        As at Binance: from `start` on if it is given, else the newest up to `end` (or now).

        Args:
            interval_ms: one for which `serves` is true.
            now: simulated time of the observer.
            start: earliest open time.
            end: latest open time.
            limit: most candles; None for all.
        """
        until = now if end is None else min(end, now)
        if start is not None:
            rising = self._forward(interval_ms, max(start, self._bucket(self.first_open, interval_ms)), until, now)
            return list(islice(rising, limit))
        falling = list(islice(self._backward(interval_ms, until, now), limit))
        falling.reverse()
        return falling

    def last(self, now: int) -> Candle | None:
        """The newest candle of the finest interval; None before the first one."""
        newest = self.klines(interval_ms=self.interval_ms, now=now, limit=1)
        return newest[0] if newest else None

    def last_price(self, now: int) -> Decimal:
        """Price of the latest trade; before the first one, that one's price."""
        newest = self.last(now)
        return newest.close if newest else self.first_candle().open

    def first_candle(self) -> Candle:
        """The first candle of all."""
        first = self.source.first_open
        return self.source.between(first, first + 1)[0]

    def _forward(self, interval_ms: int, start: int, until: int, now: int) -> Iterator[Candle]:
        if self.end is not None:
            until = min(until, self.end)
        for day in range(start // DAY_MS, until // DAY_MS + 1):
            bars = self._visible(day, interval_ms, now)
            first = bisect_left(bars, start, key=_open_time)
            last = bisect_right(bars, until, key=_open_time)
            yield from bars[first:last]

    def _backward(self, interval_ms: int, until: int, now: int) -> Iterator[Candle]:
        if self.end is not None:
            until = min(until, self.end)
        for day in range(until // DAY_MS, self.first_open // DAY_MS - 1, -1):
            bars = self._visible(day, interval_ms, now)
            last = bisect_right(bars, until, key=_open_time)
            for index in range(last - 1, -1, -1):
                yield bars[index]

    def _visible(self, day: int, interval_ms: int, now: int) -> Sequence[Candle]:
        """The day's candles at `now`: whole ones as they are, the running one as far as it has come."""
        if (day + 1) * DAY_MS <= now:
            return self._whole(day, interval_ms)
        running_open = self._bucket(now, interval_ms)
        whole = self._whole(day, interval_ms)
        closed = whole[: bisect_left(whole, running_open, key=_open_time)]
        running = self._running(running_open, now) if day == now // DAY_MS else None
        return closed if running is None else (*closed, running)

    def _running(self, open_time: int, now: int) -> Candle | None:
        """The candle from `open_time` to `now`, of which only what has elapsed is used; None if nothing traded."""
        base = self._whole(now // DAY_MS, self.interval_ms, keep=True)
        first = bisect_left(base, open_time, key=_open_time)
        elapsed = list(base[first : bisect_right(base, now, key=_open_time)])
        if not elapsed:
            return None
        newest = elapsed[-1]
        elapsed[-1] = partial(newest, elapsed_ms=now - newest.open_time, interval_ms=self.interval_ms)
        return merge(elapsed, open_time=open_time)

    def _whole(self, day: int, interval_ms: int, *, keep: bool = True) -> tuple[Candle, ...]:
        """All candles of a day as they will have been at its end; callers cut off what is not over."""
        key = (self.source.symbol, interval_ms, day)
        candles = self._cache.get(key)
        if candles is None:
            if interval_ms == self.interval_ms:
                candles = tuple(self._shifted(day * DAY_MS, (day + 1) * DAY_MS))
            else:
                finest = self._whole(day, self.interval_ms, keep=False)
                candles = tuple(aggregate(finest, interval_ms=interval_ms))
            if keep:
                self._cache.put(key, candles)
        return candles

    def _shifted(self, start: int, end: int) -> Iterator[Candle]:
        """The source's candles in simulated time, start <= open time < end."""
        for round_shift in self._round_shifts(start, end):
            for candle in self.source.between(start - round_shift, end - round_shift):
                yield candle._replace(open_time=candle.open_time + round_shift)

    def _round_shifts(self, start: int, end: int) -> Iterator[int]:
        """By how much the source is shifted in each of the rounds that touch the time span."""
        if self._period_ms is None:
            yield self.shift_ms
            return
        first = max(0, (start - self.first_open) // self._period_ms)
        last = (end - 1 - self.first_open) // self._period_ms
        for turn in range(first, last + 1):
            yield self.shift_ms + turn * self._period_ms

    @staticmethod
    def _bucket(time: int, interval_ms: int) -> int:
        return time - time % interval_ms


def _open_time(candle: Candle) -> int:
    return candle.open_time
