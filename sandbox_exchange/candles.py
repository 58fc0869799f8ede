"""What a candle is, how coarse ones are made of fine ones, and what a running one shows: pure functions.

All times are Unix milliseconds, all prices quote per base. Every interval divides the UTC day, so a day is the
unit in which series are read and aggregated.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal
from itertools import groupby
from math import isqrt
from typing import NamedTuple, Protocol

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

# Binance also has 3d, 1w and 1M; those do not divide a day and no bot of ours trades them.
INTERVAL_MS: dict[str, int] = {
    "1s": SECOND_MS,
    "1m": MINUTE_MS,
    "3m": 3 * MINUTE_MS,
    "5m": 5 * MINUTE_MS,
    "15m": 15 * MINUTE_MS,
    "30m": 30 * MINUTE_MS,
    "1h": HOUR_MS,
    "2h": 2 * HOUR_MS,
    "4h": 4 * HOUR_MS,
    "6h": 6 * HOUR_MS,
    "8h": 8 * HOUR_MS,
    "12h": 12 * HOUR_MS,
    "1d": DAY_MS,
}

_QUOTE_STEP = Decimal("0.00000001")
_PATH_LEGS = 3  # open → one extreme → the other extreme → close


class Candle(NamedTuple):
    """One bar. Prices and volume carry the digits of their source, so they are served back as they came.

    `volume` is in base, `quote_volume` in quote currency.
    """

    open_time: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    quote_volume: Decimal
    trades: int


class CandleSource(Protocol):
    """A recorded or generated series at its own interval, in its own dates."""

    @property
    def symbol(self) -> str:
        """As Binance writes it: base and quote without a separator."""

    @property
    def interval_ms(self) -> int:
        """Length of the source's own bars."""

    @property
    def first_open(self) -> int:
        """Open time of the first bar."""

    @property
    def end(self) -> int | None:
        """Close boundary (open + interval) of the last bar; None for a series without an end."""

    def between(self, start: int, end: int) -> list[Candle]:
        """The bars with start <= open time < end, in order; bars that never traded are missing."""


def make_candle(
    *, open_time: int, open_: Decimal, high: Decimal, low: Decimal, close: Decimal, volume: Decimal
) -> Candle:
    """A candle with what neither files nor generator know estimated.

    Quote volume is volume times the mean of the four prices; the number of trades grows with the root of volume.
    """
    mean = (open_ + high + low + close) / 4
    quote_volume = (volume * mean).quantize(_QUOTE_STEP, ROUND_HALF_EVEN)
    trades = 1 + isqrt(int(volume)) if volume else 0
    return Candle(open_time, open_, high, low, close, volume, quote_volume, trades)


def is_multiple(interval_ms: int, of_ms: int) -> bool:
    """Whether bars of `interval_ms` can be built from bars of `of_ms`."""
    return interval_ms >= of_ms and interval_ms % of_ms == 0


def merge(candles: Sequence[Candle], *, open_time: int) -> Candle:
    """The bar made of these candles.

    Args:
        candles: at least one, in order of time.
        open_time: open of the resulting bar, which may be earlier than its first trade.
    """
    return Candle(
        open_time,
        candles[0].open,
        max(candle.high for candle in candles),
        min(candle.low for candle in candles),
        candles[-1].close,
        sum((candle.volume for candle in candles), Decimal(0)),
        sum((candle.quote_volume for candle in candles), Decimal(0)),
        sum(candle.trades for candle in candles),
    )


def aggregate(candles: Iterable[Candle], *, interval_ms: int) -> list[Candle]:
    """Candles of one interval from finer ones in order of time; a bucket without any stays a gap."""
    buckets = groupby(candles, key=lambda candle: candle.open_time - candle.open_time % interval_ms)
    return [merge(list(members), open_time=open_time) for open_time, members in buckets]


def revised(candle: Candle) -> Candle:
    """Another last word on the same candle: closed at its high, with twice the volume."""
    return candle._replace(close=candle.high, volume=candle.volume * 2, quote_volume=candle.quote_volume * 2)


def partial(candle: Candle, *, elapsed_ms: int, interval_ms: int) -> Candle:
    """The candle as it looks while it runs.

    The price walks open → one extreme → the other → close in three legs of equal time; high, low and close are
    those of the path walked so far, volume grows in proportion. Which extreme comes first depends on the open time
    alone, so the order says nothing about the close.

    Args:
        candle: the finished candle.
        elapsed_ms: 0 <= elapsed_ms; from interval_ms on the finished candle is returned.
        interval_ms: length of the candle.
    """
    if elapsed_ms >= interval_ms:
        return candle
    walked = _path(candle, elapsed_ms=elapsed_ms, interval_ms=interval_ms)
    return candle._replace(
        high=max(walked),
        low=min(walked),
        close=walked[-1],
        volume=_share(candle.volume, elapsed_ms, interval_ms),
        quote_volume=_share(candle.quote_volume, elapsed_ms, interval_ms),
        trades=candle.trades * elapsed_ms // interval_ms,
    )


def _path(candle: Candle, *, elapsed_ms: int, interval_ms: int) -> list[Decimal]:
    """Turning points passed so far and the present price."""
    extremes = (candle.low, candle.high)
    if _mixed_bit(candle.open_time // interval_ms):
        extremes = (candle.high, candle.low)
    points = (candle.open, *extremes, candle.close)
    leg, within = divmod(elapsed_ms * _PATH_LEGS, interval_ms)
    start, target = points[leg], points[leg + 1]
    exact = start + (target - start) * within / interval_ms
    finest = min(points, key=_exponent)
    return [*points[: leg + 1], exact.quantize(finest, ROUND_HALF_EVEN)]


def _mixed_bit(number: int) -> bool:
    # Knuth's multiplicative hash: neighbouring bars must not simply alternate
    return bool((number * 2_654_435_761 >> 17) & 1)


def _share(total: Decimal, part: int, whole: int) -> Decimal:
    return (total * part / whole).quantize(total, ROUND_DOWN)


def _exponent(value: Decimal) -> int:
    return int(value.as_tuple().exponent)
