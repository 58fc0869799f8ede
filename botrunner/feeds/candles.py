"""Candles and the arithmetic of their times. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from fleet.times import from_ms


@dataclass(frozen=True, slots=True)
class Candle:
    """One closed candle.

    Attributes:
        open_ms: Unix time of its open, milliseconds.
        open, high, low, close: quote per base.
        volume: base currency.
    """

    open_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal

    @property
    def open_at(self) -> datetime:
        """Aware UTC of its open; what is called a signal bar's time."""
        return from_ms(self.open_ms)


def is_sound(candle: Candle) -> bool:
    """Whether prices are positive and low ≤ open, close ≤ high; anything else is garbage from the wire."""
    prices = (candle.open, candle.high, candle.low, candle.close)
    return (
        all(price.is_finite() and price > 0 for price in prices)
        and candle.volume.is_finite()
        and candle.volume >= 0
        and candle.low <= min(candle.open, candle.close)
        and candle.high >= max(candle.open, candle.close)
    )


def anchor_ms(open_ms: int, *, interval_ms: int, lookback: int) -> int:
    """Where the warm-up of a bar begins: a function of the bar alone, not of when a process started.

    Time is cut into blocks of `lookback` intervals since 1970; a bar is warmed up from the start of the block before
    its own, so by `lookback` to 2 × `lookback` - 1 bars. A bot that was restarted (at any bar) and one that never was
    (it rebuilds its indicators at each block) thereby see the same indicator values to the last bit, also of
    indicators with an endless memory.
    """
    block = interval_ms * lookback
    return (open_ms // block - 1) * block


def block_end_ms(open_ms: int, *, interval_ms: int, lookback: int) -> int:
    """Open time of the first bar after the block of the given bar: there the anchor moves."""
    block = interval_ms * lookback
    return (open_ms // block + 1) * block
